"""What is looked at: an earlier step, one layer, the findings, the help; and how the view ends."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from engine.states import EventKind
from tuilab.diagnosis.base import rules
from tuilab.diagnosis.finding import Finding
from tuilab.diagnosis.fixes import Fix
from tuilab.process.launch import has_ended
from tuilab.record.output_log import OutputLog
from tuilab.viewer.action import Action
from tuilab.viewer.controls import Controls
from tuilab.viewer.host import Host
from tuilab.viewer.model.thresholds import thresholds_of
from tuilab.viewer.panels.layer.base import LayerViewState
from tuilab.viewer.panels.layers import Layers
from tuilab.viewer.runs import Runs
from tuilab.viewer.screens.dialogs import Choice, HelpScreen, LeaveScreen
from tuilab.viewer.screens.filter_screen import FilterScreen
from tuilab.viewer.screens.findings_screen import Answer, FindingsScreen
from tuilab.viewer.screens.layer_screen import LayerScreen
from tuilab.viewer.screens.output_screen import OutputScreen
from tuilab.viewer.screens.overlay import Overlay


class Navigation:
    """Opens the screens above the dashboard of `app`, and goes through time.

    Fixes of findings are applied by `controls` and `runs`; the help lists `actions`.
    """

    def __init__(
        self, app: Host, controls: Controls, runs: Runs, actions: Sequence[Action[Any]]
    ) -> None:
        self._app, self._controls, self._runs, self._actions = app, controls, runs, actions
        self._layer_view = LayerViewState()  # of the layer screen, as it was left

    def look(self, by: int) -> None:
        """Go to a later snapshot, or to an earlier one if `by` is negative."""
        if self._app.store.look(by):
            self._app.dashboard.rearrange()
            self.draw_overlay()

    def draw_overlay(self) -> None:
        """Bring the screen above the dashboard, if there is one, up to date."""
        if isinstance(self._app.screen, Overlay):
            self._app.screen.draw()

    def next_panel(self, by: int) -> None:
        """Go to the next panel, or to the next part of the screen above them."""
        if isinstance(self._app.screen, Overlay):
            self._app.screen.turn(by)
        else:
            self._app.dashboard.next_panel(by)

    def enter(self) -> None:
        """Unfold the row under the cursor, or open the screen of its layer.

        Where curves are alone, enlarge one of them instead.
        """
        app = self._app
        if isinstance(app.screen, LayerScreen) or app.dashboard.enlarge_chart():
            return
        layers = app.dashboard.panel(Layers)
        if layers.display and app.dashboard.folding.selecting:
            layer = layers.enter()
            if layer is None:
                return
            self._layer_view = replace(self._layer_view, layer=layer)
        self.show_layer()

    def ask_filter(self) -> None:
        """Ask for a filter of the rows of layers, which takes effect while it is typed."""
        dashboard = self._app.dashboard
        apply = dashboard.panel(Layers).filter
        self._app.push_screen(FilterScreen(dashboard.folding.pattern, apply))

    def show_layer(self) -> None:
        """Open the screen of one layer."""
        app = self._app
        if isinstance(app.screen, LayerScreen):
            return
        if app.store.snapshot is None:
            app.notify("there are no statistics yet", timeout=3)
            return
        screen = LayerScreen(lambda: app.role_styles, lambda: app.store, self._layer_view)
        app.push_screen(screen, lambda _: self._remember(screen))

    def _remember(self, screen: LayerScreen) -> None:
        self._layer_view = screen.view_state

    def show_findings(self) -> None:
        """Open the findings of the diagnosis."""
        app = self._app
        if not any(event.kind == EventKind.FINDING for event in app.store.events):
            app.notify("no findings yet", timeout=3)
        elif not isinstance(app.screen, FindingsScreen):
            screen = FindingsScreen(lambda: app.role_styles, lambda: app.store)
            app.push_screen(screen, self._answered)

    def show_output(self) -> None:
        """Open what the program of the run has printed."""
        app = self._app
        log = app.store.folder.log
        if not log.exists():
            app.notify("the output of this run was not recorded", timeout=3)
        elif not isinstance(app.screen, OutputScreen):
            app.push_screen(OutputScreen(lambda: app.role_styles, OutputLog(log)))

    def _answered(self, answer: Answer | None) -> None:
        if answer is None:
            return
        if answer.fix is None:
            self._go_to(answer.finding)
        else:
            self.apply(answer.fix)

    def _go_to(self, finding: Finding) -> None:
        """Show the first layer of a finding at its first step."""
        self._app.store.look_at(finding.first_step)
        self._app.dashboard.rearrange()
        if finding.layers and finding.rule in rules:
            tensor = rules[finding.rule].tensor
            self._layer_view = replace(self._layer_view, layer=finding.layers[0], tensor=tensor)
            self.show_layer()

    def apply(self, fix: Fix) -> None:
        """Apply a fix: by a command, by resuming, or by a new run with other settings."""
        if fix.command is not None:
            self._controls.command(fix.command)
        elif fix.go_on:
            self._runs.go_on()
        else:
            self._runs.restart_with(fix)

    def show_help(self) -> None:
        """Open the help."""
        app = self._app
        thresholds = thresholds_of(app.store.folder)
        app.push_screen(HelpScreen(lambda: app.role_styles, self._actions, thresholds))

    def leave(self) -> None:
        """Leave; ask first what to do with runs that have not ended."""
        app = self._app
        unfinished = [run for run in app.session.others if not has_ended(run)]
        if app.store.live:
            unfinished.insert(0, app.session.worker)
        if not unfinished:
            app.exit(app.session.worker)
        else:
            paths = [str(run.folder.path) for run in unfinished]
            app.push_screen(LeaveScreen(paths), self._leave)

    def _leave(self, choice: Choice | None) -> None:
        app = self._app
        if choice == "stop":
            leave = partial(app.call_from_thread, app.exit, app.session.worker)
            app.session.stop_all(app.store, leave)
        elif choice == "leave":
            app.exit(app.session.worker)
