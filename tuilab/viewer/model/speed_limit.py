"""The speed limit by key: half as fast, twice as fast, and off again. Knows no Textual."""

import time
from collections.abc import Callable
from typing import Final

from engine.statistics.frames import Event
from tuilab.viewer.model.store import RunStore

PATIENCE: Final = 1.0  # seconds after which a limit that has not shown counts as lost
SLOWEST: Final = 0.1  # steps per second
FASTEST: Final = 1000.0  # the speed without a limit, where it is not known


class SpeedLimit:
    """Computes the next limit; keys in quick succession build on the limit that was requested."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._requested: tuple[float, float] | None = None

    def changed(self, store: RunStore, factor: float) -> float:
        """Return the limit, multiplied by `factor`, in steps per second; 0: none.

        Without a limit, the current speed is halved. A limit as high as the speed was without one
        is lifted.
        """
        limit = store.info.speed_limit
        if self._requested is not None and self._clock() < self._requested[1]:
            limit = self._requested[0]
        speed = store.last_block.steps_per_second if store.last_block else 0.0
        following = (limit or speed) * factor
        if factor > 1 and (not limit or following >= free_speed(store.events)):
            following = 0.0
        elif following:
            following = max(SLOWEST, float(f"{following:.2g}"))
        self._requested = following, self._clock() + PATIENCE
        return following


def free_speed(events: list[Event]) -> float:
    """Return the speed before the first limit, which was half of it."""
    first = (e for e in reversed(events) if e.kind == "speed" and not e.detail["previous"])
    return next((2 * float(e.detail["value"]) for e in first), FASTEST)
