"""The folder of data sets: the given one, or the user data folder."""

from pathlib import Path

from platformdirs import user_data_path


def data_folder(path: str = "") -> Path:
    """Return the folder given by --data-dir or TUILAB_DATA, or else the user data folder."""
    return Path(path) if path else user_data_path("tuilab", appauthor=False)
