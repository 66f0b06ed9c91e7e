"""One layer alone: the table of its views, and what stands around the chosen one."""

from typing import Final

from tuilab.charts.text import Line, crop, width
from tuilab.viewer.panels.layer import histograms, norm, unit_map, weight_images
from tuilab.viewer.panels.layer.base import Key, Subject, View

VIEWS: Final = (histograms.VIEW, unit_map.VIEW, weight_images.VIEW, norm.VIEW)
KEYS: Final = (
    Key(9, "↑↓", "layer", "the layer above, below"),
    Key(7, "←→", "time", "back and forth in time"),
    Key(6, "e", "change it", "change this layer: its non-linearity, its weights, freeze it …"),
    Key(10, "esc", "back", "all layers again"),
)
"""The keys of every view."""
LEAST: Final = 16  # lines, below which none is given to the names of the views


def help_lines() -> list[tuple[str, str]]:
    """Return all that can be pressed here, and what it does."""
    lines = [(key.shown, key.help) for key in KEYS]
    for view in VIEWS:
        lines.append((view.key, view.help))
        lines += [(f"  {key.shown}", key.help) for key in view.keys]
    return lines


def offered(subject: Subject) -> list[View]:
    """Return the views that there are of a layer; the first is there of every layer."""
    return [view for view in VIEWS if view.offered(subject)]


def chosen(subject: Subject) -> View:
    """Return the view that is looked at, or the first where this layer has no such view."""
    views = offered(subject)
    return next((view for view in views if view.name == subject.look.view), views[0])


def detail(subject: Subject, cells: int, height: int) -> list[Line]:
    """Draw the names of the views, with what is on, and the chosen one below."""
    view = chosen(subject)
    if height < LEAST:
        return view.draw(subject, cells, height)
    return [tabs(subject, cells), [], *view.draw(subject, cells, height - 2)]


def tabs(subject: Subject, cells: int) -> Line:
    """Return the names of the views with their keys, and at the right what is on."""
    here, line = chosen(subject), list[tuple[str, str]]()
    for view in offered(subject):
        role = "activation.tag" if view is here else "muted"
        line += [(f" {view.key} ", "key" if view is not here else role), (f"{view.name} ", role)]
        line.append((" ", ""))
    right = here.title(subject)
    room = cells - width(line) - 2
    if width(right) > room:
        right = crop(right, room) if room > 10 else []
    gap = " " * max(cells - width(line) - width(right), 0)
    return crop([*line, (gap, ""), *right], cells)


def keys(subject: Subject) -> list[Key]:
    """Return what can be pressed now, in the order of the screen's lower line."""
    views = [Key(3, view.key, view.name, view.help) for view in offered(subject)]
    return [KEYS[0], *(views if len(views) > 1 else []), *chosen(subject).keys, *KEYS[1:]]
