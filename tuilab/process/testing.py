"""`tuilab test`: run scenarios in parallel processes and judge their expectations."""

import shutil
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path

from engine.errors import TuilabError
from tuilab.claims.expectations import Verdict, values_of
from tuilab.data.folder import data_folder
from tuilab.errors import ScenarioError
from tuilab.process.comparison import Outcome, begin, result
from tuilab.process.headless import held_signals
from tuilab.process.launch import Options
from tuilab.process.run_pool import Done, Job, run_all
from tuilab.scenario.loading import load_file
from tuilab.scenario.scenario import ScenarioFile


@dataclass(frozen=True, slots=True)
class ScenarioPath:
    """A scenario file, by its name in the folder that was searched: "activations/dead_relu"."""

    path: Path
    name: str


@dataclass(frozen=True, slots=True)
class SeedRun:
    """A scenario with one seed: what became of it, or why nothing did."""

    seed: int
    seconds: float  # of all its runs
    outcome: Outcome | None = None
    error: str = ""


@dataclass(frozen=True, slots=True)
class Claim:
    """An expectation over all seeds; with one seed, its verdict and no more."""

    run: str  # "he_relu", "adam_and_sgd/adam"
    verdict: Verdict  # measured: the values of all seeds
    passes: int
    seeds: int


@dataclass(frozen=True, slots=True)
class ScenarioResult:
    """One scenario: a trial a seed, or why there is none."""

    name: str
    trials: Sequence[SeedRun] = ()
    skipped: str = ""

    @property
    def seconds(self) -> float:
        """Time of all its runs, of which some may have been at the same time."""
        return sum(trial.seconds for trial in self.trials)

    @property
    def claims(self) -> list[Claim]:
        """What was expected, with what was measured over the seeds."""
        outcomes = [trial.outcome for trial in self.trials if trial.outcome is not None]
        rows = zip(*(outcome.verdicts for outcome in outcomes), strict=True)
        return [self._claim(row) for row in rows]

    def _claim(self, row: Sequence[tuple[str, Verdict]]) -> Claim:
        variant, first = row[0]
        run = f"{self.name}/{variant}" if variant else self.name
        passes = sum(verdict.passed is True for _, verdict in row)
        if len(row) > 1:
            values = [value for _, verdict in row for value in values_of(verdict.measured)]
            first = replace(first, measured=values, passed=passes == len(row))
        return Claim(run, first, passes, len(row))

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong with it; a skipped one passes."""
        return not self.problem

    @property
    def problem(self) -> str:
        """What is wrong with it, in a few words."""
        if failed := sum(claim.verdict.passed is False for claim in self.claims):
            return f"{failed} failed"
        return self.broken

    @property
    def broken(self) -> str:
        """What is wrong with it besides expectations that do not hold."""
        for trial in self.trials:
            said = trial.error or (trial.outcome.problem if trial.outcome else "")
            if said:
                return said if len(self.trials) == 1 else f"seed {trial.seed}: {said}"
        return ""


def collect(paths: Sequence[Path], pattern: str = "") -> list[ScenarioPath]:
    """Return the scenario files named, and those below the folders named. Raises ScenarioError.

    `pattern` is a part of the name, or all of it with * and ? for what it leaves open.
    """
    scenarios: list[ScenarioPath] = []
    for path in paths:
        inside = sorted(path.rglob("*.toml")) if path.is_dir() else [path]
        if not inside:
            raise ScenarioError(f"{path}/ has no scenario files (*.toml)")
        root = path if path.is_dir() else path.parent
        scenarios += [
            ScenarioPath(p, p.relative_to(root).with_suffix("").as_posix()) for p in inside
        ]
    matching = [scenario for scenario in scenarios if _matches(scenario.name, pattern)]
    if not matching:
        available = ", ".join(scenario.name for scenario in scenarios)
        raise ScenarioError(f"no scenario matches '{pattern}' (there are {available})")
    return matching


def _matches(name: str, pattern: str) -> bool:
    if any(sign in pattern for sign in "*?["):
        return fnmatchcase(name, pattern) or fnmatchcase(name.rpartition("/")[2], pattern)
    return pattern in name


class _Attempt:
    """The runs of a scenario with one seed, until all have ended."""

    def __init__(self, name: str, file: ScenarioFile, folder: Path) -> None:
        self.name, self.file, self.folder = name, file, folder
        self.trial: SeedRun | None = None
        self._done: dict[str, Done] = {}

    def jobs(self, options: Options) -> Iterator[tuple[Job, Callable[[Done], None]]]:
        """Yield the runs as jobs, with a function to call when each has ended."""
        for variant, scenario in self.file.runs.items():
            label = f"{self.name}/{variant}" if variant else self.name
            path = self.folder / variant
            job = Job(label, partial(begin, scenario, path, options))
            yield job, partial(self._take, variant)

    def _take(self, variant: str, done: Done) -> None:
        self._done[variant] = done
        if len(self._done) == len(self.file.runs):
            self.trial = self._judged()
            shutil.rmtree(self.folder, ignore_errors=True)

    def _judged(self) -> SeedRun:
        seed = next(iter(self.file.runs.values())).seed
        seconds = sum(done.seconds for done in self._done.values())
        try:
            workers = {name: self._done[name].started() for name in self.file.runs}
            return SeedRun(seed, seconds, result(self.file, workers))
        except TuilabError as error:
            return SeedRun(seed, seconds, error=str(error))


@dataclass(frozen=True, slots=True)
class TestPlan:
    """How to test: `seeds` is how many, from `seed` or the scenario's own on."""

    options: Options
    jobs: int
    sets: Sequence[str] = ()
    seed: int | None = None
    seeds: int = 1

    def read(self, path: Path) -> list[ScenarioFile]:
        """Read a scenario once for each seed. Raises ScenarioError."""
        seed = self.seed
        if seed is None and self.seeds > 1:
            seed = next(iter(load_file(path, self.sets).runs.values())).seed
        if seed is None:
            return [load_file(path, self.sets)]
        seeds = range(seed, seed + self.seeds)
        return [load_file(path, [*self.sets, f"seed={number}"]) for number in seeds]


