"""The loop of a search: ask for a point, start its run, follow it, tell; stage after stage."""

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
from tuilab.search.pools import Pool, Running
from tuilab.search.results import SearchResult, StageResult
from tuilab.search.stage_study import PendingTrial, StageStudy
from tuilab.search.storage import Storage
from tuilab.search.trial import Order, Outcome, end_left_over

POLL: Final = 0.05  # seconds between two looks at the runs
LOOK: Final = 1.0  # seconds between two looks at what others have done to the study
EXTENSIONS: Final = 3  # stages that --extend may add


class Listener:
    """Hears how a search goes on; this one does nothing with it."""

    def stage(self, stage: Stage, space: Space, why: Mapping[str, str]) -> None:
        """A stage begins; `why` says of each parameter where its range comes from."""

    def running(self, labels: Sequence[str]) -> None:
        """So many trials run now."""

    def ended(self, stage: StageResult, number: int) -> None:
        """A trial has come to its end."""

    def edges(self, stage: Stage, found: Sequence[Edge], *, taken: bool) -> None:
        """The best values of a stage lie at edges; `taken`: the search goes on beyond them."""


@dataclass(frozen=True, slots=True)
class SearchPlan:
    """What to search, and how."""

    scenario: Scenario
    folder: StudyFolder
    options: Options
    trials: int | None = None  # of each stage, instead of the scenario's
    ranges: Mapping[str, Parameter] = field(default_factory=dict)  # of every later stage
    extend: bool = False
    shared: bool = False  # others may run trials of the same study

    @property
    def search(self) -> Search:
        """What the scenario says. It has been checked that it says something."""
        assert self.scenario.search is not None
        return self.scenario.search

    @property
    def stages(self) -> list[Stage]:
        """The stages of the file, with the number of trials that is asked for."""
        return [*self.search.of_trials(self.trials).stages]


class SearchLoop:
    """Runs a search in a pool until it is done, or `stop` fills with signals."""

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
        """Search, and return what was found."""
        if not self._plan.shared:
            self._clear_up()
        stages = self._plan.stages
        for index, stage in enumerate(stages):
            if self._stop:
                break
            self._search(index, stage)
        while self._wants_more(len(stages)):
            last = self._done[-1].stage
            further = msgspec.structs.replace(last, name=f"{last.name}+")
            self._search(len(self._done), further)
        return self.result()

    def result(self) -> SearchResult:
        """Return what has been found so far."""
        return SearchResult(
            self._plan.scenario.name,
            self._plan.search,
            str(self._plan.folder.path),
            self._done,
            {name: [edge.text for edge in found] for name, found in self._edges.items()},
            bool(self._stop),
        )

    def _wants_more(self, planned: int) -> bool:
        if self._stop or not self._plan.extend or len(self._done) >= planned + EXTENSIONS:
            return False
        return any(edge.wider is not None for edge in self._edges[self._done[-1].stage.name])

    def _clear_up(self) -> None:
        """Take up what a search that was killed has left: trials, and training processes."""
        for study in self._storage.stages(self._plan.stages):
            study.forget_running()
        for lock in self._plan.folder.trials.glob("*/worker.lock"):
            folder = RunFolder(lock.parent)
            if folder.is_alive():
                end_left_over(folder)

    def _search(self, index: int, stage: Stage) -> None:
        why: dict[str, str] = {}
        search = self._plan.search
        study = self._storage.open(
            index,
            stage,
            lambda: self._space(stage, why),
            maximize=search.maximize,
            seed=self._plan.scenario.seed,
        )
        self._listener.stage(stage, study.space, why)
        _Round(self._plan, study, self._pool, self._stop, self._listener).run()
        result = study.result()
        self._done.append(result)
        found = edges(result, maximize=search.maximize, allowed=self._allowed)
        self._edges[stage.name] = found
        if found and not self._stop:
            self._listener.edges(stage, found, taken=self._plan.extend)

    def _space(self, stage: Stage, why: dict[str, str]) -> Space:
        """Return the ranges of a new stage, and say in `why` where each comes from."""
        if not self._done:
            return stage.space
        last = self._done[-1]
        taken = self._edges[last.stage.name] if self._plan.extend else []
        maximize = self._plan.search.maximize
        space = narrowed(last, maximize=maximize, taken=taken)
        beyond = {edge.key for edge in taken if edge.wider is not None}
        for key in space:
            around = f"around the best {last.stage.best} of {last.stage.name}"
            why[key] = f"beyond the edge of {last.stage.name}" if key in beyond else around
        for chosen, words in ((stage.space, "as the file says"), (self._plan.ranges, "--range")):
            if stage.name.endswith("+") and chosen is stage.space:
                continue
            space = space.changed(chosen)
            why.update(dict.fromkeys(chosen, words))
        return space

    def _allowed(self, key: str, value: object) -> bool:
        return is_allowed(self._plan.scenario, self._plan.search, key, value)


