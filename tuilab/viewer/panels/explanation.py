"""The numbers in words: findings, gains and updates, claims, the question of the scenario."""

import math
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from engine.states import RunState
from tuilab.charts import formats
from tuilab.charts.symbols import OK, SEVERITIES, UNKNOWN, Symbol
from tuilab.charts.text import Line, plain, wrap
from tuilab.diagnosis.finding import Finding
from tuilab.diagnosis.past import LEARNED
from tuilab.record import RunInfo
from tuilab.viewer.model.capabilities import logs
from tuilab.viewer.model.claims import Claims
from tuilab.viewer.model.folding import Folding
from tuilab.viewer.model.layer_table import Table
from tuilab.viewer.model.store import RunStore
from tuilab.viewer.panels.base import WAITING, PanelContext, PanelSpec, Styles, TextPanel
from tuilab.viewer.panels.claims import claim_lines
from tuilab.viewer.panels.depth_words import sentence, trend
from tuilab.viewer.panels.findings import (
    BACKWARD,
    FORWARD,
    UPDATES,
    finding_lines,
    note_lines,
)
from tuilab.viewer.panels.gain import causes, expect, share_of
from tuilab.viewer.panels.header import identity

FINDINGS: Final = 0.7
"""Share of the lines that findings may take with their advice; beyond, they go without it."""
LOGGED: Final = ("loss", "accuracy")
"""What a program that is watched can be expected to log."""
SYMBOLS: Final[Mapping[str, Symbol]] = {
    "": OK,
    "faint": UNKNOWN,
    "warning": SEVERITIES["warning"],
    "error": SEVERITIES["error"],
}
"""Of a paragraph, by the role of its number."""


def explanation_lines(
    store: RunStore,
    claims: Claims,
    cells: int,
    *,
    question: bool = True,
    room: int = 0,
    folding: Folding | None = None,
) -> list[Line]:
    """Return the text of the panel, wrapped to `cells`, with or without the `question`.

    Errors and warnings come first, then the gains and updates that no finding is about. Advice is
    left out where it would take too many of `room` lines (0: the panel scrolls).
    """
    lines: list[Line] = []
    tail = store.folder.log_tail(8) if store.state in (RunState.KILLED, RunState.FAILED) else ""
    if tail:
        lines += [[("end of the log", "muted")], *([(row, "")] for row in tail.splitlines()), []]
    grave = [finding for finding in store.findings if finding.severity != "info"]
    table = Table.of_store(store)
    findings = _finding_lines(grave, store, cells, advice=True)
    if room and len(findings) > FINDINGS * room:
        findings = _finding_lines(grave, store, cells, advice=False)
    lines += findings
    if table is not None:
        lines += _unaffected(table, store, folding or Folding(), cells)
    if claims.verdicts or claims.problem:
        lines += [[], *claim_lines(claims, cells, back=store.at is not None)]
    if notes := note_lines([f for f in store.findings if f not in grave], cells, store.info.layers):
        lines += [[], *notes]
    lines += _not_logged(store, cells)
    if question and store.info.question:
        paragraph = wrap([(store.info.question, "italic")], cells)
        lines += [[], [("question", "muted")], *paragraph]
    if store.info.look_at:
        lines += [[], [("look at", "muted")], *wrap([(store.info.look_at, "")], cells)]
    return lines if lines and lines[0] else lines[1:]


def _not_logged(store: RunStore, cells: int) -> list[Line]:
    """Return which curves are missing because the program that is watched logs no values."""
    known = {*store.series.names, *(name for v in store.validations for name in v.values)}
    missing = [name for name in LOGGED if name not in known]
    if not missing or not len(store.series) or not logs(store.info):
        return []
    call = ", ".join(f"{name}=…" for name in missing)
    words = f"not logged: {' and '.join(missing)}; in the program: run.log({call})"
    return [[], *wrap([(words, "muted")], cells, 2)]


def _finding_lines(
    findings: Sequence[Finding], store: RunStore, cells: int, *, advice: bool
) -> list[Line]:
    return [
        line
        for finding in findings
        for line in finding_lines(
            finding,
            cells,
            advice=advice,
            more=_details(finding.rule, store),
            layers=store.info.layers,
        )
    ]


def _details(rule: str, store: RunStore) -> list[str]:
    """Return further evidence for a finding: the gain that theory predicts."""
    if rule not in FORWARD or store.info.batch_norm:
        return []
    words = theory(store.info)
    return [words] if words else []


def _unaffected(table: Table, store: RunStore, folding: Folding, cells: int) -> list[Line]:
    """Return paragraphs on gains and updates, except on those that a finding is about."""
    rules = {finding.rule for finding in store.findings}
    lines: list[Line] = []
    if not table.chain:
        lines += _over_blocks(table, folding, rules, cells)
    elif not table.deep:
        lines += _shallow(table, cells)
    else:
        if not rules & FORWARD:
            lines += forward_words(table, store.info, cells)
        if not rules & BACKWARD:
            lines += backward_words(table, cells)
    if not rules & UPDATES:
        learned = store.series.value("loss", store.at) < LEARNED * store.series.first_loss
        lines += _updates(table, learned, cells)
    return lines


