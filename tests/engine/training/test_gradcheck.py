"""The check of a network's gradients calls right what is right, and wrong what is wrong."""

import numpy as np
import numpy.typing as npt
import pytest

from engine.activations import Activation, Identity, ReLU, Tanh
from engine.backends import NumPyBackend, make_backend
from engine.backends.base import Array, Backend
from engine.data.dataset import Dataset, Examples
from engine.initializers import Normal
from engine.network import Network, mlp
from engine.training.gradcheck import check_parameters
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
    data = Dataset("made up", ("a", "b"), Examples(x, y), None)
    backend = backend or make_backend("numpy", "float64")
    trainer = Trainer(network, data, steps=1, backend=backend, probes=False)
    checks = check_parameters(trainer.training_step, np.arange(len(y)), elements=50)
    return max(check.error for check in checks)


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
