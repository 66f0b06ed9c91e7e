"""What the sources that read a user's own file share: finding it, and turning labels to classes."""

import shlex
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from engine.data.dataset import Labels
from engine.errors import DataError


def find_file(path: str, directory: Path | None) -> Path:
    """Return where the file `path` lies: as it is, or else in the data folder. Raises DataError."""
    # What lies beside a scenario comes as an absolute path, which `/` leaves as it is.
    place = Path(path) if directory is None else directory / path
    with suppress(OSError):  # longer than a path can be
        if place.is_file():
            return place
    if Path(path).is_absolute() or directory is None:
        raise DataError(f"{path}: no such file")
    raise DataError(f"no file '{path}', neither beside the scenario file nor in {directory}")


def not_here(name: str, expected: str, directory: Path | None) -> DataError:
    """Return the error for a data set that is not there, with where was looked and what to do."""
    where = "in no folder, for none is named" if directory is None else f"in {directory}"
    to = "" if directory is None else f" --to {shlex.quote(str(directory))}"
    return DataError(
        f"no {name} {where}: expected {expected} there. Get it with `tuilab data fetch {name}{to}`"
        ", or name the folder that has it with --data-dir or TUILAB_DATA"
    )


def encode_labels(
    texts: Sequence[str], place: Callable[[int], str]
) -> tuple[Labels, tuple[str, ...]]:
    """Return a class 0 … classes − 1 for each label, and what the classes are called, in order.

    Whole numbers are sorted as numbers, anything else as text. `place` tells where a label stands.
    Raises DataError for labels that are no classes: missing, broken numbers, all the same.
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
                f"{place(first)}: the label '{texts[first]}' is no class; "
                "expected whole numbers, or words"
            )
        keys = {text: str(int(number)) for text, number in values.items()}
        classes = sorted(set(keys.values()), key=int)
    else:
        classes = sorted(numbers)
    if len(classes) < 2:
        found = f"all {len(texts)} labels are '{classes[0]}'" if classes else "there are no labels"
        raise DataError(f"{place(0)}: {found}, expected at least 2 classes")
    codes = {name: code for code, name in enumerate(classes)}
    return np.array([codes[keys[text]] for text in texts], np.int64), tuple(classes)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
