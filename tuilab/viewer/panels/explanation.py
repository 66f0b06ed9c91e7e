"""What the numbers say, in words: findings; gains and updates; claims; the question."""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from tuilab.charts import formats
from tuilab.charts.text import Line, plain, wrap
from tuilab.diagnosis.finding import Finding
from tuilab.diagnosis.past import LEARNED
from tuilab.record import RunInfo
from tuilab.viewer.model.claims import Claims
from tuilab.viewer.model.store import RunStore
from tuilab.viewer.panels.base import Styles, TextPanel
from tuilab.viewer.panels.claims import claim_lines
from tuilab.viewer.panels.findings import finding_lines, note_lines
from tuilab.viewer.panels.gain import causes, expect
from tuilab.viewer.panels.header import identity
from tuilab.viewer.panels.layer_columns import (
    GAIN_HEALTHY,
    RATIO_HEALTHY,
    Table,
    gain_role,
    update_ratio_role,
)

WORDS: Final = 0.7  # of the room that complaints may take with their advice
FORWARD: Final = {"shrinking_activations", "growing_activations"}
BACKWARD: Final = {"vanishing_gradient", "exploding_gradient"}
UPDATES: Final = {"low_learning_rate", "high_learning_rate"}
"""Rules whose findings say what the words on a gain, or on updates, would say."""


def reading(
    store: RunStore, claims: Claims, cells: int, *, question: bool = True, room: int = 0
) -> list[Line]:
    """Build the text of the panel, wrapped to `cells`; `question` unless it stands elsewhere.

    First what was found wrong, with advice, unless that leaves too little of `room` lines (0: they
    scroll) for the rest; then how stands what no rule complains of.
    """
    lines: list[Line] = []
    tail = store.folder.log_tail(8) if store.state in ("killed", "failed") else ""
    if tail:
        lines += [[("end of the log", "muted")], *([(row, "")] for row in tail.splitlines()), []]
    grave = [finding for finding in store.findings if finding.severity != "info"]
    snapshot = store.snapshot
    table = Table.of(snapshot, store.info) if snapshot is not None else None
    complaints = _complaints(grave, store, cells, advice=True)
    if room and len(complaints) > WORDS * room:
        complaints = _complaints(grave, store, cells, advice=False)
    lines += complaints
    if table is not None:
        lines += _standing(table, store, {finding.rule for finding in grave}, cells)
    if claims.verdicts or claims.problem:
        lines += [[], *claim_lines(claims, cells, back=store.at is not None)]
    if notes := note_lines([f for f in store.findings if f not in grave], cells):
        lines += [[], *notes]
    if question and store.info.question:
        asked = wrap([(store.info.question, "italic")], cells)
        lines += [[], [("question", "muted")], *asked]
    if store.info.look_at:
        lines += [[], [("look at", "muted")], *wrap([(store.info.look_at, "")], cells)]
    return lines if lines and lines[0] else lines[1:]


def _complaints(
    findings: Sequence[Finding], store: RunStore, cells: int, *, advice: bool
) -> list[Line]:
    return [
        line
        for finding in findings
        for line in finding_lines(
            finding, cells, advice=advice, details=_details(finding.rule, store)
        )
    ]


def _details(rule: str, store: RunStore) -> list[str]:
    """Return what is known beyond a finding's evidence: the gain that theory expects."""
    if rule not in FORWARD or store.info.batch_norm:
        return []
    words = theory(store.info)
    return [words] if words else []


def _standing(table: Table, store: RunStore, found: set[str], cells: int) -> list[Line]:
    """Say how gains and updates stand, each unless a finding has said it."""
    lines: list[Line] = []
    if not table.deep:
        lines += _shallow(table, cells)
    else:
        if not found & FORWARD:
            lines += forward_words(table, store.info, cells)
        if not found & BACKWARD:
            lines += backward_words(table, cells)
    if not found & UPDATES:
        learned = store.series.value("loss", store.at) < LEARNED * store.series.first_loss
        lines += _updates(table, learned, cells)
    return lines


