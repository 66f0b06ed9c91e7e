"""Snapshots of a watched network: rows, and what was measured in their slots, as one table."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from engine.statistics.frames import BINS, FIELDS, TENSORS, Snapshot, with_update_ratio
from tuilab.adapters.torch.rows import Row
from tuilab.adapters.torch.tensors import Statistics

WINDOW_EXAMPLES: Final = 1000
WINDOW_SNAPSHOTS: Final = 10
"""A unit is dead if it was silent over this many examples or snapshots, whichever comes first."""


class Snapshots:
    """Builds the snapshots of a run one after the other, in the thread of the recorder.

    It judges which units are dead over windows of several of them.
    """

    def __init__(self) -> None:
        self._examples = self._snapshots = 0  # since units were last judged

    def build(
        self,
        rows: Sequence[Row],
        slots: Sequence[Mapping[str, int]],
        statistics: Statistics,
        step: int,
        epoch: float,
        examples: int,
    ) -> Snapshot:
        """Return the snapshot of a step whose batches had `examples` examples.

        `slots` are those of each row, by name of the tensor, and `statistics` what they contain.
        """
        for row, highest in statistics.highest.items():
            row.see_highest(highest)
        self._judge_units(rows, examples)
        names = {name for by_name in slots for name in by_name}
        known = tuple(name for name in (*TENSORS, "input") if name in names)
        tensors = known or ("activation",)
        shape = len(rows), len(tensors)
        table = np.full((*shape, len(FIELDS)), np.nan)
        histograms = np.zeros((*shape, BINS + 2), np.int64)
        ranges = np.full((*shape, 2), np.nan)
        for at, by_name in enumerate(slots):
            for where, name in enumerate(tensors):
                if (slot := by_name.get(name)) is not None:
                    table[at, where] = statistics.statistics[slot]
                    histograms[at, where] = statistics.histograms[slot]
                    ranges[at, where] = statistics.ranges[slot]
        nan = float("nan")
        made = Snapshot(
            step, epoch, table, histograms, ranges,
            dead_fraction=np.array([row.dead_fraction for row in rows]),
            update_ratio=np.full(len(rows), np.nan),
            asymmetry=np.array([statistics.asymmetry.get(row, nan) for row in rows]),
            one_signed=np.array([statistics.one_signed.get(row, nan) for row in rows]),
            units=[statistics.units.get(row) for row in rows],
            tensors=tensors,
            outputs=sum(row.is_output for row in rows) or 1,
        )  # fmt: skip
        return with_update_ratio(made)

    def _judge_units(self, rows: Sequence[Row], examples: int) -> None:
        """Count examples and snapshots; at the end of a window, judge which units were dead."""
        self._examples += examples
        self._snapshots += 1
        if self._examples >= WINDOW_EXAMPLES or self._snapshots >= WINDOW_SNAPSHOTS:
            self._examples = self._snapshots = 0
            for row in rows:
                row.end_window()
