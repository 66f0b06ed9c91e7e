"""What `tuilab watch PROGRAM` decided for the runs of the program in this process."""

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

LOG: Final = "worker.log"
FURTHER: Final = "further-runs"
"""A file in `Launch.out`, while the program runs: paths of its runs elsewhere, one a line."""


@dataclass
class Launch:
    """Options of the command, and the folders of the runs that the program has begun."""

    out: Path  # the folder of the first run
    title: str = ""
    logged: bool = False  # whether the output goes to the log in `out`
    folders: list[Path] = field(default_factory=list)

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> "Launch":
        """Return what the command wrote into the environment."""
        return cls(Path(settings["out"]), settings["title"], settings["logged"])

    def next_folder(self) -> Path:
        """Return the folder of a run where the program does not choose one."""
        from tuilab.record.run_folder import free_path  # this module imports next to nothing

        return free_path(self.out) if self.folders else self.out

    def begun(self, folder: Path) -> None:
        """Take note of a run; let its output be found in its folder, and it from `out`.

        Its folder is another than `out` where the program chose it, or for its second run.
        """
        self.folders.append(folder)
        if not self.logged or folder.resolve() == self.out.resolve():
            return
        with suppress(OSError):  # on another disk
            os.link(self.out / LOG, folder / LOG)
        with suppress(OSError), (self.out / FURTHER).open("a", encoding="utf-8") as file:
            file.write(f"{folder.absolute()}\n")


current: Launch | None = None
