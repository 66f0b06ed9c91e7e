"""Markers above a curve: where keys changed the training, and where findings began."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from engine.states import EventKind
from engine.statistics.frames import Event
from engine.training.changes import CHANGES, INSERT
from tuilab.charts import formats
from tuilab.charts.rounding import settled
from tuilab.charts.symbols import CHANGED, FROZEN, NOT_FINITE, REBUILT, SEVERITIES
from tuilab.charts.text import Line
from tuilab.diagnosis.finding import Finding

UNMARKED: Final = frozenset((
    *(EventKind.PAUSE, EventKind.RESUME, EventKind.STEP, EventKind.STOP, EventKind.RUN_TO_EPOCH),
    *(EventKind.SPEED, EventKind.CHECKPOINT, EventKind.REFUSED, EventKind.CLEARED, EventKind.ARM),
))  # fmt: skip
"""Events that leave the training as it is."""
RANKS: Final = ("muted", "update", "warning", "error")
"""Roles of markers; where several share a place, the last of these colours it."""
NAMES: Final = {"learning_rate": "lr", "weight_decay": "λ"}


@dataclass(frozen=True, slots=True)
class EventMarker:
    """Something that happened at `step`: a glyph above the curve, and a label if it fits."""

    step: float
    glyph: str
    label: str
    role: str
    count: int = 1  # markers that it represents


def of_events(events: Iterable[Event]) -> list[EventMarker]:
    """Return markers, in order of their steps, for changes of the training and for findings.

    A finding is marked where its condition began, once for each severity that it reached.
    """
    markers: list[EventMarker] = []
    marked: set[tuple[str, str]] = set()
    for event in events:
        if event.kind == EventKind.FINDING:
            finding = Finding.of(event)
            if (finding.rule, finding.severity) not in marked:
                marked.add((finding.rule, finding.severity))
                markers.append(_of_finding(finding))
        elif event.kind == EventKind.DIVERGED:
            label = "not finite"
            markers.append(EventMarker(event.step, NOT_FINITE.glyph, label, NOT_FINITE.role))
        elif event.kind in CHANGES:
            label = change_label(event)
            markers.append(EventMarker(event.step, REBUILT.glyph, label, REBUILT.role))
        elif event.kind in (EventKind.SKIPPED, EventKind.RANKS):
            label = "step skipped" if event.kind == EventKind.SKIPPED else "ranks"
            markers.append(EventMarker(event.step, CHANGED.glyph, label, "warning"))
        elif event.kind not in UNMARKED:
            label = setting_label(event)
            markers.append(EventMarker(event.step, CHANGED.glyph, label, CHANGED.role))
    return sorted(markers, key=lambda marker: marker.step)


def _of_finding(finding: Finding) -> EventMarker:
    symbol = SEVERITIES[finding.severity]
    return EventMarker(finding.first_step, symbol.glyph, finding.title, symbol.role)


def setting_label(event: Event) -> str:
    """Return in a word or two which setting a key changed: "lr ×1.25"."""
    key, value = str(event.detail.get("key", "")), event.detail.get("value", math.nan)
    name = NAMES.get(key, key.replace("_", " "))
    if event.kind != EventKind.SET:
        parts = (event.kind.replace("_", " "), name, str(event.detail.get("layer", "")))
        return " ".join(part for part in parts if part)
    if not isinstance(value, int | float):
        return f"{name} {value}"
    previous = float(event.detail.get("previous", math.nan))
    if key == "learning_rate" and previous > 0:
        return f"{name} ×{value / previous:.3g}"
    return f"{name} {formats.number(value)}"


def change_label(event: Event) -> str:
    """Return in a word or two what changed of the network or its batches: "+BN 3"."""
    layer, name = event.detail.get("layer", 0), str(event.detail.get("name", ""))
    which = str(layer) if layer else "all"
    match event.kind:
        case EventKind.BATCH_SIZE:
            return f"batch {event.detail.get('value', 0):.0f}"
        case EventKind.SCHEDULE:
            return name
        case EventKind.FREEZE:
            return f"{FROZEN.glyph} {which}"
        case EventKind.UNFREEZE:
            return f"thaw {which}"
        case EventKind.REINITIALIZE | EventKind.ACTIVATION:
            return f"{name} {which}"
        case EventKind.BATCH_NORM:
            return f"{'+' if name == INSERT else '−'}BN {which}"
    return event.kind


def marker_line(
    markers: Sequence[EventMarker], span: tuple[float, float], indent: int, columns: int
) -> Line:
    """Place markers over their steps; a label that would touch the next one is left out."""
    placed = _merged(markers, span, columns)
    cells = [(" ", "")] * columns
    for at, marker in placed:
        text = marker.glyph + (str(marker.count) if marker.count > 1 else "")
        _write(cells, min(at, columns - len(text)), text, marker.role)
    end = columns
    for at, marker in reversed(placed):
        start = at + 1 + (len(str(marker.count)) if marker.count > 1 else 0)
        text = f" {marker.label}"
        if marker.label and start + len(text) < end + (end == columns):
            _write(cells, start, text, marker.role)
        elif marker.label and end == columns and at - len(text) >= 0:
            at = _write_before(cells, at, f"{marker.label} ", marker.role)
        end = min(end, at)
    return [(" " * indent, ""), *runs(cells)]


def _merged(
    markers: Sequence[EventMarker], span: tuple[float, float], columns: int
) -> list[tuple[int, EventMarker]]:
    """Return markers with their columns; those that would touch become one, with their number.

    Markers without a label stay apart: a later one is drawn over an earlier one.
    """
    placed: list[tuple[int, EventMarker]] = []
    for marker in markers:
        at = round(settled((marker.step - span[0]) / (span[1] - span[0])) * (columns - 1))
        if not 0 <= at < columns:
            continue
        place, before = placed[-1] if placed else (-columns, marker)
        if marker.label and before.label and at - place < 2 + (before.count > 1):
            gravest = max((before, marker), key=lambda candidate: RANKS.index(candidate.role))
            placed[-1] = place, replace(gravest, count=before.count + marker.count)
        else:
            placed.append((at, marker))
    return placed


def _write(cells: list[tuple[str, str]], start: int, text: str, role: str) -> None:
    start = max(start, 0)
    cells[start : start + len(text)] = [(character, role) for character in text]


def _write_before(cells: list[tuple[str, str]], at: int, text: str, role: str) -> int:
    """Write a label to the left of the last marker, if those cells are free.

    Return the column from which on cells are taken.
    """
    start = at - len(text)
    if any(character != " " for character, _ in cells[start - 1 if start else 0 : at]):
        return at
    _write(cells, start, text, role)
    return start


def runs(cells: Iterable[tuple[str, str]]) -> Line:
    """Merge neighbours of the same role into spans."""
    line: Line = []
    for character, role in cells:
        if line and line[-1][1] == role:
            line[-1] = line[-1][0] + character, role
        else:
            line.append((character, role))
    return line
