"""The output of a search for people: progress lines, the lecture's table, the best scenario."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final, TextIO

from tuilab.charts.symbols import SEVERITIES
from tuilab.reports.run_report import aligned
from tuilab.scenario.scenario import Scenario
from tuilab.scenario.search.settings import Search, Stage
from tuilab.scenario.search.space import Space
from tuilab.search.narrowing import Edge
from tuilab.search.points import scenario_at
from tuilab.search.results import (
    ENDED,
    RankedTrial,
    Row,
    SearchResult,
    StageResult,
    objective_heading,
    value_text,
)
from tuilab.search.search_loop import Listener
from tuilab.terminal import StatusLine, shell_command

SHOWN: Final = 15  # trials per stage in the table at the end of a search


class ProgressLines(Listener):
    """Writes a line per trial, and below them what is running now."""

    def __init__(self, stream: TextIO, search: Search) -> None:
        self._search = search
        self._status = StatusLine(stream, sum(stage.trials for stage in search.stages))

    def close(self) -> None:
        """Clear the status line."""
        self._status.close()

    def stage(self, stage: Stage, space: Space, origins: Mapping[str, str]) -> None:
        self._status.print(opening(stage, space, origins))

    def running(self, labels: Sequence[str]) -> None:
        self._status.show(labels)

    def ended(self, stage: StageResult, number: int) -> None:
        self._status.count()
        row = next(row for row in stage.rows if row.number == number)
        self._status.print(trial_line(stage, row, self._search))

    def edges(self, stage: Stage, edges: Sequence[Edge], *, extended: bool) -> None:
        for edge in edges:
            self._status.print(SEVERITIES["warning"].glyph + f" {edge.text}")
        if not extended and any(edge.wider is not None for edge in edges):
            self._status.print("  (--extend searches there)")


def opening(stage: Stage, space: Space, origins: Mapping[str, str]) -> str:
    """Return the heading of a new stage: its ranges, and where they come from."""
    length = f" of {stage.length}" if stage.length else ""
    lines = [f"{stage.name}: {stage.trials} trials{length}"]
    rows = [(f"  {k}", p.text, origins.get(k, "")) for k, p in space.items()]
    return "\n".join([*lines, aligned([*rows])]).rstrip()


def trial_line(result: StageResult, row: Row, search: Search) -> str:
    """Return the lecture's line: "val_acc: 0.4120, lr: 1.4e-04, reg: 0.479 (12 / 100)"."""
    point = [f"{result.columns[key]}: {value_text(value)}" for key, value in row.point.items()]
    outcome = row.reason or row.state
    if row.value is not None:
        outcome = f"{objective_heading(search)}: {value_text(row.value)}"
    done = sum(other.state in ENDED and other.retry_of is None for other in result.rows)
    best = result.ranked(maximize=search.maximize)[:1]
    mark = " ← best so far" if best and best[0].number == row.number else ""
    count = f"({done} / {result.stage.trials})"
    words = ", ".join([outcome, *point])
    return f"{row.mark} {result.stage.name} {row.number}  {words} {count}{mark}"


def summary(result: SearchResult, limit: int | None = SHOWN) -> str:
    """Return the tables of all stages, the warnings, and the best trial."""
    parts = [stage_table(stage, result, limit) for stage in result.stages]
    best = result.best
    if best is not None:
        run = best.row.run if best.row.run.startswith("/") else f"{result.folder}/{best.row.run}"
        value = f"{objective_heading(result.search)} {value_text(best.row.value)}"
        parts.append(
            f"best: {value}, {best.stage.stage.name} {best.row.number}"
            f"   (view it: {shell_command('replay', run)})\n"
            "save its scenario: "
            + shell_command("search", "show", result.folder, "--write", "best.toml")
        )
    elif result.stages:
        parts.append("no trial was completed with a value of the objective")
    return "\n\n".join(parts)


def stage_table(stage: StageResult, result: SearchResult, limit: int | None) -> str:
    """Return the trials of a stage by rank, with counts of the incomplete ones by reason."""
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
    heading += "".join(f", {count} {why}" for why, count in incomplete(stage.rows).items()) + ")"
    more = len(ranked) - len(rows) + 1
    lines = [heading, aligned(rows) if ranked else "", f"… and {more} more" if more else ""]
    lines += [
        SEVERITIES["warning"].glyph + f" {text}" for text in result.edges.get(stage.stage.name, ())
    ]
    return "\n".join(line for line in lines if line)


def incomplete(rows: Sequence[Row]) -> dict[str, int]:
    """Return the number of incomplete trials by state, or by the reason to stop them early."""
    counted: Counter[str] = Counter()
    for row in rows:
        if row.state == "complete":
            continue
        reason = row.reason.split(" at epoch")[0]
        counted[f"stopped early ({reason})" if row.state == "pruned" else row.state] += 1
    return dict(counted)


def best_scenario_text(base: Scenario, result: SearchResult, trial: RankedTrial) -> str:
    """Return the scenario of `trial` as TOML, with its origin in a comment.

    `tuilab run` trains it to the same value.
    """
    scenario = scenario_at(base, trial.row.point, trial.stage.stage.train)
    return (
        f"# Trial {trial.row.number} of stage {trial.stage.stage.name} of the search in "
        f"{result.folder}:\n"
        f"# {objective_heading(result.search)} {trial.row.value!r}, with one BLAS thread "
        "(tuilab run FILE --threads 1 reproduces it exactly).\n"
        f"{scenario.to_toml()}"
    )
