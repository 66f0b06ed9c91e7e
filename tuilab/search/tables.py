"""What a search says to people: lines while it goes on, and the lecture's table at the end."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from tuilab.reports.run_report import aligned
from tuilab.scenario.search.settings import Search, Stage
from tuilab.scenario.search.space import Space
from tuilab.search.results import (
    ENDED,
    Row,
    SearchResult,
    StageResult,
    objective_heading,
    value_text,
)
from tuilab.terminal import to_type

SHOWN: Final = 15  # trials of a stage that the table at the end of a search has


def opening(stage: Stage, space: Space, why: Mapping[str, str]) -> str:
    """Return what is said when a stage begins: its ranges, and where they come from."""
    length = f" of {stage.length}" if stage.length else ""
    lines = [f"{stage.name}: {stage.trials} trials{length}"]
    rows = [(f"  {k}", p.text, why.get(k, "")) for k, p in space.items()]
    return "\n".join([*lines, aligned([*rows])]).rstrip()


def trial_line(result: StageResult, row: Row, search: Search) -> str:
    """Return the lecture's line: "val_acc: 0.4120, lr: 1.4e-04, reg: 0.479 (12 / 100)"."""
    told = [f"{result.columns[key]}: {value_text(value)}" for key, value in row.point.items()]
    what = f"{objective_heading(search)}: {value_text(row.value)}" if row.value is not None else (
        row.reason or row.state)  # fmt: skip
    done = sum(each.state in ENDED and each.retry_of is None for each in result.rows)
    best = result.ranked(maximize=search.maximize)[:1]
    mark = " ← best so far" if best and best[0].number == row.number else ""
    place = f"({done} / {result.stage.trials})"
    return f"{row.mark} {result.stage.name} {row.number}  {', '.join([what, *told])} {place}{mark}"


def summary(result: SearchResult, limit: int | None = SHOWN) -> str:
    """Return tables of all stages, the warnings, and the best trial."""
    parts = [stage_table(stage, result, limit) for stage in result.stages]
    best = result.best
    if best is not None:
        run = (
            f"{result.folder}/{best.row.run}" if not best.row.run.startswith("/") else best.row.run
        )
        parts.append(
            f"best: {objective_heading(result.search)} {value_text(best.row.value)} in "
            f"{best.stage.stage.name} {best.row.number}   (look at it: {to_type('replay', run)})\n"
            f"write it out: {to_type('search', 'show', result.folder, '--write', 'best.toml')}"
        )
    elif result.stages:
        parts.append("no trial has come to its end with a value of the objective")
    return "\n\n".join(parts)


def stage_table(stage: StageResult, result: SearchResult, limit: int | None) -> str:
    """Return the trials of a stage by rank, then how many of the others there are, and why."""
    search = result.search
    ranked = stage.ranked(maximize=search.maximize)
    rows: list[tuple[str, ...]] = [
        ("rank", objective_heading(search), *stage.columns.values(), "seconds", "trial")
    ]
    for rank, row in enumerate(ranked[:limit], start=1):
        values = [value_text(row.point.get(key)) for key in stage.space]
        seconds = f"{row.seconds:.1f}" if row.seconds is not None else ""
        rows.append((str(rank), value_text(row.value), *values, seconds, str(row.number)))
    heading = f"{stage.stage.name} ({len(ranked)} of {stage.stage.trials} trials complete"
    heading += "".join(f", {count} {why}" for why, count in others(stage.rows).items()) + ")"
    more = len(ranked) - len(rows) + 1
    lines = [heading, aligned(rows) if ranked else "", f"… and {more} more" if more else ""]
    lines += [f"▲ {text}" for text in result.edges.get(stage.stage.name, ())]
    return "\n".join(line for line in lines if line)


def others(rows: Sequence[Row]) -> dict[str, int]:
    """Return how many trials are not complete, by what is to be said of them."""
    counted: Counter[str] = Counter()
    for row in rows:
        if row.state == "complete":
            continue
        given_up = row.state == "pruned"
        counted[f"given up ({row.reason.split(' at epoch')[0]})" if given_up else row.state] += 1
    return dict(counted)
