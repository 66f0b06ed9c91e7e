"""The speed limit by key: half as fast, twice as fast, and off again."""

import time
from collections.abc import Callable
from typing import Final

from engine.statistics.frames import Event
from tuilab.viewer.model.store import RunStore

PATIENCE: Final = 1.0  # seconds that a limit may take to show before what is recorded counts again
SLOWEST: Final = 0.1  # steps a second
FASTEST: Final = 1000.0  # a limit beyond which is none, where nothing is known of the free speed


class SpeedLimit:
    """What the next limit shall be; keys that follow each other quickly build on what was asked."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._asked: tuple[float, float] | None = None

    def changed(self, store: RunStore, factor: float) -> float:
        """Return the limit in steps a second after a key that multiplies it; 0: none.

        Without one it is the current speed that is halved; one as high as the speed was when the
        limit came is lifted.
        """
        limit = store.info.speed_limit
        if self._asked is not None and self._clock() < self._asked[1]:
            limit = self._asked[0]
        made = store.last_block.steps_per_second if store.last_block else 0.0
        wanted = (limit or made) * factor
        if factor > 1 and (not limit or wanted >= free_speed(store.events)):
            wanted = 0.0
        elif wanted:
            wanted = max(SLOWEST, float(f"{wanted:.2g}"))
        self._asked = wanted, self._clock() + PATIENCE
        return wanted


def free_speed(events: list[Event]) -> float:
    """Return the speed from before the limit, of which the first one was half."""
    first = (e for e in reversed(events) if e.kind == "speed" and not e.detail["previous"])
    return next((2 * float(e.detail["value"]) for e in first), FASTEST)
