"""Data sources and data sets: loading, splitting, preprocessing."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from engine.backends.base import Backend
from engine.data.preprocessing import Fitted, Pixels, Preprocessor, Table, fit
from engine.errors import ConfigError, DataError, require
from engine.registry import Registry

Labels = npt.NDArray[np.int64]
sources: Registry["Source"] = Registry("data source", "engine.data.sources")


@dataclass(frozen=True, slots=True)
class Examples:
    """Inputs x (examples, *sample shape) and labels y (examples,) in 0 … classes − 1."""

    x: npt.NDArray[Any]
    y: Labels

    def __len__(self) -> int:
        return len(self.y)

    def on(self, backend: Backend) -> "Examples":
        """Return a copy on the device of `backend`, in its precision."""
        return Examples(backend.to_device(self.x), backend.to_device(self.y))


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a source returns: training examples, and the test examples if it has any."""

    name: str  # "gaussian 1000×500"
    classes: tuple[str, ...]
    train: Examples
    test: Examples | None = None
    pixels: Pixels | None = None


@dataclass(frozen=True)
class Source:
    """A frozen description of where data comes from; subclasses register under a name."""

    title: ClassVar[str] = ""  # of a data set to fetch: "CIFAR-10"
    path_settings: ClassVar[tuple[str, ...]] = ()  # settings that name a user's file

    def is_here(self, directory: Path | None) -> bool:
        """Return whether `directory` has the data, for a data set to fetch."""
        return True

    def load(self, *, generator: np.random.Generator, directory: Path | None) -> Loaded:
        """Return the data; `directory` is the user's folder of data sets. Raises DataError."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Dataset:
    """Data ready for training: split, preprocessed, flattened to (examples, features)."""

    name: str
    classes: tuple[str, ...]
    train: Examples
    validation: Examples | None
    pixels: Pixels | None = None  # if the features still are the pixels of an image
    preprocess: tuple[Fitted, ...] = ()

    @property
    def features(self) -> int:
        return int(self.train.x.shape[1])


def prepare(
    loaded: Loaded,
    *,
    validation: float | Literal["test"],
    preprocess: Sequence[Preprocessor],
    generator: np.random.Generator,
) -> Dataset:
    """Return the data with `validation`, a share in [0, 1), split off, and preprocessed.

    Statistics are those of the training split, applied to both (lecture 6, "data preprocessing").
    With 0 there is no validation split; with "test" it is the source's own test examples, which are
    meant for a final measurement and not for choosing by it.
    """
    train, held_out = loaded.train, None
    if validation == "test":
        require(loaded.test is not None, "validation", f"{loaded.name} has no test examples")
        held_out = loaded.test
    else:
        require(0 <= validation < 1, "validation", f"must be a share in [0, 1), is {validation:g}")
        if validation:
            train, held_out = _split(loaded.train, validation, generator)
    _check_labels(loaded.name, len(loaded.classes), train)
    x, fitted = _fit_all(preprocess, _flat(train.x), loaded.pixels)
    if held_out is not None:
        other = _flat(held_out.x)
        for step in fitted:
            other = step(other)
        held_out = Examples(other, held_out.y)
    return Dataset(
        loaded.name,
        loaded.classes,
        Examples(x, train.y),
        held_out,
        loaded.pixels if all(step.keeps_pixels for step in preprocess) else None,
        tuple(fitted),
    )


def _fit_all(
    steps: Sequence[Preprocessor], train: Table, pixels: Pixels | None
) -> tuple[Table, list[Fitted]]:
    """Return the preprocessed training split, and the steps fitted to it in order."""
    fitted: list[Fitted] = []
    for position, step in enumerate(steps):
        try:
            fitted.append(fit(step, train, pixels))
        except ConfigError as error:
            raise error.under(f"preprocess[{position}]") from None
        train = fitted[-1](train)
        pixels = pixels if step.keeps_pixels else None
    return train, fitted


def _flat(x: npt.NDArray[Any]) -> npt.NDArray[Any]:
    dtype = x.dtype if np.issubdtype(x.dtype, np.floating) else np.dtype(np.float32)
    return x.reshape(len(x), -1).astype(dtype, copy=False)


def _split(
    examples: Examples, share: float, generator: np.random.Generator
) -> tuple[Examples, Examples]:
    held = round(len(examples) * share)
    if held == 0 or held == len(examples):
        raise ConfigError(
            f"a share of {share:g} of {len(examples)} examples leaves one split empty",
            "validation",
        )
    order = generator.permutation(len(examples))
    train, validation = np.sort(order[held:]), np.sort(order[:held])
    return (
        Examples(examples.x[train], examples.y[train]),
        Examples(examples.x[validation], examples.y[validation]),
    )


def _check_labels(name: str, classes: int, examples: Examples) -> None:
    low, high = int(examples.y.min()), int(examples.y.max())
    if low < 0 or high >= classes:
        raise DataError(f"{name}: labels {low} … {high} do not fit {classes} classes")
