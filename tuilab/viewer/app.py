"""The app: polls the run, draws the dashboard, and connects keys with the objects that act."""

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Final

from textual.app import ComposeResult, SystemCommand
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.screen import ModalScreen, Screen

from engine.commands import Command
from tuilab.errors import ViewError
from tuilab.process.launch import Worker
from tuilab.process.program import FurtherRuns
from tuilab.record.control_socket import ControlClient
from tuilab.record.run_folder import RunFolder
from tuilab.terminal import how_it_ended, is_terminal, shell_command
from tuilab.viewer.actions import ACTIONS, BY_ID
from tuilab.viewer.comparison import Comparison
from tuilab.viewer.controls import Controls
from tuilab.viewer.dashboard import Dashboard
from tuilab.viewer.event_notices import EventNotices
from tuilab.viewer.model.capabilities import offers
from tuilab.viewer.model.claims import ClaimJudge, Claims, judge_folder, judge_runs
from tuilab.viewer.model.command_sender import CommandSender, MakeClient
from tuilab.viewer.model.store import RunStore
from tuilab.viewer.model.tour import Tour
from tuilab.viewer.navigation import Navigation
from tuilab.viewer.runs import LAUNCHERS, Launchers, Runs
from tuilab.viewer.screens.overlay import Overlay
from tuilab.viewer.session import Begun, Forked, Restarted, Session
from tuilab.viewer.terminal.appearance import Appearance, TuilabApp
from tuilab.viewer.terminal.screenshot import Screenshots, panels

if TYPE_CHECKING:
    from tuilab.claims.expectations import Expectation

FIRST: Final = ("tab", "shift+tab")  # keys that come before Textual's own, which move the focus
PERIOD: Final = 0.1  # seconds between two polls


@dataclass
class Refused(Message):
    """A command was not accepted."""

    command: Command
    reason: str


