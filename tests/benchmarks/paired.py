"""Paired timing: contenders take turns in one process, so that a busy moment meets them all."""

from collections.abc import Callable, Mapping, Sequence
from statistics import median, quantiles
from time import perf_counter

Times = dict[str, list[float]]


def paired(
    contenders: Mapping[str, Callable[[], object]], rounds: int = 10, least: float = 0.05
) -> Times:
    """Return seconds a call of each contender, one number for each of its turns.

    A turn is calls for at least `least` seconds, after one that does not count: it brings back what
    another's turn has driven out of the caches, and lets its threads go to sleep.
    """
    times: Times = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            run()
            calls, begin = 0, perf_counter()
            while (passed := perf_counter() - begin) < least or not calls:
                run()
                calls += 1
            times[name].append(passed / calls)
    return times


def table(values: Mapping[str, Sequence[float]], unit: str, scale: float = 1.0) -> None:
    """Print the median of each contender, and between what half of its numbers lie."""
    for name, found in values.items():
        low, _, high = (scale * value for value in quantiles([*found, *found], n=4))
        print(f"    {name:<24} {scale * median(found):9.3f} {unit}  ({low:.3f} … {high:.3f})")
