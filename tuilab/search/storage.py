"""Optuna's storage of one search, with a study for each of its stages.

The space of a stage is an attribute of its study, written when the study is created, so that all
machines that join it search the same ranges.
"""

import json
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final

import msgspec
import optuna
from optuna.exceptions import DuplicatedStudyError, StorageInternalError
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial
from sqlalchemy.exc import IntegrityError, ProgrammingError, SQLAlchemyError

from tuilab.errors import SearchError
from tuilab.scenario.search.settings import Stage
from tuilab.scenario.search.space import Space, parse_space
from tuilab.search.extras import need
from tuilab.search.stage_study import StageStudy, requeue

STAGE: Final = "tuilab:stage"
SERVER: Final = "postgresql://"
ATTEMPTS: Final = 6  # to create the tables of a database that several machines open at once
PATIENCE: Final = 30.0  # seconds for another machine to write the attributes of its new study

optuna.logging.set_verbosity(optuna.logging.WARNING)


class Storage:
    """The studies of one search."""

    def __init__(self, url: str, name: str, *, heartbeat: int | None = None) -> None:
        """Open the storage at `url`; its studies are called `name`-STAGE. Raises SearchError.

        `heartbeat` is the period in seconds if several machines may search.
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
        """Open or create the study of a stage; `space` is called only for a new one."""
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
        stored = parse_space(self._about(study)["space"], "space")
        trials = len(study.get_trials(deepcopy=False))
        study.sampler = stage.sampler.build(stored, seed * 1000 + index, trials)
        study.pruner = stage.pruner.build()
        return StageStudy(study, stage, stored, self._database)

    def stages(self, stages: Sequence[Stage]) -> list[StageStudy]:
        """Return the studies of started stages, in order; `stages` are those of the file."""
        studies = []
        prefix = f"{self._name}-"
        names = optuna.get_all_study_names(storage=self._storage)
        for name in [other for other in names if other.startswith(prefix)]:
            study = optuna.load_study(storage=self._storage, study_name=name)
            about = self._about(study)
            stage = stage_called(stages, str(about["name"]))
            space = parse_space(about["space"], "space")
            studies.append((about["index"], StageStudy(study, stage, space, self._database)))
        return [study for _, study in sorted(studies, key=lambda pair: pair[0])]

    def _about(self, study: optuna.Study) -> dict[str, Any]:
        deadline = time.monotonic() + PATIENCE
        while STAGE not in study.user_attrs:
            if time.monotonic() > deadline:
                raise SearchError(
                    f"the study '{study.study_name}' at {_without_password(self.url)} does not "
                    "belong to tuilab, or the machine that created it was lost; delete it: "
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
    """Open a database, and create its tables if they are missing."""
    for attempt in reversed(range(ATTEMPTS)):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Optuna marks heartbeats as experimental
                return RDBStorage(
                    url.replace(SERVER, "postgresql+psycopg://", 1),
                    heartbeat_interval=heartbeat,
                    grace_period=3 * heartbeat if heartbeat else None,
                    heartbeat_stale_trial_callback=_stale,
                    engine_kwargs=_engine(url),
                )
        except (IntegrityError, ProgrammingError):  # another machine is creating the same tables
            if not attempt:
                raise
            time.sleep(0.5)
    raise AssertionError("the last attempt returns or raises")


@contextmanager
def storage_errors(url: str) -> Iterator[None]:
    """Raise SearchError if the storage at `url` fails, such as a server that is gone."""
    try:
        yield
    except (SQLAlchemyError, StorageInternalError) as error:
        reason = str(error.__cause__ or error).splitlines()[0]
        raise SearchError(
            f"the study at {_without_password(url)} is no longer reachable ({reason}); "
            "run the same command again to continue"
        ) from None


def stage_called(stages: Sequence[Stage], name: str) -> Stage:
    """Return the stage of the file for a study; an extension equals the stage that it extends."""
    plain = name.rstrip("+")
    for stage in stages:
        if stage.name == plain:
            return msgspec.structs.replace(stage, name=name)
    raise SearchError(f"the study has a stage '{plain}' that is missing in the scenario")


def _engine(url: str) -> dict[str, Any]:
    # Several processes write a file, so wait for its lock; a server may have closed connections.
    if url.startswith("sqlite"):
        return {"connect_args": {"timeout": 60}}
    return {"pool_pre_ping": True}


def _without_password(url: str) -> str:
    scheme, mark, rest = url.partition("://")
    host = rest.rpartition("@")[2]
    return f"{scheme}{mark}{host}"


def _stale(study: optuna.Study, trial: FrozenTrial) -> None:
    requeue(study, trial.number, trial.params, trial.user_attrs)
