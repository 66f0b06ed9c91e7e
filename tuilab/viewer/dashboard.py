"""The dashboard: the panels of the main screen, arranged and drawn by their registry."""

import time
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any, Final, TypeVar, cast

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical

from engine.states import RunState
from tuilab.charts.text import Line
from tuilab.viewer.action import Action, hints
from tuilab.viewer.layout import Layout, arrange
from tuilab.viewer.model.claims import Claims
from tuilab.viewer.model.folding import Folding
from tuilab.viewer.model.layer_table import Table
from tuilab.viewer.model.other_runs import OtherRun
from tuilab.viewer.model.store import Changes, RunStore
from tuilab.viewer.panels import side_by_side, status
from tuilab.viewer.panels.base import (
    ComparedTensors,
    Panel,
    PanelContext,
    PanelSpec,
    ScrolledPanel,
    Styles,
    Topic,
)
from tuilab.viewer.panels.curves import Curves
from tuilab.viewer.panels.footer import Footer
from tuilab.viewer.panels.header import Header
from tuilab.viewer.panels.layers import Layers
from tuilab.viewer.panels.registry import BY_KEY, PANELS, TABS

ARRANGED_BY: Final = frozenset(("state", "info", "snapshot"))
"""Changes after which the panels are arranged again."""

AnyPanel = TypeVar("AnyPanel", bound=Panel)
Guide = Callable[[RunStore, Claims, int], list[Line]]


class Schedule:
    """Which panels are stale, and from when on each may be drawn again."""

    def __init__(self) -> None:
        self._stale = set[str]()
        self._due: dict[str, float] = {}

    def mark(self, topics: frozenset[Topic] | None = None) -> None:
        """Mark the panels that show one of these topics; None: all, to be drawn at once."""
        for spec in PANELS:
            if topics is None or spec.stale_on & topics:
                self._stale.add(spec.name)
        if topics is None:
            self._due.clear()

    def take(self, spec: PanelSpec[Any], now: float) -> bool:
        """Return whether a panel is to be drawn now, and count it as drawn."""
        if spec.name not in self._stale or now < self._due.get(spec.name, 0.0):
            return False
        self._stale.remove(spec.name)
        self._due[spec.name] = now + spec.period
        return True


