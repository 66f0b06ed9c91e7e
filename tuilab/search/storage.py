"""Optuna's storage behind one search: a study a stage, and each trial told once.

What a stage searches is an attribute of its study, written by whoever makes it: all machines that
join it search the same ranges. A retry takes the place of a trial that was lost: its number is
new, its point the same, and it does not count against the budget.
"""

import json
import socket
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.exceptions import DuplicatedStudyError, StorageInternalError, UpdateFinishedTrialError
from optuna.storages import RDBStorage, fail_stale_trials
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import IntegrityError, ProgrammingError, SQLAlchemyError

from tuilab.errors import SearchError
from tuilab.search.drawing import RETRY_OF
from tuilab.search.extras import need
from tuilab.search.results import Row, StageResult
from tuilab.search.settings import Stage
from tuilab.search.space import Parameter, Point, Range, Space, parse_space

STAGE: Final = "tuilab:stage"
LOST: Final = "tuilab:lost"  # cut short through no fault of its own; its point is tried again
SURPLUS: Final = "tuilab:surplus"  # two machines asked for the last one at once
ASKED_TO_PRUNE: Final = "tuilab:prune"
FACTS: Final = ("reason", "run", "host", "seconds", "steps", "reached")
"""What is kept of a trial beside Optuna's own: reasons, places, costs."""
SERVER: Final = "postgresql://"
ATTEMPTS: Final = 6  # at making the tables of a database that several machines open at once
RETRIES: Final = 2  # of one trial; a point that kills its machine must not kill them all
PATIENCE: Final = 30.0  # seconds that another machine may take to describe a study it has made

optuna.logging.set_verbosity(optuna.logging.WARNING)


@dataclass(frozen=True, slots=True)
class Asked:
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

    def ask(self) -> Asked | None:
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
        return Asked(trial, self.space.decoded(trial.params))

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

    def forget_running(self) -> list[str]:
        """Give every trial that is marked as running another try; return their run folders.

        Only where nobody else can be running one.
        """
        left = [t for t in self._all() if t.state == TrialState.RUNNING]
        for trial in left:
            self.lost(trial.number, trial.params, trial.user_attrs, "killed with its search")
        return [str(t.user_attrs["run"]) for t in left if "run" in t.user_attrs]

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

    def lost(
        self, number: int, params: Mapping[str, Any], attributes: Mapping[str, Any], reason: str
    ) -> None:
        """Tell that a trial was cut short through no fault of its own, and give it another try."""
        if self.failed(number, {"reason": reason, LOST: True}):
            _try_again(self.study, number, params, attributes)

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


class Storage:
    """The studies of one search."""

    def __init__(self, url: str, name: str, *, heartbeat: int | None = None) -> None:
        """Open the storage at `url`; `heartbeat` in seconds where several may search. SearchError.

        The studies are called `name`-STAGE.
        """
        self.url, self._name = url, name
        if url.startswith(SERVER):
            need("psycopg")
        try:
            self._database = _opened(url, heartbeat)
        except (SQLAlchemyError, StorageInternalError, ImportError, ValueError) as error:
            reason = str(error).splitlines()[0]
            where = _without_password(url)
            raise SearchError(f"cannot open the study at {where}: {reason}") from None
        self._storage = optuna.storages.get_storage(self._database)  # with a cache

    def open(self, index: int, stage: Stage, space: Callable[[], Space], *, maximize: bool,
             seed: int) -> StageStudy:  # fmt: skip
        """Open the study of a stage, or make it; `space` is only asked for a new one."""
        name = f"{self._name}-{stage.name}"
        try:
            study = optuna.create_study(
                storage=self._storage,
                study_name=name,
                direction="maximize" if maximize else "minimize",
            )
            about = {"index": index, "name": stage.name, "space": space().table}
            study.set_user_attr(STAGE, json.dumps(about))
        except DuplicatedStudyError:
            study = optuna.load_study(storage=self._storage, study_name=name)
        found = parse_space(self._about(study)["space"], "space")
        told = len(study.get_trials(deepcopy=False))
        study.sampler = stage.sampler.build(found, seed * 1000 + index, told)
        study.pruner = stage.pruner.build()
        return StageStudy(study, stage, found, self._database)

    def stages(self, stages: Sequence[Stage]) -> list[StageStudy]:
        """Return the stages that have been begun, in order; `stages` are those of the file."""
        found = []
        prefix = f"{self._name}-"
        names = optuna.get_all_study_names(storage=self._storage)
        for name in [each for each in names if each.startswith(prefix)]:
            study = optuna.load_study(storage=self._storage, study_name=name)
            about = self._about(study)
            stage = stage_called(stages, str(about["name"]))
            space = parse_space(about["space"], "space")
            found.append((about["index"], StageStudy(study, stage, space, self._database)))
        return [study for _, study in sorted(found, key=lambda pair: pair[0])]

    def _about(self, study: optuna.Study) -> dict[str, Any]:
        deadline = time.monotonic() + PATIENCE
        while STAGE not in study.user_attrs:
            if time.monotonic() > deadline:
                raise SearchError(
                    f"the study '{study.study_name}' at {_without_password(self.url)} is not one "
                    "of tuilab, or the machine that made it was lost at once; delete it: "
                    f"optuna delete-study --study-name {study.study_name} --storage …"
                )
            time.sleep(0.2)
        about: dict[str, Any] = json.loads(study.user_attrs[STAGE])
        return about

    def close(self) -> None:
        """Close the connections."""
        with suppress(SQLAlchemyError):
            self._database.remove_session()
            self._database.engine.dispose()


