"""One stage's study: it is asked for points, and told once what became of each.

A retry takes the place of a trial that was lost: its number is new, its point the same, and it does
not count against the budget.
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

LOST: Final = "tuilab:lost"  # cut short through no fault of its own; its point is tried again
SURPLUS: Final = "tuilab:surplus"  # two machines asked for the last one at once
ASKED_TO_PRUNE: Final = "tuilab:prune"
RETRIES: Final = 2  # of one trial; a point that kills its machine must not kill them all


@dataclass(frozen=True, slots=True)
class PendingTrial:
    """A trial to be run here."""

    trial: optuna.Trial
    point: Point

    @property
    def number(self) -> int:
        """Its number in its stage."""
        return self.trial.number


class StageStudy:
    """One stage's study: asks for points, and is told what became of them."""

    def __init__(self, study: optuna.Study, stage: Stage, space: Space, database: RDBStorage):
        self.study, self.stage, self.space = study, stage, space
        self._database = database
        self._distributions = {key: _distribution(each) for key, each in space.items()}
        self._budget = min(stage.trials, stage.sampler.limit(space) or stage.trials)

    def ask(self) -> PendingTrial | None:
        """Return the next trial; None where none is left to begin."""
        trials = self._all()
        waiting = any(t.state == TrialState.WAITING for t in trials)
        if not waiting and _count(trials) >= self._budget:
            return None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Optuna: heartbeats are for `optimize`; ours beat
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
        """Tell whether every trial has come to its end, on whichever machine."""
        trials = self._all()
        open_ = (TrialState.WAITING, TrialState.RUNNING)
        return _count(trials) >= self._budget and not any(t.state in open_ for t in trials)

    def beat(self, trials: Sequence[optuna.Trial]) -> None:
        """Give a sign of life for trials that run here."""
        if self._database.get_heartbeat_interval() is not None:
            for trial in trials:
                self._database.record_heartbeat(trial._trial_id)

    def take_up_lost(self) -> None:
        """Give trials of machines that were lost another try."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Optuna calls it experimental
            fail_stale_trials(self.study)

    def forget_running(self) -> None:
        """Give every trial that is marked as running another try.

        Only where nobody else can be running one.
        """
        for trial in [t for t in self._all() if t.state == TrialState.RUNNING]:
            if self.failed(trial.number, {"reason": "killed with its search", LOST: True}):
                try_again(self.study, trial.number, trial.params, trial.user_attrs)

    def asked_to_prune(self) -> set[int]:
        """Return the numbers of running trials that somebody wants to be given up."""
        running = self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return {t.number for t in running if ASKED_TO_PRUNE in t.user_attrs}

    def prune(self, number: int) -> bool:
        """Ask whoever runs a trial to give it up; False where it does not run."""
        for trial in self._all():
            if trial.number == number and trial.state == TrialState.RUNNING:
                self._database.set_trial_user_attr(trial._trial_id, ASKED_TO_PRUNE, True)
                return True
        return False

    def finished(self, number: int, value: float, facts: Mapping[str, Any]) -> bool:
        """Tell the value of a trial; False where it was given to another meanwhile."""
        return self._told(number, facts, values=value)

    def pruned(self, number: int, facts: Mapping[str, Any]) -> bool:
        """Tell that a trial was given up; `facts` has the reason."""
        return self._told(number, facts, state=TrialState.PRUNED)

    def failed(self, number: int, facts: Mapping[str, Any]) -> bool:
        """Tell that a trial broke; `facts` has the reason."""
        return self._told(number, facts, state=TrialState.FAIL)

    def interrupted(self, asked: PendingTrial, facts: Mapping[str, Any]) -> None:
        """Tell that a trial was cut short by the user, and give it another try."""
        if self.failed(asked.number, {**facts, LOST: True}):
            tries = asked.trial.user_attrs.get("tries", 0) - 1  # this one does not count
            attributes = {"tries": tries}
            try_again(self.study, asked.number, asked.trial.params, attributes)

    def result(self) -> StageResult:
        """Return all trials as they stand."""
        rows = [_row(t, self.space) for t in self._all() if SURPLUS not in t.user_attrs]
        return StageResult(self.stage, self.space, rows)

    def _told(self, number: int, facts: Mapping[str, Any], **what: Any) -> bool:
        trial_id = self._database.get_trial_id_from_study_id_trial_number(
            self.study._study_id, number
        )
        try:
            for key, value in facts.items():
                self._database.set_trial_user_attr(trial_id, key, value)
            self.study.tell(number, **what)
        except (UpdateFinishedTrialError, ValueError):  # a machine thought lost has come back
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
    """Return how much of the budget is used: trials that are not in the place of others."""
    return sum(RETRY_OF not in t.user_attrs and SURPLUS not in t.user_attrs for t in trials)


def try_again(
    study: optuna.Study, number: int, params: Mapping[str, Any], attributes: Mapping[str, Any]
) -> None:
    """Put a lost trial's point back, unless it has been lost too often."""
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
    silent = state == "fail" and "reason" not in attributes  # nobody was left to say why
    if silent or LOST in attributes:
        state = "lost"
    return Row(
        number=trial.number,
        state={"fail": "failed"}.get(state, state),
        point=space.decoded(trial.params),
        value=trial.value if trial.state == TrialState.COMPLETE else None,
        reason="lost with its machine" if silent else str(attributes.get("reason", "")),
        run=str(attributes.get("run", "")),
        host=str(attributes.get("host", "")),
        seconds=seconds,
        steps=int(attributes.get("steps", 0)),
        reports=dict(trial.intermediate_values),
        retry_of=attributes.get(RETRY_OF),
    )
