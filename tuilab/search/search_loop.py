"""The loop of a search: ask for a point, start its run, follow it, report; stage after stage."""

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from engine.errors import TuilabError
from tuilab.process.launch import Options
from tuilab.record.run_folder import RunFolder
from tuilab.scenario.scenario import Scenario
from tuilab.scenario.search.settings import Search, Stage
from tuilab.scenario.search.space import Parameter, Space
from tuilab.search.folder import StudyFolder
from tuilab.search.narrowing import Edge, edges, narrowed
from tuilab.search.points import is_allowed, scenario_at
from tuilab.search.pools import Pool, RunningTrial
from tuilab.search.results import SearchResult, StageResult
from tuilab.search.stage_study import PendingTrial, StageStudy
from tuilab.search.storage import Storage
from tuilab.search.trial import TrialJob, TrialOutcome, end_orphan

POLL: Final = 0.05  # seconds between two reads of the runs
REFRESH: Final = 1.0  # seconds between two reads of requests in the study
EXTENSIONS: Final = 3  # stages that --extend may add


class Listener:
    """Receives the events of a search; the base class ignores them."""

    def stage(self, stage: Stage, space: Space, origins: Mapping[str, str]) -> None:
        """A stage begins; `origins` describes for each parameter where its range comes from."""

    def running(self, labels: Sequence[str]) -> None:
        """The trials that are running have changed; `labels` name them."""

    def ended(self, stage: StageResult, number: int) -> None:
        """A trial has ended."""

    def edges(self, stage: Stage, edges: Sequence[Edge], *, extended: bool) -> None:
        """Best values of a stage lie at edges; `extended`: the search will go beyond them."""


@dataclass(frozen=True, slots=True)
class SearchPlan:
    """The settings of a search."""

    scenario: Scenario
    folder: StudyFolder
    options: Options
    trials: int | None = None  # per stage, instead of the scenario's
    ranges: Mapping[str, Parameter] = field(default_factory=dict)  # for all later stages
    extend: bool = False
    shared: bool = False  # other machines may run trials of the same study

    @property
    def search(self) -> Search:
        """The scenario's [search] section, whose presence was checked before."""
        assert self.scenario.search is not None
        return self.scenario.search

    @property
    def stages(self) -> list[Stage]:
        """The stages of the file, with the requested number of trials."""
        return [*self.search.of_trials(self.trials).stages]


class SearchLoop:
    """Runs a search in a pool until it is complete, or a signal appears in `stop`."""

    def __init__(
        self,
        plan: SearchPlan,
        storage: Storage,
        pool: Pool,
        stop: Sequence[int],
        listener: Listener,
    ) -> None:
        self._plan, self._storage, self._pool = plan, storage, pool
        self._stop, self._listener = stop, listener
        self._done: list[StageResult] = []
        self._edges: dict[str, list[Edge]] = {}

    def run(self) -> SearchResult:
        """Search, and return the results."""
        if not self._plan.shared:
            self._recover()
        stages = self._plan.stages
        for index, stage in enumerate(stages):
            if self._stop:
                break
            self._search(index, stage)
        while self._can_extend(len(stages)):
            last = self._done[-1].stage
            further = msgspec.structs.replace(last, name=f"{last.name}+")
            self._search(len(self._done), further)
        return self.result()

    def result(self) -> SearchResult:
        """Return the results so far."""
        return SearchResult(
            self._plan.scenario.name,
            self._plan.search,
            str(self._plan.folder.path),
            self._done,
            {name: [edge.text for edge in edges] for name, edges in self._edges.items()},
            bool(self._stop),
        )

    def _can_extend(self, planned: int) -> bool:
        if self._stop or not self._plan.extend or len(self._done) >= planned + EXTENSIONS:
            return False
        return any(edge.wider is not None for edge in self._edges[self._done[-1].stage.name])

    def _recover(self) -> None:
        """Requeue the running trials of a killed search, and end its training processes."""
        for study in self._storage.stages(self._plan.stages):
            study.requeue_running()
        for lock in self._plan.folder.trials.glob("*/worker.lock"):
            folder = RunFolder(lock.parent)
            if folder.is_alive():
                end_orphan(folder)

    def _search(self, index: int, stage: Stage) -> None:
        origins: dict[str, str] = {}
        search = self._plan.search
        study = self._storage.open(
            index,
            stage,
            lambda: self._space(stage, origins),
            maximize=search.maximize,
            seed=self._plan.scenario.seed,
        )
        self._listener.stage(stage, study.space, origins)
        _StageLoop(self._plan, study, self._pool, self._stop, self._listener).run()
        result = study.result()
        self._done.append(result)
        at_edges = edges(result, maximize=search.maximize, allowed=self._allowed)
        self._edges[stage.name] = at_edges
        if at_edges and not self._stop:
            self._listener.edges(stage, at_edges, extended=self._plan.extend)

    def _space(self, stage: Stage, origins: dict[str, str]) -> Space:
        """Return the ranges of a new stage, and enter in `origins` where they come from."""
        if not self._done:
            return stage.space
        last = self._done[-1]
        extended = self._edges[last.stage.name] if self._plan.extend else []
        maximize = self._plan.search.maximize
        space = narrowed(last, maximize=maximize, extended=extended)
        beyond = {edge.key for edge in extended if edge.wider is not None}
        for key in space:
            around = f"around the best {last.stage.best} of {last.stage.name}"
            origins[key] = f"beyond the edge of {last.stage.name}" if key in beyond else around
        for chosen, words in ((stage.space, "from the file"), (self._plan.ranges, "--range")):
            if stage.name.endswith("+") and chosen is stage.space:
                continue
            space = space.changed(chosen)
            origins.update(dict.fromkeys(chosen, words))
        return space

    def _allowed(self, key: str, value: object) -> bool:
        return is_allowed(self._plan.scenario, self._plan.search, key, value)


