"""What happened on the way, as a line of marks above a curve: key actions and findings."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from engine.states import EventKind
from engine.statistics.frames import Event
from engine.training.changes import CHANGES
from tuilab.charts import formats
from tuilab.charts.text import Line
from tuilab.diagnosis.finding import Finding
from tuilab.viewer.model import changes

SILENT: Final = frozenset(
    (
        "pause",
        "resume",
        "step",
        "stop",
        "run_to_epoch",
        "speed",
        "checkpoint",
        "refused",
        EventKind.CLEARED,
    )
)
"""Events that change nothing of the training."""
GLYPHS: Final = {"error": "●", "warning": "▲", "info": "○"}
RANKS: Final = ("muted", "update", "warning", "error")
"""Roles of marks; of several in one place the last of these is seen."""
NAMES: Final = {"learning_rate": "lr", "weight_decay": "λ"}


@dataclass(frozen=True, slots=True)
class EventMarker:
    """Something that happened at `step`: a glyph above the curve, a word if there is room."""

    step: float
    glyph: str
    label: str
    role: str
    count: int = 1  # how many marks it stands for


def of_events(events: Iterable[Event]) -> list[EventMarker]:
    """Return marks for what changed the training and for what the diagnosis found, by step.

    A finding stands where its condition began, and once for each severity that it had.
    """
    found: list[EventMarker] = []
    told: set[tuple[str, str]] = set()
    for event in events:
        if event.kind == EventKind.FINDING:
            finding = Finding.of(event)
            if (finding.rule, finding.severity) not in told:
                told.add((finding.rule, finding.severity))
                found.append(_of_finding(finding))
        elif event.kind == "diverged":
            found.append(EventMarker(event.step, "✕", "not finite", "error"))
        elif event.kind in CHANGES:
            found.append(EventMarker(event.step, "◆", changes.label(event), "update"))
        elif event.kind not in SILENT:
            found.append(EventMarker(event.step, "▾", change(event), "update"))
    return sorted(found, key=lambda mark: mark.step)


def _of_finding(finding: Finding) -> EventMarker:
    role = "muted" if finding.severity == "info" else finding.severity
    return EventMarker(finding.first_step, GLYPHS[finding.severity], finding.title, role)


def change(event: Event) -> str:
    """Say in a word what a key action changed."""
    key, found = str(event.detail.get("key", "")), event.detail.get("value", math.nan)
    name = NAMES.get(key, key.replace("_", " "))
    if event.kind != "set":
        parts = (event.kind.replace("_", " "), name, str(event.detail.get("layer", "")))
        return " ".join(part for part in parts if part)
    if not isinstance(found, int | float):
        return f"{name} {found}"
    previous = float(event.detail.get("previous", math.nan))
    if key == "learning_rate" and previous > 0:
        return f"{name} ×{found / previous:.3g}"
    return f"{name} {formats.number(found)}"


def line(
    marks: Sequence[EventMarker], span: tuple[float, float], indent: int, columns: int
) -> Line:
    """Place marks over their steps; a label is left out where it would meet the next one."""
    placed = _crowded(marks, span, columns)
    cells = [(" ", "")] * columns
    for at, mark in placed:
        text = mark.glyph + (str(mark.count) if mark.count > 1 else "")
        _write(cells, min(at, columns - len(text)), text, mark.role)
    end = columns
    for at, mark in reversed(placed):
        start = at + 1 + (len(str(mark.count)) if mark.count > 1 else 0)
        text = f" {mark.label}"
        if mark.label and start + len(text) < end + (end == columns):
            _write(cells, start, text, mark.role)
        elif mark.label and end == columns and at - len(text) >= 0:
            _before(cells, at, f"{mark.label} ", mark.role)
        end = min(end, at)
    return [(" " * indent, ""), *runs(cells)]


def _crowded(
    marks: Sequence[EventMarker], span: tuple[float, float], columns: int
) -> list[tuple[int, EventMarker]]:
    """Return the marks with their columns; those that would touch are one, with their number.

    Marks without a word are left as they are: the later one stands over the earlier.
    """
    placed: list[tuple[int, EventMarker]] = []
    for mark in marks:
        at = round((mark.step - span[0]) / (span[1] - span[0]) * (columns - 1))
        if not 0 <= at < columns:
            continue
        place, before = placed[-1] if placed else (-columns, mark)
        if mark.label and before.label and at - place < 2 + (before.count > 1):
            gravest = max((before, mark), key=lambda each: RANKS.index(each.role))
            placed[-1] = place, replace(gravest, count=before.count + mark.count)
        else:
            placed.append((at, mark))
    return placed


def _write(cells: list[tuple[str, str]], start: int, text: str, role: str) -> None:
    start = max(start, 0)
    cells[start : start + len(text)] = [(character, role) for character in text]


def _before(cells: list[tuple[str, str]], at: int, text: str, role: str) -> None:
    """Write a label to the left of the last mark, if nothing stands there."""
    start = at - len(text)
    if all(character == " " for character, _ in cells[start - 1 if start else 0 : at]):
        _write(cells, start, text, role)


def runs(cells: Iterable[tuple[str, str]]) -> Line:
    """Merge neighbours of the same role into spans."""
    line: Line = []
    for character, role in cells:
        if line and line[-1][1] == role:
            line[-1] = line[-1][0] + character, role
        else:
            line.append((character, role))
    return line
