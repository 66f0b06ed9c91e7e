"""When steps are measured, by a clock of our own."""

from collections.abc import Callable

import numpy as np
import pytest

from engine.errors import ConfigError
from tuilab.adapters import cadence
from tuilab.adapters.cadence import SHORTEST, Cadence, Every


class Clock:
    """Time that passes only when a test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(cadence, "perf_counter", made)
    return made


def measured_steps(
    of: Cadence,
    clock: Clock,
    steps: int,
    step_time: float = 0.01,
    cost: float = 0.006,
    each: Callable[[int], object] = lambda step: None,
) -> list[int]:
    """Return which steps are measured, where that takes `cost` seconds."""
    measured, seen = of.first(), []
    for step in range(steps):
        clock.now += step_time + cost * measured
        if measured:
            seen.append(step)
        each(step)
        measured = of.after(step, measured, cost * measured)
    return seen


def asking(of: Cadence, at: int, steps: int) -> Callable[[int], None]:
    """Return what asks for some steps at a step."""

    def ask(step: int) -> None:
        if step == at:
            of.arm(steps)

    return ask


def test_a_number_of_steps(clock: Clock) -> None:
    assert measured_steps(Cadence(4), clock, 13) == [0, 4, 8, 12]
    assert measured_steps(Cadence(1), clock, 3) == [0, 1, 2]


def test_never_but_when_asked(clock: Clock) -> None:
    never = Cadence("never")
    assert measured_steps(never, clock, 10) == []
    seen = measured_steps(never, clock, 10, each=asking(never, 3, 2))
    assert seen == [4, 5]


@pytest.mark.parametrize("cost", [0.0001, 0.006, 0.1])
@pytest.mark.parametrize("share", [0.01, 0.03, 0.2])
def test_a_share_of_the_time_is_kept(clock: Clock, cost: float, share: float) -> None:
    of = Cadence(share)
    seen = measured_steps(of, clock, 5000, cost=cost)
    assert seen[0] == 0
    assert of.cost_share <= share * 1.2
    assert len(seen) <= 50 / SHORTEST + 2  # as many as fit into the time, however cheap they are
    if cost == 0.006:
        assert of.cost_share >= share / 2 or share == 0.2


def test_what_a_measured_step_loses_counts_as_its_cost(clock: Clock) -> None:
    """As without `torch.compile`: the watcher spends little, the step takes longer."""
    of, measured, seen = Cadence(0.03), True, 0
    of.slowed = True
    of.first()
    for step in range(5000):
        clock.now += 0.01 + 0.05 * measured
        seen += measured
        measured = of.after(step, measured, 0.001 * measured)
    assert 0.05 * seen / (clock.now - 100) < 0.04


def test_what_a_program_does_between_its_steps_is_no_cost(clock: Clock) -> None:
    """As in reinforcement learning, where an environment is played before some of the steps."""
    of, measured, steps = Cadence(0.03), True, []
    of.first()
    for step in range(2000):
        clock.now += 0.01 + 5.0 * (step % 100 == 0)
        if measured:
            steps.append(step)
        measured = of.after(step, measured, 0.001 * measured)
    assert max(np.diff(steps)) <= 100


def test_what_recording_takes_counts_as_well(clock: Clock) -> None:
    of, measured, seen = Cadence(0.03), True, 0
    of.first()
    for step in range(5000):
        clock.now += 0.01
        seen += measured
        before = measured
        measured = of.after(step, measured, 0.0)
        of.recorded(0.006 * before)
    assert 0.006 * seen / (clock.now - 100) < 0.035
    assert of.cost_share == pytest.approx(0.006 * seen / (clock.now - 100), rel=0.1)


def test_asking_counts_from_the_next_step(clock: Clock) -> None:
    of = Cadence(100)
    seen = measured_steps(of, clock, 20, each=asking(of, 5, 3))
    assert seen == [0, 6, 7, 8]
    assert not of.asked


def test_the_next_step_is_known_by_its_number(clock: Clock) -> None:
    assert Cadence(10).next_step(3) == 10
    assert Cadence(10).next_step(10) == 20
    assert Cadence("never").next_step(3) is None
    by_time = Cadence(0.03)
    assert by_time.next_step(0) is None and by_time.steps_in(1.0) == 1  # nothing is known yet
    assert measured_steps(by_time, clock, 3, cost=0.006) == [0]
    assert by_time.steps_in(0.5) == pytest.approx(50, abs=1)
    due = by_time.next_step(2)
    assert due is not None and due == pytest.approx(20, abs=2)  # 6 ms are 3 % of 200
    by_time.arm()
    assert by_time.next_step(2) == 3


@pytest.mark.parametrize("every", [0, -1, 1.5, True, "always", None, float("nan")])
def test_what_has_no_meaning_is_refused(every: Every) -> None:
    with pytest.raises(ConfigError, match="share of the time"):
        Cadence(every)
