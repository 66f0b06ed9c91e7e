"""One trial: a normal run, followed while it trains, and given up where it breaks a rule."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from engine.errors import TuilabError
from tuilab.claims.expressions import Expression, evaluate, parse_expression
from tuilab.claims.metrics import AtLeast, Record
from tuilab.diagnosis.finding import all_found
from tuilab.errors import RunError
from tuilab.process.launch import Options, Worker, end, has_ended, start
from tuilab.record import RunInfo, RunReader
from tuilab.record.run_folder import RunFolder, free_path
from tuilab.scenario.scenario import Scenario
from tuilab.scenario.search.stop_rules import StopRule, TrialProgress

Kind = Literal["complete", "given_up", "failed", "stopped"]
DONE: Final = ("finished", "diverged")  # states of a run that came to its end before it was stopped


@dataclass(frozen=True, slots=True)
class Order:
    """What a trial is to do, and by which rules it is given up."""

    scenario: Scenario
    path: Path
    options: Options
    objective: Expression
    rules: Sequence[StopRule]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a trial."""

    kind: Kind
    value: float = math.nan
    reason: str = ""
    run: str = ""
    seconds: float = 0.0
    steps: int = 0

    @property
    def facts(self) -> dict[str, Any]:
        """What is kept of it beside its value."""
        told = {"run": self.run, "seconds": round(self.seconds, 3), "steps": self.steps}
        return told | ({"reason": self.reason} if self.reason else {})


@dataclass(frozen=True, slots=True)
class Report:
    """The objective after an epoch; `last`: the run has come to its end."""

    epoch: int
    value: float
    last: bool = False


@dataclass
class Attempt:
    """A trial that runs in a process of its own, from `begin` on."""

    order: Order
    worker: Worker
    began: float = field(default_factory=time.monotonic)
    reason: str = ""  # why it was given up
    stopped: bool = False  # from outside
    _watch: "Watch | None" = None

    @classmethod
    def begin(cls, order: Order) -> "Attempt":
        """Start the training process. Raises TuilabError."""
        return cls(order, start(order.scenario, free_path(order.path), order.options))

    def poll(self) -> list[Report]:
        """Read what is new: values of the objective; a broken rule ends the run."""
        if self._watch is None:
            self._watch = Watch.open(self.worker.folder, self.order.objective)
        if self._watch is None:
            return []
        reports = self._watch.read()
        if not self.reason and (reason := self._broken()):
            self.give_up(reason)
        return reports

    def give_up(self, reason: str) -> None:
        """End the run because it is not worth going on with."""
        self.reason = reason
        end(self.worker)

    def stop(self) -> None:
        """End the run because the search stops."""
        self.stopped = True
        end(self.worker)

    def has_ended(self) -> bool:
        """Tell whether the training process is gone."""
        return has_ended(self.worker)

    def outcome(self) -> Outcome:
        """Judge a run that has ended. To be called once."""
        self.poll()
        watch = self._watch
        told = Outcome(
            "failed",
            run=str(self.worker.folder.path),
            seconds=time.monotonic() - self.began,
            steps=watch.steps if watch else 0,
        )
        try:
            return self._judged(watch, told)
        finally:
            if watch is not None:
                watch.close()

    def _judged(self, watch: "Watch | None", told: Outcome) -> Outcome:
        if self.reason:
            return _of(told, "given_up", self.reason)
        info = watch.info() if watch is not None else None
        if self.stopped and (info is None or info.state not in DONE):
            return _of(told, "stopped", "interrupted")
        if watch is None or info is None:
            return _of(told, "failed", self.worker.folder.log_tail(1) or "it did not start")
        if info.state == "diverged":
            return _of(told, "given_up", "loss not finite")
        if info.state != "finished":
            code = self.worker.process.returncode if self.worker.process else 0
            how = f"killed by signal {-code}" if code < 0 else f"ended with code {code}"
            return _of(told, "failed", info.message or how)
        value = watch.value()
        if not math.isfinite(value):
            return _of(told, "given_up", f"no value of the objective ({value})")
        return Outcome("complete", value, "", told.run, told.seconds, told.steps)

    def _broken(self) -> str:
        seen = self._watch.seen if self._watch is not None else TrialProgress()
        return next((why for rule in self.order.rules if (why := rule.reason(seen))), "")


def _of(told: Outcome, kind: Kind, reason: str) -> Outcome:
    return Outcome(kind, told.value, reason, told.run, told.seconds, told.steps)


class Watch:
    """Reads a run's database as it grows."""

    def __init__(self, reader: RunReader, objective: Expression) -> None:
        self._reader, self._objective = reader, objective
        self._by_epoch = objective == parse_expression("accuracy.validation")
        self._version = -1
        self._block = self._epochs = 0
        self._validated = -1
        self.steps = 0
        self.seen = TrialProgress()

    @classmethod
    def open(cls, folder: RunFolder, objective: Expression) -> "Watch | None":
        """Open a run; None where its database is not there yet."""
        try:
            return cls(RunReader(folder.database), objective)
        except RunError:
            return None

    def read(self) -> list[Report]:
        """Take in what is new; return the objective where an epoch has ended meanwhile."""
        try:
            if (version := self._reader.data_version()) == self._version:
                return []
            self._version = version
            self._read_losses()
            return self._read_epochs()
        except RunError:  # it is being made
            return []

    def _read_losses(self) -> None:
        first, highest = self.seen.first_loss, self.seen.highest_loss
        for block in self._reader.blocks(after=self._block):
            self._block = block.id
            if not len(block.loss):
                continue
            self.steps = block.next_step
            first = float(block.loss[0]) if math.isnan(first) else first
            finite = np.where(np.isfinite(block.loss), block.loss, np.inf)
            highest = max(highest, float(finite.max()))
        found = all_found(event for _, event in self._reader.events())
        self.seen = TrialProgress(first, highest, found)

    def _read_epochs(self) -> list[Report]:
        new = self._reader.validations(after_step=self._validated)
        if not new:
            return []
        self._validated = new[-1].step
        total = self._reader.info().total_steps
        found = []
        # Other objectives than this one are means over an epoch: they are known as they stand now.
        for each in new if self._by_epoch else new[-1:]:
            value = each.accuracy if self._by_epoch else self.value()
            if (epoch := round(each.epoch)) > self._epochs and math.isfinite(value):
                self._epochs = epoch
                found.append(Report(epoch, value, each.step >= total))
        return found

    def value(self) -> float:
        """Return the objective as it stands; NaN where it has no value."""
        values = evaluate(self._objective, "end", {"": Record(self._reader)})
        value = values[0] if values else math.nan
        return math.nan if isinstance(value, AtLeast) else float(value)

    def info(self) -> RunInfo | None:
        """Return how the run stands; None where it ended before its database was made."""
        try:
            return self._reader.info()
        except RunError:
            return None

    def close(self) -> None:
        """Close the database."""
        self._reader.close()


def end_left_over(folder: RunFolder) -> None:
    """End a training process that outlived its search."""
    try:
        end(Worker(folder))
    except TuilabError:  # it has just ended
        return
