"""Time of a step against its floating-point operations, over depth and width."""

from itertools import product
from statistics import median

import plotext

from tests.benchmarks.paired import paired
from tests.benchmarks.training import Work, ours, products

DEPTHS, WIDTHS, BATCH = (2, 5, 10, 20, 50), (100, 200, 500, 1000, 2000), 128
LARGEST = 2e11
"""Operations of a step beyond which a network is left out: a step would take seconds."""


def operations(work: Work) -> float:
    """Return those of the matrix products of a step: 2 for each weight and example, thrice."""
    pairs = list(zip(work.widths[:-1], work.widths[1:], strict=True))
    weights = sum(inputs * units for inputs, units in pairs)
    return 2.0 * work.batch * (3 * weights - pairs[0][0] * pairs[0][1])


def sweep(rounds: int) -> list[dict[str, float]]:
    """Print and return, for each network, its operations, its time and the share of products."""
    rows = []
    for depth, width in product(DEPTHS, WIDTHS):
        work = Work(784, [width] * depth, 10, "relu", BATCH)
        if (flops := operations(work)) > LARGEST:
            continue
        times = paired({"ours": ours(work), "products": products(work)}, rounds, 0.05)
        step, least = median(times["ours"]), median(times["products"])
        print(
            f"    {depth:2} × {width:4}  {flops / 1e9:8.2f} GFLOP  {1e3 * step:9.2f} ms  "
            f"{flops / step / 1e9:6.1f} GFLOP/s  products {100 * least / step:3.0f} %"
        )
        rows.append(
            {"depth": depth, "width": width, "flops": flops, "seconds": step, "products": least}
        )
    draw(rows)
    return rows


def draw(rows: list[dict[str, float]]) -> None:
    """Draw time against operations, both on logarithmic axes."""
    figure = plotext.figure.clear().theme("colorless").plot_size(80, 20)
    figure.ruler("both").scale("log")
    points = figure.signal(
        [row["flops"] for row in rows], [1e3 * row["seconds"] for row in rows], marker="hd"
    )
    figure.draw(points).label("floating-point operations of a step", "x").label("ms", "y")
    print(plotext.uncolorize(figure.build()))
