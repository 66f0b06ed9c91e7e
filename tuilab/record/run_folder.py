"""Run folders: where they are, what they contain, which of them are alive.

runs/<time>-<scenario>/    (of a comparison: a folder in it for each variant, and comparison.toml)
    run.db          everything that is known of the run (see `tuilab.record`)
    scenario.toml   the scenario as resolved, so that the run can be repeated; a run of another
                    source has none
    preprocess.npz  the statistics of the training split that inputs were preprocessed with
    checkpoints/    a few states of the training, to resume from
    worker.log      what the training process printed, or a program under `tuilab watch`
    worker.lock     locked by the training process for as long as it lives
    control.sock    where commands go while it lives
"""

import fcntl
import re
import time
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import IO

from engine.states import RunState
from tuilab.errors import RunError
from tuilab.record.output_log import tail
from tuilab.record.reader import RunReader
from tuilab.record.run_info import RunInfo

DEFAULT_ROOT = Path("runs")
ATTEMPTS = 10  # to take a run's lock


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The paths of one run."""

    path: Path

    @property
    def database(self) -> Path:
        return self.path / "run.db"

    @property
    def scenario(self) -> Path:
        return self.path / "scenario.toml"

    @property
    def preprocess(self) -> Path:
        return self.path / "preprocess.npz"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def log(self) -> Path:
        return self.path / "worker.log"

    @property
    def lock(self) -> Path:
        return self.path / "worker.lock"

    @property
    def name(self) -> str:
        return self.path.resolve().name

    def is_alive(self) -> bool:
        """Return whether a training process holds this run: the kernel drops the lock with it."""
        return is_locked(self.lock)

    def state(self, info: RunInfo) -> RunState:
        """Return the state of the run: KILLED if its process is gone without having ended it."""
        return info.state if info.ended or self.is_alive() else RunState.KILLED

    def log_tail(self, lines: int = 12) -> str:
        """Return the end of the log, for a message: safe to show, without empty lines."""
        return "\n".join(tail(self.log, lines))


def create(path: Path) -> RunFolder:
    """Create the run folder `path`; raise RunError where it holds a run or cannot be written."""
    folder = RunFolder(path)
    if _never_began(folder):  # its input was refused: the corrected one may have the same folder
        for file in (folder.scenario, folder.preprocess, folder.log, *path.glob("run.db*")):
            file.unlink(missing_ok=True)
    refuse_taken(folder)
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise RunError(
            f"cannot write the run folder {path}: {error.strerror}; choose another with --out"
        ) from error
    return folder


def refuse_taken(folder: RunFolder) -> None:
    """Raise RunError where a folder holds a run that began."""
    if (folder.database.exists() or folder.scenario.exists()) and not _never_began(folder):
        raise RunError(
            f"{folder.path} already holds a run; choose another folder with --out, or remove it"
        )


def _never_began(folder: RunFolder) -> bool:
    try:
        with RunReader(folder.database) as reader:
            info = reader.info()
    except RunError:
        return False
    return info.state is RunState.FAILED and info.step == 0 and not folder.is_alive()


def default_path(scenario: str, root: Path = DEFAULT_ROOT) -> Path:
    """Return a free folder name `root/<time>-<scenario>`."""
    return free_path(root / f"{time.strftime('%Y%m%d-%H%M%S')}-{slug(scenario)}")


def free_path(first: Path) -> Path:
    """Return `first`, or the first of `first-2`, `first-3` … that does not exist."""
    base = re.sub(r"-(\d{1,3})$", "", first.name) if first.exists() else first.name
    path, number = first, 2
    while path.exists():
        path, number = first.with_name(f"{base}-{number}"), number + 1
    return path


def slug(text: str) -> str:
    """Return `text` as a file name of letters, digits, dot, dash and underscore."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.") or "run"


