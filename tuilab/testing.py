"""`tuilab test`: run scenarios in parallel processes and judge their expectations."""

import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from engine.errors import TuilabError
from tuilab.data_folder import data_folder
from tuilab.errors import ScenarioError
from tuilab.expectations import Verdict
from tuilab.headless import end, follow_quietly, outcome
from tuilab.launch import Options, Worker, start
from tuilab.scenario import Scenario, load
from tuilab.summary import Summary, exit_code


@dataclass(frozen=True, slots=True)
class Result:
    """One scenario's run: its verdicts, or why there are none."""

    path: Path
    seconds: float
    summary: Summary | None = None
    verdicts: Sequence[Verdict] = ()
    skipped: str = ""
    error: str = ""

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def line(self) -> str:
        """One line for the progress of a test run."""
        if self.skipped:
            return f"· {self.name}  skipped: {self.skipped}"
        mark, word = ("✓", "as claimed") if self.passed else ("✗", self.problem)
        return f"{mark} {self.name}  {self.seconds:.1f} s  {word}"

    @property
    def passed(self) -> bool:
        """Whether nothing speaks against it; a skipped one passes."""
        return not self.problem

    @property
    def problem(self) -> str:
        """What speaks against it, in a few words."""
        if self.skipped or self.error or self.summary is None:
            return self.error
        if failed := sum(verdict.passed is False for verdict in self.verdicts):
            return f"{failed} failed"
        code = exit_code(self.summary, list(self.verdicts))
        return "training diverged, and no expectation says so" if code else ""


def collect(paths: Sequence[Path]) -> list[Path]:
    """Return the scenario files named, and those below the folders named. Raises ScenarioError."""
    found: list[Path] = []
    for path in paths:
        inside = sorted(path.rglob("*.toml")) if path.is_dir() else [path]
        if not inside:
            raise ScenarioError(f"{path}/ has no scenario files (*.toml)")
        found += inside
    return found


def run_all(
    paths: Sequence[Path], *, options: Options, sets: Sequence[str], jobs: int
) -> Iterator[Result]:
    """Run every scenario, `jobs` at a time, and yield results in order; all are read first.

    An interruption, SIGTERM too, ends the workers that are running.
    """
    scenarios = [(path, load(path, sets), str(n)) for n, path in enumerate(paths)]
    workers: list[Worker] = []
    over = threading.Event()

    def started(worker: Worker) -> None:
        workers.append(worker)
        if over.is_set():  # the interruption came while it was being started
            end(worker)

    with (
        _signals_interrupt(),
        tempfile.TemporaryDirectory(prefix="tuilab-test-") as scratch,
        ThreadPoolExecutor(jobs) as pool,
    ):
        runs = Path(scratch)
        try:
            yield from pool.map(
                lambda job: _run(job[0], job[1], runs / job[2], options, started), scenarios
            )
        except BaseException:
            over.set()
            pool.shutdown(wait=False, cancel_futures=True)
            for worker in workers:
                end(worker)
            raise


@contextmanager
def _signals_interrupt() -> Iterator[None]:
    """Let SIGINT and SIGTERM raise KeyboardInterrupt; SIGTERM by itself would leave the workers.

    SIGINT too, for a script that was started in the background begins with it ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    previous = {n: signal.signal(n, signal.default_int_handler) for n in numbers}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _run(
    path: Path,
    scenario: Scenario,
    folder: Path,
    options: Options,
    started: Callable[[Worker], None],
) -> Result:
    begin = time.monotonic()
    if not scenario.source.is_here(data_folder(options.data_dir)):
        name = scenario.data.source
        return Result(path, 0.0, skipped=f"no {name} (tuilab data fetch {name})")
    try:
        worker = start(scenario, folder, options)
        started(worker)
        follow_quietly(worker)
        summary, verdicts = outcome(worker)
    except TuilabError as error:
        return Result(path, time.monotonic() - begin, error=str(error))
    return Result(path, time.monotonic() - begin, summary, verdicts)
