"""The screen of findings: select one, read why, go to it, fix it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Final

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container

from tuilab.charts.text import key_line
from tuilab.diagnosis.finding import Finding, active, all_found
from tuilab.diagnosis.fixes import Fix
from tuilab.viewer.model.layer_table import Table
from tuilab.viewer.model.store import RunStore
from tuilab.viewer.panels.base import LinesPanel, Styles, TextPanel
from tuilab.viewer.panels.findings import details, evidence, fixes_of, list_lines
from tuilab.viewer.screens.overlay import Overlay

KEYS: Final = (
    (9, "↑↓", "finding"),
    (8, "enter", "go there"),
    (7, "1…", "fix it"),
    (4, "pgdn", "more"),
    (10, "esc", "back"),
)
SIDE_BY_SIDE: Final = 100  # cells from which the list is beside the details


@dataclass(frozen=True, slots=True)
class Answer:
    """What was chosen: to go to a finding, or to apply a fix."""

    finding: Finding
    fix: Fix | None = None


class FindingsScreen(Overlay[Answer | None]):
    """Lists all findings of a run, those that are over last; `draw` brings it up to date."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,a,ctrl+c", "dismiss", "back"),
        Binding("up,k", "choose(-1)", "the finding above"),
        Binding("down,j", "choose(1)", "the finding below"),
        Binding("enter", "see", "its layer and step"),
        Binding("pageup", "page(-1)", "up"),
        Binding("pagedown", "page(1)", "down"),
        *(Binding(str(n), f"fix({n})", "fix it", show=False) for n in range(1, 10)),
    ]

    def __init__(self, styles: Styles, store: Callable[[], RunStore]) -> None:
        super().__init__()
        self._store = store
        self._list = LinesPanel(styles, id="findings-list")
        self._text = TextPanel(styles, id="findings-text")
        self._keys = LinesPanel(styles, id="findings-keys")
        for panel in (self._list, self._text):
            panel.add_class("panel")
        self._findings: list[Finding] = []
        self._current: set[str] = set()  # rules whose findings still hold
        self._fixes: list[Fix] = []
        self._chosen = ""  # the rule: the order may change

    def compose(self) -> ComposeResult:
        """Yield the list, the details beside or below it, and the keys."""
        with Container(id="findings"):
            yield self._list
            yield self._text
        yield self._keys

    def on_mount(self) -> None:
        """Draw as soon as the size is known."""
        for panel in (self._list, self._text):
            panel.draw_by(self.draw)
        self._keys.draw_by(self._draw_keys)

    def on_resize(self) -> None:
        """Place list and details for the width."""
        self.set_class(self.app.size.width >= SIDE_BY_SIDE, "beside")

    @property
    def at(self) -> int:
        """Index of the selected finding in the list."""
        names = [finding.rule for finding in self._findings]
        return names.index(self._chosen) if self._chosen in names else 0

    def draw(self) -> None:
        """Show all findings so far."""
        store = self._store()
        self._current = {finding.rule for finding in active(store.events)}
        findings = all_found(store.events)
        self._findings = sorted(findings, key=lambda f: f.rule not in self._current)
        if not self._findings:
            self._list.show([[("no findings yet", "muted")]])
            self._text.show_text([])
            return
        chosen = self._findings[self.at]
        self._chosen = chosen.rule
        self._list.border_title = f"Findings  {self.at + 1} of {len(self._findings)}"
        self._list.styles.height = "1fr" if self.has_class("beside") else len(findings) + 2
        layers, width = store.info.layers, self._list.content_size.width
        lines = list_lines(self._findings, self._current, self.at, width, layers)
        room = max(self._list.content_size.height, 1)
        start = min(max(self.at - room + 1, 0), max(len(lines) - room, 0))
        self._list.show(lines[start : start + room])
        self._fixes = fixes_of(chosen, store.info, live=store.live)
        over = chosen.rule not in self._current
        cells = self._text.content_size.width
        self._text.border_title = chosen.title.capitalize()
        lines = details(chosen, self._fixes, over=over, cells=cells, layers=layers)
        if (table := Table.of_store(store)) is not None:
            lines += evidence(chosen, table, cells)
        self._text.show_text(lines)

    def _draw_keys(self) -> None:
        self._keys.show([key_line(KEYS, self._keys.size.width)])

    def turn(self, by: int) -> None:
        """Select another finding."""
        self.action_choose(by)

    def action_choose(self, by: int) -> None:
        """Select another finding: what a binding calls."""
        if self._findings:
            at = min(max(self.at + by, 0), len(self._findings) - 1)
            self._chosen = self._findings[at].rule
            self._text.scroll_by(-(10**6))
            self.draw()

    def action_page(self, by: int) -> None:
        """Scroll the details."""
        self._text.scroll_by(by * max(self._text.content_size.height - 1, 1))

    def action_see(self) -> None:
        """Go to the layer and the step of the selected finding."""
        if self._findings:
            self.dismiss(Answer(self._findings[self.at]))

    def action_fix(self, number: int) -> None:
        """Apply one of the fixes."""
        if self._findings and number <= len(self._fixes):
            self.dismiss(Answer(self._findings[self.at], self._fixes[number - 1]))
        else:
            self.notify("there is no fix of that number", timeout=3)
