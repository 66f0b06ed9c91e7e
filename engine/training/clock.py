"""When a frame or a snapshot is due, and how fast training runs."""

from math import exp
from time import monotonic
from typing import Final

PROBE_BUDGET: Final = 0.026  # of 3 %: the rest is for steps whose statistics are requested
"""Share of the training time that statistics may take, including the dead units, which are tracked
in every step. Snapshots are taken less often than frames where they would take more."""
MEMORY: Final = 2.0
"""Seconds of training over which the current speed is averaged."""


class Clock:
    """Measures the time of one training run; all durations are in seconds."""

    def __init__(self) -> None:
        self.before = 0.0  # the time that had passed when the run was resumed
        self._began = self._last_frame = self._last_snapshot = self._last_step = monotonic()
        self._frame_interval = self._snapshot_interval = 0.1
        self._snapshot_waits = False  # for the next frame
        self._total = _Shares()
        self._recent = _Shares()
        self._unmeasured = _Shares()  # the recent steps without a snapshot

    def begin(self, frame_interval: float) -> None:
        """Start; frames are due every `frame_interval`."""
        self._last_frame = self._last_snapshot = monotonic()
        self._began = self._last_frame - self.before
        self._frame_interval = self._snapshot_interval = frame_interval

    def elapsed(self) -> float:
        """Return the seconds since `begin`, plus those `before`."""
        return monotonic() - self._began

    def frame_due(self) -> bool:
        """Return whether the last frame is an interval ago, or a snapshot waits for the next.

        A frame has room for one snapshot: another, which may be requested, would replace it.
        """
        return self._snapshot_waits or monotonic() - self._last_frame >= self._frame_interval

    def count_frame(self) -> None:
        """Count the interval to the next frame from now."""
        self._last_frame, self._snapshot_waits = monotonic(), False

    def snapshot_due(self) -> bool:
        """Return whether the last snapshot is long enough ago for the budget to allow another."""
        return monotonic() - self._last_snapshot >= self._snapshot_interval

    def request_snapshot(self) -> None:
        """Count the interval to the next snapshot from now; this one is taken later."""
        self._last_snapshot = monotonic()

    def count_snapshot(self, cost: float) -> None:
        """Set the interval to the next snapshot by the seconds that this one took."""
        self._last_snapshot, self._snapshot_waits = monotonic(), True
        left = PROBE_BUDGET - min(self._unmeasured.share, PROBE_BUDGET / 2)
        self._snapshot_interval = max(self._frame_interval, cost / left)

    def resume(self) -> None:
        """Count training time from now: what came before was preparation or a pause."""
        self._last_step = monotonic()

    def count_step(self, probing: float, *, measured: bool) -> None:
        """Count one step, and the time since the last, of which `probing` went into statistics.

        `measured`: a snapshot was among them.
        """
        now = monotonic()
        seconds, self._last_step = now - self._last_step, now
        self._total.add(seconds, probing)
        for shares in (self._recent, *(() if measured else (self._unmeasured,))):
            shares.fade(exp(-seconds / MEMORY))
            shares.add(seconds, probing)

    def steps_per_second(self, *, overall: bool) -> float:
        """Return steps per second, including validation and recording: recent, or `overall`."""
        shares = self._total if overall else self._recent
        return shares.steps / shares.seconds if shares.seconds else 0.0

    def probe_share(self, *, overall: bool) -> float:
        """Return the share of the training time that statistics took: recent, or `overall`."""
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
