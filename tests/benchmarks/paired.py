"""Paired timing: contenders take turns in one process, so that a busy moment meets them all."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter
from typing import Final

Times = dict[str, list[float]]
TRIES: Final = 5
"""Of a turn, before one counts in which others had the processor."""
STOLEN: Final = 8  # column of the first line of /proc/stat


def paired(
    contenders: Mapping[str, Callable[[], object]], rounds: int = 10, least: float = 0.05
) -> Times:
    """Return seconds a call of each contender, one number for each of its turns.

    A turn is calls for at least `least` seconds, after one that does not count: it brings back what
    another's turn has driven out of the caches, and lets its threads go to sleep. On a virtual
    machine a turn is made again if another machine had the processor meanwhile.
    """
    times: Times = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            for _ in range(TRIES):
                before = _stolen()
                seconds = _turn(run, least)
                if _stolen() == before:
                    break
            times[name].append(seconds)
    return times


def _turn(run: Callable[[], object], least: float) -> float:
    """Return seconds a call."""
    run()
    calls, begin = 0, perf_counter()
    while (passed := perf_counter() - begin) < least or not calls:
        run()
        calls += 1
    return passed / calls


def _stolen() -> int:
    """Return how often another machine had a processor of this one: hundredths of a second."""
    with suppress(OSError, IndexError, ValueError):
        text = Path("/proc/stat").read_text(encoding="ascii")
        return int(text.splitlines()[0].split()[STOLEN])
    return 0  # there is no such file, or this is not a virtual machine


def table(values: Mapping[str, Sequence[float]], unit: str, scale: float = 1.0) -> None:
    """Print the median of each contender, and between what half of its numbers lie."""
    for name, found in values.items():
        low, _, high = (scale * value for value in quantiles([*found, *found], n=4))
        print(f"    {name:<24} {scale * median(found):9.3f} {unit}  ({low:.3f} … {high:.3f})")
