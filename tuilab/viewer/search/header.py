"""The lines at the top of a search: what is searched, its progress, and the best trial."""

from collections.abc import Mapping
from typing import Final

from tuilab.charts.symbols import SEVERITIES
from tuilab.charts.text import Line, Piece, crop, fit, join, pad
from tuilab.search.results import StageResult, objective_heading, value_text
from tuilab.viewer.search.store import Reading
from tuilab.viewer.search.table import counts

WORDS: Final[Mapping[str, tuple[str, str]]] = {
    "running": ("running", "activation"),
    "complete": ("complete", ""),
    "pruned": ("pruned", "muted"),
    "failed": ("failed", "error"),
    "lost": ("lost, retried", "muted"),
    "waiting": ("waiting for a retry", "muted"),
}
BAR: Final = 24  # cells


def header(reading: Reading, stage: StageResult | None, title: str, cells: int) -> list[Line]:
    """Return two lines, and a third if the best values are at an edge of a range."""
    result = reading.result
    search = result.search
    goal = "highest" if search.maximize else "lowest"
    first = fit(
        [
            Piece(9, [(f"{result.scenario}", "bold")]),
            Piece(3, [(title, "muted")]),
            Piece(5, [(f"{goal} {search.objective}", "muted")]),
        ],
        cells - 2,
    )
    lines: list[Line] = [pad([(" ", ""), *join([p.line for p in first], "   ")], cells)]
    lines.append(pad([(" ", ""), *_state(reading, stage, cells - 2)], cells))
    edges = result.edges.get(stage.stage.name, ()) if stage is not None else ()
    lines += [
        pad(crop([(f" {SEVERITIES['warning'].glyph} {text}", "warning")], cells), cells)
        for text in edges[:1]
    ]
    return lines


def _state(reading: Reading, stage: StageResult | None, cells: int) -> Line:
    sign = ("▶ searching", "activation") if reading.alive else ("■ ended", "muted")
    if stage is None:
        words = "waiting for the first trial …" if reading.alive else "see search.log in its folder"
        return [sign, (f"   {words}", "muted")]
    ended = sum(row.state in ("complete", "pruned", "failed") for row in stage.rows)
    total = max(stage.stage.trials, 1)
    full = round(min(ended / total, 1.0) * BAR)
    names = [result.stage.name for result in reading.result.stages]
    which = f" ({names.index(stage.stage.name) + 1} of {len(names)} stages)" * (len(names) > 1)
    pieces = [
        Piece(9, [sign]),
        Piece(10, [("stage ", "muted"), (stage.stage.name, "bold"), (which, "muted")]),
        Piece(8, [(f"{ended}/{total}", "bold")]),
        Piece(4, [("━" * full, "update"), ("─" * (BAR - full), "faint")]),
    ]
    for state, count in counts(stage).items():
        words, role = WORDS[state]
        pieces.append(Piece(6 if state != "complete" else 5, [(f"{count} {words}", role)]))
    if (best := reading.result.best) is not None:
        heading = objective_heading(reading.result.search)
        value = value_text(best.row.value)
        where = f" ({best.stage.stage.name} {best.row.number})"
        pieces.append(Piece(11, [("best ", "muted"), (f"{heading} {value}", "success.bold"),
                                 (where, "muted")]))  # fmt: skip
    return join([piece.line for piece in fit(pieces, cells)])
