"""What the numbers say, in words: the two gains, updates, dead units; the question; the claims."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from textual import events

from engine.frames import Snapshot
from tuilab.recording import RunInfo
from tuilab.viewer import formats
from tuilab.viewer.claims import Claims
from tuilab.viewer.panels.base import LinesPanel
from tuilab.viewer.panels.header import identity
from tuilab.viewer.panels.layer_columns import (
    GAIN_HEALTHY,
    RATIO_HEALTHY,
    SATURATED,
    Table,
    dead_role,
    gain_role,
    update_ratio_role,
)
from tuilab.viewer.store import RunStore
from tuilab.viewer.text import Line, crop, plain, wrap

if TYPE_CHECKING:
    from tuilab.expectations import Verdict

NO_BREAK = "\u00a0"
LEARNED = 0.05  # of its first value: a loss below is learned, and its gradients are small
SLOPES = {"relu": (math.sqrt(0.5), "√½"), "identity": (1.0, ""), "tanh": (1.0, "")}


def reading(store: RunStore, claims: Claims, cells: int, *, question: bool = True) -> list[Line]:
    """Build the text of the panel, wrapped to `cells`; `question` unless it stands elsewhere."""
    lines: list[Line] = []
    tail = store.folder.log_tail(8) if store.state in ("killed", "failed") else ""
    if tail:
        lines += [[("end of the log", "muted")], *([(row, "")] for row in tail.splitlines()), []]
    snapshot = store.snapshot
    if snapshot is not None:
        table = Table.of(snapshot, store.info)
        lines += _gains(table, store.info, store.first_snapshot, cells)
        learned = store.series.latest_loss < LEARNED * store.series.first_loss
        lines += _updates(table, learned, cells)
        lines += _units(table, cells)
    if claims.verdicts or claims.problem:
        lines += [[], *claim_lines(claims, cells)]
    if question and store.info.question:
        asked = wrap([(store.info.question, "italic")], cells)
        lines += [[], [("question", "muted")], *asked]
    if store.info.look_at:
        lines += [[], [("look at", "muted")], *wrap([(store.info.look_at, "")], cells)]
    return lines if lines and lines[0] else lines[1:]


def _paragraph(role: str, head: str, details: Sequence[str], cells: int) -> list[Line]:
    glyph = {"": "●", "warning": "▲", "error": "▲", "faint": "○"}[role]
    tint = role if role in ("warning", "error") else "success" if not role else "muted"
    lines = wrap([(f"{glyph} ", tint), (head, tint)], cells, 2)
    for text in details:
        lines += wrap([("  ", ""), (text, "")], cells, 2)
    return lines


def _gains(table: Table, info: RunInfo, first: Snapshot | None, cells: int) -> list[Line]:
    if not table.deep:
        text = f"{table.hidden} hidden layers: too few for a trend over depth"
        if table.hidden < 2:
            text = f"{('no', 'one')[table.hidden]} hidden layer: no gain to speak of"
        return _paragraph("faint", text, [], cells)
    lines = forward_words(table, info, first, cells)
    return lines + backward_words(table, cells)


def forward_words(table: Table, info: RunInfo, first: Snapshot | None, cells: int) -> list[Line]:
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
    elif first is not None and (words := theory(Table.of(first, info), info)):
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


def theory(table: Table, info: RunInfo) -> str:
    """Return the gain that the weights of step 0 let expect, where that is known.

    A layer multiplies the second moment by fan_in·σ_w², of which ReLU keeps half; tanh keeps all
    while its inputs are small. Weights are those of the hidden layers from the second on.
    """
    slope = SLOPES.get(info.activation)
    units = [layer.units for layer in table.layers[:-1]]
    linear = all(layer.kind == "linear" for layer in table.layers)
    if slope is None or not linear or table.hidden < 2:
        return ""
    std = table.snapshot.field("weight", "std")[1:-1]
    gains = std * np.sqrt(units[:-1])
    if not np.isfinite(gains).all() or not (gains > 0).all():
        return ""
    linear_gain = float(np.exp(np.log(gains).mean()))
    product = "σ_w√fan_in" + (f"·{slope[1]}" if slope[1] else "")
    bound = " (an upper bound)" if info.activation == "tanh" else ""
    return f"theory, step 0: {product} = {linear_gain * slope[0]:.2f}{bound}"


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


def _units(table: Table, cells: int) -> list[Line]:
    """Name the worst layer where units are dead or saturated beyond bounds."""
    lines: list[Line] = []
    dead = np.nan_to_num(table.snapshot.dead_fraction[:-1])
    if dead.size and (role := dead_role(float(dead.max()))):
        at = int(dead.argmax())
        text = f"layer {at + 1}: {formats.percent(float(dead[at]))} of the units are dead"
        lines += _paragraph(role, text, [], cells)
    saturated = np.nan_to_num(table.snapshot.field("activation", "saturated_fraction")[:-1])
    if saturated.size and saturated.max() > SATURATED:
        at = int(saturated.argmax())
        text = f"layer {at + 1}: {formats.percent(float(saturated[at]))} is saturated"
        lines += _paragraph("warning", text, [], cells)
    return lines


def claim_lines(claims: Claims, cells: int) -> list[Line]:
    """List the claims of the scenario, each with its verdict and the measured number."""
    if claims.problem:
        return [[("claims", "muted")], *wrap([(claims.problem, "warning")], cells)]
    passed = sum(v.passed is True for v in claims.verdicts)
    lines: list[Line] = [[("claims  ", "muted"), (f"{passed} of {len(claims.verdicts)} hold", "")]]
    for verdict in claims.verdicts:
        lines += _claim(verdict, cells)
    return lines


def _claim(verdict: "Verdict", cells: int) -> list[Line]:
    glyph, role = {True: ("✓", "success"), False: ("✗", "error"), None: ("…", "muted")}[
        verdict.passed
    ]
    measured = "" if verdict.measured is None else f"{verdict.measured_text} "
    numbers = [(measured, role), (verdict.band, "muted")]
    glued = [(text.replace(" ", NO_BREAK), tint) for text, tint in numbers]
    return wrap([(f"{glyph} ", role), (f"{verdict.claim}  ", ""), *glued], cells, 2)


class Reading(LinesPanel):
    """The words as a widget; scrolls where they are longer than the panel."""

    def __init__(self, *args: object, **more: object) -> None:
        super().__init__(*args, **more)  # type: ignore[arg-type]
        self.border_title = "Reading"
        self._text: list[Line] = []
        self._start = 0

    def update(self, store: RunStore, claims: Claims) -> None:
        """Say what is known now."""
        if not self.content_size.width:
            return
        above = plain(identity(store.info, store.folder.name, self.app.size.width - 2))
        self._text = reading(
            store,
            claims,
            self.content_size.width,
            question=store.info.question not in above,
        )
        if not self._text:
            text = "waiting for the first statistics …" if store.live else "no statistics"
            self._text = [[(text, "muted")]]
        self._draw()

    def scroll_lines(self, by: int) -> None:
        """Move by so many lines."""
        self._start += by
        self._draw()

    def _draw(self) -> None:
        height = self.content_size.height
        self._start = min(max(self._start, 0), max(len(self._text) - height, 0))
        more = len(self._text) - self._start - height
        self.border_subtitle = f"{more} more ↓" if more > 0 else ""
        width = self.content_size.width
        self.show([crop(line, width) for line in self._text[self._start :][:height]])

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        """Scroll with the wheel."""
        event.stop()
        self.scroll_lines(1)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        """Scroll with the wheel."""
        event.stop()
        self.scroll_lines(-1)
