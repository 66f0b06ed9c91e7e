import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.tuilab.support import small
from tuilab.babysit.sequence import prepare
from tuilab.babysit.subject import Subject
from tuilab.scenario.loading import load
from tuilab.scenario.parsing import parse

Make = Callable[..., Subject]
DIGITS = Path(__file__).parents[3] / "scenarios" / "digits_mlp.toml"


@pytest.fixture
def subject() -> Make:
    """Make a subject of a small scenario; keywords update its tables, `instead` replaces some."""

    def make(instead: dict[str, Any] | None = None, **sections: Any) -> Subject:
        return prepare(parse(small(**sections) | (instead or {}), "small"), "numpy", None)

    return make


@pytest.fixture
def cifar10() -> Path:
    """The folder that holds CIFAR-10, where there is one."""
    folder = Path(os.environ.get("TUILAB_DATA", ""))
    if not (folder / "cifar-10-batches-bin").is_dir():
        pytest.skip("no CIFAR-10: TUILAB_DATA names no folder that holds it")
    return folder


@pytest.fixture
def digits() -> Callable[..., Subject]:
    """Make a subject of the scenario of a healthy run, with assignments as of --set."""

    def make(*sets: str) -> Subject:
        return prepare(load(DIGITS, sets), "numpy", None)

    return make
