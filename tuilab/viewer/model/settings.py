"""Settings that the view remembers: a JSON file in the user's configuration folder.

A new field of `Settings` with a default is remembered too: `app.settings.FIELD` is its value, and
`app.remember(FIELD=value)` changes it. A file that cannot be used does not stop a view: it starts
with the defaults, and reports that. Knows no Textual.
"""

import os
import tempfile
from pathlib import Path
from typing import Final

import msgspec
from platformdirs import user_config_path

from tuilab.viewer.terminal.glyphs import Glyphs

VARIABLE: Final = "TUILAB_CONFIG"  # names another file


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings, with the defaults of a first start."""

    theme: str = "dark"
    glyphs: Glyphs | None = None  # None: as the terminal permits
    beside: bool = True  # the curves of other runs are drawn too


def settings_path() -> Path:
    """Return the path of the file."""
    named = os.environ.get(VARIABLE)
    return Path(named) if named else user_config_path("tuilab", appauthor=False) / "settings.json"


class Memory:
    """The settings and their file."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = (path or settings_path()).resolve()  # a symbolic link is not replaced
        self.problem = ""  # the last error, for the user
        self.settings = self._load()

    def _load(self) -> Settings:
        try:
            return msgspec.convert(self._read(), Settings)
        except (OSError, ValueError) as error:
            self.problem = f"{self.path} cannot be used; all settings have their defaults: {error}"
            return Settings()

    def _read(self) -> dict[str, object]:
        """Return the content of the file, including keys of other versions of tuilab."""
        try:
            return msgspec.json.decode(self.path.read_bytes(), type=dict[str, object])
        except FileNotFoundError:
            return {}

    def remember(self, **changes: object) -> None:
        """Save these settings; others stay as another view may have saved them meanwhile."""
        self.problem = ""
        self.settings = msgspec.structs.replace(self.settings, **changes)
        try:
            try:
                saved = self._read()
                msgspec.convert(saved, Settings)
            except ValueError:  # damaged: it is replaced
                saved = msgspec.to_builtins(self.settings)
            self._write(msgspec.json.encode(saved | changes))
        except OSError as error:
            reason = error.strerror or error
            self.problem = f"{self.path} cannot be written; this setting is not saved: {reason}"

    def _write(self, content: bytes) -> None:
        """Replace the file atomically: a reader gets the old one or the new one."""
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
