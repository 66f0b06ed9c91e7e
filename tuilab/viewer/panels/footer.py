"""The keys at the bottom, from the table of actions; a click acts like the key."""

from collections.abc import Callable, Sequence

from textual import events

from tuilab.charts.text import Line, Piece, fit, join, pad, width
from tuilab.viewer.panels.base import LinesPanel, Styles


def footer(hints: Sequence[tuple[int, str, str, str]], cells: int) -> tuple[Line, list[str]]:
    """Return the line of hints (priority, key, label, action), and the action of each cell."""
    pieces = [Piece(p, [(key, "key"), (f" {label}", "muted")]) for p, key, label, _ in hints]
    actions = {id(piece): hint[3] for piece, hint in zip(pieces, hints, strict=True)}
    shown = fit(pieces, cells - 2)
    under = [""]
    for piece in shown:
        under += [actions[id(piece)]] * width(piece.line) + ["", ""]
    line = pad([(" ", ""), *join([piece.line for piece in shown])], cells)
    return line, (under + [""] * cells)[:cells]


class Footer(LinesPanel):
    """The footer of the dashboard."""

    def __init__(self, styles: Styles, run: Callable[[str], None], *, id: str) -> None:  # noqa: A002
        super().__init__(styles, id=id)
        self._run = run
        self._under: list[str] = []

    def update(self, hints: Sequence[tuple[int, str, str, str]]) -> None:
        """Show these keys."""
        line, self._under = footer(hints, self.size.width)
        self.show([line])

    def on_click(self, event: events.Click) -> None:
        """Call the action under the pointer."""
        if 0 <= event.x < len(self._under) and self._under[event.x]:
            self._run(self._under[event.x])