def find_all(root: Path = DEFAULT_ROOT) -> list[RunFolder]:
    """Return the runs under `root`, oldest first; those of comparisons are one folder deeper."""
    databases = [*root.glob("*/run.db"), *root.glob("*/*/run.db")] if root.is_dir() else ()
    return [RunFolder(db.parent) for db in sorted(databases, key=_created)]


def find_group(name: str, root: Path = DEFAULT_ROOT) -> list[RunFolder]:
    """Return the runs of a comparison by its folder or its name; of anything else, the one run."""
    for folder in (Path(name), root / name):
        databases = sorted(folder.glob("*/run.db"), key=_created)
        runs = [RunFolder(db.parent) for db in databases if _is_variant(db)]
        if runs and not (folder / "run.db").is_file():
            return runs
    return [find(name, root)]


def _is_variant(database: Path) -> bool:
    try:
        with RunReader(database) as reader:
            return bool(reader.info().variant)
    except RunError:
        return False


def label(folder: RunFolder, root: Path) -> str:
    """Return the name of a run under `root`: "20300102-he_relu", "20300102-rates/low"."""
    return folder.path.relative_to(root).as_posix()


def _created(database: Path) -> tuple[float, str]:
    """Return a key by which runs are ordered: when they began, then their names."""
    scenario = database.with_name("scenario.toml")
    try:
        return scenario.stat().st_mtime, database.parent.name
    except OSError:  # not trained from a scenario file
        return _recorded_beginning(database), database.parent.name


def _recorded_beginning(database: Path) -> float:
    try:
        with RunReader(database) as reader:
            return reader.info().created
    except RunError:
        return 0.0


def find(name: str | None, root: Path = DEFAULT_ROOT) -> RunFolder:
    """Return a run by its folder, by its name or a unique part of it; None means the newest.

    Raises RunError, with the names that may have been meant.
    """
    if name is not None and (Path(name) / "run.db").is_file():
        return RunFolder(Path(name))
    runs = find_all(root)
    if name is not None:
        runs = _matching(name, runs, root)
    if not runs:
        raise RunError(_not_found(name or "", root))
    return runs[-1]


def _matching(name: str, runs: list[RunFolder], root: Path) -> list[RunFolder]:
    """Return the run called `name`, or the one whose name contains it. Raises RunError."""
    labels = {label(run, root): run for run in runs}
    if name in labels:
        return [labels[name]]
    matching = [run for text, run in labels.items() if name in text]
    if len(matching) > 1:
        newest = ", ".join(label(run, root) for run in matching[-5:])
        raise RunError(f"'{name}' names {len(matching)} runs: {newest}; give more of the name")
    return matching


def _not_found(name: str, root: Path) -> str:
    """Return the message for a run that does not exist."""
    inside = sorted(db.parent for db in Path(name).glob("*/run.db")) if name else []
    if variants := [str(path) for path in inside if _is_variant(path / "run.db")]:
        return f"{name} holds several runs: {', '.join(variants)}; name one of them"
    what = f"no run '{name}'" if name else "no runs"
    labels = [label(run, root) for run in find_all(root)]
    near = get_close_matches(name, labels, n=1, cutoff=0.5)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    return f"{what} under {root}/{hint} (tuilab list shows them; a path works too)"


def hold_lock(folder: RunFolder) -> IO[bytes]:
    """Take the run's lock for the life of this process; keep the returned file referenced."""
    file = take_lock(folder.lock)
    if file is None:
        raise RunError(f"{folder.path} is being trained by another process")
    return file


def take_lock(path: Path) -> IO[bytes] | None:
    """Lock a file until the returned one is closed; None if another process holds the lock."""
    file = path.open("ab")
    for _ in range(ATTEMPTS):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return file
        except BlockingIOError:  # by its holder, or for a moment by a call of `is_locked`
            time.sleep(0.02)
    file.close()
    return None


def is_locked(path: Path) -> bool:
    """Return whether a process holds the lock of a file."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # there is none, or we may not open it
        return False
    return False
