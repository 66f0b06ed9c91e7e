"""Optuna's storage behind one search, which has a study for each of its stages.

What a stage searches is an attribute of its study, written by whoever makes it: all machines that
join it search the same ranges.
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
from tuilab.search.stage_study import StageStudy, try_again

STAGE: Final = "tuilab:stage"
SERVER: Final = "postgresql://"
ATTEMPTS: Final = 6  # at making the tables of a database that several machines open at once
PATIENCE: Final = 30.0  # seconds that another machine may take to describe a study it has made

optuna.logging.set_verbosity(optuna.logging.WARNING)


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


def _stale(study: optuna.Study, trial: FrozenTrial) -> None:
    try_again(study, trial.number, trial.params, trial.user_attrs)
