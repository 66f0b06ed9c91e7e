"""What a search needs beyond tuilab itself, and what to say where it is not installed."""

from importlib.util import find_spec
from typing import Final

from tuilab.errors import SearchError

EXTRAS: Final = {
    "optuna": ("search", "a search needs Optuna"),
    "psycopg": ("postgres", "a study on a PostgreSQL server needs psycopg"),
    "distributed": ("cluster", "trials on a Dask cluster need distributed"),
}
"""Of each package: the extra that has it, and what it is for."""


def need(package: str) -> None:
    """Raise SearchError, with the command that installs it, where `package` is not there."""
    if find_spec(package) is None:
        extra, why = EXTRAS[package]
        raise SearchError(f"{why}, which is not installed: pip install 'tuilab[{extra}]'")