class Dashboard(Vertical):
    """Holds the panels; `draw` brings them up to date with a store.

    The footer shows those of `actions` that can be used now; a click calls `run` with the id.
    """

    def __init__(
        self, styles: Styles, run: Callable[[str], None], actions: Sequence[Action[Any]] = ()
    ) -> None:
        super().__init__(id="dashboard", classes="opening")  # until the panels are arranged
        self._actions = actions
        self.header = Header(styles, id="header")
        self.notice = status.Plain(styles, id="notice")
        self.guide = status.Plain(styles, id="guide")
        self.tab_line = status.Plain(styles, id="tabs")
        self.opening = status.Plain(styles, id="opening")
        self.small = status.Plain(styles, id="small")
        self.footer = Footer(styles, run, id="footer")
        self.panels = {spec.name: spec.widget(styles) for spec in PANELS}
        for spec in PANELS:
            panel = self.panels[spec.name]
            panel.add_class(spec.slot)
            panel.set_class(not isinstance(panel, Curves), "panel")  # whose charts are the panels
        self.tab = TABS[0]
        self.alone = False  # one panel fills the screen although all would fit
        self.claims = Claims()
        self.guide_lines: Guide | None = None  # of a tour
        self.others: Sequence[OtherRun] = ()  # runs whose curves are drawn too
        self.several = False  # there are other runs to switch to
        self.compared: ComparedTensors | None = None  # what is shown of the layers of all runs
        self.folding = Folding()
        self.arranged = Layout("tiny")
        self._enlarged_from_overview = False
        self._store: RunStore | None = None
        self._schedule = Schedule()

    def compose(self) -> ComposeResult:
        """Yield all panels; `place` hides those that are not in sight."""
        yield self.header
        yield self.notice
        yield self.guide
        yield self.tab_line
        yield self.opening
        with Vertical(id="body"):
            with Horizontal(id="upper"):
                yield from self._slot("upper")
            yield from self._slot("lower")
        yield self.footer
        yield self.small

    def _slot(self, slot: str) -> list[Panel]:
        return [self.panels[spec.name] for spec in PANELS if spec.slot == slot]

    def panel(self, kind: type[AnyPanel]) -> AnyPanel:
        """Return the panel of a class."""
        return next(panel for panel in self.panels.values() if isinstance(panel, kind))

    @property
    def overview(self) -> bool:
        """Whether all panels are on the screen."""
        return self.arranged.mode == "wide" and not self.alone

    @property
    def _panel_context(self) -> PanelContext:
        return PanelContext(
            cast(RunStore, self._store),
            self.claims,
            self.others,
            self.compared,
            self.overview,
            self.arranged.row_height,
            self.arranged.charts,
            self.folding,
        )

    def draw(self, store: RunStore, changes: Changes, highlighted: str = "") -> None:
        """Draw what is in sight and shows any of `changes`."""
        topics = frozenset(f.name for f in fields(changes) if getattr(changes, f.name))
        if store is not self._store:
            self._store, topics, self.folding = store, ARRANGED_BY, Folding()
            self._schedule.mark()
        if topics & ARRANGED_BY:
            self.place()
        self.header.draw_by(lambda: self.header.update(store, highlighted))
        self._schedule.mark(cast("frozenset[Topic]", topics))
        if self.has_class("opening"):
            self._draw_opening(store)
        else:
            self._draw_panels()

    def _draw_panels(self) -> None:
        """Draw the panels that are in sight, stale and due."""
        context, now = self._panel_context, time.monotonic()
        for spec in PANELS:
            if self._in_sight(spec, context) and self._schedule.take(spec, now):
                self.panels[spec.name].present(context)

    def _in_sight(self, spec: PanelSpec[Any], context: PanelContext) -> bool:
        if not spec.in_use(context):
            return False
        if not self.overview:
            return self.tab == spec.of_tab
        width, height = self.app.size
        return width >= spec.least[0] and height >= spec.least[1]

    def show_claims(self, claims: Claims) -> None:
        """Show the claims of the scenario as judged last."""
        self.claims = claims
        self._schedule.mark(frozenset(("claims",)))

    def show_others(self, others: Sequence[OtherRun]) -> None:
        """Draw the curves of other runs too."""
        self.others = others
        self._schedule.mark(frozenset(("others",)))

    def redraw(self) -> None:
        """Let the next `draw` draw everything, however short ago the last time was."""
        self._schedule.mark()

    def cycle_compared(self) -> None:
        """Show the layers of all runs, of the next tensors, or those of one run after the last."""
        runs = side_by_side.compared(self._store, self.others) if self._store else []
        width = self.app.size.width - 4
        choices = (None, *(side_by_side.choices(runs, width) if runs else side_by_side.CHOICES))
        here = self.compared if self.compared in choices else choices[1]
        self.compare(choices[(choices.index(here) + 1) % len(choices)])

    def compare(self, tensors: ComparedTensors | None) -> None:
        """Show these tensors of the layers of all runs; None: the layers of one run."""
        self.compared = tensors
        self.rearrange()

    def _draw_opening(self, store: RunStore) -> None:
        panel = self.opening
        panel.draw_by(
            lambda: panel.show(status.opening(store, panel.size.width, panel.size.height))
        )

    def place(self) -> None:
        """Arrange the panels for the size of the screen and the state of the run."""
        store = self._store
        if store is None:
            return
        width, height = self.app.size
        lines = status.notice(store, width)
        opening = store.snapshot is None and not len(store.series)
        if opening and not store.live:
            lines = []  # the opening has it in full
        guide = self.guide_lines(store, self.claims, width) if self.guide_lines else []
        taken = len(lines) + len(guide)
        self.arranged = arrange(width, height, self._layers(store), taken, alone=self.alone)
        self.set_class(self.arranged.mode == "tiny", "tiny")
        self.set_class(opening, "opening")
        self._place_panels()
        self._show_lines(self.notice, lines)
        self._show_lines(self.guide, guide)
        self.small.draw_by(lambda: self.small.show(status.too_small(*self.small.size)))
        self._show_footer(store)

    def _layers(self, store: RunStore) -> int:
        """Return the number of rows of the layer table."""
        if self.compared and (runs := side_by_side.compared(store, self.others)):
            return side_by_side.depth(runs) + 1  # its header has one line more
        if store.snapshot is None:
            return 0
        self.folding.follow(Table.of(store.snapshot, store.info).layers)
        return len(self.folding.rows)

    def _place_panels(self) -> None:
        """Show the panels that are in sight, and give them their room."""
        context = self._panel_context
        for spec in PANELS:
            panel = self.panels[spec.name]
            panel.display = self._in_sight(spec, context)
            panel.set_class(not self.overview, "alone")
            if spec.slot == "lower":
                panel.styles.height = self.arranged.lower_height if self.overview else "1fr"
            panel.prepare(context)
        self.query_one("#upper").display = any(panel.display for panel in self._slot("upper"))
        self.tab_line.set_class(not self.overview, "in-use")
        names = [(spec.key, spec.name) for spec in BY_KEY]
        line = self.tab_line
        line.draw_by(lambda: line.show(status.tabs(names, self.tab, line.size.width)))

    def _show_lines(self, panel: status.Plain, lines: Sequence[Line]) -> None:
        """Show a panel above the others, as high as its lines, if it has any."""
        panel.display = bool(lines) and self.arranged.mode != "tiny"
        panel.styles.height = max(len(lines), 1)
        panel.draw_by(lambda: panel.show(lines))

    def _show_footer(self, store: RunStore) -> None:
        shown = hints(
            self._actions,
            store.info,
            paused=store.state == RunState.PAUSED,
            ended=not store.live,
            finished=store.state == RunState.FINISHED,
            several=self.several,
            touring=self.guide_lines is not None,
        )
        self.footer.draw_by(lambda: self.footer.update(shown))

    def toggle(self, tab: str) -> None:
        """Show one tab; where there is room for all, let it fill the screen, or undo that."""
        wide, again = self.arranged.mode == "wide", self.tab == tab
        curves = self.panel(Curves)
        if tab == curves.id and again and not wide:
            self.on_curves_enlarge()
            return
        curves.large = False
        self._go_to(tab, alone=wide and not (again and self.alone))

    def next_panel(self, by: int) -> None:
        """Show the next tab, or an earlier one."""
        if self.overview:
            self._go_to(TABS[0 if by > 0 else -1], alone=True)
        else:
            self._go_to(TABS[(TABS.index(self.tab) + by) % len(TABS)], alone=self.alone)

    def show_overview(self) -> None:
        """Show all panels again; a filter and zoomed curves in sight are reset first."""
        curves, layers = self.panel(Curves), self.panel(Layers)
        if layers.display and self.folding.pattern:
            layers.filter("")
            return
        in_sight = self.overview or self.tab == curves.id
        if in_sight and curves.reset():
            return
        if curves.large and in_sight:
            self.on_curves_enlarge()
        else:
            self._go_to(self.tab, alone=False)

    def enlarge_chart(self) -> bool:
        """Enlarge the selected chart, or undo that. Return False unless the curves are alone."""
        curves = self.panel(Curves)
        alone = self.tab == curves.id and (self.alone or curves.large)
        if alone:
            self.on_curves_enlarge()
        return alone

    def on_curves_enlarge(self) -> None:
        """Let the selected chart fill the screen, or go back to where that was asked for."""
        wide, curves = self.arranged.mode == "wide", self.panel(Curves)
        curves.large = not curves.large
        if curves.large:
            self._enlarged_from_overview = self.overview
            self._go_to(str(curves.id), alone=wide)
        else:
            self._go_to(self.tab, alone=wide and not self._enlarged_from_overview)

    def on_layers_rows_changed(self) -> None:
        """Give the panels the room that they need now."""
        self.rearrange()

    def _go_to(self, tab: str, *, alone: bool) -> None:
        self.tab, self.alone = tab, alone
        self.rearrange()

    def rearrange(self) -> None:
        """Arrange everything, and draw it once the new sizes are known."""
        self.place()
        self.redraw()
        self.call_after_refresh(self._draw_all)

    def _draw_all(self) -> None:
        if self._store is not None:
            self.draw(self._store, Changes(*[True] * len(fields(Changes))))

    def scroll_panel(self, pages: float, lines: int) -> None:
        """Scroll the panel that is alone, if it scrolls; otherwise the layers."""
        context = self._panel_context
        panels = [(spec, self.panels[spec.name]) for spec in PANELS if spec.in_use(context)]
        alone = [p for spec, p in panels if not self.overview and spec.of_tab == self.tab]
        lower = [p for spec, p in panels if spec.slot == "lower"]
        for panel in alone + lower:
            if isinstance(panel, ScrolledPanel):
                panel.scroll_by(lines + round(pages * panel.page))
                return
