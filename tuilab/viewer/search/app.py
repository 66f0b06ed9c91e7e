"""The view of a search: it only reads the study; closing it stops nothing."""

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import ClassVar, Final

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Horizontal, Vertical
from textual.timer import Timer

from engine.errors import TuilabError
from tuilab.charts.symbols import SEVERITIES
from tuilab.charts.text import Line, key_line
from tuilab.errors import ViewError
from tuilab.process.launch import Worker
from tuilab.record.run_folder import RunFolder
from tuilab.search.folder import StudyFolder
from tuilab.search.results import Row, StageResult, objective_heading
from tuilab.search.study_reader import StudyReader
from tuilab.terminal import shell_command
from tuilab.viewer.panels.base import LinesPanel
from tuilab.viewer.search.charts import importance, parallel, scatter
from tuilab.viewer.search.header import header
from tuilab.viewer.search.store import Reading, RunningCurves, read
from tuilab.viewer.search.table import Entry, Order, columns, entries, table
from tuilab.viewer.terminal.appearance import TuilabApp

PERIOD: Final = 1.0  # seconds between two readings of the study
CURVES: Final = 0.5  # seconds between two polls of the runs
IDLE: Final = 0.15  # seconds for which the cursor rests before the charts follow it
NARROW: Final = 110  # cells below which the panels are shown one at a time
LOW: Final = 28  # lines below which they are, too
PANELS: Final = ("trials", "running", "scatter", "parallel", "importance")
BELOW: Final = ("parallel", "importance")
KEYS: Final = (
    (12, "↑↓", "trial"), (11, "enter", "open its run"), (10, "p", "prune"), (9, "o", "sort by"),
    (4, "O", "reverse"), (8, "x", "parameter"), (7, "s", "stage"), (6, "1…5 tab", "panel"),
    (3, "S", "stop the search"), (13, "q", "leave"),
)  # fmt: skip


@dataclass
class SearchViewState:
    """What is shown of a search; it is preserved while one of the runs is open."""

    cursor: int = 0
    number: int | None = None  # of the trial under the cursor
    order: Order = field(default_factory=Order)
    stage: str = ""  # "": the newest
    parameter: int = 0
    panel: int = 0


