"""Helpers of the sources that read files: finding them, and converting labels to classes."""

import shlex
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from engine.data.dataset import Labels
from engine.errors import DataError


def find_file(path: str, directory: Path | None) -> Path:
    """Return the path of a file, relative paths in the data folder. Raises DataError."""
    # A path relative to a scenario file arrives as an absolute one, which `/` leaves alone.
    place = Path(path) if directory is None else directory / path
    with suppress(OSError):  # longer than a path can be
        if place.is_file():
            return place
    if Path(path).is_absolute() or directory is None:
        raise DataError(f"{path}: no such file")
    raise DataError(f"no file '{path}', neither beside the scenario file nor in {directory}")


def not_here(name: str, expected: str, directory: Path | None) -> DataError:
    """Return the error for a missing data set: where it was expected and how to get it."""
    where = "in no folder (none is set)" if directory is None else f"in {directory}"
    to = "" if directory is None else f" --to {shlex.quote(str(directory))}"
    return DataError(
        f"no {name} {where}; expected {expected}. Get it with `tuilab data fetch {name}{to}`"
        ", or name the folder that has it with --data-dir or TUILAB_DATA"
    )


def encode_labels(
    texts: Sequence[str], place: Callable[[int], str]
) -> tuple[Labels, tuple[str, ...]]:
    """Return a class 0 … classes − 1 for every label, and the names of the classes in order.

    Whole numbers are sorted as numbers, anything else as text. `place` returns where a label is,
    for a message. Raises DataError for labels that are missing, fractions, or all the same.
    """
    numbers = {text: _number(text) for text in set(texts)}
    if "" in numbers:
        raise DataError(f"{place(texts.index(''))}: the label is missing")
    values = {text: number for text, number in numbers.items() if number is not None}
    keys: dict[str, str] = {text: text for text in numbers}
    if len(values) == len(numbers):
        broken = {text for text, number in values.items() if not number.is_integer()}
        if broken:
            first = next(index for index, text in enumerate(texts) if text in broken)
            raise DataError(
                f"{place(first)}: the label '{texts[first]}' is not a class; "
                "expected whole numbers, or words"
            )
        keys = {text: str(int(number)) for text, number in values.items()}
        classes = sorted(set(keys.values()), key=int)
    else:
        classes = sorted(numbers)
    if len(classes) < 2:
        problem = f"all {len(texts)} labels are '{classes[0]}'" if classes else "no labels"
        raise DataError(f"{place(0)}: {problem}, expected at least 2 classes")
    codes = {name: code for code, name in enumerate(classes)}
    return np.array([codes[keys[text]] for text in texts], np.int64), tuple(classes)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
