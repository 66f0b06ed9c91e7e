"""Optional packages, and the error where one is not installed."""

from importlib.util import find_spec
from typing import Final

from tuilab.errors import SearchError

EXTRAS: Final = {
    "optuna": ("search", "a search needs Optuna"),
    "psycopg": ("postgres", "a study on a PostgreSQL server needs psycopg"),
    "distributed": ("cluster", "trials on a Dask cluster need distributed"),
}
"""Package → (extra that installs it, its purpose)."""


def need(package: str) -> None:
    """Raise SearchError with the install command if `package` is missing."""
    if find_spec(package) is None:
        extra, why = EXTRAS[package]
        raise SearchError(f"{why}, which is not installed: pip install 'tuilab[{extra}]'")
