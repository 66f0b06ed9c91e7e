"""Every kernel, compiled for the CPU, against NumPy: many blocks, odd sizes, values gone wrong.

Each runs with its threads and blocks forwards and backwards: bit for bit the same must come out.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from engine.activations import activations
from engine.backends import NumPyBackend
from engine.cuda_graph import launches
from engine.cuda_graph.plan import Item, Launch
from engine.cuda_graph.sources import SCALARS, source
from engine.losses import MulticlassSVM, SoftmaxCrossEntropy, losses
from engine.statistics.frames import BINS, FIELDS
from engine.training.training_step import bind_accuracy
from tests.engine.cuda_graph.emulator import Array, Emulator

NUMPY = NumPyBackend("float64")
ROWS, COLUMNS = 101, 70  # some blocks each way, none of them full


def random(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=shape)


def in_both_orders(build: Callable[[], tuple[Item, list[Array]]]) -> list[Array]:
    """Run what `build` makes, threads forwards and backwards; return the arrays it names."""
    found = []
    for order in (0, 1):
        launch, outputs = build()
        emulator = Emulator("float64", order=order)
        for _ in range(2):  # a second launch finds its counters at 0 again
            emulator.run([launch])
        found.append(outputs)
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)
    return found[0]


@pytest.mark.parametrize("name", list(dict(activations.items())))
def test_activations_backwards_sum_over_blocks_in_a_fixed_order(name: str) -> None:
    f = dict(activations.items())[name]()
    x, dy, y = random(ROWS, COLUMNS), random(ROWS, COLUMNS, seed=1), np.empty((ROWS, COLUMNS))
    x[0, :3] = (0.0, 50.0, -50.0)
    scratch = [np.empty_like(x) for _ in range(f.scratch)]
    expected = np.empty_like(x)
    f.forward(NUMPY, x, y, scratch)
    f.backward(NUMPY, x, y, dy, expected, scratch)

    def backwards() -> tuple[Launch, list[Array]]:
        dx, db = np.empty_like(x), np.empty(COLUMNS)
        return launches.activate_backward(f, (x, y, dy, dx), db, NUMPY), [dx, db]

    dx, db = in_both_orders(backwards)
    np.testing.assert_allclose(dx, expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(db, expected.sum(axis=0), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", list(dict(activations.items())))
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_activations_pass_on_what_is_not_finite(name: str, bad: float) -> None:
    f = dict(activations.items())[name]()
    x, dy = np.array([[bad, 1.0]]), np.ones((1, 2))
    y, expected, dx, slope = (np.empty((1, 2)) for _ in range(4))
    scratch = [np.empty_like(x) for _ in range(f.scratch)]
    with np.errstate(all="ignore"):
        f.forward(NUMPY, x, expected, scratch)
        f.backward(NUMPY, x, expected, dy, slope, scratch)
    Emulator("float64").run([launches.activate(f, x.copy(), None, y)])
    np.testing.assert_allclose(y, expected, rtol=1e-9)
    Emulator("float64").run([launches.activate_backward(f, (x, y, dy, dx), None, NUMPY)])
    np.testing.assert_allclose(dx, slope, rtol=1e-9)


def test_the_bias_is_added_on_the_way() -> None:
    x, bias, f = random(ROWS, COLUMNS), random(COLUMNS), dict(activations.items())["tanh"]()

    def forwards() -> tuple[Launch, list[Array]]:
        z, y = x.copy(), np.empty_like(x)
        launch = launches.activate(f, z, bias, y)
        Emulator("float64").run([launch])
        z[...] = x  # each launch adds it once
        return launch, [y]

    launch, (y,) = forwards()
    np.testing.assert_allclose(y, np.tanh(x + bias), rtol=1e-12)
    assert launch.grid[0] > 1


@pytest.mark.parametrize("loss", [cls() for _, cls in losses.items()], ids=str)
@pytest.mark.parametrize(("batch", "classes"), [(1, 2), (37, 10), (9, 70)])
def test_losses(loss: Any, batch: int, classes: int) -> None:
    check_loss(loss, 3 * random(batch, classes))


def test_settings_of_losses_and_ties_of_scores() -> None:
    scores = np.round(random(37, 10))
    check_loss(SoftmaxCrossEntropy(label_smoothing=0.1), scores)
    check_loss(MulticlassSVM(margin=2.5), scores)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_loss_that_is_not_finite_stops_all_that_follows(bad: float) -> None:
    scores = random(37, 10)
    scores[30, 4] = bad
    _, alive = check_loss(SoftmaxCrossEntropy(), scores)
    assert alive == 0


def test_a_score_that_is_no_number_is_the_highest_as_numpy_has_it() -> None:
    scores = random(9, 70)
    rows = np.flatnonzero(labels_of(scores) > 32)  # of which a lane looks at two scores or more
    scores[rows, labels_of(scores)[rows]] = np.nan
    result, _ = check_loss(SoftmaxCrossEntropy(), scores)
    assert result[2] >= len(rows) / 9 > 0


def labels_of(scores: Array) -> Array:
    return np.random.default_rng(3).integers(0, scores.shape[1], len(scores))


def check_loss(loss: Any, scores: Array) -> tuple[Array, int]:
    (batch, classes), labels = scores.shape, labels_of(scores)
    bound = loss.bind((classes,), batch, NUMPY)
    with np.errstate(all="ignore"):
        value, accuracy = bound.forward(scores, labels), bind_accuracy(batch, NUMPY)(scores, labels)
        slope = bound.backward()

    def forwards() -> tuple[Launch, list[Array]]:
        ds, result, alive = np.empty_like(scores), np.empty(3), np.ones(1, np.int32)
        launch = launches.loss(loss, (scores, labels, ds), result, alive, NUMPY)
        return launch, [ds, result, alive]

    ds, result, alive = in_both_orders(forwards)
    np.testing.assert_allclose(ds, slope, rtol=1e-9, atol=1e-15)
    np.testing.assert_allclose(result, [value, value, accuracy], rtol=1e-12)
    return result, int(alive[0])


def scalars(**values: float) -> Array:
    return np.array([values.get(name, 0.0) for name in SCALARS])


SIZE = 5000  # parameters: five blocks


def test_the_penalty_is_summed_over_blocks() -> None:
    w, g, given = random(SIZE), random(SIZE, seed=1), scalars(weight_decay=0.1, l1=0.02)
    w[::7] = 0

    def add() -> tuple[Launch, list[Array]]:
        gradients, result = g.copy(), np.array([3.0, 3.0, 0.5])
        scratch = launches.summing(NUMPY, SIZE)
        arrays = (w, gradients, given, *scratch, result, np.ones(1, np.int32))
        return launches.over_flat("penalty", SIZE, *arrays), [gradients, result]

    gradients, result = in_both_orders(add)
    np.testing.assert_allclose(gradients, g + 2 * (0.1 * w + 0.02 * np.sign(w)))  # launched twice
    total = 3 + 0.05 * w @ w + 0.02 * np.abs(w).sum()
    np.testing.assert_allclose(result, [total, 3.0, 0.5], rtol=1e-12)


@pytest.mark.parametrize("limit", [1e-3, 1e3])
def test_the_norm_is_clipped_where_it_is_too_large(limit: float) -> None:
    g = random(SIZE)

    def clip() -> tuple[Launch, list[Array]]:
        factor = np.zeros(1)
        given = scalars(clip_norm=limit, clip_value=0.5)
        scratch = launches.summing(NUMPY, SIZE)
        return launches.over_flat("clip_norm", SIZE, g, given, *scratch, factor), [factor]

    norm = np.linalg.norm(np.clip(g, -0.5, 0.5)) + 1e-6
    assert in_both_orders(clip)[0][0] == pytest.approx(min(1, limit / norm), rel=1e-12)


def test_units_are_held_to_their_norm() -> None:
    weight = random(45, COLUMNS)

    def hold() -> tuple[Launch, list[Array]]:
        held = weight.copy()
        alive = np.ones(1, np.int32)
        return launches.max_norm(held, scalars(max_norm=6.5), alive), [held]

    norm = np.linalg.norm(weight, axis=0)
    (held,) = in_both_orders(hold)
    assert 0 < (norm > 6.5).sum() < COLUMNS
    np.testing.assert_allclose(held, weight * np.minimum(1, 6.5 / norm), rtol=1e-12)


def test_nothing_changes_once_the_loss_was_not_finite() -> None:
    values, alive = random(SIZE), np.zeros(1, np.int32)
    before, ones = values.copy(), np.ones(1)
    velocity, gradients, given = np.zeros(SIZE), random(SIZE, seed=1), scalars(rate=0.1)
    arrays = (values, gradients, velocity, given, ones, alive)
    Emulator("float64").run(
        [
            launches.over_flat("sgd", SIZE, *arrays),
            launches.max_norm(values.reshape(-1, 50), scalars(max_norm=0.1), alive),
        ]
    )
    np.testing.assert_array_equal(values, before)
    assert not velocity.any()


def test_the_highest_of_every_unit_is_kept() -> None:
    outputs = [random(ROWS, COLUMNS), random(5, 3, seed=1)]
    outputs[0][4, 5] = np.nan
    first = [np.zeros(COLUMNS), np.array([5.0, -9.0, -9.0])]

    def raise_them() -> tuple[Launch, list[Array]]:
        highest = [each.copy() for each in first]
        watched = list(zip(outputs, highest, strict=True))
        pointer = Emulator("float64").pointer
        launch = launches.highest_outputs(watched, np.ones(1, np.int32), NUMPY, pointer)
        assert launch is not None
        return launch, highest

    found = in_both_orders(raise_them)
    for highest, output, before in zip(found, outputs, first, strict=True):
        np.testing.assert_array_equal(highest, np.maximum(before, output.max(axis=0)))


def test_the_batch_is_gathered_from_rows_of_any_length() -> None:
    x, y, rows = random(20, 700), np.arange(20), np.array([7, 3, 3, 19])

    def take() -> tuple[Launch, list[Array]]:
        batch_x, batch_y = np.empty((4, 700)), np.empty(4, np.int64)
        return launches.gather(x, y, rows, batch_x, batch_y), [batch_x, batch_y]

    batch_x, batch_y = in_both_orders(take)
    np.testing.assert_array_equal(batch_x, x[rows])
    np.testing.assert_array_equal(batch_y, y[rows])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_is_compiled_is_ascii(dtype: str) -> None:
    """CuPy writes it in the encoding of the locale, which may know no other letters."""
    assert source(np.dtype(dtype)).isascii()


def test_the_rows_of_a_tall_array_are_shared_between_a_few_blocks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A grid has at most 65,535 blocks along y: 2,097,120 rows would be the most."""
    monkeypatch.setattr(launches, "MOST_TILES", 3)
    x, dy = random(20 * launches.ROWS_A_BLOCK + 5, 40), random(20 * launches.ROWS_A_BLOCK + 5, 40)

    def backwards() -> tuple[Launch, list[Array]]:
        dx, db = np.empty_like(x), np.empty(40)
        launch = launches.activate_backward(
            dict(activations.items())["tanh"](), (x, np.tanh(x), dy, dx), db, NUMPY
        )
        assert launch.grid == (2, 3)
        return launch, [dx, db]

    dx, db = in_both_orders(backwards)
    np.testing.assert_allclose(dx, (1 - np.tanh(x) ** 2) * dy, rtol=1e-9)
    np.testing.assert_allclose(db, dx.sum(axis=0), rtol=1e-9)


def test_the_constants_are_those_of_the_kernels() -> None:
    """What Python and C++ must agree on is written in both: here they are compared."""
    import re

    from engine.cuda_graph import statistics
    from engine.statistics.frames import WIDTH_IN_RMS

    defined = dict(re.findall(r"#define (\w+) +([\d.]+)\b", source(np.dtype("float64"))))
    ours = {
        "WARP": launches.WARP,
        "THREADS": launches.THREADS,
        "TILE_ROWS": launches.TILE_ROWS,
        "NORM_ROWS": launches.NORM_ROWS,
        "ROWS_A_BLOCK": launches.ROWS_A_BLOCK,
        "PART": statistics.PART,
        "MOMENTS": statistics.MOMENTS,
        "FIELDS": len(FIELDS),
        "BINS": BINS,
        "WIDTH_IN_RMS": WIDTH_IN_RMS,
    }
    assert {name: float(value) for name, value in defined.items()} == ours
