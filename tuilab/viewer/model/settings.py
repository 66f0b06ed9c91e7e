"""What the view remembers from one time to the next: a JSON file in the user's own folder.

To remember one thing more, give `Settings` a field with its default; `app.settings.FIELD` is what
was chosen last, and `app.remember(FIELD=value)` keeps another choice. Nothing that happens to the
file stops a view: it then begins with the defaults, and says so.
"""

import os
import tempfile
from pathlib import Path
from typing import Final

import msgspec
from platformdirs import user_config_path

from tuilab.charts.glyphs import Glyphs

VARIABLE: Final = "TUILAB_CONFIG"  # names another file


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The choices; their defaults are those of the first time."""

    theme: str = "dark"
    glyphs: Glyphs | None = None  # None: as the terminal can show
    beside: bool = True  # the curves of other runs are drawn too


def settings_path() -> Path:
    """Return where the choices are kept."""
    named = os.environ.get(VARIABLE)
    return Path(named) if named else user_config_path("tuilab", appauthor=False) / "settings.json"


class Memory:
    """Settings and their file."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = (path or settings_path()).resolve()  # a link stays one
        self.problem = ""  # what went wrong last, for the user
        self.settings = self._load()

    def _load(self) -> Settings:
        try:
            return msgspec.convert(self._read(), Settings)
        except (OSError, ValueError) as error:
            self.problem = f"{self.path} cannot be used, so everything is as at first: {error}"
            return Settings()

    def _read(self) -> dict[str, object]:
        """Return what the file holds, also what another version of tuilab put there."""
        try:
            return msgspec.json.decode(self.path.read_bytes(), type=dict[str, object])
        except FileNotFoundError:
            return {}

    def remember(self, **chosen: object) -> None:
        """Keep these choices, and what other views have written meanwhile about the rest."""
        self.problem = ""
        self.settings = msgspec.structs.replace(self.settings, **chosen)
        try:
            try:
                kept = self._read()
                msgspec.convert(kept, Settings)
            except ValueError:  # damaged: it is written anew
                kept = msgspec.to_builtins(self.settings)
            self._write(msgspec.json.encode(kept | chosen))
        except OSError as error:
            reason = error.strerror or error
            self.problem = f"{self.path} cannot be written, so this is forgotten: {reason}"

    def _write(self, content: bytes) -> None:
        """Replace the file in one go: a reader sees the old one or the new one."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=self.path.parent, prefix=f".{self.path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(self.path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
