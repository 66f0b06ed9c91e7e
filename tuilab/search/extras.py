"""Optional packages, and the error where one is not installed."""

from importlib.util import find_spec
from typing import Final

from tuilab.errors import SearchError, missing_package

EXTRAS: Final = {
    "optuna": ("'optuna>=5,<6'", "a search needs Optuna"),
    "psycopg": ("'psycopg[binary]>=3.2'", "a study on a PostgreSQL server needs psycopg"),
    "distributed": ("distributed", "trials on a Dask cluster need distributed"),
}
"""Module → (what installs it, its purpose)."""


def need(package: str) -> None:
    """Raise SearchError with the install command if `package` is missing."""
    if find_spec(package) is None:
        requirement, why = EXTRAS[package]
        raise SearchError(missing_package(why, requirement))
