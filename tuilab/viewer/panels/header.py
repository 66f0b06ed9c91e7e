"""The two lines at the top: what is trained, and how far it is."""

import math
from typing import Final

from engine.states import RunState
from tuilab.charts import formats
from tuilab.charts.rounding import settled
from tuilab.charts.symbols import PAST, RUN_STATES
from tuilab.charts.text import Line, Piece, crop, fit, join, pad, width
from tuilab.record import RunInfo
from tuilab.terminal import how_it_ended
from tuilab.viewer.model.store import RunStore
from tuilab.viewer.panels.base import LinesPanel

ROUNDING: Final = 1e-6  # epochs: rounding error of a sum of fractions
BAR: Final = 12  # cells of the progress bar at least


def header(store: RunStore, cells: int, highlighted: str = "") -> list[Line]:
    """Return both lines; `highlighted` is the hyper-parameter that has just changed."""
    inner = cells - 2
    lines = [
        identity(store.info, store.folder.name, inner),
        _progress_line(store, inner, highlighted),
    ]
    return [pad([(" ", ""), *line], cells) for line in lines]


def identity(info: RunInfo, fallback: str, cells: int) -> Line:
    """Return the name and the question at the left; data, back-end and threads at the right."""
    engine = f"{info.backend} {info.dtype}".strip()
    threads = f"{info.threads} thread{'s' if info.threads != 1 else ''}" if info.threads else ""
    name: Line = [(info.scenario or fallback, "bold")]
    if info.variant:
        name += [(" · ", "muted"), (info.variant, "bold")]
    if info.fork is not None:
        name += [(" · ", "muted"), (info.fork.label, "bold")]
    facts = [(2, info.data), (1, engine), (0, threads)]
    right = [Piece(p, [(text, "muted")]) for p, text in facts if text]
    question: Line = [(info.question or info.title, "muted")]
    room = cells - width(name) - 3 - min(width(question), max(24, cells // 3))
    end = join([piece.line for piece in fit(right, max(room, 0))], "  ")
    start = crop([*name, ("   ", ""), *question], cells - width(end) - (2 if end else 0))
    return [*pad(start, cells - width(end)), *end]


def _progress_line(store: RunStore, cells: int, highlighted: str) -> Line:
    pieces = fit(_pieces(store, highlighted), cells)
    line = join([piece.line for piece in pieces])
    room = cells - width(line) - 2
    share = _share(store)
    if room < BAR or math.isnan(share):
        return line
    at = next((i for i, p in enumerate(pieces) if p.line[0][0].endswith(" %")), len(pieces))
    bar = progress(share, min(room, 42))
    return join([p.line for p in [*pieces[:at], Piece(0, bar), *pieces[at:]]])


def _share(store: RunStore) -> float:
    total = store.info.total_steps
    return min(store.step / total, 1.0) if total else math.nan


def progress(share: float, cells: int) -> Line:
    """Draw a bar in half cells."""
    halves = int(settled(share * 2 * cells))
    done = "━" * (halves // 2) + ("╸" if halves % 2 else "")
    return [(done, "activation"), ("─" * (cells - len(done)), "faint")]


def _pieces(store: RunStore, highlighted: str) -> list[Piece]:
    info, block = store.info, store.last_block
    glyph, role = RUN_STATES.get(store.state, ("?", "warning"))
    pieces = [Piece(100, [(f"{glyph} {store.state}", f"{role}.bold")])]
    if store.state == RunState.STARTING and info.phase:
        pieces.append(Piece(98, [(f"{info.phase} …", "muted")]))
    if block is None:
        return pieces
    if store.program and (code := store.exit_code) is not None:
        pieces.append(Piece(96, [(how_it_ended(code), "error" if code else "muted")]))
    if store.at is not None:
        pieces.append(
            Piece(97, [(f"{PAST.glyph} as of step {formats.count(store.at)}", "warning.bold")])
        )
    label = "step " if store.at is None else "now step "  # the rest of the line is about now
    pieces.append(Piece(99, [(label, "muted"), (formats.count(store.step), "bold")]))
    if info.steps_per_epoch:
        epochs = _epochs(store)
        now = min(math.floor(store.epoch) + 1, epochs) if epochs else math.floor(store.epoch) + 1
        text = f"{now}/{epochs}" if epochs else str(now)
        pieces.append(Piece(80, [("epoch ", "muted"), (text, "")]))
    share = _share(store)
    if not math.isnan(share):
        pieces.append(Piece(85, [(f"{math.floor(settled(share * 100)):3d} %", "")]))
    if store.state == RunState.RUNNING:
        pieces.append(Piece(60, [(f"{block.steps_per_second:4.0f}", ""), (" steps/s", "muted")]))
        cost = 100 * block.probe_share
        role = "warning" if cost > 10 else ""
        pieces.append(Piece(30, [("probes ", "muted"), (f"{cost:.1f} %", role)]))
    if info.speed_limit and store.live:
        text = f"≤ {formats.number(info.speed_limit)} steps/s"
        pieces.append(Piece(88, [(text, "warning")]))
    if info.schedule not in ("", "constant") and len(block.learning_rate):
        rate = formats.rate(float(block.learning_rate[-1]))
        pieces.append(Piece(70, [(f"{info.schedule} ", "muted"), (rate, "")]))
    return pieces + _hyperparameters(info, highlighted)


def _epochs(store: RunStore) -> int:
    """Return how many epochs the run will have, if the batch size stays as it is."""
    info = store.info
    left = (info.total_steps - store.step) / info.steps_per_epoch
    return math.ceil(store.epoch + left - ROUNDING) if info.total_steps else 0


def _hyperparameters(info: RunInfo, highlighted: str) -> list[Piece]:
    shown = [(90, "learning_rate", "lr"), (50, "momentum", "momentum"), (40, "weight_decay", "λ")]
    pieces = []
    for priority, key, label in shown:
        if key in info.hyperparameters:
            value = info.hyperparameters[key]
            text = formats.rate(value) if key == "learning_rate" else formats.number(value)
            role = "update.tag" if key == highlighted else "bold" if priority == 90 else ""
            pieces.append(Piece(priority, [(f"{label} ", "muted"), (text, role)]))
    return pieces


class Header(LinesPanel):
    """The header of the dashboard."""

    def update(self, store: RunStore, highlighted: str = "") -> None:
        """Show the run as it is now."""
        self.show(header(store, self.size.width, highlighted))
