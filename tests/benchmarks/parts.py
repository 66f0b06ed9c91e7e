"""Batch norm, softmax and optimisers against the time it takes to stream their bytes once.

The bytes of a part are those of every array that it must read or write, each once; the time to
stream them is that of a copy: half of them read, half written.
"""

from collections.abc import Callable

import numpy as np

from engine.layers.base import Scope
from engine.layers.batch_norm import BatchNorm
from engine.layers.linear import Linear
from engine.losses import SoftmaxCrossEntropy
from engine.network.parameters import allocate
from engine.optimization.optimizers import SGD, Adam, Optimizer
from tests.benchmarks.training import numpy_backend

Contenders = dict[str, Callable[[], object]]
BATCH, UNITS, CLASSES = 1024, 500, 10
INPUTS, OUTPUTS = 5000, 530  # of one layer with as many weights as the network of ten layers


def streaming(floats: int) -> Callable[[], object]:
    """Copy half of an array of 32-bit floats over the other half: each is read or written once."""
    source = np.ones(floats // 2, np.float32)
    target = np.empty_like(source)
    return lambda: np.copyto(target, source)


def batch_norm() -> Contenders:
    """Forwards x is read and y written, backwards x and dy are read and dx is written."""
    layer, backend, generator = BatchNorm(), numpy_backend(), np.random.default_rng(0)
    shape = (UNITS,)
    store = allocate([layer.parameters(shape)], [layer.state(shape)], backend, generator)
    views = store.value_views[0], store.gradient_views[0], store.state_views[0]
    bound = layer.bind(shape, Scope(backend, BATCH, *views))
    x, dy = (generator.normal(size=(BATCH, UNITS)).astype(np.float32) for _ in range(2))

    def run() -> None:
        bound.forward(x, True)
        bound.backward(dy)

    return {"ours": run, "streaming": streaming(5 * BATCH * UNITS)}


def softmax() -> Contenders:
    """Scores are read and dL/dscores is written."""
    generator = np.random.default_rng(0)
    bound = SoftmaxCrossEntropy().bind((CLASSES,), BATCH, numpy_backend())
    scores = generator.normal(size=(BATCH, CLASSES)).astype(np.float32)
    labels = generator.integers(0, CLASSES, BATCH)

    def run() -> None:
        bound.forward(scores, labels)
        bound.backward()

    return {"ours": run, "streaming": streaming(2 * BATCH * CLASSES)}


def update(optimizer: Optimizer, slots: int) -> Contenders:
    """Gradients are read; parameters and `slots` arrays like them are read and written."""
    backend, hyper = numpy_backend(), optimizer.hyperparameters()
    layer = Linear(OUTPUTS)
    store = allocate([layer.parameters((INPUTS,))], [{}], backend, np.random.default_rng(0))
    run = optimizer.bind(store, hyper, backend).update
    return {"ours": run, "streaming": streaming((3 + 2 * slots) * len(store.values))}


PARTS: dict[str, Callable[[], Contenders]] = {
    f"batch norm, {BATCH}×{UNITS}": batch_norm,
    f"softmax cross-entropy, {BATCH}×{CLASSES}": softmax,
    "SGD with momentum, 2.65 million": lambda: update(SGD(1e-6, momentum=0.9), 1),
    "Adam, 2.65 million": lambda: update(Adam(1e-6), 2),
}
