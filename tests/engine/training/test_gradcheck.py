"""The check of a network's gradients calls right what is right, and wrong what is wrong."""

import numpy as np
import numpy.typing as npt
import pytest

from engine.activations import Activation, Identity, LeakyReLU, ReLU, Tanh
from engine.backends import NumPyBackend, make_backend
from engine.backends.base import Array, Backend
from engine.data.dataset import Dataset, Examples
from engine.initializers import Normal
from engine.layers.base import Layer
from engine.layers.conv2d import Conv2d
from engine.layers.linear import Linear
from engine.layers.maxout import Maxout
from engine.layers.nonlinearity import Nonlinearity
from engine.layers.pool2d import MaxPool2d
from engine.layers.prelu import PReLU
from engine.layers.reshape import Flatten, Image
from engine.layers.residual import Residual
from engine.losses import Loss, MulticlassSVM, SoftmaxCrossEntropy
from engine.network import Network, mlp
from engine.training.gradcheck import ParameterCheck, check_parameters
from engine.training.trainer import Trainer

SMOOTH, KINKED = 1e-7, 1e-4
X = np.random.default_rng(0).normal(size=(3, 4))
Y = np.array([0, 1, 1])


def check(
    network: Network,
    x: npt.NDArray[np.float64],
    y: npt.NDArray[np.int64],
    backend: Backend | None = None,
) -> float:
    """Return the worst relative error of the gradients of a training step."""
    return max(check.error for check in checks_of(network, x, y, backend))


def checks_of(
    network: Network,
    x: npt.NDArray[np.float64],
    y: npt.NDArray[np.int64],
    backend: Backend | None = None,
    loss: Loss | None = None,
) -> list[ParameterCheck]:
    """Return the checks of all arrays of a network at its initial parameters."""
    data = Dataset("made up", tuple("abc"[: y.max() + 1]), Examples(x, y), None)
    backend = backend or make_backend("numpy", "float64")
    trainer = Trainer(
        network, data, steps=1, backend=backend, probes=False, loss=loss or SoftmaxCrossEntropy()
    )
    return check_parameters(trainer.training_step, np.arange(len(y)), elements=50)


class TestStepsOfDifferences:
    """A right gradient is right where one step alone would call it wrong."""

    def network(self, std: float, activation: Activation, depth: int = 1) -> Network:
        return mlp([6] * depth, 2, activation=activation, initializer=Normal(std))

    def test_at_a_kink(self) -> None:
        network = mlp([6], 2, activation=ReLU(), initializer=Normal(1.0), bias=1e-6)
        x = X * [[0.0], [1.0], [1.0]]  # so that each unit is 1e-6 above its kink there
        assert check(network, x, Y) < SMOOTH

    def test_of_a_small_gradient(self) -> None:
        assert check(self.network(1e-3, Tanh(), depth=4), X, Y) < KINKED

    def test_of_a_steep_loss(self) -> None:
        assert check(self.network(30.0, Identity(), depth=4), 1e3 * X, Y) < KINKED

    def test_of_none_at_all(self) -> None:
        x = np.zeros((2, 4))
        assert check(self.network(0.0, ReLU()), x, np.array([0, 1])) == 0.0

    @pytest.mark.parametrize("std", [1e-3, 1.0])
    def test_a_wrong_one_is_wrong_by_any(self, std: float, monkeypatch: pytest.MonkeyPatch) -> None:
        def wrong(
            self: Tanh, backend: Backend, x: Array, y: Array, dy: Array, dx: Array, *_: Array
        ) -> None:
            backend.xp.multiply(dy, 1.1, out=dx)

        monkeypatch.setattr(Tanh, "backward", wrong)
        formulas = NumPyBackend("float64")  # a kernel would not ask the formula
        assert check(self.network(std, Tanh(), depth=4), X, Y, formulas) > 0.01


def scale_gradient(
    self: ReLU, backend: Backend, x: Array, y: Array, dy: Array, dx: Array, *_: Array
) -> None:
    """A wrong gradient of ReLU."""
    backend.xp.multiply(dy, x > 0, out=dx)
    backend.xp.multiply(dx, 1.1, out=dx)


class TestCollapsedNetworks:
    """Almost any step takes units across their kinks where activations are almost 0."""

    X, Y = np.random.default_rng(1).normal(size=(12, 6)), np.arange(12) % 3

    def network(self, std: float, activation: Activation, depth: int) -> Network:
        return mlp([10] * depth, 3, activation=activation, initializer=Normal(std))

    @pytest.mark.parametrize("loss", [SoftmaxCrossEntropy(), MulticlassSVM()], ids=str)
    @pytest.mark.parametrize("activation", [ReLU(), LeakyReLU()], ids=str)
    @pytest.mark.parametrize(("std", "depth"), [(1e-5, 3), (3e-4, 3), (1e-3, 4), (1e-2, 5)])
    def test_right_gradients_are_right_and_kinks_are_left_out(
        self, std: float, depth: int, activation: Activation, loss: Loss
    ) -> None:
        checks = checks_of(self.network(std, activation, depth), self.X, self.Y, loss=loss)
        assert max(check.error for check in checks) < KINKED
        assert sum(check.left_out for check in checks) > 0
        assert checks[-1].left_out == 0  # the output layer has no kink above it
        sizes = [min(50, size) for size in (60, 10, *[100, 10] * (depth - 1), 30, 3)]
        assert [check.checked + check.left_out for check in checks] == sizes

    @pytest.mark.parametrize("name", ["residual", "maxout", "prelu", "max_pool2d"])
    def test_kinks_of_every_layer_are_left_out(self, name: str) -> None:
        def linear(units: int) -> Linear:
            return Linear(units, Normal(1e-4))

        tail = [linear(8), Nonlinearity(ReLU()), linear(3)]
        row: list[Layer] = {
            "residual": [linear(8), Residual((linear(8), Nonlinearity(ReLU()), linear(8))), *tail],
            "maxout": [linear(8), Nonlinearity(Tanh()), linear(8), Maxout(), *tail],
            "prelu": [linear(8), PReLU(), linear(8), PReLU(per_unit=True), *tail],
            "max_pool2d": [
                Image(1, 2, 3), Conv2d(3, padding=1, initializer=Normal(1e-4)),
                MaxPool2d(stride=1), Conv2d(3, padding=1, initializer=Normal(1e-4)),
                MaxPool2d(size=1), Flatten(), *tail,
            ],
        }[name]  # fmt: skip
        checks = checks_of(Network(row), self.X, self.Y)
        assert max(check.error for check in checks) < KINKED
        assert sum(check.left_out for check in checks) > 0

    @pytest.mark.parametrize(("std", "depth"), [(1e-3, 2), (1e-2, 2), (0.1, 3), (1.0, 3)])
    def test_a_wrong_gradient_is_wrong(
        self, std: float, depth: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(ReLU, "backward", scale_gradient)
        network = self.network(std, ReLU(), depth)
        assert check(network, self.X, self.Y, NumPyBackend("float64")) > 0.01

    def test_nothing_is_left_out_of_an_ordinary_network(self) -> None:
        checks = checks_of(self.network(0.5, Tanh(), 3), self.X, self.Y)
        assert sum(check.left_out for check in checks) == 0
