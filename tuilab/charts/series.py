"""Growing per-step series of bounded size, and their reduction to the width of a canvas."""

from typing import Final, NamedTuple

import numpy as np

from engine.statistics.frames import Floats
from tuilab.record import Block, LayerTraces

POINTS: Final = 1 << 17
"""Points in memory: when there are twice as many, neighbours are merged. A chart is 500 wide."""


STEP_AND_BROKEN: Final = 2
"""Rows of a table of `Series` before those of the named series."""


class Points:
    """A table of `rows` that grows by columns up to a bound; each is the mean of `stride` steps."""

    def __init__(self, rows: int, limit: int = POINTS) -> None:
        self.stride = 1
        self._limit, self._length = limit, 0
        self._data = np.empty((rows, 1024))
        self._rest = np.empty((rows, 0))  # steps that do not fill a point yet

    def __len__(self) -> int:
        return self._length

    @property
    def table(self) -> Floats:
        """The points, (rows, points)."""
        return self._data[:, : self._length]

    def append(self, columns: Floats) -> None:
        """Add steps, (rows, steps); amortised constant time a step."""
        new = np.concatenate([self._rest, columns], axis=1)
        whole = new.shape[1] // self.stride * self.stride
        self._rest = new[:, whole:]
        self._push(_means(new[:, :whole], self.stride))
        while self._length >= 2 * self._limit:
            halved = _means(self._data[:, : 2 * self._limit], 2)
            after = self._data[:, 2 * self._limit : self._length].copy()
            self._length, self.stride = 0, 2 * self.stride
            self._push(halved)
            self._push(_means(after[:, : after.shape[1] // 2 * 2], 2))

    def _push(self, points: Floats) -> None:
        end = self._length + points.shape[1]
        if end > self._data.shape[1]:
            grown = np.empty((len(self._data), max(end, 2 * self._data.shape[1])))
            grown[:, : self._length] = self.table
            self._data = grown
        self._data[:, self._length : end] = points
        self._length = end

    def add_rows(self, count: int) -> None:
        """Add rows, NaN so far."""
        self._data = np.vstack([self._data, np.full((count, self._data.shape[1]), np.nan)])
        self._rest = np.vstack([self._rest, np.full((count, self._rest.shape[1]), np.nan)])

    def since(self, first: float) -> "Points":
        """Return the columns from `first` on, a value of row 0; a view, not to be added to."""
        part = Points(len(self._data))
        start = int(np.searchsorted(self.table[0], first))
        part.stride, part._length = self.stride, self._length - start
        part._data = self._data[:, start : self._length]
        return part


class Series:
    """Named per-step series over steps; each point is the mean of `stride` steps."""

    def __init__(self) -> None:
        self._names: tuple[str, ...] = ()  # of the rows of the table after the first two
        self._points = Points(STEP_AND_BROKEN)
        self._latest: dict[str, float] = {}
        self.first_loss = float("nan")

    def __len__(self) -> int:
        return len(self._points)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the series that the run has, in the order in which they came."""
        return self._names

    @property
    def stride(self) -> int:
        """Number of steps that make a point."""
        return self._points.stride

    def append(self, block: Block) -> None:
        """Add the steps of one block; amortised constant time a step."""
        if not block.steps:
            return
        if not len(self):
            self.first_loss = float(block.loss[0])
        if new := [name for name in block.series if name not in self._names]:
            self._names += tuple(new)
            self._points.add_rows(len(new))
        self._latest |= {name: float(values[-1]) for name, values in block.series.items()}
        steps = np.arange(block.first_step, block.next_step, dtype=np.float64)
        broken = ~np.isfinite(block.loss) if "loss" in block.series else np.zeros(len(steps))
        rows = [block.values(name) for name in self._names]
        self._points.append(np.stack([steps, broken, *rows]))

    def since(self, step: int) -> "Series":
        """Return the series from `step` on; a view, to which nothing can be added."""
        part = Series()
        part._names, part._latest = self._names, self._latest
        part._points = self._points.since(step)
        part.first_loss = self.first_loss
        return part

    def value(self, name: str, at: int | None) -> float:
        """Return the newest value of a series, or that at the step `at`; NaN if there is none."""
        if at is None or not len(self):
            return self._latest.get(name, float("nan"))
        place = int(np.searchsorted(self.steps, at, side="right")) - 1
        return float(self.values(name)[max(place, 0)])

    def values(self, name: str) -> Floats:
        """Return the points of a series, (points,); NaN where the run does not have it."""
        if name not in self._names:
            return np.full(len(self), np.nan)
        return np.asarray(self._points.table[STEP_AND_BROKEN + self._names.index(name)])

    @property
    def steps(self) -> Floats:
        """Step of each point: of several, the middle."""
        return np.asarray(self._points.table[0])

    @property
    def broken(self) -> Floats:
        """How many steps of each point have a loss that is not finite."""
        return np.asarray(self._points.table[1] * self.stride)


LAYER_POINTS: Final = 1 << 11
"""Points in memory of the layers' numbers; about as many snapshots are recorded."""


class LayerSeries:
    """Update ratio and norm of dL/dW of each layer over the snapshots of a run."""

    def __init__(self) -> None:
        self.last_step = -1  # of what was added
        self._points: Points | None = None

    def __len__(self) -> int:
        return len(self._points) if self._points is not None else 0

    @property
    def layers(self) -> int:
        """Number of layers, the output layer among them."""
        return len(self._table) // 2

    def append(self, traces: LayerTraces) -> None:
        """Add snapshots that come after those that are here."""
        if not len(traces.steps):
            return
        if self._points is None or len(traces.update_ratio) != self.layers:
            self._points = Points(1 + 2 * len(traces.update_ratio), LAYER_POINTS)
        self._points.append(
            np.concatenate([traces.steps[None], traces.update_ratio, traces.gradient_norm])
        )
        self.last_step = int(traces.steps[-1])

    @property
    def _table(self) -> Floats:
        return self._points.table if self._points is not None else np.empty((1, 0))

    @property
    def steps(self) -> Floats:
        """Steps of the snapshots, (n,)."""
        return np.asarray(self._table[0])

    @property
    def update_ratio(self) -> Floats:
        """‖ΔW‖ / ‖W‖ of each layer, (layers, n)."""
        return self._table[1 : 1 + self.layers]

    @property
    def gradient_norm(self) -> Floats:
        """‖dL/dW‖ of each layer, (layers, n)."""
        return self._table[1 + self.layers :]

    @property
    def total_norm(self) -> Floats:
        """‖dL/dW‖ of all weights together, (n,); they are orthogonal, so the squares add up."""
        return np.asarray(np.sqrt(np.square(self.gradient_norm).sum(axis=0)))


def _means(values: Floats, size: int) -> Floats:
    """Return the mean of the finite ones of each `size` neighbours in a row; NaN of none."""
    if size == 1:
        return values
    groups = values.reshape(len(values), -1, size)
    finite = np.isfinite(groups)
    number = finite.sum(axis=2)
    total = np.where(finite, groups, 0.0).sum(axis=2)
    return np.where(number > 0, total / np.maximum(number, 1), np.nan)


class Reduced(NamedTuple):
    """A series reduced to few points: where they are, and the range of values of each."""

    x: Floats
    low: Floats
    high: Floats
    mean: Floats  # NaN where no value is finite: a gap

    @classmethod
    def of(cls, x: Floats, y: Floats) -> "Reduced":
        """Return points that stand for one value each."""
        return cls(x, y, y, y)


def visible(steps: Floats, window: tuple[float, float]) -> slice:
    """Return the points within a window, and one neighbour on either side."""
    first = int(np.searchsorted(steps, window[0])) - 1
    last = int(np.searchsorted(steps, window[1], side="right")) + 1
    return slice(max(first, 0), last)


def reduce(steps: Floats, values: Floats, points: int) -> Reduced:
    """Reduce a series to at most `points`: minimum, maximum and mean of the finite values of each.

    A stretch without a finite value stays a gap; a series that is short enough stays as it is.
    """
    size = len(values)
    finite = np.isfinite(values)
    if size <= points:
        shown = np.where(finite, values, np.nan)
        return Reduced(steps.copy(), shown, shown, shown)
    starts = np.arange(points) * size // points
    number = np.add.reduceat(finite, starts, dtype=np.int64)
    total = np.add.reduceat(np.where(finite, values, 0.0), starts)
    low = np.minimum.reduceat(np.where(finite, values, np.inf), starts)
    high = np.maximum.reduceat(np.where(finite, values, -np.inf), starts)
    gap = number == 0
    mean = np.where(gap, np.nan, total / np.maximum(number, 1))
    ends = np.append(starts[1:], size) - 1
    x = (steps[starts] + steps[ends]) / 2
    return Reduced(x, np.where(gap, np.nan, low), np.where(gap, np.nan, high), mean)
