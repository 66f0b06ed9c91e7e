"""The folder of a search.

scenario.toml         the scenario with its [search] section and all overrides
search.json           StudyInfo, for `search show`, --resume and the view; readable by its owner
                      only, because the storage URL may contain a password
study.db              the study, unless it is on a server
search.log            output of a search in the background
trials/STAGE-NUMBER/  the run folder of a trial
"""

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

import msgspec

from tuilab.errors import RunError, ScenarioError, SearchError
from tuilab.record.run_folder import DEFAULT_ROOT, free_path, is_locked, slug, take_lock
from tuilab.scenario.loading import load
from tuilab.scenario.scenario import Scenario
from tuilab.scenario.search.settings import Search

SUFFIX: Final = "-search"


class StudyInfo(msgspec.Struct, frozen=True, kw_only=True):
    """The content of search.json."""

    scenario: str  # name of the file
    study: str  # prefix of the names of its studies, one per stage
    storage: str  # Optuna's URL; "" means study.db
    origin: str = ""  # path of the scenario file as the user gave it
    data_dir: str = ""
    backend: str = "auto"
    pid: int = 0  # of the process that searches, or searched last
    created: float = 0.0
    trials: int | None = None  # --trials: per stage, instead of the scenario's
    ranges: tuple[str, ...] = ()  # --range
    extend: bool = False  # --extend


@dataclass(frozen=True, slots=True)
class StudyFolder:
    """The paths and the lock of one search."""

    path: Path

    @property
    def scenario(self) -> Path:
        return self.path / "scenario.toml"

    @property
    def info_file(self) -> Path:
        return self.path / "search.json"

    @property
    def database(self) -> Path:
        return self.path / "study.db"

    @property
    def log(self) -> Path:
        return self.path / "search.log"

    @property
    def lock(self) -> Path:
        return self.path / "search.lock"

    @property
    def trials(self) -> Path:
        return self.path / "trials"

    def run(self, stage: str, number: int) -> Path:
        """Return the run folder of a trial."""
        return self.trials / f"{stage}-{number:04d}"

    def info(self) -> StudyInfo:
        """Return search.json. Raises SearchError."""
        try:
            return msgspec.json.decode(self.info_file.read_bytes(), type=StudyInfo)
        except (OSError, msgspec.MsgspecError) as error:
            raise SearchError(f"{self.path} is not the folder of a search: {error}") from None

    def write(self, info: StudyInfo) -> None:
        """Write search.json with mode 0600. Raises RunError."""
        scratch = self.info_file.with_name(f".{self.info_file.name}.{os.getpid()}")
        try:
            with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
                file.write(msgspec.json.encode(info))
            scratch.replace(self.info_file)
        except OSError as error:
            raise RunError(f"cannot write {self.info_file}: {error.strerror}") from error

    def remove(self) -> None:
        """Remove the files of a search that never began; other files are kept."""
        for file in (self.scenario, self.info_file, self.database, self.lock):
            with suppress(OSError):
                file.unlink()
        for folder in (self.trials, self.path):
            with suppress(OSError):
                folder.rmdir()

    def storage_url(self) -> str:
        """Return the URL of the study for Optuna. Raises SearchError."""
        return self.info().storage or f"sqlite:///{self.database.resolve()}"

    def hold(self) -> IO[bytes]:
        """Lock the folder until the returned file is closed. Raises SearchError."""
        file = take_lock(self.lock)
        if file is None:
            raise SearchError(f"{self.path} is being searched by another process")
        return file

    def is_alive(self) -> bool:
        """Return whether a process is searching in this folder."""
        return is_locked(self.lock)


def create(path: Path, info: StudyInfo, scenario: str) -> StudyFolder:
    """Create the folder of a new search. Raises SearchError if it is not empty."""
    folder = StudyFolder(path)
    if path.exists() and any(path.iterdir() if path.is_dir() else [path]):
        raise SearchError(f"{path} already exists; resume its search with --resume, or choose "
                          "another folder with --out")  # fmt: skip
    try:
        folder.trials.mkdir(parents=True)
        folder.scenario.write_text(scenario, encoding="utf-8")
    except OSError as error:
        raise SearchError(
            f"cannot write {path}: {error.strerror}; choose another folder with --out"
        ) from None
    folder.write(info)
    return folder


def default_path(scenario: str, root: Path = DEFAULT_ROOT) -> Path:
    """Return a free folder name `root/<time>-<scenario>-search`."""
    return free_path(root / f"{time.strftime('%Y%m%d-%H%M%S')}-{slug(scenario)}{SUFFIX}")


def find_all(root: Path = DEFAULT_ROOT) -> list[StudyFolder]:
    """Return the searches under `root`, oldest first."""
    folders = [StudyFolder(path.parent) for path in root.glob("*/search.json")]
    return sorted(folders, key=lambda folder: folder.info().created)


def find(name: str | None, root: Path = DEFAULT_ROOT) -> StudyFolder:
    """Return a search by its folder, its name or a unique part of it; the newest for None."""
    if name is not None and (Path(name) / "search.json").is_file():
        return StudyFolder(Path(name))
    matching = [folder for folder in find_all(root) if name is None or name in folder.path.name]
    matching = [folder for folder in matching if folder.path.name == name] or matching
    if name is not None and len(matching) > 1:
        names = ", ".join(folder.path.name for folder in matching[-5:])
        raise SearchError(f"'{name}' matches {len(matching)} searches: {names}; be more specific")
    if not matching:
        what = f"no search '{name}'" if name else "no searches"
        raise SearchError(f"{what} under {root}/ (you can also give the path of its folder)")
    return matching[-1]


def search_settings(scenario: Scenario) -> Search:
    """Return the [search] section of a scenario. Raises ScenarioError if it has none."""
    if scenario.search is None:
        raise ScenarioError(
            f"{scenario.origin or scenario.name} has no [search]; name the keys to search:\n"
            "[search.space]\n"
            '"optimizer.learning_rate" = { log = [1e-5, 1e-1] }'
        )
    return scenario.search


def scenario_of(folder: StudyFolder) -> Scenario:
    """Return the scenario of a search. Raises ScenarioError, SearchError."""
    info = folder.info()
    scenario = load(folder.scenario)
    search_settings(scenario)
    return msgspec.structs.replace(scenario, name=info.scenario, origin=info.origin)