class _StageLoop:
    """One stage: fills the pool, follows the running trials, and reports to the study."""

    def __init__(
        self,
        plan: SearchPlan,
        study: StageStudy,
        pool: Pool,
        stop: Sequence[int],
        listener: Listener,
    ) -> None:
        self._plan, self._study, self._pool = plan, study, pool
        self._stop, self._listener = stop, listener
        self._running: dict[int, tuple[PendingTrial, RunningTrial]] = {}
        self._next_refresh = self._next_beat = 0.0

    def run(self) -> None:
        """Search until the stage is complete, or a signal arrives."""
        try:
            while not self._stop:
                started = self._fill()
                self._refresh()
                self._follow()
                if not self._running and not started and self._study.is_finished():
                    return
                time.sleep(POLL if self._running else REFRESH / 4)
        finally:
            self._end()

    def _fill(self) -> bool:
        """Start trials while the pool has room; return whether any was started."""
        started = False
        while len(self._running) < self._pool.slots() and not self._stop:
            pending = self._study.ask()
            if pending is None:
                break
            started = True
            try:
                self._running[pending.number] = pending, self._pool.begin(self._job(pending))
            except TuilabError as error:
                self._report(pending, TrialOutcome("failed", reason=str(error)))
        if started:
            self._show_running()
        return started

    def _job(self, pending: PendingTrial) -> TrialJob:
        scenario = scenario_at(self._plan.scenario, pending.point, self._study.stage.train)
        path = self._plan.folder.run(self._study.stage.name, pending.number)
        pending.trial.set_user_attr("run", _relative(path, self._plan.folder.path))
        search = self._plan.search
        return TrialJob(scenario, path, self._plan.options, search.expression, search.stop)

    def _refresh(self) -> None:
        """Send heartbeats, requeue lost trials, and stop those that a user asked to stop."""
        now = time.monotonic()
        if now >= self._next_beat and self._plan.shared:
            self._next_beat = now + self._plan.search.heartbeat / 2
            self._study.beat([pending.trial for pending, _ in self._running.values()])
            self._study.requeue_lost()
        if now >= self._next_refresh and self._running:
            self._next_refresh = now + REFRESH
            for number in self._study.prune_requests() & {*self._running}:
                self._running[number][1].stop_early("pruned by hand")

    def _follow(self) -> None:
        for pending, running in [*self._running.values()]:
            ended = running.has_ended()
            for report in running.poll():
                pending.trial.report(report.value, report.epoch)
                if not (ended or report.last) and pending.trial.should_prune():
                    running.stop_early(f"worse than others at epoch {report.epoch}")
            if ended:
                del self._running[pending.number]
                self._report(pending, running.outcome())
                self._show_running()

    def _report(self, pending: PendingTrial, outcome: TrialOutcome) -> None:
        run = _relative(Path(outcome.run), self._plan.folder.path) if outcome.run else ""
        facts = {key: value for key, value in outcome.facts.items() if key != "run"}
        facts |= {"run": run} if run else {}
        match outcome.kind:
            case "complete":
                self._study.finished(pending.number, outcome.value, facts)
            case "pruned":
                self._study.pruned(pending.number, facts)
            case "failed":
                self._study.failed(pending.number, facts)
            case "stopped":
                self._study.interrupted(pending, facts)
        self._listener.ended(self._study.result(), pending.number)

    def _end(self) -> None:
        """End all running trials; they are retried when the search is resumed."""
        for _, running in self._running.values():
            with suppress(TuilabError):
                running.stop()
        while self._running:
            self._follow()
            time.sleep(POLL)

    def _show_running(self) -> None:
        stage = self._study.stage.name
        self._listener.running([f"{stage} {number}" for number in self._running])


def _relative(path: Path, folder: Path) -> str:
    """Return a run folder relative to the search folder, which may be moved."""
    with suppress(ValueError):
        return path.relative_to(folder).as_posix()
    return str(path)
