"""The folder of a search: what is searched, where its study is, and the runs of its trials.

scenario.toml         as resolved, with its [search]
search.json           StudyInfo, for `search show`, --resume and the view; owner-only, for a
                      storage may be named with its password
study.db              the study, unless it is on a server
search.log            what a search without a terminal of its own says
trials/STAGE-NUMBER/  a run folder a trial
"""

import fcntl
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

import msgspec

from tuilab.errors import RunError, SearchError
from tuilab.record.run_folder import DEFAULT_ROOT, free_path, slug

SUFFIX: Final = "-search"


class StudyInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What a search folder says of itself."""

    scenario: str  # name of the file
    study: str  # what the names of its studies, one a stage, begin with
    storage: str  # Optuna's URL; "" is study.db
    origin: str = ""  # the scenario file, as it was named
    data_dir: str = ""
    backend: str = "auto"
    pid: int = 0  # of the process that searches, or has searched
    created: float = 0.0
    trials: int | None = None  # of each stage, instead of the scenario's: --trials
    ranges: tuple[str, ...] = ()  # --range
    extend: bool = False  # --extend


@dataclass(frozen=True, slots=True)
class StudyFolder:
    """The paths of one search."""

    path: Path

    @property
    def scenario(self) -> Path:
        return self.path / "scenario.toml"

    @property
    def about(self) -> Path:
        return self.path / "search.json"

    @property
    def database(self) -> Path:
        return self.path / "study.db"

    @property
    def log(self) -> Path:
        return self.path / "search.log"

    @property
    def trials(self) -> Path:
        return self.path / "trials"

    def run(self, stage: str, number: int) -> Path:
        """Return the run folder of a trial."""
        return self.trials / f"{stage}-{number:04d}"

    def info(self) -> StudyInfo:
        """Return what it says of itself. Raises SearchError."""
        try:
            return msgspec.json.decode(self.about.read_bytes(), type=StudyInfo)
        except (OSError, msgspec.MsgspecError) as error:
            raise SearchError(f"{self.path} holds no search: {error}") from None

    def write(self, info: StudyInfo) -> None:
        """Write search.json, readable by its owner only. Raises RunError."""
        scratch = self.about.with_name(f".{self.about.name}.{os.getpid()}")
        try:
            with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
                file.write(msgspec.json.encode(info))
            scratch.replace(self.about)
        except OSError as error:
            raise RunError(f"cannot write {self.about}: {error.strerror}") from error

    def remove(self) -> None:
        """Remove the folder of a search that has never begun; whatever else is there stays."""
        for each in (self.scenario, self.about, self.database, self.path / "search.lock"):
            with suppress(OSError):
                each.unlink()
        for each in (self.trials, self.path):
            with suppress(OSError):
                each.rmdir()

    def storage_url(self) -> str:
        """Return where Optuna finds the study. Raises SearchError."""
        return self.info().storage or f"sqlite:///{self.database.resolve()}"

    def hold(self) -> IO[bytes]:
        """Take the folder for the life of this process. Raises SearchError."""
        file = (self.path / "search.lock").open("ab")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            raise SearchError(f"{self.path} is being searched by another process") from None
        return file

    def is_alive(self) -> bool:
        """Tell whether a process searches in this folder now."""
        try:
            with (self.path / "search.lock").open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:  # there is none
            return False
        return False


def create(path: Path, info: StudyInfo, scenario: str) -> StudyFolder:
    """Make the folder of a new search. Raises SearchError where it holds something."""
    folder = StudyFolder(path)
    if path.exists() and any(path.iterdir() if path.is_dir() else [path]):
        raise SearchError(f"{path} is there already; go on with its search with --resume, or "
                          "choose another folder with --out")  # fmt: skip
    try:
        folder.trials.mkdir(parents=True)
        folder.scenario.write_text(scenario, encoding="utf-8")
    except OSError as error:
        raise SearchError(
            f"cannot write {path}: {error.strerror}; choose another with --out"
        ) from None
    folder.write(info)
    return folder


def default_path(scenario: str, root: Path = DEFAULT_ROOT) -> Path:
    """Return a free folder name `root/<time>-<scenario>-search`."""
    return free_path(root / f"{time.strftime('%Y%m%d-%H%M%S')}-{slug(scenario)}{SUFFIX}")


def find_all(root: Path = DEFAULT_ROOT) -> list[StudyFolder]:
    """Return the searches under `root`, oldest first."""
    found = [StudyFolder(path.parent) for path in root.glob("*/search.json")]
    return sorted(found, key=lambda folder: folder.info().created)


def find(name: str | None, root: Path = DEFAULT_ROOT) -> StudyFolder:
    """Find a search by its folder, its name or a unique part of it; None is the newest."""
    if name is not None and (Path(name) / "search.json").is_file():
        return StudyFolder(Path(name))
    found = [folder for folder in find_all(root) if name is None or name in folder.path.name]
    found = [folder for folder in found if folder.path.name == name] or found
    if name is not None and len(found) > 1:
        names = ", ".join(folder.path.name for folder in found[-5:])
        raise SearchError(f"'{name}' names {len(found)} searches: {names}; give more of the name")
    if not found:
        what = f"no search '{name}'" if name else "no searches"
        raise SearchError(f"{what} under {root}/ (the path of its folder works too)")
    return found[-1]
