"""Lines above and between the panels: why a run failed, the tabs, the start of a run."""

from collections.abc import Sequence
from typing import Final

from engine.states import RunState
from tuilab.charts.symbols import RUN_STATES, SEVERITIES
from tuilab.charts.text import Line, crop, pad, wrap
from tuilab.viewer.model.store import RunStore
from tuilab.viewer.panels.base import LinesPanel

NOTICE: Final = 3  # lines of the notice at most
NARROW: Final = 60  # cells below which it may have one more
BROKEN: Final = (
    RunState.DIVERGED,
    RunState.KILLED,
    RunState.FAILED,
    RunState.UNREADABLE,
)


def what_happened(store: RunStore) -> str:
    """Return in a sentence why a run ended badly."""
    message = store.message or store.info.message
    divergence = store.divergence
    if store.state == RunState.DIVERGED and divergence is not None:
        message = str(divergence.detail.get("message", message))
    if store.state == RunState.KILLED and store.step:
        message = f"{message}; last recorded step {store.step}"
    return message or "no reason was given"


def notice(store: RunStore, cells: int) -> list[Line]:
    """Return the lines that say why a run ended badly; none for any other run."""
    if store.state not in BROKEN:
        return []
    glyph, _ = RUN_STATES[store.state]
    tag: Line = [(f" {glyph} {store.state} ", "error.tag")]
    then = f"log: {store.folder.log}"
    if store.state == RunState.DIVERGED:
        then = "g resumes from before that, at a lower learning rate"
        if cells < NARROW:
            then = "g resumes at a lower rate"
    happened: Line = [(f" {what_happened(store)}", "error")]
    line = wrap([*tag, *happened, (f"  {then}", "muted")], cells, 2)
    lines = NOTICE + (cells < NARROW)
    if len(line) > lines:  # what to do is more important than the end of what happened
        shown = wrap([*tag, *happened], cells, 2)
        action = wrap([("  ", ""), (then, "muted")], cells, 2)
        room = max(lines - len(action), 1)
        if len(shown) > room:
            shown[room - 1 :] = [crop([*shown[room - 1], (" …", "error")], cells)]
        line = [*shown, *action][:lines]
    return [pad(row, cells) for row in line]


def opening(store: RunStore, cells: int, height: int) -> list[Line]:
    """Return what fills the screen before there is anything to draw: the phase, and the log."""
    if store.live:
        phase = store.info.phase or "launching the training process"
        if store.program:
            phase = f"{store.program} is running; the view opens at its first training step"
        words: list[Line] = [[("starting … ", "bold"), (phase, "")]]
        facts = [("scenario", store.info.scenario), ("data", store.info.data)]
        facts.append(("run folder", str(store.folder.path)))
        words += [[(f"{name:<12}", "muted"), (value, "")] for name, value in facts if value]
    else:
        words = wrap([SEVERITIES["error"].lead, (what_happened(store), "error")], cells - 4, 2)
        words.append([("log  ", "muted"), (str(store.folder.log), "")])
    tail = store.folder.log_tail(max(height - len(words) - 3, 1))
    if tail:
        words += [[], *([(line, "muted")] for line in tail.splitlines())]
    return [crop([("  ", ""), *line], cells) for line in [[], *words]][:height]


def tabs(names: Sequence[tuple[str, str]], active: str, cells: int) -> list[Line]:
    """Return the line of tabs, each a (key, name), of which one is `active`."""
    line: Line = []
    roomy = sum(len(f"{key} {name}") + 3 for key, name in names) <= cells
    for key, name in names:
        text = f" {key} {name} " if roomy else f"{key} {name}"
        line += [(text, "activation.tag" if name == active else "muted"), (" ", "")]
    return [pad(line, cells)]


def too_small(width: int, height: int) -> list[Line]:
    """Return the size that is needed, wrapped into what there is."""
    text = f"terminal too small: needs 40×10, has {width}×{height}"
    return wrap([(text, "warning")], max(width, 1))[:height]


class Plain(LinesPanel):
    """A widget for lines that are built elsewhere."""