def _opened(url: str, heartbeat: int | None) -> RDBStorage:
    """Open a database, and make its tables where there are none."""
    for attempt in reversed(range(ATTEMPTS)):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Optuna calls heartbeats experimental
                return RDBStorage(
                    url.replace(SERVER, "postgresql+psycopg://", 1),
                    heartbeat_interval=heartbeat,
                    grace_period=3 * heartbeat if heartbeat else None,
                    heartbeat_stale_trial_callback=_stale,
                    engine_kwargs=_engine(url),
                )
        except (IntegrityError, ProgrammingError):  # another machine makes the same tables just now
            if not attempt:
                raise
            time.sleep(0.5)
    raise AssertionError("the last attempt returns or raises")


@contextmanager
def told_as_ours(url: str) -> Iterator[None]:
    """Raise SearchError where the storage at `url` fails, such as a server that went away."""
    try:
        yield
    except (SQLAlchemyError, StorageInternalError) as error:
        reason = str(error.__cause__ or error).splitlines()[0]
        raise SearchError(
            f"the study at {_without_password(url)} cannot be reached any more ({reason}); "
            "the same command goes on with it"
        ) from None


def stage_called(stages: Sequence[Stage], name: str) -> Stage:
    """Return the stage of a file that a study is of; an extension is like the stage it extends."""
    plain = name.rstrip("+")
    for stage in stages:
        if stage.name == plain:
            return msgspec.structs.replace(stage, name=name)
    raise SearchError(f"the scenario has no stage '{plain}', but the study has")


def _engine(url: str) -> dict[str, Any]:
    # A file that several processes write waits for its lock; a server's connections may have died.
    if url.startswith("sqlite"):
        return {"connect_args": {"timeout": 60}}
    return {"pool_pre_ping": True}


def _without_password(url: str) -> str:
    scheme, mark, rest = url.partition("://")
    host = rest.rpartition("@")[2]
    return f"{scheme}{mark}{host}"


def _distribution(parameter: Parameter) -> BaseDistribution:
    if not isinstance(parameter, Range):
        return CategoricalDistribution(parameter.labels)
    if parameter.whole:
        return IntDistribution(int(parameter.low), int(parameter.high), log=parameter.logarithmic)
    return FloatDistribution(parameter.low, parameter.high, log=parameter.logarithmic)


def _count(trials: Sequence[FrozenTrial]) -> int:
    """Return how much of the budget is used: trials that are not in the place of others."""
    return sum(RETRY_OF not in t.user_attrs and SURPLUS not in t.user_attrs for t in trials)


def _stale(study: optuna.Study, trial: FrozenTrial) -> None:
    _try_again(study, trial.number, trial.params, trial.user_attrs)


def _try_again(
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
