"""Where data sets lie: in the folder that is named, or else in the user's own."""

from pathlib import Path

from platformdirs import user_data_path


def data_folder(named: str = "") -> Path:
    """Return the folder `named` with --data-dir or TUILAB_DATA, or the one of this user."""
    return Path(named) if named else user_data_path("tuilab", appauthor=False)
