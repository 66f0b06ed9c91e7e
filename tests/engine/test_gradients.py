"""Every layer, non-linearity and loss against centred differences, in float64."""

import numpy as np
import pytest

from engine.activations import activations
from engine.backends.base import Backend
from engine.initializers import Normal
from engine.layers.base import Layer, layers
from engine.layers.linear import Linear
from engine.layers.nonlinearity import Nonlinearity
from engine.losses import Loss, losses
from engine.network import BoundNetwork, mlp
from engine.optimization.optimizers import SGD
from engine.optimization.regularization import Penalty
from engine.training.gradcheck import numerical_gradient, relative_error
from tests.engine.conftest import Array, BindLayer
from tests.engine.layers.test_images import IMAGE_LAYERS
from tests.engine.variants import ACTIVATIONS, LAYERED, LOSSES, name

SMOOTH, KINKED = 1e-7, 1e-4
TOLERANCE = dict.fromkeys(("ReLU", "LeakyReLU", "PReLU", "Maxout", "MulticlassSVM"), KINKED)
SHAPE = (6, 6)


def members() -> list[Layer]:
    """Return the layers over flat inputs, and the activation layer once for each non-linearity."""
    special = {"linear": lambda: Linear(4), "activation": None}
    plain = [
        special.get(name, cls)()  # type: ignore[misc]
        for name, cls in layers.items()
        if name not in ("activation", "residual", "dropout", *IMAGE_LAYERS)
    ]
    return plain + LAYERED + [Nonlinearity(f) for f in ACTIVATIONS]


def tolerance_for(layer: Layer) -> float:
    member = layer.activation if isinstance(layer, Nonlinearity) else layer
    return TOLERANCE.get(type(member).__name__, SMOOTH)


def inputs() -> Array:
    """Draw inputs that stay off the kink at 0 by more than the step of the differences."""
    x = np.random.default_rng(0).normal(0, 1.5, SHAPE)
    return np.where(np.abs(x) < 1e-2, 0.5, x)


@pytest.mark.parametrize("layer", members(), ids=name)
def test_layer_agrees_with_centred_differences(
    layer: Layer, backend: Backend, bind_layer: BindLayer
) -> None:
    tolerance = tolerance_for(layer)
    bound, store = bind_layer(layer, SHAPE)
    x = inputs()
    weights = np.random.default_rng(3).normal(size=bound.output.shape)

    def f() -> float:
        y = bound.forward(backend.to_device(x), True)
        return float((backend.to_host(y) * weights).sum())

    f()
    dx = backend.to_host(bound.backward(backend.to_device(weights))).copy()
    dp = backend.to_host(store.gradients).copy()
    assert relative_error(dx, numerical_gradient(f, x)) < tolerance
    if store.values.size:
        parameters = backend.to_host(store.values)
        values = parameters.copy()

        def g() -> float:
            store.values[...] = backend.to_device(values)
            return f()

        assert relative_error(dp, numerical_gradient(g, values)) < tolerance


@pytest.mark.parametrize("loss", LOSSES, ids=name)
def test_loss_agrees_with_centred_differences(loss: Loss, backend: Backend) -> None:
    scores = np.random.default_rng(0).normal(0, 2, (6, 4))
    labels = backend.to_device(np.array([0, 1, 2, 3, 1, 1]))
    bound = loss.bind((4,), 6, backend)

    def f() -> float:
        return bound.forward(backend.to_device(scores), labels)

    f()
    gradient = backend.to_host(bound.backward()).copy()
    assert bound.score_gradient.shape == scores.shape
    tolerance = TOLERANCE.get(type(loss).__name__, SMOOTH)
    assert relative_error(gradient, numerical_gradient(f, scores)) < tolerance


@pytest.mark.parametrize("batch_norm", [False, True])
def test_whole_network_with_penalty_agrees_with_centred_differences(
    backend: Backend, batch_norm: bool
) -> None:
    network = BoundNetwork.of(
        mlp(
            [7, 6],
            3,
            activation=activations["tanh"](),
            initializer=Normal(0.5),
            batch_norm=batch_norm,
        ),
        (8, 5),
        backend,
        generator=np.random.default_rng(0),
    )
    x = backend.to_device(np.random.default_rng(1).normal(size=(8, 5)))
    labels = backend.to_device(np.arange(8) % 3)
    loss = losses["softmax_cross_entropy"]().bind((3,), 8, backend)
    penalty = Penalty(network, SGD(weight_decay=0.3, l1=0.2).hyperparameters())
    values = backend.to_host(network.store.values).copy()

    def f() -> float:
        network.store.values[...] = backend.to_device(values)
        data = loss.forward(network.forward(x, True), labels)
        network.backward(loss.backward())
        return data + penalty()

    f()
    gradient = backend.to_host(network.store.gradients).copy()
    assert relative_error(gradient, numerical_gradient(f, values)) < SMOOTH


def test_a_layer_leaves_its_input_alone(backend: Backend, bind_layer: BindLayer) -> None:
    for layer in members():
        bound, _ = bind_layer(layer, SHAPE)
        x = backend.to_device(inputs())
        dy = backend.to_device(np.random.default_rng(4).normal(size=bound.output.shape))
        kept_x, kept_dy = x.copy(), dy.copy()
        if hasattr(x, "flags") and backend.name == "numpy":
            x.flags.writeable = dy.flags.writeable = False
        bound.forward(x, True)
        bound.backward(dy)
        assert (x == kept_x).all(), layer
        assert (dy == kept_dy).all(), layer


def test_a_wrong_gradient_is_noticed() -> None:
    x = np.array([0.3, -1.2])
    gradient = numerical_gradient(lambda: float((x**3).sum()), x)
    assert relative_error(3 * x**2, gradient) < SMOOTH
    assert relative_error(3.001 * x**2, gradient) > KINKED