def _paragraph(role: str, head: str, details: Sequence[str], cells: int) -> list[Line]:
    glyph = {"": "●", "warning": "▲", "error": "▲", "faint": "○"}[role]
    tint = role if role in ("warning", "error") else "success" if not role else "muted"
    lines = wrap([(f"{glyph} ", tint), (head, tint)], cells, 2)
    for text in details:
        lines += wrap([("  ", ""), (text, "")], cells, 2)
    return lines


def _shallow(table: Table, cells: int) -> list[Line]:
    text = f"{table.hidden} hidden layers: too few for a trend over depth"
    if table.hidden < 2:
        text = f"{('no', 'one')[table.hidden]} hidden layer: no gain to speak of"
    return _paragraph("faint", text, [], cells)


def forward_words(table: Table, info: RunInfo, cells: int) -> list[Line]:
    """Say what becomes of the signal on its way to the output, and what theory expects."""
    value = table.snapshot.gain_forward
    std = table.snapshot.field("activation", "std")[:-1]
    start = table.input_std or float(std[0])
    left = float(std[-1]) / start if start else math.nan
    details = []
    if math.isfinite(left):
        spread = f"{formats.percent(left)}" if left < 1.5 else formats.factor(left)
        details.append(f"{spread} of the spread after {table.hidden} layers")
    if info.batch_norm:
        details.append("batch normalisation resets the spread in each layer")
    elif words := theory(info):
        details.append(words)
    head = _head("activations", value)
    return _paragraph(gain_role(value), head, details, cells)


def backward_words(table: Table, cells: int) -> list[Line]:
    """Say what becomes of dL/dA on its way back to the first layer."""
    value = table.snapshot.gain_backward
    std = table.snapshot.field("activation_grad", "std")[:-1]
    left = float(std[0]) / float(std[-1]) if std[-1] else math.nan
    details = []
    if math.isfinite(left):
        share = formats.percent(left) if left < 1.5 else formats.factor(left)
        details.append(f"{share} of it at layer 1")
    head = _head("gradients", value)
    return _paragraph(gain_role(value), head, details, cells)


def _head(what: str, value: float) -> str:
    if math.isnan(value):
        return f"{what} cannot be followed"
    trend = "hold"
    if value < GAIN_HEALTHY[0]:
        trend = "shrink"
    elif value > GAIN_HEALTHY[1]:
        trend = "grow"
    return f"{what} {trend} {formats.factor(value)} a layer"


def theory(info: RunInfo) -> str:
    """Return the gain that theory expects at the start, and what it is made of, where known."""
    found = expect(info)
    if math.isnan(found.gain_forward):
        return ""
    cause, _ = causes(found, info)
    return f"theory, step 0: {formats.factor(found.gain_forward)} ({cause})"


def _updates(table: Table, learned: bool, cells: int) -> list[Line]:
    ratios = table.snapshot.update_ratio
    ratios = ratios[np.isfinite(ratios)]
    if not ratios.size:
        return []
    median = float(np.median(ratios))
    role = update_ratio_role(median)
    size = "tiny" if median < RATIO_HEALTHY[0] else "large" if role else "healthy"
    head = f"updates are {size}: {formats.power(median)} a step"
    if learned and size == "tiny":
        return _paragraph("", head, ["as they should be: the training loss is near zero"], cells)
    return _paragraph(role, head, [], cells)


class Explanation(TextPanel):
    """The words as a widget."""

    def __init__(self, styles: Styles, *, id: str) -> None:  # noqa: A002 - Textual's name
        super().__init__(styles, id=id)
        self.border_title = "Explanation"

    def update(self, store: RunStore, claims: Claims, *, scrolls: bool) -> None:
        """Say what is known now; `scrolls`: keys reach what does not fit."""
        if not self.content_size.width:
            return
        above = plain(identity(store.info, store.folder.name, self.app.size.width - 2))
        question = store.info.question not in above
        width, height = self.content_size
        room = 0 if scrolls else height
        text = reading(store, claims, width, question=question, room=room)
        if not text:
            text = [[("waiting for the first statistics …" if store.live else "no statistics",
                      "muted")]]  # fmt: skip
        self.show_text(text)
