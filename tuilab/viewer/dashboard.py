"""The stage: all panels of the main screen, where they stand, and when each is drawn."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical

from tuilab.charts.text import Line
from tuilab.viewer.actions import hints
from tuilab.viewer.layout import Layout, arrange
from tuilab.viewer.model.claims import Claims
from tuilab.viewer.model.other_runs import OtherRun
from tuilab.viewer.model.store import Changes, RunStore
from tuilab.viewer.panels import side_by_side, status
from tuilab.viewer.panels.base import Styles
from tuilab.viewer.panels.chart_grid import ChartGrid
from tuilab.viewer.panels.explanation import Explanation
from tuilab.viewer.panels.footer import Footer
from tuilab.viewer.panels.gain import Gain
from tuilab.viewer.panels.header import Header
from tuilab.viewer.panels.layers import Layers
from tuilab.viewer.panels.side_by_side import VIEWS, SideBySide, View, compared, depth

CURVE_PERIOD: Final = 0.33  # seconds between two drawings of the curves
TABS: Final = tuple(status.TABS)
EVERYTHING: Final = Changes(*[True] * 6)


class Dashboard(Vertical):
    """Holds the panels; `draw` brings them up to date with a store."""

    def __init__(self, styles: Styles, run: Callable[[str], None]) -> None:
        super().__init__(id="stage")
        self.header = Header(styles, id="header")
        self.notice = status.Plain(styles, id="notice")
        self.guide = status.Plain(styles, id="guide")
        self.tab_line = status.Plain(styles, id="tabs")
        self.opening = status.Plain(styles, id="opening")
        self.small = status.Plain(styles, id="small")
        self.board = ChartGrid(styles)
        self.reading = Explanation(styles, id="reading")
        self.layer_table = Layers(styles, id="layers")
        self.gain = Gain(styles, id="gain")
        self.bar = Footer(styles, run, id="footer")
        self.side_table = SideBySide(styles, id="side")
        for panel in (self.reading, self.gain, self.layer_table, self.side_table):
            panel.add_class("panel")
        self.tab = "curves"
        self.alone = False  # one panel fills the screen although all would fit
        self.claims = Claims()
        self.guide_lines: Callable[[RunStore, Claims, int], list[Line]] | None = None  # of a tour
        self._enlarged_from = False  # one chart was enlarged from the overview
        self.others: Sequence[OtherRun] = ()  # runs whose curves are drawn beside
        self.compared = False  # there are other runs to switch to
        self.side: View | None = None  # what is shown of the layers of all runs, if anything
        self.arranged = Layout("tiny")
        self._store: RunStore | None = None
        self._curves_due = 0.0
        self._curves_stale = False
        self._side_due = 0.0
        self._side_stale = False

    def compose(self) -> ComposeResult:
        """Place the panels; the style sheet shows those that the layout wants."""
        yield self.header
        yield self.notice
        yield self.guide
        yield self.tab_line
        yield self.opening
        with Vertical(id="body"):
            with Horizontal(id="upper"):
                yield self.board
                yield self.gain
                yield self.reading
            yield self.layer_table
            yield self.side_table
        yield self.bar
        yield self.small

    @property
    def overview(self) -> bool:
        """Tell whether all panels are on the screen."""
        return self.arranged.mode == "wide" and not self.alone

    def draw(self, store: RunStore, changes: Changes, highlighted: str = "") -> None:
        """Bring to date what `changes` touches and what is in sight."""
        if store is not self._store:
            self._store, changes = store, EVERYTHING
        if changes.state or changes.snapshot or changes.info:
            self.place()
        self.header.draw_by(lambda: self.header.update(store, highlighted))
        if self.has_class("opening"):
            self._draw_opening(store)
            return
        if changes.snapshot or changes.state or changes.info:
            self.draw_layers(store)
            self.draw_gain(store)
            self._side_stale = True
        if changes.snapshot or changes.state or changes.info or changes.events:
            self.draw_reading(store)
        self._curves_stale |= changes.series or changes.validations or changes.events
        self._curves_stale |= changes.state or changes.snapshot
        now = time.monotonic()
        if self._side_stale and now >= self._side_due and self.side and self._in_sight("layers"):
            self._side_stale, self._side_due = False, now + CURVE_PERIOD
            self._draw_side(store, self.side)
        if self._curves_stale and now >= self._curves_due and self._in_sight("curves"):
            self._curves_stale, self._curves_due = False, now + CURVE_PERIOD
            self.board.update(store, self.others)

    def redraw_curves(self) -> None:
        """Let the next `draw` draw the curves, however short ago the last time was."""
        self._curves_stale, self._curves_due = True, 0.0
        self._side_stale, self._side_due = True, 0.0

    def cycle_side(self) -> None:
        """Show the layers of all runs in the next way, or those of one again after the last."""
        runs = compared(self._store, self.others) if self._store else []
        ways = (None, *(side_by_side.ways(runs, self.app.size.width - 4) if runs else VIEWS))
        here = self.side if self.side in ways else ways[1]
        self.show_side(ways[(ways.index(here) + 1) % len(ways)])

    def show_side(self, view: View | None) -> None:
        """Show so much of the layers of all runs, or the layers of one."""
        self.side, self._side_due = view, 0.0
        self.rearranged()

    def _draw_side(self, store: RunStore, view: View) -> None:
        panel = self.side_table
        panel.draw_by(lambda: panel.update(store, self.others, view))

    def draw_layers(self, store: RunStore) -> None:
        """Draw the layer table."""
        if self._in_sight("layers") and not self.side:
            panel = self.layer_table
            panel.draw_by(lambda: panel.update(store, self.arranged.row_height))

    def draw_reading(self, store: RunStore) -> None:
        """Draw the words."""
        if self._in_sight("reading"):
            scrolls = not self.overview
            self.reading.draw_by(lambda: self.reading.update(store, self.claims, scrolls=scrolls))

    def draw_gain(self, store: RunStore) -> None:
        """Draw the gains."""
        if self._in_sight("gain"):
            self.gain.draw_by(lambda: self.gain.update(store))

    def _in_sight(self, tab: str) -> bool:
        if self.overview:
            return tab != "gain" or self.arranged.gain
        return self.tab == tab

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
            lines = []  # the opening says it at length
        layers = len(store.snapshot.statistics) if store.snapshot else 0
        if self.side and (runs := compared(store, self.others)):
            layers = depth(runs) + 1  # its header has one line more
        guide = self.guide_lines(store, self.claims, width) if self.guide_lines else []
        taken = len(lines) + len(guide)
        self.arranged = arrange(width, height, layers, taken, alone=self.alone)
        tabbed = not self.overview
        self.set_class(self.arranged.mode == "tiny", "tiny")
        self.set_class(opening, "opening")
        self.set_class(tabbed, "tabbed")
        self.set_class(self.side is not None, "side")
        self.set_class(self.arranged.gain, "with-gain")
        self.board.large &= tabbed
        self.board.lay_out(self.arranged.charts)
        for tab in TABS:
            self.set_class(tabbed and self.tab == tab, tab)
        self.layer_table.styles.height = "1fr" if tabbed else self.arranged.layers_height
        self.side_table.styles.height = self.layer_table.styles.height
        self.notice.styles.height = max(len(lines), 1)
        self.notice.display = bool(lines) and self.arranged.mode != "tiny"
        self.notice.draw_by(lambda: self.notice.show(status.notice(store, self.notice.size.width)))
        self._show_guide(guide)
        self.tab_line.draw_by(
            lambda: self.tab_line.show(status.tabs(self.tab, self.tab_line.size.width))
        )
        self.small.draw_by(lambda: self.small.show(status.too_small(*self.small.size)))
        touring = self.guide_lines is not None
        shown = hints(
            paused=store.state == "paused",
            ended=not store.live,
            finished=store.state == "finished",
            compared=self.compared,
            touring=touring,
        )
        self.bar.draw_by(lambda: self.bar.update(shown))

    def _show_guide(self, lines: Sequence[Line]) -> None:
        """Show what a tour has to say."""
        self.guide.display = bool(lines) and self.arranged.mode != "tiny"
        self.guide.styles.height = max(len(lines), 1)
        self.guide.draw_by(lambda: self.guide.show(lines))

    def toggle(self, tab: str) -> None:
        """Show one tab; where there is room for all, let it fill the screen, or end that."""
        wide, again = self.arranged.mode == "wide", self.tab == tab
        if tab == "curves" and again and not wide:
            self.on_board_enlarge()
            return
        self.board.large = False
        self._go_to(tab, alone=wide and not (again and self.alone))

    def next_way(self) -> None:
        """Draw the strips of the layers in the next way."""
        self.layer_table.change(self.layer_table.look.following())

    def toggle_log(self) -> None:
        """Draw the strips of the layers along magnitudes, or along values again."""
        look = self.layer_table.look
        self.layer_table.change(replace(look, log=not look.log))

    def next_panel(self, by: int) -> None:
        """Go round the panels."""
        if self.overview:
            self._go_to(TABS[0 if by > 0 else -1], alone=True)
        else:
            self._go_to(TABS[(TABS.index(self.tab) + by) % len(TABS)], alone=self.alone)

    def show_overview(self) -> None:
        """Show everything at once again; of the curves first all that there is, where in sight."""
        if self._in_sight("curves") and self.board.reset():
            return
        if self.board.large and self._in_sight("curves"):
            self.on_board_enlarge()
        else:
            self._go_to(self.tab, alone=False)

    def enlarge_chart(self) -> bool:
        """Enlarge the chosen chart, or end that; False where the curves are not alone."""
        busy = self.tab == "curves" and (self.alone or self.board.large)
        if busy:
            self.on_board_enlarge()
        return busy

    def on_board_enlarge(self) -> None:
        """Give the chosen chart the screen, or go back to where that was asked for."""
        wide = self.arranged.mode == "wide"
        self.board.large = not self.board.large
        if self.board.large:
            self._enlarged_from = self.overview
            self._go_to("curves", alone=wide)
        else:
            self._go_to(self.tab, alone=wide and not self._enlarged_from)

    def _go_to(self, tab: str, *, alone: bool) -> None:
        self.tab, self.alone = tab, alone
        self.rearranged()

    def rearranged(self) -> None:
        """Arrange and draw everything anew, once the new sizes are known."""
        self.place()
        self.redraw_curves()
        self.call_after_refresh(self._draw_all)

    def _draw_all(self) -> None:
        if self._store is not None:
            self.draw(self._store, EVERYTHING)

    def scroll_panel(self, pages: float, lines: int) -> None:
        """Scroll the panel of words that stands alone, the layers otherwise."""
        alone = {"reading": self.reading, "gain": self.gain}.get(self.tab)
        if not self.overview and alone is not None:
            alone.scroll_by(lines + round(pages * alone.content_size.height))
        else:
            table = self.side_table if self.side else self.layer_table
            table.scroll_by(lines + round(pages * table.room))
