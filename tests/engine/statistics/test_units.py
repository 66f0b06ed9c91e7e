"""What is measured unit by unit, against the naive computation; training does not notice it."""

import numpy as np
import pytest

from engine.activations import Activation, ReLU, Tanh
from engine.backends import NumPyBackend
from engine.data.dataset import Dataset, Examples
from engine.initializers import Normal
from engine.layers.batch_norm import BatchNorm
from engine.layers.conv2d import Conv2d
from engine.layers.linear import Linear
from engine.layers.nonlinearity import Nonlinearity
from engine.layers.pool2d import MaxPool2d
from engine.layers.reshape import Flatten, Image
from engine.layers.residual import Residual
from engine.network import BoundNetwork, Network, mlp
from engine.optimization.optimizers import SGD
from engine.statistics.frames import Units
from engine.statistics.units import VALUES, UnitProbe, measure_units, sample_rows
from engine.training.probes import Probes
from engine.training.trainer import Trainer


def forward(network: Network, shape: tuple[int, ...], dtype: str = "float32") -> BoundNetwork:
    generator = np.random.default_rng(0)
    bound = BoundNetwork.of(network, shape, NumPyBackend(dtype), generator=generator)
    bound.forward(generator.normal(size=shape).astype(dtype), True)
    return bound


def unit_probes(bound: BoundNetwork) -> list[UnitProbe]:
    return [
        UnitProbe(
            bound.backend,
            bound.bound[group.output].output,
            group.activation.silent_at,
            group.activation.saturated,
        )
        for group in bound.network.groups(bound.batch_shape[1:])
    ]


def measured(bound: BoundNetwork) -> list[Units]:
    return [probe.measure() for probe in unit_probes(bound)]


def dense(activation: Activation) -> Network:
    return mlp([7, 5], 3, activation=activation, initializer=Normal(1.0))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_relu_units_are_active_on_the_examples_that_they_let_through(dtype: str) -> None:
    bound = forward(dense(ReLU()), (40, 6), dtype)
    first, _, scores = measured(bound)
    output = bound.bound[1].output
    np.testing.assert_allclose(first.mean, output.mean(axis=0), rtol=1e-5)
    assert first.active is not None
    np.testing.assert_allclose(first.active, (output > 0).mean(axis=0), atol=1e-6)
    assert 0 < first.active.min() < first.active.max() < 1
    assert (first.saturated, scores.active, scores.saturated) == (None, None, None)
    assert scores.mean.shape == (3,)


def test_tanh_units_are_saturated_where_they_are_flat() -> None:
    bound = forward(dense(Tanh()), (40, 6))
    first = measured(bound)[0]
    expected = (np.abs(bound.bound[1].output) >= 0.97).mean(axis=0)
    assert first.saturated is not None
    np.testing.assert_allclose(first.saturated, expected, atol=1e-6)
    assert 0 < expected.min() < expected.max()
    assert first.active is None


def test_a_unit_of_a_convolution_is_a_channel() -> None:
    row = [Image(2, 6, 5), Conv2d(4), Nonlinearity(ReLU()), Flatten(), Linear(3)]
    bound = forward(Network(row), (8, 60))
    first = measured(bound)[0]
    output = bound.bound[2].output
    np.testing.assert_allclose(first.mean, output.mean(axis=(0, 1, 2)), rtol=1e-5)
    assert first.active is not None
    np.testing.assert_allclose(first.active, (output > 0).mean(axis=(0, 1, 2)), atol=1e-6)


def test_the_sample_of_a_large_layer_sees_every_column_of_its_images() -> None:
    output = np.zeros((64, 32, 32, 16), np.float32)
    output += np.arange(32)[:, None]  # the column that each value is from
    rows = sample_rows(output)
    assert VALUES / 2 < rows.size <= VALUES
    assert set(rows[:, 0]) == set(range(32))
    assert np.shares_memory(rows, output)


