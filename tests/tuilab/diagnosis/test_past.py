"""The curves in windows: nothing is lost, and there are never too many."""

from dataclasses import replace

import numpy as np
import pytest

from engine.statistics.frames import Event, Floats, Frame, Validation
from tests.tuilab.support import frame, layer_infos, snapshot
from tuilab.diagnosis.past import CAPACITY, FEW, WINDOWS, Past, RunFacts


def past(total: int = 100, epoch: int = 10) -> Past:
    return Past(RunFacts(tuple(layer_infos()), 3, total, epoch, float(np.log(3))))


def frames(loss: Floats, sizes: list[int]) -> list[Frame]:
    made, first = [], 0
    for size in sizes:
        part = loss[first : first + size].tolist()
        made.append(frame(first, part, accuracy=part))
        first += size
    return made


def test_windows_are_epochs_or_shorter_where_those_are_few() -> None:
    assert past(total=1000, epoch=10).window == 10
    assert past(total=100, epoch=50).window == 100 // FEW
    assert past(total=10**6, epoch=10).window == 10**6 // WINDOWS
    assert past(total=5, epoch=5).window == 1


def test_a_window_is_the_mean_of_its_steps_however_they_come() -> None:
    loss = np.random.default_rng(0).normal(size=100)
    for sizes in ([100], [1] * 100, [0, 7, 23, 1, 40, 29]):
        seen = past(total=200, epoch=10)
        moments = [moment for f in frames(loss, sizes) for moment in seen.take(f)]
        np.testing.assert_allclose(seen.loss, loss.reshape(10, 10).mean(axis=1))
        np.testing.assert_allclose(seen.accuracy, seen.loss)
        assert [step for kind, step in moments if kind == "window"] == list(range(9, 100, 10))
        assert sum(kind == "frame" for kind, _ in moments) == len(sizes)
    assert seen.first_loss == loss[0]


def test_it_does_not_matter_how_many_steps_a_frame_brings() -> None:
    loss = np.random.default_rng(1).random(40).tolist()
    found = []
    for size in (1, 7, 40):
        seen, moments = past(total=40, epoch=10), []
        for first in range(0, 40, size):
            last = min(first + size, 40)
            due = [
                Validation.of(n, n / 10, loss=0.0, accuracy=loss[n - 1]) for n in (10, 20, 30, 40)
            ]
            made = frame(first, loss[first:last], accuracy=loss[first:last])
            at = tuple(v for v in due if first < v.step <= last)
            shot = snapshot(17) if first <= 17 < last else None
            for moment in seen.take(replace(made, validations=at, snapshot=shot)):
                moments.append((moment, len(seen.loss), [c.training_accuracy for c in seen.checks]))
        found.append([kind for kind in moments if kind[0][0] != "frame"])
    assert len(found[0]) == 20 + 4 + 1
    for other in found[1:]:
        for one, two in zip(found[0], other, strict=True):
            assert one[:2] == two[:2]
            assert one[2] == pytest.approx(two[2])


def test_a_run_without_an_end_keeps_as_many_windows_as_fit() -> None:
    seen = past(total=CAPACITY, epoch=1)
    seen.window = 1
    loss = np.arange(5 * CAPACITY, dtype=np.float64)
    for f in frames(loss, [CAPACITY // 2 + 3] * 9):
        for _ in seen.take(f):
            assert len(seen.loss) < CAPACITY
    assert seen.window == 8
    np.testing.assert_allclose(np.diff(seen.loss), 8)
    assert seen.loss[0] == np.arange(8).mean()


def test_epochs_are_counted_in_windows() -> None:
    assert past(total=1000, epoch=10).windows_in(3) == 3
    assert past(total=100, epoch=50).windows_in(3) == 30
    assert past(total=10**6, epoch=10).windows_in(3) == 3


def test_a_validation_has_the_training_accuracy_since_the_one_before() -> None:
    seen = past()
    first = frame(
        0, [2.0, 2.0], accuracy=[0.0, 1.0], validation=Validation.of(0, 0.0, loss=1.0, accuracy=0.3)
    )
    second = frame(
        2, [2.0], accuracy=[0.8], validation=Validation.of(3, 0.3, loss=1.0, accuracy=0.4)
    )
    for f in (
        first,
        second,
        frame(3, [2.0], validation=Validation.of(4, 0.4, loss=1.0, accuracy=0.5)),
    ):
        list(seen.take(f))
    assert np.isnan(seen.checks[0].training_accuracy)
    assert [c.training_accuracy for c in seen.checks][1:] == pytest.approx([1.8 / 3, 0.5])
    assert seen.best_accuracy == pytest.approx(0.4)


def test_the_first_and_the_newest_statistics_are_kept() -> None:
    seen = past()
    for step in (0, 4, 9):
        list(seen.take(frame(step, [1.0], shot=snapshot(step), events=[Event(step, 0.0, "set")])))
    assert seen.first is not None and seen.newest is not None
    assert (seen.first.step, seen.newest.step) == (0, 9)


def test_learned_is_a_small_part_of_the_first_loss_or_of_guessing() -> None:
    seen = past(total=100, epoch=1)
    list(seen.take(frame(0, [30.0] * 5)))
    assert not seen.learned
    list(seen.take(frame(5, [1.0] * 5)))
    assert not seen.learned  # not better than guessing
    list(seen.take(frame(10, [0.01] * 5)))
    assert seen.learned
