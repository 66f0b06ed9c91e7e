"""How much the scores of an example depend on its batch, and that measuring it changes nothing."""

from typing import Any

import numpy as np
import pytest

from engine.activations import ReLU, Tanh
from engine.backends import make_backend
from engine.initializers import He
from engine.layers.batch_norm import BatchNorm
from engine.layers.dropout import Dropout
from engine.layers.linear import Linear
from engine.layers.nonlinearity import Nonlinearity
from engine.layers.residual import Residual
from engine.network import Network, mlp
from engine.optimization.optimizers import SGD
from engine.statistics.frames import BatchDependence
from engine.training.batch_dependence import BatchDependenceProbe
from engine.training.trainer import Trainer
from tests.engine.training.test_trainer import blobs

NORMED = mlp([16], 3, activation=ReLU(), initializer=He(), batch_norm=True)
INSIDE = Network(
    [
        Residual((Linear(6, He()), Dropout(0.5), BatchNorm(), Nonlinearity(Tanh()))),
        Linear(3, He()),
    ]
)


def trainer(network: Network = NORMED, **settings: Any) -> Trainer:
    chosen: dict[str, Any] = {"optimizer": SGD(0.01), "batch_size": 10, "steps": 12} | settings
    backend = make_backend("numpy", "float64")
    return Trainer(network, blobs(samples=420), backend=backend, **chosen)


def measured(made: Trainer) -> list[BatchDependence]:
    results = [frame.batch_dependence for frame in made.frames(interval=0)]
    return [result for result in results if result is not None]


@pytest.mark.parametrize("network", [NORMED, INSIDE], ids=["plain", "residual"])
def test_with_batch_norm_it_is_there_in_training_and_gone_at_evaluation(network: Network) -> None:
    start, end = measured(trainer(network))
    assert (start.step, end.step) == (0, 12)
    for result in (start, end):
        assert 0.02 < result.training < 2
        assert result.evaluation < 1e-12


def test_it_is_the_change_of_one_examples_scores_relative_to_their_spread() -> None:
    made = trainer()
    result = BatchDependenceProbe(made.training_step, 400)(0)
    net = made.network.rebind(10)
    generator = np.random.default_rng(5)
    x, changes, spread = made.data.train.x, [], []
    for example in range(200):
        pair = [np.append(example, generator.choice(399, 9, replace=False)) for _ in range(2)]
        scores = [net.forward(x[rows], True).copy() for rows in pair]
        changes.append(scores[0][0] - scores[1][0])
        spread.append(scores[0])
    expected = np.sqrt(np.mean(np.square(changes))) / np.sqrt(
        np.concatenate(spread).var(axis=0).mean()
    )
    assert result.training == pytest.approx(expected, rel=0.5)


def test_the_smaller_the_batch_the_larger_it_is() -> None:
    small, large = (measured(trainer(batch_size=n))[0].training for n in (4, 100))
    assert small > 3 * large


def test_a_batch_of_all_examples_has_no_others_to_be_replaced() -> None:
    assert measured(trainer(batch_size=None, steps=2))[0].training < 1e-12


def test_without_batch_norm_it_is_none() -> None:
    plain = mlp([16], 3, activation=ReLU(), initializer=He())
    assert measured(trainer(plain)) == [BatchDependence(0, 0, 0), BatchDependence(12, 0, 0)]


def test_dropout_is_not_taken_for_it() -> None:
    row = [Linear(8, He()), BatchNorm(), Dropout(0.5), Linear(3, He())]
    probe = BatchDependenceProbe(trainer(Network(row), batch_size=400).training_step, 400)
    assert probe(0).training < 1e-12  # with masks of their own, two passes would differ


@pytest.mark.parametrize("network", [NORMED, INSIDE], ids=["plain", "residual"])
def test_a_run_is_the_same_bit_for_bit_without_it(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run() -> tuple[Any, Any, Any]:
        made = trainer(network)
        losses = [float(loss) for frame in made.frames(interval=0) for loss in frame.loss]
        store = made.network.store
        return losses, store.values.tobytes(), store.state.tobytes()

    with_it = run()
    monkeypatch.setattr(BatchDependenceProbe, "__call__", lambda *_: None)
    assert run() == with_it


def test_scores_that_are_all_the_same_do_not_change(monkeypatch: pytest.MonkeyPatch) -> None:
    made = trainer()
    made.network.store.values[...] = 0
    result = BatchDependenceProbe(made.training_step, 400)(3)
    assert result == BatchDependence(3, 0, 0)


def test_a_run_that_diverges_is_measured_at_its_start_only() -> None:
    made = trainer(optimizer=SGD(1.7e308), steps=50)
    assert [result.step for result in measured(made)] == [0]
    assert made.state == "diverged"