def run_suite(
    scenarios: Sequence[ScenarioPath],
    plan: TestPlan,
    report: Callable[[Sequence[str]], None] = lambda running: None,
) -> Iterator[ScenarioResult]:
    """Run every scenario and yield results in order; all are read first.

    A signal ends the runs that are going on, and then raises KeyboardInterrupt.
    """
    read = [(scenario.name, plan.read(scenario.path)) for scenario in scenarios]
    data = data_folder(plan.options.data_dir)
    with held_signals() as stop, tempfile.TemporaryDirectory(prefix="tuilab-test-") as scratch:
        waiting: deque[tuple[str, str, list[_Attempt]]] = deque()
        for name, files in read:
            missing = _missing(files[0], data)
            attempts = [_Attempt(name, file, Path(tempfile.mkdtemp(dir=scratch))) for file in files]
            waiting.append((name, missing, [] if missing else attempts))
        todo = [
            job
            for _, _, attempts in waiting
            for attempt in attempts
            for job in attempt.jobs(plan.options)
        ]
        yield from _complete(waiting)
        jobs = [job for job, _ in todo]
        for done in run_all(jobs, limit=plan.jobs, stop=stop, report=report):
            todo[done.place][1](done)
            if not stop:
                yield from _complete(waiting)
        if stop:
            raise KeyboardInterrupt


def _complete(waiting: "deque[tuple[str, str, list[_Attempt]]]") -> Iterator[ScenarioResult]:
    """Take from the front what has all its trials."""
    while waiting:
        name, missing, attempts = waiting[0]
        trials = [attempt.trial for attempt in attempts if attempt.trial is not None]
        if len(trials) < len(attempts):
            return
        waiting.popleft()
        yield ScenarioResult(name, trials, missing)


def _missing(file: ScenarioFile, folder: Path) -> str:
    """Return which data set is missing that a scenario needs, or ""."""
    for scenario in file.runs.values():
        if not scenario.source.is_here(folder):
            source = scenario.source
            return f"no {source.title} (tuilab data fetch {scenario.data.source})"
    return ""