def test_a_layer_of_too_many_units_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.training.probes.MOST_UNITS", 6)
    bound = forward(dense(ReLU()), (4, 6))
    probes = Probes(bound, np.zeros((4, 3), np.float32), lambda: np.zeros((4, 6), np.float32))
    probes.start()
    first, second, _ = probes.finish(0, 0.0, updated=False).units
    assert first is None
    assert second is not None


def test_a_plain_array_is_measured_in_one_call() -> None:
    output = np.random.default_rng(0).normal(size=(5, 4, 6, 3)).astype(np.float16)
    units = measure_units(output[:, ::-1], floor=0.0, saturation=(-1.0, 1.0))
    rows = output.reshape(-1, 3).astype(np.float64)
    np.testing.assert_allclose(units.mean, rows.mean(axis=0), atol=1e-6)
    assert units.active is not None
    np.testing.assert_allclose(units.active, (rows > 0).mean(axis=0), rtol=1e-6)
    assert units.saturated is not None
    np.testing.assert_allclose(units.saturated, (np.abs(rows) >= 1).mean(axis=0), rtol=1e-6)
    assert units.dead is None
    without = measure_units(output)
    assert (without.active, without.saturated) == (None, None)


def test_activations_that_are_not_finite_do_not_stop_it() -> None:
    bound = forward(dense(ReLU()), (4, 6))
    bound.bound[1].output[0, 2] = np.inf
    bound.bound[1].output[0, 3] = np.nan
    mean = measured(bound)[0].mean
    assert (mean[2], np.isnan(mean[3])) == (np.inf, True)
    assert np.isfinite(mean[:2]).all()


def trainer(probes: bool = True) -> Trainer:
    generator = np.random.default_rng(1)
    train = Examples(generator.normal(size=(60, 6)), generator.integers(0, 3, 60))
    return Trainer(
        dense(ReLU()),
        Dataset("noise", ("a", "b", "c"), train, None),
        optimizer=SGD(0.05),
        batch_size=20,
        steps=9,
        probes=probes,
    )


def test_dead_units_are_those_of_the_dead_fraction() -> None:
    run = trainer()
    run.network.store.value_views[0]["bias"][2] = -1e6
    shots = [frame.snapshot for frame in run.frames(interval=0) if frame.snapshot is not None]
    assert [shots[0].step, shots[-1].step] == [0, 8]
    for shot in shots:
        first = shot.units[0]
        assert first is not None
        assert first.dead is not None
        assert first.dead[2]
        assert first.active is not None
        assert first.active[2] == 0
        assert np.mean(first.dead) == shot.dead_fraction[0]
        scores = shot.units[-1]
        assert scores is not None
        assert scores.dead is None  # scores cannot die


def test_a_resumed_run_knows_which_units_were_dead() -> None:
    def broken() -> Trainer:
        made = trainer()
        made.network.store.value_views[0]["bias"][2] = -1e6
        return made

    first = broken()
    for _ in first.frames(interval=0):
        if first.step == 4:  # in the middle of an epoch
            break
    second = trainer()
    second.restore(first.checkpoint())
    frame = next(second.frames(interval=0))
    assert frame.snapshot is not None
    units = frame.snapshot.units[0]
    assert units is not None
    assert units.dead is not None
    assert units.dead.tolist() == [False, False, True, False, False, False, False]


def test_training_is_the_same_to_the_last_bit_with_and_without() -> None:
    runs = [trainer(probes) for probes in (True, False)]
    for run in runs:
        for _ in run.frames(interval=0):
            pass
    with_probes, without = (run.network.store.values for run in runs)
    assert with_probes.tobytes() == without.tobytes()


def test_what_a_unit_sees_has_the_order_of_its_weights() -> None:
    block = Residual([Conv2d(4, padding=1), BatchNorm()])
    row = [Image(3, 8, 8), Conv2d(4, kernel=5, padding=2), block, MaxPool2d(), Flatten(), Linear(3)]
    infos = [group.info for group in Network(row).groups((192,))]
    assert [info.sees for info in infos] == [(5, 5, 3), (3, 3, 4), (4, 4, 4)]
    assert [group.info.sees for group in dense(ReLU()).groups((6,))] == [(6,), (7,), (5,)]
