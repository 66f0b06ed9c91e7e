"""When a frame or a snapshot is due, and how fast training goes."""

from math import exp
from time import monotonic
from typing import Final

PROBE_BUDGET: Final = 0.026  # of 3 %: the rest is for steps whose statistics are asked for
"""Snapshots come further apart than frames where statistics would cost more than this share of the
time, together with what is looked at in every step: which units were silent."""
MEMORY: Final = 2.0
"""Seconds of training over which the current speed is averaged."""


class Clock:
    """Clocks of one training run; all durations in seconds."""

    def __init__(self) -> None:
        self.before = 0.0  # what had passed when the run was resumed
        self._began = self._last_frame = self._last_snapshot = self._mark = monotonic()
        self._frame_interval = self._snapshot_interval = 0.1
        self._untold = False
        self._total = _Shares()
        self._recent = _Shares()
        self._unmeasured = _Shares()  # the recent ones without a snapshot

    def begin(self, frame_interval: float) -> None:
        """Start the clocks; frames are due every `frame_interval`."""
        self._last_frame = self._last_snapshot = monotonic()
        self._began = self._last_frame - self.before
        self._frame_interval = self._snapshot_interval = frame_interval

    def elapsed(self) -> float:
        """Seconds that the run has had: since `begin`, and `before`."""
        return monotonic() - self._began

    def frame_due(self) -> bool:
        """Tell whether the last frame is an interval ago, or a snapshot waits to be told.

        In a frame there is room for one: the next one, which may have been asked for, would replace
        it.
        """
        return self._untold or monotonic() - self._last_frame >= self._frame_interval

    def frame_made(self) -> None:
        """Count the interval to the next frame from now."""
        self._last_frame, self._untold = monotonic(), False

    def snapshot_due(self) -> bool:
        """Tell whether the last snapshot is long enough ago to afford another."""
        return monotonic() - self._last_snapshot >= self._snapshot_interval

    def snapshot_asked(self) -> None:
        """Count the interval to the next snapshot from now; this one will be taken later."""
        self._last_snapshot = monotonic()

    def snapshot_taken(self, cost: float) -> None:
        """Set the interval to the next snapshot by what this one cost."""
        self._last_snapshot, self._untold = monotonic(), True
        left = PROBE_BUDGET - min(self._unmeasured.share, PROBE_BUDGET / 2)
        self._snapshot_interval = max(self._frame_interval, cost / left)

    def resume(self) -> None:
        """Begin to count training time from now: what went before was preparation or a pause."""
        self._mark = monotonic()

    def step_made(self, probing: float, *, measured: bool) -> None:
        """Count one step and all that was done since the last, of which `probing` statistics.

        `measured`: there was a snapshot among them.
        """
        now = monotonic()
        seconds, self._mark = now - self._mark, now
        self._total.add(seconds, probing)
        for shares in (self._recent, *(() if measured else (self._unmeasured,))):
            shares.fade(exp(-seconds / MEMORY))
            shares.add(seconds, probing)

    def steps_per_second(self, *, overall: bool) -> float:
        """Steps a second, validation and recording counted in: of late, or over the whole run."""
        shares = self._total if overall else self._recent
        return shares.steps / shares.seconds if shares.seconds else 0.0

    def probe_share(self, *, overall: bool) -> float:
        """Share of the training time that statistics took: of late, or over the whole run."""
        return (self._total if overall else self._recent).share


class _Shares:
    def __init__(self) -> None:
        self.steps = self.seconds = self.probing = 0.0

    @property
    def share(self) -> float:
        """Share of the time that statistics took."""
        return self.probing / self.seconds if self.seconds else 0.0

    def add(self, seconds: float, probing: float) -> None:
        self.steps += 1
        self.seconds += seconds
        self.probing += probing

    def fade(self, factor: float) -> None:
        self.steps *= factor
        self.seconds *= factor
        self.probing *= factor
