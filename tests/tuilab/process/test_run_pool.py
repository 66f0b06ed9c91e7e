"""Many runs at a time: how many, in which order, and that none is left behind."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tuilab.errors import RunError
from tuilab.process.launch import Worker, has_ended
from tuilab.process.run_pool import Done, Job, run_all
from tuilab.record.run_folder import RunFolder

Begin = Callable[[], Worker]


@pytest.fixture
def sleeping(tmp_path: Path) -> Iterator[Callable[[float], Begin]]:
    """Stand-ins for workers: processes that sleep."""
    made: list[subprocess.Popen[bytes]] = []

    def sleeper(seconds: float) -> Begin:
        def begin() -> Worker:
            code = f"import time; time.sleep({seconds})"
            made.append(subprocess.Popen([sys.executable, "-S", "-c", code]))
            return Worker(RunFolder(tmp_path), made[-1])

        return begin

    yield sleeper
    assert all(process.poll() is not None for process in made)


def fails() -> Worker:
    raise RunError("no room")


def run(jobs: list[Job], limit: int, stop: list[int] | None = None) -> tuple[list[Done], list[int]]:
    """Run `jobs`; return what was done, and the numbers of running jobs that were reported."""
    running: list[int] = []
    found = run_all(
        jobs, limit=limit, stop=stop or [], report=lambda names: running.append(len(names))
    )
    return list(found), running


def test_no_more_than_so_many_run_at_a_time(sleeping: Callable[[float], Begin]) -> None:
    done, running = run([Job(str(n), sleeping(0.2)) for n in range(5)], 2)
    assert sorted(each.place for each in done) == [0, 1, 2, 3, 4]
    assert max(running) == 2
    assert all(each.worker is not None and has_ended(each.worker) for each in done)
    assert all(each.seconds > 0.15 for each in done)


def test_they_are_yielded_as_they_end(sleeping: Callable[[float], Begin]) -> None:
    done, _ = run([Job("long", sleeping(1.0)), Job("short", sleeping(0))], 2)
    assert [each.place for each in done] == [1, 0]


def test_one_that_cannot_be_started_is_told_and_the_others_run(
    sleeping: Callable[[float], Begin],
) -> None:
    done, _ = run([Job("bad", fails), Job("good", sleeping(0))], 1)
    assert [(each.place, str(each.error)) for each in done] == [(0, "no room"), (1, "None")]
    with pytest.raises(RunError, match="no room"):
        done[0].started()


def test_a_signal_ends_what_runs_and_starts_nothing_more(
    sleeping: Callable[[float], Begin],
) -> None:
    stop: list[int] = []
    jobs = [Job(str(n), sleeping(60)) for n in range(3)]
    found = list(run_all(jobs, limit=2, stop=stop, report=lambda names: stop.append(2)))
    assert sorted(done.place for done in found) == [0, 1]
    assert run(jobs, 2, [2])[0] == []


def test_none_is_left_behind_where_the_caller_breaks_off(
    sleeping: Callable[[float], Begin],
) -> None:
    runs = run_all([Job("a", sleeping(0)), Job("b", sleeping(60))], limit=2, stop=[])
    assert next(runs).place == 0
    runs.close()  # type: ignore[attr-defined]
