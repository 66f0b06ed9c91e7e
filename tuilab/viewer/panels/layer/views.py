"""All views of a layer, found in this package, and the lines around the chosen one."""

from typing import Final

from tuilab.charts.text import Line, crop, width
from tuilab.viewer.discovery import discover
from tuilab.viewer.panels.layer.base import Key, Subject, View

VIEWS: Final = discover("tuilab.viewer.panels.layer", View)
KEYS: Final = (
    Key(9, "↑↓", "layer", "the layer above or below"),
    Key(7, "←→", "time", "back and forward in time"),
    Key(6, "e", "change it", "change this layer: non-linearity, weights, freeze it …"),
    Key(10, "esc", "back", "all layers again"),
)
"""The keys of every view."""
LEAST: Final = 16  # lines from which the names of the views are shown


def help_lines() -> list[tuple[str, str]]:
    """Return all keys of the layer screen, and what they do."""
    lines = [(key.shown, key.help) for key in KEYS]
    for view in VIEWS:
        lines.append((view.key, view.help))
        lines += [(f"  {key.shown}", key.help) for key in view.keys]
    return lines


def offered(subject: Subject) -> list[View]:
    """Return the views that a layer has; every layer has the first."""
    return [view for view in VIEWS if view.offered(subject)]


def chosen(subject: Subject) -> View:
    """Return the view that is selected, or the first if this layer does not have it."""
    views = offered(subject)
    return next((view for view in views if view.name == subject.state.view), views[0])


def layer_lines(subject: Subject, cells: int, height: int) -> list[Line]:
    """Return the names of the views, the settings, and the chosen view below."""
    view, roomy = chosen(subject), height >= LEAST
    lines = view.draw(subject, cells, height - 2 * roomy)
    cropped = [crop(line, cells) for line in lines]
    return [tabs(subject, cells), [], *cropped] if roomy else cropped


def tabs(subject: Subject, cells: int) -> Line:
    """Return the names of the views with their keys, and the settings at the right."""
    current, line = chosen(subject), list[tuple[str, str]]()
    for view in offered(subject):
        role = "activation.tag" if view is current else "muted"
        line += [(f" {view.key} ", "key" if view is not current else role), (f"{view.name} ", role)]
        line.append((" ", ""))
    right = current.title(subject)
    room = cells - width(line) - 2
    if width(right) > room:
        right = crop(right, room) if room > 10 else []
    gap = " " * max(cells - width(line) - width(right), 0)
    return crop([*line, (gap, ""), *right], cells)


def keys(subject: Subject) -> list[Key]:
    """Return the keys that work now, in the order of the footer."""
    views = [Key(3, view.key, view.name, view.help) for view in offered(subject)]
    return [KEYS[0], *(views if len(views) > 1 else []), *chosen(subject).keys, *KEYS[1:]]
