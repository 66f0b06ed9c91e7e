"""Paired timing: contenders take turns in one process, so that a busy moment meets them all."""

from collections.abc import Callable, Mapping
from statistics import median, quantiles
from time import perf_counter


def paired(contenders: Mapping[str, Callable[[], object]], rounds: int = 30) -> dict[str, float]:
    """Print the median and spread of each contender, and return medians in seconds a call."""
    for run in contenders.values():
        run()
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            begin = perf_counter()
            run()
            times[name].append(perf_counter() - begin)
    medians = {name: median(spent) for name, spent in times.items()}
    for name, spent in times.items():
        low, _, high = quantiles(spent, n=4)
        print(f"    {name:<22} {1e3 * medians[name]:7.2f} ms  ({1e3 * low:.2f} … {1e3 * high:.2f})")
    return medians
