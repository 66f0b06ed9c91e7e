"""How each layer changes the signal, forward and backward, compared with what theory predicts."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from engine.network.signal_propagation import SignalTheory, expected
from engine.statistics.frames import Floats, Snapshot
from tuilab.charts import formats
from tuilab.charts.bars import gain_bar
from tuilab.charts.event_markers import runs
from tuilab.charts.symbols import AS_EXPECTED, EXPECTED, MEASURED, OK, SEVERITIES, UNKNOWN, Symbol
from tuilab.charts.text import Line, crop, width, wrap
from tuilab.diagnosis.finding import Finding
from tuilab.record import RunInfo
from tuilab.viewer.model.folding import Folding
from tuilab.viewer.model.layer_table import Table
from tuilab.viewer.panels.base import WAITING, PanelContext, PanelSpec, Styles, TextPanel
from tuilab.viewer.panels.findings import BACKWARD, FORWARD, worst
from tuilab.viewer.panels.gain_rows import row_gain_lines
from tuilab.viewer.panels.layer_names import names

CLOSE: Final = math.log(1.1)  # a factor per layer that differs by less is as predicted
SPANS: Final = (2.0, 4.0, 10.0, 100.0)  # ends of the scale: the first that holds all
BAR: Final = (7, 41)  # cells of a bar, at least and at most
NARROW: Final = 46  # cells below which the verdicts are numbers only
NUMBERS: Final = 66  # cells from which the predicted factors are given as numbers too
LEFT: Final = 84  # and from which the remaining share of the signal is
AXIS: Final = "┊"  # a factor of 1
TINTS: Final = {EXPECTED.glyph: EXPECTED.role, AXIS: "faint"}


@dataclass(frozen=True, slots=True)
class Direction:
    """The signal in one direction: measured and predicted factors of each hidden layer."""

    word: str  # "forward"
    rules: frozenset[str]  # of the diagnosis, about this direction
    title: str
    role: str
    gain: float  # per layer, over all of them
    start: float  # the same at step 0
    theory: float
    measured: Floats  # (hidden,)
    expected: Floats  # (hidden,): NaN where theory has no answer
    left: Floats  # (hidden,): share of the std at the start
    cause: str  # of the predicted factor, as a formula
    missing: str  # the tensor, where the run does not record it


def directions(
    table: Table, info: RunInfo, first: Snapshot | None
) -> tuple[tuple[Direction, Direction], SignalTheory]:
    """Return both directions, and the theory of the signal at the start."""
    snapshot = table.snapshot
    theory = expect(info)
    hidden = table.hidden
    forward, backward = np.full((2, hidden), np.nan)
    for at, passage in enumerate(theory.passages[:hidden]):
        forward[at], backward[at] = passage.forward, passage.backward
    std = snapshot.field("activation", "std")[:-1]
    gradient = snapshot.field("activation_grad", "std")[:-1]
    with np.errstate(all="ignore"):
        onward = std / (table.input_std or math.nan)
        back = gradient / gradient[-1] if hidden else gradient
    why_forward, why_backward = causes(theory, info)
    return (
        Direction("forward", FORWARD, "forward →", "activation", snapshot.gain_forward,
            first.gain_forward if first else math.nan, theory.gain_forward,
            table.gains_forward()[:-1], forward, onward, why_forward,
            "" if "activation" in snapshot.tensors else "activation"),
        Direction("backward", BACKWARD, "← backward", "gradient", snapshot.gain_backward,
            first.gain_backward if first else math.nan, theory.gain_backward,
            table.gains_backward()[:-1], backward, back, why_backward,
            "" if "activation_grad" in snapshot.tensors else "dL/dA"),
    ), theory  # fmt: skip


def expect(info: RunInfo) -> SignalTheory:
    """Return what theory predicts for a run at its start."""
    layers = info.layers
    mean = float(info.inputs.get("train", {}).get("offset") or 0.0)
    return expected(layers, info.input_std, mean)


def causes(theory: SignalTheory, info: RunInfo) -> tuple[str, str]:
    """Return the formulas of the predicted factors, forward and backward, of a middle layer."""
    if theory.reason or len(theory.passages) < 2:
        return "", ""
    passage = theory.passages[len(theory.passages) // 2]
    name = info.activation
    if info.batch_norm:
        return "batch normalisation gives every layer unit Gaussian inputs", ""
    up, down = formats.factor(passage.weights), formats.factor(passage.preserved)
    there = f"σ_w√fan_in {up}, of which {name} preserves {down}"
    if math.isnan(passage.backward):
        return there, ""
    returned = formats.factor(passage.slope)
    weights = formats.factor(passage.backward / passage.slope if passage.slope else math.nan)
    return there, f"σ_w√fan_out {weights}, of which {name}′ passes on {returned}"


def close(a: float, b: float) -> bool:
    """Return whether two factors differ by no more than chance."""
    return a > 0 and b > 0 and abs(math.log(a) - math.log(b)) < CLOSE


def verdict(direction: Direction, theory: SignalTheory, info: RunInfo, step: int) -> str:
    """Return a sentence that compares the measured factor per layer with the predicted one."""
    if direction.missing:
        return f"{direction.word}: {direction.missing} is not recorded"
    if math.isnan(direction.gain):
        return f"{direction.word}: no factor per layer"
    head = f"{direction.word} {formats.factor(direction.gain)} per layer"
    of = f"{info.activation} with {info.initializer or 'these'} weights"
    if info.batch_norm:
        of = f"{info.activation} with batch normalisation"
    if theory.reason:
        return f"{head}; no theory: {theory.reason}"
    if close(direction.gain, direction.theory):
        return f"{head}: as theory predicts for {of}"
    predicted = formats.factor(direction.theory)
    if step > 0 and close(direction.start, direction.theory):
        return f"{head}: training changed it, from the {predicted} that theory predicts for {of}"
    return f"{head}: theory predicts {predicted} for {of}"


def remains(direction: Direction) -> str:
    """Return what remains of the signal in the last layer that it reaches."""
    left = (
        direction.left[-1 if direction.word == "forward" else 0]
        if len(direction.left)
        else math.nan
    )
    if not math.isfinite(left):
        return ""
    share = share_of(left)
    if direction.word == "forward":
        return f"std after {len(direction.left)} layers: {share} the inputs'"
    return f"std of dL/dA at layer 1: {share} the last layer's"


def share_of(left: float) -> str:
    """Return a share in words, to be followed by what it is a share of."""
    small = left == 0 or 5e-4 <= left < 1.5
    return f"{formats.percent(left)} of" if small else f"{formats.significant(left)} times"


def _share(left: float) -> str:
    return formats.percent(left) if left == 0 or 5e-4 <= left < 1.5 else formats.factor(left)


def gain_lines(
    table: Table,
    info: RunInfo,
    first: Snapshot | None,
    cells: int,
    height: int,
    findings: Sequence[Finding] = (),
) -> list[Line]:
    """Return the panel: both verdicts, and a row for each hidden layer.

    Explanations of the verdicts are left out where the rows need their lines. A verdict has the
    colour of the worst of the `findings` about it.
    """
    both, theory = directions(table, info, first)
    heads = [_head(direction, theory, info, table, cells, findings) for direction in both]
    if not table.hidden:
        return [line for head in heads for line in head]
    rows = _rows(both, table, cells)
    words: list[Line] = []
    for details in (2, 1, 0):
        words = [
            line
            for direction, head in zip(both, heads, strict=True)
            for line in [*head, *_details(direction, details, cells)]
        ]
        if len(words) + 1 + len(rows) <= height:
            break
    airy = len(words) + 1 + 2 * len(rows) - 3 <= height
    body = [line for row in rows[2:] for line in ([row, []] if airy else [row])]
    lines = [*words, [], *rows[:2], *body]
    return [crop(line, cells) for line in (lines[:-1] if airy else lines)]


def _head(
    direction: Direction,
    theory: SignalTheory,
    info: RunInfo,
    table: Table,
    cells: int,
    findings: Sequence[Finding],
) -> list[Line]:
    symbol = worst(findings, direction.rules) or _symbol(table.gain_role(direction.gain))
    head = verdict(direction, theory, info, table.snapshot.step)
    if cells < NARROW and not math.isnan(direction.theory):
        measured, predicted = formats.factor(direction.gain), formats.factor(direction.theory)
        head = f"{direction.word} {measured}, theory {predicted}"
    return wrap([symbol.lead, (head, f"{symbol.role}.bold")], cells, 2)


def _symbol(role: str) -> Symbol:
    """Return the symbol of a gain without a finding about it."""
    if role == "faint":
        return UNKNOWN
    return SEVERITIES["warning" if role == "warning" else "error"] if role else OK


def _details(direction: Direction, number: int, cells: int) -> list[Line]:
    """Return up to `number` explanations, on one line where they fit."""
    texts = [text for text in (remains(direction), direction.cause) if text][:number]
    if len(joined := " · ".join(texts)) < cells - 2:
        texts = [joined] if joined else []
    return [line for text in texts for line in wrap([("  ", ""), (text, "muted")], cells, 2)]


def span_of(both: Sequence[Direction]) -> float:
    """Return the end of the scale that has room for all measured and predicted factors."""
    values = np.concatenate([[1.0], *(np.concatenate([d.measured, d.expected]) for d in both)])
    usable = np.abs(np.log(values[np.isfinite(values) & (values > 0)]))
    reach = float(usable.max())
    return next((span for span in SPANS if reach <= math.log(1.05 * span)), SPANS[-1])


def _rows(both: Sequence[Direction], table: Table, cells: int) -> list[Line]:
    labels = names(table)
    numbers, left = cells >= NUMBERS, cells >= LEFT
    size = len(labels[0])
    taken = 7 + 7 * numbers + 6 * left  # of each direction, beside its bar
    bar = min(max((cells - size) // 2 - 3 - taken, BAR[0]), BAR[1])
    bar -= 1 - bar % 2
    if size + 2 * (3 + taken + bar) > cells:
        bar = 0
    span = span_of(both)
    top: Line = [(" " * size, "")]
    below: Line = [(" " * size, "")]
    for direction in both:
        top += [(" │ ", "faint"), (f"{direction.title:<{taken + bar}}", f"{direction.role}.bold")]
        heads = f"{'':>6}" + (f" {'theory':>6}" if numbers else "")
        low, high = (formats.factor(f) if bar > 11 else "" for f in (1 / span, span))
        scale = f"{low:<{bar // 2}}1{high:>{bar // 2}}" if bar else ""
        below += [(" │ ", "faint"), (f"{heads} {scale}", "muted")]
        below += [(f" {'left':>5}", "muted")] if left else []
    return [top, below, *_layers(both, table, labels, span, bar, numbers=numbers, left=left)]


def _layers(
    both: Sequence[Direction], table: Table, labels: Sequence[str], span: float, bar: int, *,
    numbers: bool, left: bool,
) -> list[Line]:  # fmt: skip
    lines: list[Line] = []
    for at, name in enumerate(labels[:-1]):
        line: Line = [(name, "bold")]
        for direction in both:
            value, theory = float(direction.measured[at]), float(direction.expected[at])
            role = table.gain_role(value)
            line += [(" │ ", "faint"), (f"{formats.factor(value):>6}", role)]
            if numbers:
                line.append((f" {formats.factor(theory):>6}", "muted"))
            if bar:
                line += [(" ", ""), *tinted(gain_bar(value, theory, span, bar), direction.role)]
            if left:
                share = float(direction.left[at])
                line.append((f" {_share(share):>5}", "" if math.isfinite(share) else "faint"))
        lines.append(line)
    return lines


def tinted(bar: str, role: str) -> Line:
    """Return a bar in its role; the prediction and the axis have colours of their own."""
    return runs((character, TINTS.get(character, role)) for character in bar)


class Gain(TextPanel):
    """The gains of the snapshot that is looked at."""

    DEFAULT_CSS = "Gain { width: 58; }"

    def __init__(self, styles: Styles) -> None:
        super().__init__(styles, id="gain")
        self.border_title = "Gain"
        self._of_rows: tuple[Table, Folding] | None = None  # of modules

    def present(self, context: PanelContext) -> None:
        """Show the snapshot that is looked at."""
        self.draw_by(lambda: self._update(context))

    def _update(self, context: PanelContext) -> None:
        store, table = context.store, Table.of_store(context.store)
        if not self.content_size.width:
            return
        self._of_rows = None
        if table is None:
            self.show_text([[(WAITING if store.live else "no statistics", "muted")]])
            return
        self.border_title = f"Gain  at step {formats.count(table.snapshot.step)}"
        cells, height = self.content_size
        context.folding.follow(table.layers)
        if context.folding.named:
            self._of_rows = replace(table, brief=True), context.folding
            self._draw()
            return
        self.show_text(
            gain_lines(table, store.info, store.first_snapshot, cells, height, store.findings)
        )
        self._add_legend()

    def _draw(self) -> None:
        """Draw the rows in sight; a network may have a thousand."""
        if self._of_rows is None:
            super()._draw()
            return
        table, folding = self._of_rows
        cells, height = self.content_size
        number = len(folding.rows)
        self._start = min(max(self._start, 0), max(number - 1, 0))
        lines, room = row_gain_lines(table, folding, cells, height, self._start, tinted)
        if self._start > max(number - room, 0):
            self._start = max(number - room, 0)
            lines, _ = row_gain_lines(table, folding, cells, height, self._start, tinted)
        last = min(self._start + room, number)
        scroll = f"rows {self._start + 1}–{last} of {number} ↑↓"
        self.border_subtitle = scroll if number > room else ""
        self.show(lines)
        self._add_legend()

    def _add_legend(self) -> None:
        legend = "  ".join(
            (
                *(f"{MEASURED.glyph} measured", f"{EXPECTED.glyph} theory"),
                *(f"{AS_EXPECTED.glyph} both", f"{AXIS} ×1"),
            )
        )
        if not self.border_subtitle and width([(legend, "")]) < self.content_size.width:
            self.border_subtitle = legend


PANEL: Final = PanelSpec(
    name="gain",
    order=20,
    slot="upper",
    key="4",
    help="gain per layer compared with theory (again: everything)",
    widget=Gain,
    stale_on=frozenset(("state", "info", "snapshot", "events")),
    least=(200, 60),
)
