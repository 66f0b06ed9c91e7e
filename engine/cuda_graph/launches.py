"""Launches of single kernels: their grids, their arguments, and the scratch space they need."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from engine.activations import Activation
from engine.activations.piecewise import ELU, SELU, Identity, LeakyReLU, ReLU
from engine.activations.smooth import GELU, Sigmoid, SiLU, Softplus, Tanh
from engine.backends.base import Array, Backend
from engine.cuda_graph.plan import Launch
from engine.layers.batch_norm import BatchNorm
from engine.losses import Loss, MeanSquaredError, MulticlassSVM, SoftmaxCrossEntropy

WARP: Final = 32  # the first five are the same as in kernels/common.cu
THREADS: Final = 256
TILE_ROWS: Final = 8
NORM_ROWS: Final = 32
ROWS_A_BLOCK: Final = 32
ELEMENTS_A_THREAD: Final = 4
"""In kernels over flat arrays: for fewer elements, starting a thread costs more than its work."""
MOST_BLOCKS: Final = 1 << 12
"""In kernels over flat arrays; one block adds up the partial sums of all."""
MOST_TILES: Final = 1 << 9
"""Blocks that share the rows of a column; one of them adds up the partial sums of all."""

Settings = tuple[float, float]
ACTIVATIONS: Final[dict[type[Activation], tuple[str, Callable[[Any], Settings]]]] = {
    Identity: ("identity", lambda f: (0, 0)),
    ReLU: ("relu", lambda f: (0, 0)),
    LeakyReLU: ("leaky_relu", lambda f: (f.slope, 0)),
    ELU: ("exponential_linear", lambda f: (f.alpha, 1)),
    SELU: ("exponential_linear", lambda f: (f.constants()[0] * f.constants()[1], f.constants()[1])),
    Tanh: ("tanh", lambda f: (0, 0)),
    Sigmoid: ("sigmoid", lambda f: (0, 0)),
    Softplus: ("softplus", lambda f: (0, 0)),
    SiLU: ("silu", lambda f: (0, 0)),
    GELU: ("gelu", lambda f: (0, 0)),
}
"""The kernel of each activation, and its settings a and b."""
LOSSES: Final[dict[type[Loss], tuple[str, Callable[[Any], float]]]] = {
    SoftmaxCrossEntropy: ("softmax_cross_entropy", lambda loss: loss.label_smoothing),
    MulticlassSVM: ("multiclass_svm", lambda loss: loss.margin),
    MeanSquaredError: ("mean_squared_error", lambda loss: 0.0),
}
"""The kernel of each loss, and its setting."""


def zeros(backend: Backend, count: int, dtype: Any) -> Array:
    """Return an array (count,) of zeros."""
    array = backend.empty((count,), dtype)
    array.fill(0)
    return array


def ceil_div(size: int, part: int) -> int:
    """Return the number of parts that cover `size`."""
    return -(-size // part)


def flat(size: int) -> tuple[int]:
    """Return the grid of a kernel over a flat array."""
    return (min(ceil_div(size, THREADS * ELEMENTS_A_THREAD), MOST_BLOCKS),)


def over_flat(kernel: str, size: int, *arguments: Any) -> Launch:
    """Return the launch of a kernel over a flat array, whose arguments end with its size."""
    return Launch(kernel, flat(size), (THREADS,), (*arguments, np.int32(size)))


def summing(backend: Backend, size: int) -> tuple[Array, Array]:
    """Return the scratch arrays of a kernel that sums over a flat array: partial sums, counter."""
    return backend.empty(flat(size), np.float64), zeros(backend, 1, np.int32)


def gather(x: Array, y: Array, rows: Array, batch_x: Array, batch_y: Array) -> Launch:
    """Return the launch of batch_x[i] = x[rows[i]], and the same for the labels."""
    features = batch_x[0].size
    grid = (len(batch_y), min(ceil_div(features, THREADS), 1 << 15))
    return Launch("gather", grid, (THREADS,), (x, y, rows, batch_x, batch_y, np.int32(features)))


def activation_kernel(activation: Activation) -> tuple[str, Settings] | None:
    """Return the kernel and the settings of an activation; None without a kernel."""
    if isinstance(activation, GELU) and activation.approximate != "none":
        return None
    if type(activation) not in ACTIVATIONS:
        return None
    kernel, settings = ACTIVATIONS[type(activation)]
    return kernel, settings(activation)


def activate(activation: Activation, x: Array, bias: Array | None, y: Array) -> Launch:
    """Return the launch of x ← x + bias, if there is one, and y = f(x)."""
    kernel, settings = activation_kernel(activation) or ("", (0, 0))
    return Launch(
        f"{kernel}_forward",
        flat(x.size),
        (THREADS,),
        (
            *(x, x if bias is None else bias, y),
            *map(np.int32, (x.size, x.shape[-1], bias is not None)),
            *map(np.float64, settings),
        ),
    )


def activate_backward(
    activation: Activation,
    arrays: Sequence[Array],
    bias_gradient: Array | None,
    backend: Backend,
) -> Launch:
    """Return the launch of dx = dy · f′(x), of (x, y, dy, dx), and its sums over the batch."""
    kernel, settings = activation_kernel(activation) or ("", (0, 0))
    columns = arrays[0].shape[-1]
    rows = arrays[0].size // columns
    grid = ceil_div(columns, WARP), min(ceil_div(rows, ROWS_A_BLOCK), MOST_TILES)
    summed = bias_gradient is not None
    partial = backend.empty((grid[1] * columns if summed else 1,))
    return Launch(
        f"{kernel}_backward",
        grid,
        (WARP, TILE_ROWS),
        (
            *(*arrays, arrays[3] if bias_gradient is None else bias_gradient),
            *(partial, zeros(backend, grid[0], np.int32)),
            *map(np.int32, (rows, columns, summed)),
            *map(np.float64, settings),
        ),
    )


@dataclass(frozen=True, slots=True)
class Normalization:
    """The launches of a batch normalisation of x (rows, columns), with the arrays they share."""

    mean: Array
    inv_std: Array

    def forward(
        self, layer: BatchNorm, arrays: Sequence[Array], averages: Sequence[Array], alive: Array
    ) -> Launch:
        """Return the launch that sets y of (x, γ, β, y) and updates the running averages."""
        x = arrays[0]
        columns = x.shape[-1]
        return Launch(
            "batch_norm_forward",
            (ceil_div(columns, WARP),),
            (WARP, NORM_ROWS),
            (
                *(*arrays, self.mean, self.inv_std, *averages, alive),
                *(np.int32(x.size // columns), np.int32(columns)),
                *(np.float64(layer.momentum), np.float64(layer.epsilon)),
            ),
        )

    def backward(self, arrays: Sequence[Array], gradients: Sequence[Array]) -> Launch:
        """Return the launch that sets the gradients (dx, dγ, dβ) from the arrays (x, dy, γ)."""
        x = arrays[0]
        columns = x.shape[-1]
        sizes = np.int32(x.size // columns), np.int32(columns)
        return Launch(
            "batch_norm_backward",
            (ceil_div(columns, WARP),),
            (WARP, NORM_ROWS),
            (*arrays, self.mean, self.inv_std, *gradients, *sizes),
        )


def loss(
    loss: Loss,
    arrays: tuple[Array, Array, Array],
    result: Array,
    alive: Array,
    backend: Backend,
) -> Launch:
    """Return the launch that sets `result` and dscores of the arrays (scores, labels, dscores)."""
    kernel, setting = LOSSES[type(loss)]
    batch, classes = arrays[0].shape
    blocks = ceil_div(batch, THREADS // WARP)
    scratch = backend.empty((2 * blocks,), np.float64), zeros(backend, 1, np.int32)
    numbers = np.int32(batch), np.int32(classes), np.float64(setting(loss))
    return Launch(kernel, (blocks,), (THREADS,), (*arrays, *scratch, result, alive, *numbers))


def max_norm(weight: Array, scalars: Array, alive: Array) -> Launch:
    """Return the launch that scales the weights (inputs, units) of each unit down to the limit."""
    inputs, units = weight.shape
    arguments = (weight, scalars, alive, np.int32(inputs), np.int32(units))
    return Launch("max_norm", (ceil_div(units, WARP),), (WARP, TILE_ROWS), arguments)


def highest_outputs(
    tracked: Sequence[tuple[Array, Array]],
    alive: Array,
    backend: Backend,
    pointer: Callable[[Array], int],
) -> Launch | None:
    """Return the launch that updates `highest` (units,) of each layer; None without layers.

    `tracked` has the outputs (rows, units) and `highest` of each layer.
    """
    if not tracked:
        return None
    layers = [[pointer(y), pointer(highest), *y.shape] for y, highest in tracked]
    tiles = [
        [layer, first]
        for layer, (_, highest) in enumerate(tracked)
        for first in range(0, len(highest), WARP)
    ]
    tables = (
        backend.to_device(np.array(layers, np.int64)),
        backend.to_device(np.array(tiles, np.int32)),
    )
    return Launch("highest_outputs", (len(tiles),), (WARP, TILE_ROWS), (*tables, alive))