class ViewerApp(TuilabApp[Worker]):
    """Shows a run, or several in turn, live or finished; closing it never harms them.

    `controls`, `runs`, `comparison`, `navigation` and `screenshots` do what keys ask for.
    """

    controls: Controls
    runs: Runs
    comparison: Comparison
    navigation: Navigation
    screenshots: Screenshots

    CSS_PATH = "tuilab.tcss"
    TITLE = "tuilab"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(a.keys, f"run('{a.id}')", a.label, show=False, priority=a.keys in FIRST)
        for a in ACTIONS
    ]

    def __init__(
        self,
        *workers: Worker,
        make_client: MakeClient = ControlClient,
        launchers: Launchers = LAUNCHERS,
        judge: Callable[[RunFolder], Claims] = judge_folder,
        expect: "Sequence[Expectation]" = (),
        tour: Tour | None = None,
        appearance: Appearance | None = None,
        side_by_side: bool = False,
    ) -> None:
        super().__init__(appearance)
        self.dashboard: Dashboard = Dashboard(lambda: self.role_styles, self.run_by_id, ACTIONS)
        self._judge_folder = judge
        self._on_terminal = is_terminal(sys.__stdin__)
        self.sender = CommandSender(
            lambda command, reason: self._deliver(Refused(command, reason)), make_client
        )
        self._further_runs = FurtherRuns(workers[0])  # of a program
        self._ended = False  # whether it was noticed that the program has ended
        self.session = Session(workers, self.sender, self._deliver)
        self.controls = Controls(self, self.sender)
        self.notices = EventNotices(self, self.controls)
        self.runs = Runs(self, launchers, expect, tour)
        self.comparison = Comparison(self, self.remember, drawn=self.settings.beside)
        self.navigation = Navigation(self, self.controls, self.runs, ACTIONS)
        self.screenshots = Screenshots(self, lambda: self.store)
        self.dashboard.guide_lines = tour.guide if tour is not None else None
        self.dashboard.several = self.session.several
        if side_by_side and self.session.several:
            self.dashboard.compared = "both"
        self._follow(workers[0])

    @property
    def worker(self) -> Worker:
        """The run that is shown."""
        return self.session.worker

    def _follow(self, worker: Worker) -> None:
        self.session.worker = worker
        process = worker.process
        exit_code = process.poll if process else lambda: None
        self.store = RunStore(worker.folder, exit_code, program=worker.program)
        self.judge = ClaimJudge(worker.folder, self._claims)
        self.notices.forget()
        self.controls.forget()
        self.comparison.follow()

    def switch_to(self, worker: Worker) -> None:
        """Show another run."""
        self.store.close()
        self._follow(worker)
        self.tick()

    def _claims(self, folder: RunFolder) -> Claims:
        folders = [run.folder for run in self.session.runs]
        return judge_runs(folder, self._judge_folder, self.runs.expect, folders)

    def compose(self) -> ComposeResult:
        """Yield the dashboard; screens come above it."""
        yield self.dashboard

    def on_mount(self) -> None:
        """Paint first, then start reading."""
        self.call_after_refresh(self.tick)
        self.set_interval(PERIOD, self.tick)

    def on_resize(self) -> None:
        """Arrange the panels for the new size."""
        self.dashboard.rearrange()

    def _deliver(self, message: Message) -> None:
        """Post a message from any thread, unless the app has ended."""
        if self.is_running:
            self.post_message(message)

    def tick(self) -> None:
        """Read what is new and draw it; leave if the terminal is gone and sent no signal."""
        if self._on_terminal and not is_terminal(sys.__stdin__):
            self.exit(self.worker)
            return
        if self.worker.program and self._program_ended():
            return
        store = self.store
        opened = not store.info.pid  # nothing was read before: these events are history
        changes = store.poll()
        if changes.events:
            self.notices.read(opened=opened)
        self.comparison.poll()
        self.dashboard.draw(store, changes, self.notices.highlighted)
        if changes.snapshot or changes.events or changes.state:
            self.navigation.draw_overlay()
        self.judge.request(changed=changes.snapshot or changes.state or self.comparison.changed)
        self.comparison.changed = False
        if self.judge.claims is not self.dashboard.claims:
            self._show_claims(self.judge.claims)

    def _program_ended(self) -> bool:
        """Show the newest run of the program. Return whether it ended without having one."""
        for run in self._further_runs.new():
            self._show_instead(run)
        code = self.store.exit_code
        if code is None or self._ended:
            return False
        self._ended = True
        if not self.worker.folder.database.exists():
            self.exit(self.worker)
            return True
        self.notify(
            f"{self.worker.program} has ended: {how_it_ended(code)}; o shows its output",
            timeout=8,
            severity="error" if code else "information",
        )
        return False

    def _show_instead(self, run: Worker) -> None:
        """Show another run of the program; the one before, if it began, has ended."""
        place = self.session.runs.index(self.worker)
        if self.worker.folder.database.exists():
            self.session.runs[place] = Worker(self.worker.folder)
            self.session.runs.insert(place + 1, run)
            self.dashboard.several = True
            self.notify(f"{run.program} trains another model; v shows the run before", timeout=8)
        else:
            self.session.runs[place] = run
        self.switch_to(run)

    def _show_claims(self, claims: Claims) -> None:
        self.dashboard.show_claims(claims)
        if self.runs.tour is not None:
            self.runs.tour.note(claims)
            self.dashboard.place()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keep keys of the table, also those in FIRST, from acting behind a dialog."""
        if action == "run" and isinstance(self.screen, ModalScreen):
            return False
        return super().check_action(action, parameters)

    def action_run(self, action: str) -> None:
        """Run an action by its id: what every key binding calls."""
        self.run_by_id(action)

    def run_by_id(self, action_id: str) -> None:
        """Run an action of the table, if the run offers it.

        An action on the panels closes the screen above them.
        """
        action = BY_ID[action_id]
        if isinstance(self.screen, Overlay):
            if action.scope == "scrolling":
                return
            if action.scope == "panels":
                self.screen.dismiss()
        if action.needs and not offers(self.store.info, action.needs):
            self.notify(f"this run does not offer: {action.help}", timeout=3)
            return
        action.run(self)

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """Yield the table, the choice of any theme, and a picture of each panel."""
        for action in ACTIONS:
            if not action.needs or offers(self.store.info, action.needs):
                run = partial(self.run_by_id, action.id)
                yield SystemCommand(f"{action.label} ({action.shown})", action.help, run)
        yield SystemCommand("theme", "choose the colours", self.action_change_theme)
        for panel in panels(screen):
            take = partial(self.screenshots.take, panel)
            yield SystemCommand(f"picture of {panel}", "save this panel as SVG and PNG", take)

    def on_restarted(self, message: Restarted) -> None:
        """Show the new run."""
        self.runs.restarted(message)

    def on_forked(self, message: Forked) -> None:
        """Show the fork."""
        self.runs.forked(message)

    def on_begun(self, message: Begun) -> None:
        """Show the scenario of the tour."""
        self.runs.begun(message)

    def on_refused(self, message: Refused) -> None:
        """Notify why a command was not accepted."""
        self.controls.refused(message.command, message.reason)


def view(
    workers: Sequence[Worker],
    expect: "Sequence[Expectation]" = (),
    tour: Tour | None = None,
    appearance: Appearance | None = None,
    *,
    side_by_side: bool = False,
) -> Sequence[Worker]:
    """Show runs until the user leaves. Return the runs by then: a restart makes another one.

    `expect` holds the claims over all of them; with `side_by_side`, their layers are compared from
    the start. Raises ViewError if the view crashes.
    """
    app = ViewerApp(
        *workers, expect=expect, tour=tour, appearance=appearance, side_by_side=side_by_side
    )
    app.run(mouse=appearance is None or appearance.mouse)
    if app.return_code:  # Textual has printed why
        attach = shell_command("attach", app.worker.folder.path)
        raise ViewError(f"the view crashed; a live run continues: {attach}")
    app.store.close()
    app.session.await_end()
    return app.session.runs
