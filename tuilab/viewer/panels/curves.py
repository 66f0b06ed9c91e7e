"""Loss and accuracy over steps, training and validation, with what happened on the way."""

import math
from collections.abc import Sequence

import numpy as np

from engine.changes import CHANGES
from engine.frames import Event, Floats
from tuilab.viewer import changes, formats, plot
from tuilab.viewer.companions import Companion
from tuilab.viewer.palette import VARIABLES
from tuilab.viewer.panels.base import LinesPanel
from tuilab.viewer.series import reduce
from tuilab.viewer.store import RunStore
from tuilab.viewer.text import Line

Others = Sequence[Companion]


def loss_chart(store: RunStore, cells: int, others: Others = ()) -> plot.Chart:
    """Return the loss chart; its axis turns logarithmic where the loss spans over two decades.

    The dashed level is ln C, the loss of guessing all C classes alike.
    """
    validation = np.array([v.loss for v in store.validations])
    curves = _curves(store, store.series.loss, validation, cells)
    curves = [*(_beside(other, other.series.loss, cells) for other in others), *curves]
    values = np.concatenate([curve.data.mean for curve in curves])
    return plot.Chart(
        curves,
        marks=marks(store.events),
        reference=math.log(store.info.classes) if store.info.classes > 1 else math.nan,
        logarithmic=plot.wants_logarithm(values),
        cursor=_cursor(store),
    )


def accuracy_chart(store: RunStore, cells: int, others: Others = ()) -> plot.Chart:
    """Return the accuracy chart, always from 0 to 1; the dashed level is chance."""
    validation = np.array([v.accuracy for v in store.validations])
    curves = _curves(store, store.series.accuracy, validation, cells)
    curves = [*(_beside(other, other.series.accuracy, cells) for other in others), *curves]
    chance = 1 / store.info.classes if store.info.classes > 1 else math.nan
    return plot.Chart(curves, limits=(0.0, 1.0), reference=chance, cursor=_cursor(store))


def _cursor(store: RunStore) -> float:
    return math.nan if store.at is None else store.at


def _beside(other: Companion, values: Floats, cells: int) -> plot.Curve:
    return plot.Curve(reduce(other.series.steps, values, max(2 * (cells - 6), 16)), other.role)


def _curves(store: RunStore, training: Floats, validation: Floats, cells: int) -> list[plot.Curve]:
    points = max(2 * (cells - 6), 16)  # braille has two dots a cell
    curves = [plot.Curve(reduce(store.series.steps, training, points), "train")]
    if len(validation):
        steps = np.array([v.step for v in store.validations], np.float64)
        data = reduce(steps, validation, points // 5)
        curves.append(plot.Curve(data, "validation", "•", points=True))
    return curves


def marks(events: Sequence[Event]) -> list[plot.Mark]:
    """Turn events into marks above the loss: changed hyper-parameters, and where it broke."""
    found = []
    for event in events:
        if event.kind == "set":
            found.append(plot.Mark(event.step, "▾", change(event), "update"))
        elif event.kind in CHANGES:
            found.append(plot.Mark(event.step, "◆", changes.label(event), "update"))
        elif event.kind == "diverged":
            found.append(plot.Mark(event.step, "✕", "not finite", "error"))
    return found


def change(event: Event) -> str:
    """Say in a word how a hyper-parameter was changed."""
    names = {"learning_rate": "lr", "weight_decay": "λ"}
    key, value = str(event.detail.get("key", "")), float(event.detail.get("value", math.nan))
    previous = float(event.detail.get("previous", math.nan))
    name = names.get(key, key)
    if key == "learning_rate" and previous > 0:
        return f"{name} ×{value / previous:.3g}"
    return f"{name} {formats.number(value)}"


def legend(name: str, train: float, validation: float | None, cells: int) -> str:
    """Return a panel's title in Textual's markup: the legend, with the newest values.

    Words are shortened or left out so that no number is cut off.
    """
    values = [("─", formats.significant(train), "$foreground 60%")]
    if validation is not None:
        values.append(("•", formats.significant(validation), "$text-success"))
    for words in (("train", "validation"), ("train", "val"), ("", ""), ("",), ()):
        parts = [f"{v[0]} {word}".strip() for v, word in zip(values, words, strict=False)]
        size = sum(len(part) + len(v[1]) + 3 for part, v in zip(parts, values, strict=False))
        if len(name) + size <= cells:
            break
    legends = zip(parts, values, strict=False)
    return name + "".join(f"  [{v[2]}]{part}[/] {v[1]}" for part, v in legends)


def read_out(store: RunStore, kind: str) -> tuple[float, float | None]:
    """Return the training and the validation value of "loss" or "accuracy": now, or as of then."""
    until = math.inf if store.at is None else store.at
    known = [v for v in store.validations if v.step <= until]
    validation = getattr(known[-1], kind) if known else None
    return store.series.value(kind, store.at), validation


def names(others: Others, kind: str, cells: int, at: int | None = None) -> str:
    """Return which curve is which run's, in Textual's markup, as far as there is room.

    Their values are the newest, or those of the step `at`.
    """
    kept, used = "", 0
    for other in others:
        value = formats.significant(other.series.value(kind, at))
        used += len(other.name) + len(value) + 5
        if used > cells:
            break
        kept += f"  [${VARIABLES[other.role]}]─ {other.name}[/] {value}"
    return kept.strip()


class Curves(LinesPanel):
    """One of the two charts; drawn only by `update`, as it costs milliseconds."""

    def __init__(self, *args: object, kind: str, **more: object) -> None:
        super().__init__(*args, **more)  # type: ignore[arg-type]
        self.kind = kind
        self.border_title = kind.capitalize()

    def update(self, store: RunStore, others: Others = ()) -> None:
        """Draw the chart anew, with the training curves of other runs if there are any."""
        width, height = self.content_size.width, self.content_size.height
        if not width:
            return
        is_loss = self.kind == "loss"
        chart = (loss_chart if is_loss else accuracy_chart)(store, width, others)
        lines = plot.draw(chart, width, height)
        room = plot.has_room(width, height)
        self.show(lines or (_waiting(store) if room else [[("no room for curves", "muted")]]))
        self.border_title = legend(self.kind.capitalize(), *read_out(store, self.kind), width - 2)
        self.border_subtitle = names(others, self.kind, width - 2, store.at)


def _waiting(store: RunStore) -> list[Line]:
    if not len(store.series):
        return [[("waiting for the first step …" if store.live else "no step was made", "muted")]]
    return [[("nothing finite to draw", "muted")]]