class _Round:
    """One stage: fills the pool, follows what runs, and tells the study."""

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
        self._running: dict[int, tuple[PendingTrial, Running]] = {}
        self._look_at = self._beat_at = 0.0

    def run(self) -> None:
        """Search until the stage is finished, or a signal came."""
        try:
            while not self._stop:
                begun = self._fill()
                self._look_around()
                self._follow()
                if not self._running and not begun and self._study.is_finished():
                    return
                time.sleep(POLL if self._running else LOOK / 4)
        finally:
            self._end()

    def _fill(self) -> bool:
        """Begin trials while there is room; tell whether any was begun."""
        begun = False
        while len(self._running) < self._pool.slots() and not self._stop:
            asked = self._study.ask()
            if asked is None:
                break
            begun = True
            try:
                self._running[asked.number] = asked, self._pool.begin(self._order(asked))
            except TuilabError as error:
                self._tell(asked, Outcome("failed", reason=str(error)))
        if begun:
            self._say_running()
        return begun

    def _order(self, asked: PendingTrial) -> Order:
        scenario = scenario_at(self._plan.scenario, asked.point, self._study.stage.train)
        path = self._plan.folder.run(self._study.stage.name, asked.number)
        asked.trial.set_user_attr("run", _shown(path, self._plan.folder.path))
        search = self._plan.search
        return Order(scenario, path, self._plan.options, search.expression, search.stop)

    def _look_around(self) -> None:
        """Give signs of life, take up what was lost, and prune what somebody asked to prune."""
        now = time.monotonic()
        if now >= self._beat_at and self._plan.shared:
            self._beat_at = now + self._plan.search.heartbeat / 2
            self._study.beat([asked.trial for asked, _ in self._running.values()])
            self._study.take_up_lost()
        if now >= self._look_at and self._running:
            self._look_at = now + LOOK
            for number in self._study.asked_to_prune() & {*self._running}:
                self._running[number][1].give_up("pruned by hand")

    def _follow(self) -> None:
        for asked, running in [*self._running.values()]:
            ended = running.has_ended()
            for report in running.poll():
                asked.trial.report(report.value, report.epoch)
                if not (ended or report.last) and asked.trial.should_prune():
                    running.give_up(f"worse than others at epoch {report.epoch}")
            if ended:
                del self._running[asked.number]
                self._tell(asked, running.outcome())
                self._say_running()

    def _tell(self, asked: PendingTrial, outcome: Outcome) -> None:
        run = _shown(Path(outcome.run), self._plan.folder.path) if outcome.run else ""
        facts = {key: value for key, value in outcome.facts.items() if key != "run"}
        facts |= {"run": run} if run else {}
        match outcome.kind:
            case "complete":
                self._study.finished(asked.number, outcome.value, facts)
            case "given_up":
                self._study.pruned(asked.number, facts)
            case "failed":
                self._study.failed(asked.number, facts)
            case "stopped":
                self._study.interrupted(asked, facts)
        self._listener.ended(self._study.result(), asked.number)

    def _end(self) -> None:
        """End whatever still runs; another try will be made of it."""
        for _, running in self._running.values():
            with suppress(TuilabError):
                running.stop()
        while self._running:
            self._follow()
            time.sleep(POLL)

    def _say_running(self) -> None:
        stage = self._study.stage.name
        self._listener.running([f"{stage} {number}" for number in self._running])


def _shown(path: Path, folder: Path) -> str:
    """Return a run folder relative to that of the search, which may be moved."""
    with suppress(ValueError):
        return path.relative_to(folder).as_posix()
    return str(path)