class SearchApp(TuilabApp[RunFolder | None]):
    """Shows a search; returns the run to be opened, None when the user leaves."""

    CSS_PATH = "search.tcss"
    TITLE = "tuilab"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q,escape,ctrl+c,ctrl+q", "leave", "leave", priority=True),
        Binding("up,k", "move(-1)", "up"),
        Binding("down,j", "move(1)", "down"),
        Binding("pageup", "move(-20)", "a page up"),
        Binding("pagedown", "move(20)", "a page down"),
        Binding("home", "move(-1000000)", "first"),
        Binding("end", "move(1000000)", "last"),
        Binding("enter", "open", "open"),
        Binding("p", "prune", "prune"),
        Binding("o", "sort(1)", "sort"),
        Binding("O", "turn", "reverse"),
        Binding("x,right", "parameter(1)", "parameter"),
        Binding("X,left", "parameter(-1)", "parameter"),
        Binding("s", "stage", "stage"),
        Binding("S", "stop", "stop the search"),
        Binding("T", "cycle_theme", "colours"),
        Binding("G", "cycle_glyphs", "characters"),
        Binding("tab", "panel(1)", "panel", priority=True),
        Binding("shift+tab", "panel(-1)", "panel", priority=True),
        *(Binding(str(n + 1), f"show({n})", name) for n, name in enumerate(PANELS)),
    ]

    def __init__(
        self,
        reader: StudyReader,
        view_state: SearchViewState,
        reading: Callable[[StudyReader], Reading] = read,
    ) -> None:
        super().__init__()
        self._reader, self.view_state, self._read = reader, view_state, reading
        self._curves = RunningCurves(reader.folder)
        self._is_reading = False
        self._later: Timer | None = None  # when the charts follow the cursor
        self.reading: Reading | None = None
        self.shown: list[Entry] = []
        self._panels = {
            name: LinesPanel(lambda: self.role_styles, id=name)
            for name in ("header", "footer", *PANELS)
        }

    def compose(self) -> ComposeResult:
        """Yield the table, and the charts beside it."""
        panels = self._panels
        for name in PANELS:
            panels[name].add_class("panel")
        yield panels["header"]
        with Container(id="search"):
            yield panels["trials"]
            with Vertical(id="pictures"):
                yield panels["running"]
                yield panels["scatter"]
                with Horizontal(id="below"):
                    yield panels["parallel"]
                    yield panels["importance"]
        yield panels["footer"]

    def on_mount(self) -> None:
        """Paint first, then start reading."""
        self._arrange()
        for panel in self._panels.values():
            panel.draw_by(self._draw)
        self.read()
        self.set_interval(PERIOD, self.read)
        self.set_interval(CURVES, self._follow)

    def on_resize(self) -> None:
        """Arrange the panels for the new size."""
        self._arrange()
        self.call_after_refresh(self._draw)

    def on_unmount(self) -> None:
        """Close the databases."""
        self._curves.close()

    def read(self) -> None:
        """Start reading the study, unless that is in progress."""
        if not self._is_reading:
            self._is_reading = True
            self._read_study()

    @work(thread=True, group="read", exit_on_error=False)
    def _read_study(self) -> None:
        try:
            reading = self._read(self._reader)
        except TuilabError as error:
            self.call_from_thread(self.notify, str(error), severity="error", timeout=3)
        else:
            self.call_from_thread(self._take, reading)
        finally:
            self._is_reading = False

    def _take(self, reading: Reading) -> None:
        if reading != self.reading:
            self.reading = reading
            self._sort()
            self._draw()

    def _follow(self) -> None:
        if self.reading is not None:
            self._curves.follow(self.reading.result.stages)
            self._draw_running()

    @property
    def stage(self) -> StageResult | None:
        """The stage that is shown."""
        return self.reading.stage(self.view_state.stage) if self.reading is not None else None

    @property
    def chosen(self) -> Row | None:
        """The trial under the cursor."""
        place = self.view_state.cursor
        return self.shown[place].row if 0 <= place < len(self.shown) else None

    def _sort(self) -> None:
        """Sort the table; the cursor stays on its trial."""
        stage = self.stage
        if stage is None or self.reading is None:
            return
        search = self.reading.result.search
        self.shown = entries(stage, self.view_state.order, maximize=search.maximize)
        numbers = [entry.row.number for entry in self.shown]
        if self.view_state.number in numbers:
            self.view_state.cursor = numbers.index(self.view_state.number)
        self.view_state.cursor = min(max(self.view_state.cursor, 0), max(len(numbers) - 1, 0))

    def _arrange(self) -> None:
        small = self.size.width < NARROW or self.size.height < LOW
        self.screen.set_class(small, "small")
        for place, name in enumerate(PANELS):
            self._panels[name].set_class(not small or place == self.view_state.panel, "shown")
        self.screen.set_class(small and self.view_state.panel == 0, "table-alone")
        self.screen.set_class(small and PANELS[self.view_state.panel] in BELOW, "below-alone")

    def _draw(self, *, pictures: bool = True) -> None:
        reading, stage = self.reading, self.stage
        self._draw_footer()
        if reading is None:
            self._panels["trials"].show([[("reading the study …", "muted")]])
            return
        title = self._reader.scenario.header.title
        top = header(reading, stage, title, self._panels["header"].size.width or self.size.width)
        self._panels["header"].styles.height = len(top)
        self._panels["header"].show(top)
        if stage is not None:
            self._draw_table(stage, reading)
            if pictures:
                self._draw_pictures(stage, reading)
        if pictures:
            self._draw_running()

    def _draw_table(self, stage: StageResult, reading: Reading) -> None:
        panel, view_state = self._panels["trials"], self.view_state
        objective = objective_heading(reading.result.search)
        size = (panel.content_size.width, panel.content_size.height)
        panel.border_title = f"Trials of {stage.stage.name}"
        panel.border_subtitle = f"by {columns(stage, objective)[self.view_state.order.column]}"
        if size[0]:
            panel.show(
                table(stage, self.shown, objective, view_state.order, view_state.cursor, size)
            )

    def _draw_pictures(self, stage: StageResult, reading: Reading) -> None:
        maximize = reading.result.search.maximize
        objective = objective_heading(reading.result.search)
        keys = [*stage.space]
        key = keys[self.view_state.parameter % len(keys)]
        edges = reading.result.edges.get(stage.stage.name, ())
        warned = any(text.startswith(f"{key}:") for text in edges)
        glyph = SEVERITIES["warning"].glyph
        edge = f"  [$text-warning]{glyph} best at the edge[/]" if warned else ""
        self._panels["scatter"].border_title = f"{objective} over {key}{edge}"
        place = self.view_state.parameter % len(keys) + 1
        self._panels["scatter"].border_subtitle = f"{place} of {len(keys)}" * (len(keys) > 1)
        self._panels["parallel"].border_title = "Parallel axes"
        self._panels["importance"].border_title = "Importance"
        self._show("scatter", lambda size: scatter(
            stage, key, self.chosen, size, maximize=maximize, warned=warned))  # fmt: skip
        self._show("parallel", lambda size: parallel(
            stage, objective, self.chosen, size, maximize=maximize))  # fmt: skip
        shares = reading.importance.get(stage.stage.name, {})
        self._show("importance", lambda size: importance(shares, size[0]))

    def _draw_running(self) -> None:
        self._panels["running"].border_title = "Loss of running trials"
        self._show("running", lambda size: self._curves.chart(*size), "no running trials")

    def _show(
        self,
        name: str,
        lines: Callable[[tuple[int, int]], list[Line]],
        missing: str = "waiting for the first trials",
    ) -> None:
        panel = self._panels[name]
        size = panel.content_size.width, panel.content_size.height
        if size[0] > 0 and size[1] > 0:
            panel.show(lines(size) or [[(missing, "muted")]])

    def _draw_footer(self) -> None:
        panel = self._panels["footer"]
        panel.show([key_line(KEYS, panel.size.width or self.size.width)])

    def action_move(self, by: int) -> None:
        """Go up or down the table."""
        self.view_state.cursor = min(
            max(self.view_state.cursor + by, 0), max(len(self.shown) - 1, 0)
        )
        chosen = self.chosen
        self.view_state.number = chosen.number if chosen is not None else None
        self._draw(pictures=False)
        if self._later is not None:
            self._later.stop()
        self._later = self.set_timer(IDLE, self._draw)

    def action_sort(self, by: int) -> None:
        """Sort by the next column."""
        if (stage := self.stage) is not None:
            count = len(columns(stage, ""))
            self.view_state.order = Order((self.view_state.order.column + by) % count)
            self._sort()
            self._draw()

    def action_turn(self) -> None:
        """Reverse the order."""
        self.view_state.order = Order(
            self.view_state.order.column, not self.view_state.order.reverse
        )
        self._sort()
        self._draw()

    def action_parameter(self, by: int) -> None:
        """Show the objective over another parameter."""
        self.view_state.parameter += by
        self._draw()

    def action_stage(self) -> None:
        """Show the next stage."""
        stage = self.stage
        if self.reading is not None and stage is not None:
            names = [result.stage.name for result in self.reading.result.stages]
            self.view_state.stage = names[(names.index(stage.stage.name) + 1) % len(names)]
            self.view_state.cursor, self.view_state.number = 0, None
            self._sort()
            self._draw()

    def action_panel(self, by: int) -> None:
        """Show the next panel, if they are shown one at a time."""
        self.action_show((self.view_state.panel + by) % len(PANELS))

    def action_show(self, place: int) -> None:
        """Show a panel alone, if there is no room for all."""
        self.view_state.panel = place
        self._arrange()
        self.call_after_refresh(self._draw)

    def action_open(self) -> None:
        """Open the run of the trial in the view of a run; leaving that returns here."""
        row = self.chosen
        if row is None:
            return
        folder = self._curves.run_of(row) if row.run else None
        if folder is None or not folder.database.is_file():
            where = f" here; it ran on {row.host}" if row.host else ""
            self.notify(f"trial {row.number} has no run{where}", severity="warning", timeout=3)
            return
        self.exit(folder)

    def action_prune(self) -> None:
        """Prune the trial under the cursor."""
        row, stage = self.chosen, self.stage
        if row is None or stage is None or row.state != "running":
            self.notify("only a running trial can be pruned", timeout=3)
            return
        self._ask_to_prune(stage.stage.name, row.number)

    @work(thread=True, group="prune", exit_on_error=False)
    def _ask_to_prune(self, stage: str, number: int) -> None:
        reader = StudyReader(self._reader.folder)  # of this thread's own
        try:
            accepted = reader.prune(stage, number)
        finally:
            reader.close()
        words = f"pruning trial {number}" if accepted else f"trial {number} has just ended"
        self.call_from_thread(self.notify, words, timeout=3)

    def action_stop(self) -> None:
        """Stop the search as Ctrl-C does; --resume continues it."""
        folder = self._reader.folder
        if not folder.is_alive():
            self.notify("the search is not running", timeout=3)
            return
        with suppress(OSError, TuilabError):
            os.kill(folder.info().pid, signal.SIGINT)
        self.notify(f"stopping; resume it: tuilab search --resume --out {folder.path}")

    def action_leave(self) -> None:
        """Close the view; the search continues."""
        self.exit(None)


def view(folder: StudyFolder) -> None:
    """Show a search, and the runs that are opened, until the user leaves. Raises ViewError."""
    from tuilab.viewer.app import view as view_run

    reader, view_state = StudyReader(folder), SearchViewState()
    try:
        while True:
            app = SearchApp(reader, view_state)
            run = app.run()
            if app.return_code:  # Textual has printed why
                again = shell_command("search", "view", folder.path)
                raise ViewError(f"the view crashed; a running search continues: {again}")
            if run is None:
                return
            view_run([Worker(run)])
    finally:
        reader.close()