def _paragraph(role: str, head: str, details: Sequence[str], cells: int) -> list[Line]:
    symbol = SYMBOLS[role]
    lines = wrap([symbol.lead, (head, symbol.role)], cells, 2)
    for text in details:
        lines += wrap([("  ", ""), (text, "")], cells, 2)
    return lines


def _shallow(table: Table, cells: int) -> list[Line]:
    text = f"{table.hidden} hidden layers: too few for a trend over depth"
    if table.hidden < 2:
        text = f"{('no', 'one')[table.hidden]} hidden layer: no gain per layer"
    return _paragraph("faint", text, [], cells)


def _over_blocks(table: Table, folding: Folding, rules: set[str], cells: int) -> list[Line]:
    """Return how signals change over repeated blocks; they are no chain of layers."""
    folding.follow(table.layers)
    lines: list[Line] = []
    for what, tensor, of_rules in (
        ("activations", "activation", FORWARD),
        ("gradients", "activation_grad", BACKWARD),
    ):
        back = tensor == "activation_grad"
        one = trend(table, folding.folded, tensor, back=back)
        if one is not None and not rules & of_rules:
            role, head, rest = sentence(what, one, table)
            lines += _paragraph(role, head, [rest], cells)
    return lines


def forward_words(table: Table, info: RunInfo, cells: int) -> list[Line]:
    """Return how the signal changes towards the output, and what theory predicts."""
    value = table.snapshot.gain_forward
    std = table.snapshot.field("activation", "std")[: table.hidden]
    start = table.input_std or float(std[0])
    left = float(std[-1]) / start if start else math.nan
    details = []
    if math.isfinite(left):
        details.append(f"std after {table.hidden} layers: {share_of(left)} the inputs'")
    if info.batch_norm:
        details.append("batch normalisation resets the std in each layer")
    elif words := theory(info):
        details.append(words)
    head = _head("activations", value, table)
    return _paragraph(table.thresholds.gain(value), head, details, cells)


def backward_words(table: Table, cells: int) -> list[Line]:
    """Return how dL/dA changes from the last layer back to the first."""
    value = table.snapshot.gain_backward
    std = table.snapshot.field("activation_grad", "std")[: table.hidden]
    left = float(std[0]) / float(std[-1]) if std[-1] else math.nan
    details = []
    if math.isfinite(left):
        details.append(f"std of dL/dA at layer 1: {share_of(left)} the last layer's")
    head = _head("gradients", value, table)
    return _paragraph(table.thresholds.gain(value), head, details, cells)


def _head(what: str, value: float, table: Table) -> str:
    if math.isnan(value):
        return f"{what}: no gain can be measured"
    low, high = table.thresholds.healthy_gain
    trend = "shrink" if value < low else "grow" if value > high else "keep their size"
    return f"{what} {trend}: {formats.factor(value)} per layer"


def theory(info: RunInfo) -> str:
    """Return the gain that theory predicts at the start, and its formula; "" if there is none."""
    expected = expect(info)
    if math.isnan(expected.gain_forward):
        return ""
    cause, _ = causes(expected, info)
    return f"theory at step 0: {formats.factor(expected.gain_forward)} ({cause})"


def _updates(table: Table, learned: bool, cells: int) -> list[Line]:
    ratios = table.snapshot.update_ratio
    ratios = ratios[np.isfinite(ratios)]
    if not ratios.size:
        return []
    median = float(np.median(ratios))
    role = table.thresholds.update_ratio(median)
    low, _ = table.thresholds.healthy_ratio
    size = "tiny" if median < low else "large" if role else "healthy"
    head = f"updates are {size}: {formats.power(median)} of the weights per step"
    if learned and size == "tiny":
        return _paragraph("", head, ["as expected: the training loss is close to zero"], cells)
    return _paragraph(role, head, [], cells)


class Explanation(TextPanel):
    """The numbers in words."""

    DEFAULT_CSS = "Explanation { width: 1fr; min-width: 42; }"

    def __init__(self, styles: Styles) -> None:
        super().__init__(styles, id="explanation")
        self.border_title = "Explanation"

    def present(self, context: PanelContext) -> None:
        """Show what is known of the run at the step that is shown."""
        self.draw_by(lambda: self._update(context))

    def _update(self, context: PanelContext) -> None:
        if not self.content_size.width:
            return
        store = context.store
        above = plain(identity(store.info, store.folder.name, self.app.size.width - 2))
        width, height = self.content_size
        text = explanation_lines(
            store,
            context.claims,
            width,
            question=store.info.question not in above,
            room=height if context.overview else 0,  # alone, it scrolls by key
            folding=context.folding,
        )
        self.show_text(text or [[(WAITING if store.live else "no statistics", "muted")]])


PANEL: Final = PanelSpec(
    name="explanation",
    order=30,
    slot="upper",
    key="3",
    help="explanation alone (again: everything)",
    widget=Explanation,
    stale_on=frozenset(("state", "info", "snapshot", "events", "claims")),
)
