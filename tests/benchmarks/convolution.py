"""How to convolve: `python -m tests.benchmarks.convolution`.

Forwards and backwards of 3×3 convolutions with padding 1, float32, one thread, as this engine has
them (a product for each row of the kernel), by nine shifted products, and by PyTorch.
"""

import argparse
from collections.abc import Callable
from statistics import median

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from engine.backends import make_backend
from engine.backends.base import Array, Backend
from engine.layers.base import Scope
from engine.layers.conv2d import Conv2d
from engine.network.parameters import allocate
from tests.benchmarks.paired import paired, table

SHAPES = [(32, 3, 16), (32, 16, 32), (16, 16, 32), (16, 32, 32), (8, 32, 32), (8, 32, 64)]
"""(height and width, channels, filters)"""


def ours(backend: Backend, x: Array, dy: Array, filters: int) -> Callable[[], object]:
    layer = Conv2d(filters, 3, padding=1)
    shape = x.shape[1:]
    store = allocate(
        [layer.parameters(shape)], [layer.state(shape)], backend, np.random.default_rng(0)
    )
    views = store.value_views[0], store.gradient_views[0], store.state_views[0]
    bound = layer.bind(shape, Scope(backend, len(x), *views))

    def run() -> None:
        bound.forward(x, True)
        bound.backward(dy)

    return run


def shifted(x: Array, dy: Array, filters: int) -> Callable[[], object]:
    """Nine products of shifted views: y += x[shift] @ W[u, v], and their two gradients."""
    n, size, _, channels = x.shape
    W = np.random.default_rng(0).normal(size=(3, 3, channels, filters)).astype(x.dtype)
    dW = np.empty_like(W)
    padded = np.zeros((n, size + 2, size + 2, channels), x.dtype)
    d_padded = np.zeros_like(padded)
    y, part = np.empty_like(dy), np.empty_like(dy)
    back = np.empty_like(x)
    flat = np.empty((n * size * size, channels), x.dtype)

    def run() -> None:
        padded[:, 1:-1, 1:-1] = x
        y.fill(0)
        d_padded.fill(0)
        for u in range(3):
            for v in range(3):
                view = padded[:, u : u + size, v : v + size]
                np.matmul(view, W[u, v], out=part)
                np.add(y, part, out=y)
        for u in range(3):
            for v in range(3):
                np.copyto(flat.reshape(x.shape), padded[:, u : u + size, v : v + size])
                np.matmul(flat.T, dy.reshape(-1, filters), out=dW[u, v])
                np.matmul(dy, W[u, v].T, out=back)
                target = d_padded[:, u : u + size, v : v + size]
                np.add(target, back, out=target)

    return run


def peer(x: Array, dy: Array, filters: int) -> Callable[[], object]:
    module = torch.nn.Conv2d(x.shape[3], filters, 3, padding=1)
    inputs = torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2))).requires_grad_()
    above = torch.from_numpy(np.ascontiguousarray(dy.transpose(0, 3, 1, 2)))

    def run() -> None:
        module.weight.grad = module.bias.grad = inputs.grad = None  # type: ignore[union-attr, unused-ignore]
        module(inputs).backward(above)

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    torch.set_num_threads(1)
    generator, backend = np.random.default_rng(0), make_backend("numpy")
    ratios = []
    for size, channels, filters in SHAPES:
        x = generator.normal(size=(options.batch, size, size, channels)).astype(np.float32)
        dy = generator.normal(size=(options.batch, size, size, filters)).astype(np.float32)
        print(f"{size}×{size}, {channels} → {filters}, batch {options.batch}")
        times = paired(
            {
                "ours": ours(backend, x, dy, filters),
                "nine shifted products": shifted(x, dy, filters),
                "PyTorch": peer(x, dy, filters),
            },
            options.rounds,
        )
        table(times, "ms", 1e3)
        ratios.append(median(times["PyTorch"]) / median(times["ours"]))
        print(f"    speed of ours: {ratios[-1]:.2f} × PyTorch")
    print(f"geometric mean {np.exp(np.mean(np.log(ratios))):.2f} × PyTorch")


if __name__ == "__main__":
    with threadpool_limits(1):
        main()
