"""What stands above and between the panels: the notice when a run broke, the tabs, the start."""

from typing import Final

from tuilab.charts.text import Line, crop, pad, wrap
from tuilab.viewer.model.store import RunStore
from tuilab.viewer.panels.base import LinesPanel
from tuilab.viewer.panels.header import STATES

NOTICE: Final = 3  # lines that it may take
NARROW: Final = 60  # cells below which it may take one more
BROKEN: Final = ("diverged", "killed", "failed", "unreadable")
TABS: Final = {
    "curves": "1 curves", "layers": "2 layers", "reading": "3 reading", "gain": "4 gain",
}  # fmt: skip
"""The panels that fill the screen by themselves, and what their tabs say."""


def what_happened(store: RunStore) -> str:
    """Say in a sentence why a run broke."""
    message = store.message or store.info.message
    divergence = store.divergence
    if store.state == "diverged" and divergence is not None:
        message = str(divergence.detail.get("message", message))
    if store.state == "killed" and store.step:
        message = f"{message}; last recorded step {store.step}"
    return message or "no reason was given"


def notice(store: RunStore, cells: int) -> list[Line]:
    """Return the lines that say what broke; none while all is well."""
    if store.state not in BROKEN:
        return []
    glyph, _ = STATES[store.state]
    tag: Line = [(f" {glyph} {store.state} ", "error.tag")]
    then = f"log: {store.folder.log}"
    if store.state == "diverged":
        then = "g goes back to before it, at a lower learning rate"
        if cells < NARROW:
            then = "g goes back, and slows down"
    told: Line = [(f" {what_happened(store)}", "error")]
    line = wrap([*tag, *told, (f"  {then}", "muted")], cells, 2)
    lines = NOTICE + (cells < NARROW)
    if len(line) > lines:  # what to do counts before the last of what happened
        happened = wrap([*tag, *told], cells, 2)
        action = wrap([("  ", ""), (then, "muted")], cells, 2)
        room = max(lines - len(action), 1)
        if len(happened) > room:
            happened[room - 1 :] = [crop([*happened[room - 1], (" …", "error")], cells)]
        line = [*happened, *action][:lines]
    return [pad(row, cells) for row in line]


def opening(store: RunStore, cells: int, height: int) -> list[Line]:
    """Fill the screen before there is anything to draw: how far the start is, or the log."""
    if store.live:
        phase = store.info.phase or "the training process is being started"
        words: list[Line] = [[("starting … ", "bold"), (phase, "")]]
        facts = [("scenario", store.info.scenario), ("data", store.info.data)]
        facts.append(("run folder", str(store.folder.path)))
        words += [[(f"{name:<12}", "muted"), (value, "")] for name, value in facts if value]
    else:
        words = wrap([("✕ ", "error"), (what_happened(store), "error")], cells - 4, 2)
        words.append([("log  ", "muted"), (str(store.folder.log), "")])
    tail = store.folder.log_tail(max(height - len(words) - 3, 1))
    if tail:
        words += [[], *([(line, "muted")] for line in tail.splitlines())]
    return [crop([("  ", ""), *line], cells) for line in [[], *words]][:height]


def tabs(active: str, cells: int) -> list[Line]:
    """Return the line of tabs of the narrow layout."""
    line: Line = []
    roomy = sum(len(title) + 3 for title in TABS.values()) <= cells
    for key, title in TABS.items():
        text = f" {title} " if roomy else title
        line += [(text, "activation.tag" if key == active else "muted"), (" ", "")]
    return [pad(line, cells)]


def too_small(width: int, height: int) -> list[Line]:
    """Say what is needed, wrapped into whatever there is."""
    text = f"terminal too small: needs 40×10, has {width}×{height}"
    return wrap([(text, "warning")], max(width, 1))[:height]


class Plain(LinesPanel):
    """A widget for lines made elsewhere."""
