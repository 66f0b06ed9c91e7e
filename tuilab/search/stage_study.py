"""The study of one stage: it supplies points and records the outcome of each trial once.

A retry replaces a lost trial: it has a new number and the same point, and does not count against
the budget.
"""

import socket
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import RDBStorage, fail_stale_trials
from optuna.trial import FrozenTrial, TrialState

from tuilab.scenario.search.drawing import RETRY_OF
from tuilab.scenario.search.settings import Stage
from tuilab.scenario.search.space import Parameter, Point, Range, Space
from tuilab.search.results import Row, StageResult

LOST: Final = "tuilab:lost"  # interrupted for an external reason; its point is retried
SURPLUS: Final = "tuilab:surplus"  # two machines asked for the last trial at the same time
PRUNE_REQUEST: Final = "tuilab:prune"
RETRIES: Final = 2  # per trial: a point that kills its machine must not kill all of them


@dataclass(frozen=True, slots=True)
class PendingTrial:
    """A trial that is to run on this machine."""

    trial: optuna.Trial
    point: Point

    @property
    def number(self) -> int:
        """Its number in the stage."""
        return self.trial.number


class StageStudy:
    """The study of one stage."""

    def __init__(self, study: optuna.Study, stage: Stage, space: Space, database: RDBStorage):
        self.study, self.stage, self.space = study, stage, space
        self._database = database
        self._distributions = {key: _distribution(parameter) for key, parameter in space.items()}
        self._budget = min(stage.trials, stage.sampler.limit(space) or stage.trials)

    def ask(self) -> PendingTrial | None:
        """Return the next trial, or None if none is left to start."""
        trials = self._all()
        waiting = any(t.state == TrialState.WAITING for t in trials)
        if not waiting and _count(trials) >= self._budget:
            return None
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # Optuna warns that only `optimize` sends heartbeats; `beat` does
            trial = self.study.ask(self._distributions)
        self.beat([trial])
        earlier = [t for t in self._all() if t.number < trial.number]
        if RETRY_OF not in trial.user_attrs and _count(earlier) >= self._budget:
            trial.set_user_attr(SURPLUS, True)
            self.study.tell(trial, state=TrialState.FAIL)
            return None
        trial.set_user_attr("host", socket.gethostname())
        return PendingTrial(trial, self.space.decoded(trial.params))

    def is_finished(self) -> bool:
        """Return whether all trials have ended, on all machines."""
        trials = self._all()
        unfinished = (TrialState.WAITING, TrialState.RUNNING)
        return _count(trials) >= self._budget and not any(t.state in unfinished for t in trials)

    def beat(self, trials: Sequence[optuna.Trial]) -> None:
        """Send heartbeats of trials that run on this machine."""
        if self._database.get_heartbeat_interval() is not None:
            for trial in trials:
                self._database.record_heartbeat(trial._trial_id)

    def requeue_lost(self) -> None:
        """Retry the trials of lost machines."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Optuna calls it experimental
            fail_stale_trials(self.study)

    def requeue_running(self) -> None:
        """Retry all trials that are marked as running.

        Call this only if no other process can be running one.
        """
        for trial in [t for t in self._all() if t.state == TrialState.RUNNING]:
            if self.failed(trial.number, {"reason": "killed with its search", LOST: True}):
                requeue(self.study, trial.number, trial.params, trial.user_attrs)

    def prune_requests(self) -> set[int]:
        """Return the numbers of running trials that a user asked to stop."""
        running = self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return {t.number for t in running if PRUNE_REQUEST in t.user_attrs}

    def prune(self, number: int) -> bool:
        """Request that a trial is stopped; return False if it is not running."""
        for trial in self._all():
            if trial.number == number and trial.state == TrialState.RUNNING:
                self._database.set_trial_user_attr(trial._trial_id, PRUNE_REQUEST, True)
                return True
        return False

    def finished(self, number: int, value: float, facts: Mapping[str, Any]) -> bool:
        """Record the value of a trial; return False if it was reassigned meanwhile."""
        return self._record(number, facts, values=value)

    def pruned(self, number: int, facts: Mapping[str, Any]) -> bool:
        """Record that a trial was stopped early; `facts` has the reason."""
        return self._record(number, facts, state=TrialState.PRUNED)

    def failed(self, number: int, facts: Mapping[str, Any]) -> bool:
        """Record that a trial failed; `facts` has the reason."""
        return self._record(number, facts, state=TrialState.FAIL)

    def interrupted(self, pending: PendingTrial, facts: Mapping[str, Any]) -> None:
        """Record that the user interrupted a trial, and queue a retry."""
        if self.failed(pending.number, {**facts, LOST: True}):
            tries = pending.trial.user_attrs.get("tries", 0) - 1  # this one does not count
            attributes = {"tries": tries}
            requeue(self.study, pending.number, pending.trial.params, attributes)

    def result(self) -> StageResult:
        """Return the current state of all trials."""
        rows = [_row(t, self.space) for t in self._all() if SURPLUS not in t.user_attrs]
        return StageResult(self.stage, self.space, rows)

    def _record(
        self,
        number: int,
        facts: Mapping[str, Any],
        *,
        values: float | None = None,
        state: TrialState | None = None,
    ) -> bool:
        trial_id = self._database.get_trial_id_from_study_id_trial_number(
            self.study._study_id, number
        )
        try:
            for key, value in facts.items():
                self._database.set_trial_user_attr(trial_id, key, value)
            self.study.tell(number, values, state)
        except (
            UpdateFinishedTrialError,
            ValueError,
        ):  # its machine was taken for lost
            return False
        return True

    def _all(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False)


def _distribution(parameter: Parameter) -> BaseDistribution:
    if not isinstance(parameter, Range):
        return CategoricalDistribution(parameter.labels)
    if parameter.whole:
        return IntDistribution(int(parameter.low), int(parameter.high), log=parameter.logarithmic)
    return FloatDistribution(parameter.low, parameter.high, log=parameter.logarithmic)


def _count(trials: Sequence[FrozenTrial]) -> int:
    """Return how much of the budget is used: the number of trials without retries."""
    return sum(RETRY_OF not in t.user_attrs and SURPLUS not in t.user_attrs for t in trials)


def requeue(
    study: optuna.Study, number: int, params: Mapping[str, Any], attributes: Mapping[str, Any]
) -> None:
    """Queue the point of a lost trial again, unless it was lost too often."""
    tries = int(attributes.get("tries", 0)) + 1
    if tries <= RETRIES and params:
        study.enqueue_trial(dict(params), user_attrs={RETRY_OF: number, "tries": tries})


def _row(trial: FrozenTrial, space: Space) -> Row:
    attributes = trial.user_attrs
    begin, end = trial.datetime_start, trial.datetime_complete
    seconds = attributes.get("seconds")
    if seconds is None and begin is not None and end is not None:
        seconds = (end - begin).total_seconds()
    state = trial.state.name.lower()
    vanished = state == "fail" and "reason" not in attributes  # no process was left to report
    if vanished or LOST in attributes:
        state = "lost"
    return Row(
        number=trial.number,
        state={"fail": "failed"}.get(state, state),
        point=space.decoded(trial.params),
        value=trial.value if trial.state == TrialState.COMPLETE else None,
        reason="lost with its machine" if vanished else str(attributes.get("reason", "")),
        run=str(attributes.get("run", "")),
        host=str(attributes.get("host", "")),
        seconds=seconds,
        steps=int(attributes.get("steps", 0)),
        reports=dict(trial.intermediate_values),
        retry_of=attributes.get(RETRY_OF),
    )
