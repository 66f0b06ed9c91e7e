"""What each layer makes of the signal, forwards and backwards, against what theory expects."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from engine.network.signal_propagation import SignalTheory, expected
from engine.statistics.frames import Floats, Snapshot
from tuilab.charts import distributions as charts
from tuilab.charts import formats
from tuilab.charts.text import Line, crop, width, wrap
from tuilab.record import RunInfo
from tuilab.viewer.model.store import RunStore
from tuilab.viewer.panels.base import Styles, TextPanel
from tuilab.viewer.panels.layer_columns import Table, gain_role
from tuilab.viewer.panels.layers import names

CLOSE: Final = math.log(1.1)  # of a factor a layer: as theory says
SPANS: Final = (2.0, 4.0, 10.0, 100.0)  # ends of the scale: the first that holds all
BAR: Final = (7, 41)  # cells of a bar, at least and at most
NARROW: Final = 46  # cells below which the verdicts are but numbers
NUMBERS: Final = 66  # cells from which the expected factors stand in numbers, too
LEFT: Final = 84  # and from which what is left of the signal does
MARKS: Final = {"◇": "warning", "┊": "faint"}


@dataclass(frozen=True, slots=True)
class Direction:
    """One direction: what is measured of each hidden layer, and what is expected."""

    word: str  # "forwards"
    title: str
    role: str
    gain: float  # a layer, over all of them
    start: float  # the same at step 0
    theory: float
    measured: Floats  # (hidden,)
    expected: Floats  # (hidden,): NaN where theory does not go
    left: Floats  # (hidden,): of the spread at the beginning of the way
    cause: str  # of the expected factor, in a formula


def ways(
    table: Table, info: RunInfo, first: Snapshot | None
) -> tuple[tuple[Direction, Direction], SignalTheory]:
    """Return both directions, and the theory behind them."""
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
    there, again = causes(theory, info)
    return (
        Direction("forwards", "forward →", "activation", snapshot.gain_forward,
            first.gain_forward if first else math.nan, theory.gain_forward,
            table.gains_forward()[:-1], forward, onward, there),
        Direction("backwards", "← backward", "gradient", snapshot.gain_backward,
            first.gain_backward if first else math.nan, theory.gain_backward,
            table.gains_backward()[:-1], backward, back, again),
    ), theory  # fmt: skip


def expect(info: RunInfo) -> SignalTheory:
    """Return what theory expects of a run at its start."""
    layers = info.layers
    mean = float(info.inputs.get("train", {}).get("offset") or 0.0)
    return expected(layers, info.input_std, mean)


def causes(theory: SignalTheory, info: RunInfo) -> tuple[str, str]:
    """Say what the expected factors are made of, in a layer in the middle."""
    if theory.reason or len(theory.passages) < 2:
        return "", ""
    passage = theory.passages[len(theory.passages) // 2]
    name = info.activation
    if info.batch_norm:
        return "batch normalisation makes every layer's inputs unit Gaussian", ""
    up, down = formats.factor(passage.weights), formats.factor(passage.kept)
    there = f"σ_w√fan_in {up}, of which {name} keeps {down}"
    if math.isnan(passage.backward):
        return there, ""
    returned = formats.factor(passage.slope)
    weights = formats.factor(passage.backward / passage.slope if passage.slope else math.nan)
    return there, f"σ_w√fan_out {weights}, of which {name}′ passes on {returned}"


def close(a: float, b: float) -> bool:
    """Tell whether two factors are the same but for chance."""
    return a > 0 and b > 0 and abs(math.log(a) - math.log(b)) < CLOSE


def verdict(way: Direction, theory: SignalTheory, info: RunInfo, step: int) -> str:
    """Say how the measured factor a layer compares with the expected one."""
    if math.isnan(way.gain):
        return f"{way.word}: no factor a layer can be told"
    head = f"{way.word} {formats.factor(way.gain)} a layer"
    of = f"{info.activation} after {info.initializer or 'such weights'}"
    if info.batch_norm:
        of = f"{info.activation} under batch normalisation"
    if theory.reason:
        return f"{head}; no theory: {theory.reason}"
    if close(way.gain, way.theory):
        return f"{head}: as theory says for {of}"
    says = formats.factor(way.theory)
    if step > 0 and close(way.start, way.theory):
        return f"{head}: training has changed it, theory had {says} for {of} at the start"
    return f"{head}: theory says {says} for {of}"


def remains(way: Direction) -> str:
    """Say what is left of the signal at the end of its way."""
    left = way.left[-1 if way.word == "forwards" else 0] if len(way.left) else math.nan
    if not math.isfinite(left):
        return ""
    share = _share(left)
    if way.word == "forwards":
        return f"after {len(way.left)} layers {share} of the inputs' spread is there"
    return f"at layer 1 {share} of dL/dA of the last layer is there"


def _share(left: float) -> str:
    return formats.percent(left) if left == 0 or 5e-4 <= left < 1.5 else formats.factor(left)


def gain_lines(
    table: Table, info: RunInfo, first: Snapshot | None, cells: int, height: int
) -> list[Line]:
    """Build the panel: both verdicts, and a row for each hidden layer.

    What explains the verdicts goes where the rows would not fit into `height` otherwise.
    """
    both, theory = ways(table, info, first)
    heads = [_head(way, theory, info, table, cells) for way in both]
    if not table.hidden:
        return [line for head in heads for line in head]
    rows = _rows(both, table, cells)
    words: list[Line] = []
    for details in (2, 1, 0):
        words = [
            line
            for way, head in zip(both, heads, strict=True)
            for line in [*head, *_details(way, details, cells)]
        ]
        if len(words) + 1 + len(rows) <= height:
            break
    airy = len(words) + 1 + 2 * len(rows) - 3 <= height
    body = [line for row in rows[2:] for line in ([row, []] if airy else [row])]
    lines = [*words, [], *rows[:2], *body]
    return [crop(line, cells) for line in (lines[:-1] if airy else lines)]


def _head(
    way: Direction, theory: SignalTheory, info: RunInfo, table: Table, cells: int
) -> list[Line]:
    role = gain_role(way.gain) if table.deep or math.isnan(way.gain) else ""
    tint = {"": "success", "faint": "muted"}.get(role, role)
    glyph = {"": "●", "faint": "○"}.get(role, "▲")
    head = verdict(way, theory, info, table.snapshot.step)
    if cells < NARROW and not math.isnan(way.theory):
        head = f"{way.word} {formats.factor(way.gain)}, theory {formats.factor(way.theory)}"
    return wrap([(f"{glyph} ", tint), (head, f"{tint}.bold")], cells, 2)


def _details(way: Direction, number: int, cells: int) -> list[Line]:
    """Return so many explanations, on one line where they fit."""
    texts = [text for text in (remains(way), way.cause) if text][:number]
    if len(joined := " · ".join(texts)) < cells - 2:
        texts = [joined] if joined else []
    return [line for text in texts for line in wrap([("  ", ""), (text, "muted")], cells, 2)]


def span_of(both: Sequence[Direction]) -> float:
    """Return the end of the scale that holds what is measured and expected."""
    values = np.concatenate([[1.0], *(np.concatenate([w.measured, w.expected]) for w in both)])
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
    for way in both:
        top += [(" │ ", "faint"), (f"{way.title:<{taken + bar}}", f"{way.role}.bold")]
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
        for way in both:
            value, theory = float(way.measured[at]), float(way.expected[at])
            role = gain_role(value) if table.deep or math.isnan(value) else ""
            line += [(" │ ", "faint"), (f"{formats.factor(value):>6}", role)]
            if numbers:
                line.append((f" {formats.factor(theory):>6}", "muted"))
            if bar:
                line += [(" ", ""), *tinted(charts.gain_bar(value, theory, span, bar), way.role)]
            if left:
                share = float(way.left[at])
                line.append((f" {_share(share):>5}", "" if math.isfinite(share) else "faint"))
        lines.append(line)
    return lines


def tinted(bar: str, role: str) -> Line:
    """Colour what is measured, what is expected and the middle each in its own way."""
    spans: Line = []
    for mark in bar:
        tint = MARKS.get(mark, role)
        if spans and spans[-1][1] == tint:
            spans[-1] = (spans[-1][0] + mark, tint)
        else:
            spans.append((mark, tint))
    return spans


class Gain(TextPanel):
    """The gains as a widget."""

    def __init__(self, styles: Styles, *, id: str) -> None:  # noqa: A002 - Textual's name
        super().__init__(styles, id=id)
        self.border_title = "Gain"

    def update(self, store: RunStore) -> None:
        """Show the snapshot that is looked at."""
        if not self.content_size.width:
            return
        if store.snapshot is None:
            words = "waiting for the first statistics …" if store.live else "no statistics"
            self.show_text([[(words, "muted")]])
            return
        self.border_title = f"Gain  at step {formats.count(store.snapshot.step)}"
        table = Table.of(store.snapshot, store.info)
        self.show_text(gain_lines(table, store.info, store.first_snapshot, *self.content_size))
        legend = "● measured  ◇ theory  ◆ both  ┊ ×1"
        if not self.border_subtitle and width([(legend, "")]) < self.content_size.width:
            self.border_subtitle = legend
