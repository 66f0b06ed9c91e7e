"""Threads that share work: all of it done, at the same time, errors told, nothing left behind."""

import gc
import signal
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from engine.backends import make_backend
from engine.backends.threads import ALONE, WORTH, Barrier, ThreadTeam
from engine.layers.linear import Linear
from engine.network.parameters import allocate
from engine.optimization.optimizers import SGD, Adam, AdamW, Optimizer, RMSProp


@pytest.mark.parametrize("length", [1, 9, 10, 11, 25, 100])
@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_parts_cover_everything_once_at_multiples_of_the_unit(length: int, size: int) -> None:
    parts = ThreadTeam(size).parts(length, 10)
    assert [i for part in parts for i in range(length)[part]] == list(range(length))
    assert len(parts) <= size
    assert all(part.start % 10 == 0 for part in parts)


def test_all_parts_are_worked_on_at_the_same_time() -> None:
    barrier = threading.Barrier(3, timeout=10)
    seen = []

    def work(name: str) -> None:
        barrier.wait()  # which none would leave if one waited for another to end
        seen.append(name)

    team = ThreadTeam(3)
    for _ in range(3):
        team.run(work, [("a",), ("b",), ("c",)])
    assert sorted(seen) == ["a"] * 3 + ["b"] * 3 + ["c"] * 3


@pytest.mark.parametrize("bad", [0, 1])
def test_an_error_is_raised_in_the_caller(bad: int) -> None:
    team, done = ThreadTeam(2), []

    def work(part: int) -> None:
        if part == bad:
            raise ValueError(f"part {part}")
        done.append(part)

    with pytest.raises(ValueError, match=f"part {bad}"):
        team.run(work, [(0,), (1,)])
    assert done == [0] if bad else done in ([], [1])  # what did not begin yet is given up
    bad = -1
    done.clear()
    team.run(work, [(0,), (1,)])  # and it works on
    assert sorted(done) == [0, 1]


@pytest.fixture
def alarm() -> Iterator[Callable[[float], None]]:
    """Set an alarm that raises, this many seconds from now."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    yield lambda seconds: signal.setitimer(signal.ITIMER_REAL, seconds)  # type: ignore[misc]
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("size", [2, 3, 4])
def test_a_signal_does_not_leave_work_behind(size: int, alarm: Callable[[float], None]) -> None:
    ended: list[int] = []
    begun, alarms = threading.Barrier(size), [0.05]

    def work(part: int) -> None:
        begun.wait(timeout=60)
        if part == 0 and alarms:
            alarm(alarms.pop())
        time.sleep(0.2 * part)
        ended.append(part)

    team, parts = ThreadTeam(size), [(part,) for part in range(size)]
    with pytest.raises(KeyboardInterrupt):
        team.run(work, parts)
    assert sorted(ended) == [*range(size)]
    for _ in range(2):
        ended.clear()
        team.run(work, parts)
        assert sorted(ended) == [*range(size)]


@pytest.mark.parametrize("size", [2, 3])
def test_a_signal_may_come_at_any_moment(size: int, alarm: Callable[[float], None]) -> None:
    team, barrier, interrupted = ThreadTeam(size), Barrier(size), 0
    done = [0] * size

    def work(part: int) -> None:
        for _ in range(3):
            barrier.wait(part)
        done[part] += 1

    parts = [(part,) for part in range(size)]
    for k in range(150):
        try:
            alarm(1e-5 * (1 + k % 60))
            for _ in range(20):
                team.run(work, parts, barrier.call_off)
            alarm(0)
        except KeyboardInterrupt:
            interrupted += 1
            barrier.clear()
        before = [*done]
        team.run(work, parts, barrier.call_off)
        assert [after - ago for after, ago in zip(done, before, strict=True)] == [1] * size
    assert interrupted > 10


def test_arrays_that_were_worked_on_are_freed() -> None:
    class Thing:
        pass

    team, thing = ThreadTeam(2), Thing()
    seen = weakref.ref(thing)
    team.run(lambda thing: None, [(thing,), (thing,)])
    del thing
    team.run(lambda: None, [(), ()])
    gc.collect()
    assert seen() is None


def test_threads_do_not_warn_of_what_is_not_finite() -> None:
    huge = np.full(4, 1e30, np.float32)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("error")
        ThreadTeam(2).run(lambda x: np.multiply(x, x), [(huge,), (huge,)])


def test_its_threads_end_with_it() -> None:
    before = set(threading.enumerate())
    team = ThreadTeam(3)
    team.run(lambda: None, [(), (), ()])
    mine = set(threading.enumerate()) - before
    assert len(mine) == 2
    del team
    gc.collect()
    for thread in mine:
        thread.join(timeout=10)
    assert not any(thread.is_alive() for thread in mine)


def test_little_work_is_done_alone() -> None:
    team = ThreadTeam(2)
    assert team.worth(WORTH) is team
    assert team.worth(WORTH - 1) is ALONE
    assert ALONE.size == 1


@pytest.mark.parametrize(
    "optimizer", [SGD(momentum=0.9), Adam(), AdamW(), RMSProp(momentum=0.5)], ids=str
)
def test_an_update_is_the_same_to_the_last_bit_however_many_threads(optimizer: Optimizer) -> None:
    layer, results = Linear(1000), []
    for threads in (1, 2, 3):
        backend = make_backend("numpy", threads=threads)
        generator = np.random.default_rng(0)
        store = allocate(
            [layer.parameters((2 * backend.block // 1000 + 5,))], [{}], backend, generator
        )
        update = optimizer.bind(store, optimizer.hyperparameters(), backend).update
        for _ in range(3):
            store.gradients[...] = generator.normal(size=store.gradients.shape)
            update()
        results.append(store.values.copy())
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])


@pytest.mark.parametrize(
    ("size", "sizes", "expected"),
    [
        (1, [3, 1], [(0, 2)]),
        (2, [1, 1, 1, 1], [(0, 2), (2, 4)]),
        (2, [9, 1, 1], [(0, 1), (1, 3)]),
        (2, [1, 1, 9], [(0, 2), (2, 3)]),
        (3, [5], [(0, 1)]),
        (4, [1, 1], [(0, 1), (1, 2)]),
    ],
)
def test_work_is_cut_into_similar_shares(
    size: int, sizes: list[int], expected: list[tuple[int, int]]
) -> None:
    assert ThreadTeam(size).shares(sizes) == expected
