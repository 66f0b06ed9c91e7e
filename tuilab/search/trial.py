"""One trial: a normal run, followed while it trains, and stopped early if a rule says so."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from engine.errors import TuilabError
from engine.states import RunState
from tuilab.claims.expressions import Expression, evaluate, parse_expression
from tuilab.claims.metrics import AtLeast, Record
from tuilab.diagnosis.finding import all_found
from tuilab.errors import RunError
from tuilab.process.launch import Options, Worker, end, has_ended, start
from tuilab.record import RunInfo, RunReader
from tuilab.record.run_folder import RunFolder, free_path
from tuilab.scenario.scenario import Scenario
from tuilab.scenario.search.stop_rules import StopRule, TrialProgress

Kind = Literal["complete", "pruned", "failed", "stopped"]
DONE: Final = (RunState.FINISHED, RunState.DIVERGED)  # states of a run that ended by itself


@dataclass(frozen=True, slots=True)
class TrialJob:
    """The run of a trial, and the rules by which it is stopped early."""

    scenario: Scenario
    path: Path
    options: Options
    objective: Expression
    rules: Sequence[StopRule]


@dataclass(frozen=True, slots=True)
class TrialOutcome:
    """The outcome of a trial."""

    kind: Kind
    value: float = math.nan
    reason: str = ""
    run: str = ""
    seconds: float = 0.0
    steps: int = 0

    @property
    def facts(self) -> dict[str, Any]:
        """The attributes that are recorded in the study beside the value."""
        facts = {"run": self.run, "seconds": round(self.seconds, 3), "steps": self.steps}
        return facts | ({"reason": self.reason} if self.reason else {})


@dataclass(frozen=True, slots=True)
class EpochReport:
    """The objective after an epoch; `last` marks the end of the run."""

    epoch: int
    value: float
    last: bool = False


@dataclass
class LocalTrial:
    """A trial in a process on this machine."""

    job: TrialJob
    worker: Worker
    began: float = field(default_factory=time.monotonic)
    reason: str = ""  # why it was stopped early
    stopped: bool = False  # because the search stops
    _watch: "RunWatch | None" = None

    @classmethod
    def begin(cls, job: TrialJob) -> "LocalTrial":
        """Start the training process. Raises TuilabError."""
        return cls(job, start(job.scenario, free_path(job.path), job.options))

    def poll(self) -> list[EpochReport]:
        """Return new values of the objective; end the run if a stop rule applies."""
        if self._watch is None:
            self._watch = RunWatch.open(self.worker.folder, self.job.objective)
        if self._watch is None:
            return []
        reports = self._watch.read()
        if not self.reason and (reason := self._stop_reason()):
            self.stop_early(reason)
        return reports

    def stop_early(self, reason: str) -> None:
        """End the run because it is not promising."""
        self.reason = reason
        end(self.worker)

    def stop(self) -> None:
        """End the run because the search stops."""
        self.stopped = True
        end(self.worker)

    def has_ended(self) -> bool:
        """Return whether the training process has ended."""
        return has_ended(self.worker)

    def outcome(self) -> TrialOutcome:
        """Return the outcome of a run that has ended. Call it once."""
        self.poll()
        watch = self._watch
        base = TrialOutcome(
            "failed",
            run=str(self.worker.folder.path),
            seconds=time.monotonic() - self.began,
            steps=watch.steps if watch else 0,
        )
        try:
            return self._judged(watch, base)
        finally:
            if watch is not None:
                watch.close()

    def _judged(self, watch: "RunWatch | None", base: TrialOutcome) -> TrialOutcome:
        if self.reason:
            return _with(base, "pruned", self.reason)
        info = watch.info() if watch is not None else None
        if self.stopped and (info is None or info.state not in DONE):
            return _with(base, "stopped", "interrupted")
        if watch is None or info is None:
            return _with(base, "failed", self.worker.folder.log_tail(1) or "it did not start")
        if info.state == RunState.DIVERGED:
            return _with(base, "pruned", "loss not finite")
        if info.state != RunState.FINISHED:
            code = self.worker.process.returncode if self.worker.process else 0
            how = f"killed by signal {-code}" if code < 0 else f"ended with code {code}"
            return _with(base, "failed", info.message or how)
        value = watch.value()
        if not math.isfinite(value):
            return _with(base, "pruned", f"the objective has no value ({value})")
        return TrialOutcome("complete", value, "", base.run, base.seconds, base.steps)

    def _stop_reason(self) -> str:
        progress = self._watch.progress if self._watch is not None else TrialProgress()
        return next((why for rule in self.job.rules if (why := rule.reason(progress))), "")


def _with(base: TrialOutcome, kind: Kind, reason: str) -> TrialOutcome:
    return TrialOutcome(kind, base.value, reason, base.run, base.seconds, base.steps)


class RunWatch:
    """Follows the database of a running trial."""

    def __init__(self, reader: RunReader, objective: Expression) -> None:
        self._reader, self._objective = reader, objective
        self._by_epoch = objective == parse_expression("accuracy.validation")
        self._version = -1
        self._block = self._epochs = 0
        self._validated = -1
        self.steps = 0
        self.progress = TrialProgress()

    @classmethod
    def open(cls, folder: RunFolder, objective: Expression) -> "RunWatch | None":
        """Return a reader of the run, or None if it has no database yet."""
        try:
            return cls(RunReader(folder.database), objective)
        except RunError:
            return None

    def read(self) -> list[EpochReport]:
        """Read new frames; return the objective after each epoch that ended."""
        try:
            if (version := self._reader.data_version()) == self._version:
                return []
            self._version = version
            self._read_losses()
            return self._read_epochs()
        except RunError:  # the database is being created
            return []

    def _read_losses(self) -> None:
        first, highest = self.progress.first_loss, self.progress.highest_loss
        for block in self._reader.blocks(after=self._block):
            self._block = block.id
            if not len(block.loss):
                continue
            self.steps = block.next_step
            first = float(block.loss[0]) if math.isnan(first) else first
            finite = np.where(np.isfinite(block.loss), block.loss, np.inf)
            highest = max(highest, float(finite.max()))
        findings = all_found(event for _, event in self._reader.events())
        self.progress = TrialProgress(first, highest, findings)

    def _read_epochs(self) -> list[EpochReport]:
        new = self._reader.validations(after_step=self._validated)
        if not new:
            return []
        self._validated = new[-1].step
        total = self._reader.info().total_steps
        reports = []
        # All other objectives are means over an epoch, of which only the newest value is known.
        for row in new if self._by_epoch else new[-1:]:
            value = row.accuracy if self._by_epoch else self.value()
            if (epoch := round(row.epoch)) > self._epochs and math.isfinite(value):
                self._epochs = epoch
                reports.append(EpochReport(epoch, value, row.step >= total))
        return reports

    def value(self) -> float:
        """Return the current value of the objective; NaN if it has none."""
        values = evaluate(self._objective, "end", {"": Record(self._reader)})
        value = values[0] if values else math.nan
        return math.nan if isinstance(value, AtLeast) else float(value)

    def info(self) -> RunInfo | None:
        """Return the run's info; None if it ended before its database was created."""
        try:
            return self._reader.info()
        except RunError:
            return None

    def close(self) -> None:
        """Close the database."""
        self._reader.close()


def end_orphan(folder: RunFolder) -> None:
    """End a training process that outlived its search."""
    try:
        end(Worker(folder))
    except TuilabError:  # it has just ended
        return
