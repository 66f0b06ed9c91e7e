"""The app: polls the run, draws the stage, and turns actions into commands."""

import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Final

from textual.app import ComposeResult, SystemCommand
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.screen import ModalScreen, Screen

from engine.errors import TuilabError
from engine.statistics.frames import Event
from engine.training.changes import CHANGES
from engine.training.trainer import Command
from tuilab.charts.event_markers import change
from tuilab.diagnosis.base import rules
from tuilab.diagnosis.finding import FOUND, Finding
from tuilab.diagnosis.fixes import Fix
from tuilab.errors import ViewError
from tuilab.process import fork as forking
from tuilab.process import launch
from tuilab.process import resume as resuming
from tuilab.process.launch import Options, Worker, has_ended
from tuilab.record.control_socket import ControlClient
from tuilab.record.run_folder import RunFolder
from tuilab.scenario.catalog import CatalogEntry
from tuilab.scenario.loading import load
from tuilab.terminal import is_terminal, shell_command
from tuilab.viewer.actions import ACTIONS, BY_ID, ON_STAGE, SCROLLING
from tuilab.viewer.controls import Controls
from tuilab.viewer.dashboard import Dashboard
from tuilab.viewer.model.changes import sentence
from tuilab.viewer.model.claims import ClaimJudge, Claims, judge_folder, judge_runs
from tuilab.viewer.model.command_sender import CommandSender, MakeClient
from tuilab.viewer.model.other_runs import OtherRuns
from tuilab.viewer.model.store import RunStore
from tuilab.viewer.model.tour import Tour
from tuilab.viewer.panels.layer.base import LayerViewState
from tuilab.viewer.screens import fork_dialog as forks
from tuilab.viewer.screens.dialogs import (
    Choice,
    HelpScreen,
    LeaveScreen,
)
from tuilab.viewer.screens.findings_screen import Answer, FindingsScreen
from tuilab.viewer.screens.fork_dialog import ForkScreen
from tuilab.viewer.screens.layer_screen import DetailScreen
from tuilab.viewer.screens.overlay import Overlay
from tuilab.viewer.screens.scenario_picker import PickerScreen
from tuilab.viewer.session import Begun, Forked, Restarted, Session
from tuilab.viewer.terminal.appearance import Appearance, TuilabApp
from tuilab.viewer.terminal.screenshot import NoPngError, keep, panels, take

if TYPE_CHECKING:
    from tuilab.claims.expectations import Expectation

FIRST: Final = ("tab", "shift+tab")  # keys that come before Textual's own, which move the focus
PERIOD: Final = 0.1  # seconds between two polls
COMPANIONS_PERIOD: Final = 0.5  # seconds between two looks at the other runs
UNSEEN: Final = {"set": "", "pause": "paused", "resume": "running", "step": "one step made"}
"""What only the status line tells, and how to say it where a screen covers that."""
FLASH: Final = 1.5  # seconds that a changed hyper-parameter stays highlighted


@dataclass
class Refused(Message):
    """A command did not pass."""

    command: Command
    reason: str


class ViewerApp(TuilabApp[Worker]):
    """Shows a run, or several in turn, live or finished; closing it never harms them."""

    CSS_PATH = "tuilab.tcss"
    TITLE = "tuilab"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(a.keys, f"run('{a.id}')", a.label, show=False, priority=a.keys in FIRST)
        for a in ACTIONS
    ]

    def __init__(
        self,
        *runs: Worker,
        make_client: MakeClient = ControlClient,
        restart: Callable[..., Worker] = launch.restart,
        go_on: Callable[[RunFolder], Worker] = resuming.go_on,
        fork: Callable[..., Worker] = forking.fork,
        judge: Callable[[RunFolder], Claims] = judge_folder,
        expect: "Sequence[Expectation]" = (),
        tour: Tour | None = None,
        dress: Appearance | None = None,
        side_by_side: bool = False,
    ) -> None:
        super().__init__(dress)
        self.stage: Dashboard = Dashboard(lambda: self.role_styles, self.run_by_id)
        self._judge_folder, self._expect = judge, expect
        self._restart, self._go_on, self._fork = restart, go_on, fork
        self.sender = CommandSender(
            lambda command, reason: self._tell(Refused(command, reason)), make_client
        )
        self._flash: tuple[str, float] = ("", 0.0)
        self._look = LayerViewState()
        self._seen_events = 0
        self._controls = Controls(self)
        self._on_terminal = is_terminal(sys.__stdin__)
        self.tour = tour
        self.stage.guide_lines = tour.guide if tour is not None else None
        self.session = Session(runs, self.sender, self._tell)
        self._companions, self._companions_due = OtherRuns(()), 0.0
        self._others_going = self._others_changed = False
        self._beside = self.settings.beside  # the curves of the others are drawn too
        self.stage.compared = self.session.several
        if side_by_side and self.session.several:
            self.stage.side = "both"
        self.follow(runs[0])

    @property
    def controls(self) -> Controls:
        """What keys change of what is trained."""
        return self._controls

    @property
    def worker(self) -> Worker:
        """The run that is shown."""
        return self.session.worker

    def follow(self, worker: Worker) -> None:
        """Show another run from now on."""
        self.session.worker = worker
        process = worker.process
        self.store = RunStore(worker.folder, process.poll if process else lambda: None)
        self.judge = ClaimJudge(worker.folder, self._claims)
        self._seen_events = 0
        self._controls.forget()
        self._companions.close()
        self._companions = OtherRuns([run.folder for run in self.session.others])
        self._companions_due = 0.0

    def _claims(self, folder: RunFolder) -> Claims:
        folders = [run.folder for run in self.session.runs]
        return judge_runs(folder, self._judge_folder, self._expect, folders)

    def compose(self) -> ComposeResult:
        """Yield the stage; modals come above it."""
        yield self.stage

    def on_mount(self) -> None:
        """Paint first, then begin to read."""
        self.call_after_refresh(self.tick)
        self.set_interval(PERIOD, self.tick)

    def on_resize(self) -> None:
        """Arrange the panels anew."""
        self.stage.rearranged()

    def _tell(self, message: Message) -> None:
        if self.is_running:
            self.post_message(message)

    def tick(self) -> None:
        """Read what is new and draw it; leave, where the terminal went away without a signal."""
        if self._on_terminal and not is_terminal(sys.__stdin__):
            self.exit(self.worker)
            return
        store = self.store
        opened = not store.info.pid  # nothing of it is read yet: what comes is its history
        changes = store.poll()
        if changes.events:
            self._notice_events(opened=opened)
        highlighted = self._flash[0] if time.monotonic() < self._flash[1] else ""
        self._follow_companions()
        self.stage.draw(store, changes, highlighted)
        if changes.snapshot or changes.events or changes.state:
            self._draw_above()
        self.judge.request(changed=changes.snapshot or changes.state or self._others_changed)
        self._others_changed = False
        if self.judge.claims is not self.stage.claims:
            self.stage.claims = self.judge.claims
            self.stage.draw_reading(store)
            if self.tour is not None:
                self._note_claims(self.tour)

    def _follow_companions(self) -> None:
        if (now := time.monotonic()) >= self._companions_due:
            self._companions_due = now + COMPANIONS_PERIOD
            if self._companions.poll():
                self._place_companions()
            going = any(not has_ended(run) for run in self.session.others)
            self._others_changed |= going or self._others_going  # once more when they have ended
            self._others_going = going

    def _place_companions(self) -> None:
        self.stage.others = [*self._companions] if self._beside else []
        self.stage.redraw_curves()

    def toggle_beside(self) -> None:
        """Draw the curves of the other runs beside, or leave them out."""
        if not self.session.several:
            self.notify("there is no other run: tuilab compare shows several", timeout=3)
            return
        self._beside = not self._beside
        self.remember(beside=self._beside)
        self._place_companions()
        if not self._beside and self.stage.side:
            self.stage.show_side(None)

    def cycle_side_by_side(self) -> None:
        """Show the layers of all runs side by side: in one way, the next, or not any more."""
        if not self.session.several:
            self.notify("there is no other run: tuilab compare shows several", timeout=3)
            return
        self._beside = True
        self._place_companions()
        self.stage.cycle_side()

    def _notice_events(self, *, opened: bool) -> None:
        """Highlight what was changed while we watch; not the history of a run just opened."""
        new = self.store.events[self._seen_events :]
        self._seen_events = len(self.store.events)
        for event in new:
            if not opened:
                self._tell_of(event)
            if event.kind == "set" and not opened:
                self._flash = str(event.detail.get("key", "")), time.monotonic() + FLASH
            self._controls.notice(event)

    def _tell_of(self, event: Event) -> None:
        """Say what became of a change of what is trained."""
        if event.kind == "refused":
            reason = str(event.detail.get("reason", ""))
            self.notify(reason, title="not applied", severity="warning")
        elif event.kind in CHANGES:
            self.notify(sentence(event))
        elif isinstance(self.screen, Overlay) and event.kind in UNSEEN:
            self.notify(UNSEEN[event.kind] or change(event), timeout=3)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keep the keys of the table, those in FIRST too, from what lies behind a dialog."""
        if action == "run" and isinstance(self.screen, ModalScreen):
            return False
        return super().check_action(action, parameters)

    def action_run(self, action: str) -> None:
        """Run an action by its id: what every key binding calls."""
        self.run_by_id(action)

    def run_by_id(self, action: str) -> None:
        """Run an action of the table; one on the panels leaves the screen that covers them."""
        if isinstance(self.screen, Overlay):
            if action in SCROLLING:
                return
            if action in ON_STAGE:
                self.screen.dismiss()
        BY_ID[action].run(self)

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """Offer the table, and the choice of any theme, in the command palette."""
        for action in ACTIONS:
            yield SystemCommand(
                f"{action.label} ({action.shown})", action.help, partial(self.run_by_id, action.id)
            )
        yield SystemCommand("theme", "choose the colours", self.action_change_theme)
        for panel in panels(self):
            take_it = partial(self.take_picture, panel)
            yield SystemCommand(f"picture of {panel}", "this panel as SVG and PNG", take_it)

    def look(self, by: int) -> None:
        """Go through the recorded snapshots, back or forth in time."""
        if self.store.look(by):
            self.stage.rearranged()
            self._draw_above()

    def show_detail(self) -> None:
        """Open the screen of one layer; with the curves alone, enlarge one of them."""
        if not isinstance(self.screen, DetailScreen) and self.stage.enlarge_chart():
            return
        if self.store.snapshot is None:
            self.notify("there are no statistics yet", timeout=3)
        elif not isinstance(self.screen, DetailScreen):
            screen = DetailScreen(lambda: self.role_styles, lambda: self.store, self._look)
            self.push_screen(screen, lambda _: self._remember(screen))

    def show_findings(self) -> None:
        """Open what the diagnosis found."""
        if not any(event.kind == FOUND for event in self.store.events):
            self.notify("the diagnosis has found nothing until now", timeout=3)
        elif not isinstance(self.screen, FindingsScreen):
            screen = FindingsScreen(lambda: self.role_styles, lambda: self.store)
            self.push_screen(screen, self._answer)

    def _answer(self, answer: Answer | None) -> None:
        if answer is None:
            return
        if answer.fix is None:
            self._see(answer.finding)
        else:
            self.mend(answer.fix)

    def _see(self, finding: Finding) -> None:
        """Show the first layer of a finding as it was at its first step."""
        self.store.look_at(finding.first_step)
        self.stage.rearranged()
        if finding.layers and finding.rule in rules:
            tensor = rules[finding.rule].tensor
            self._look = replace(self._look, layer=finding.layers[0], tensor=tensor)
            self.show_detail()

    def mend(self, fix: Fix) -> None:
        """Make a change that helps against a finding; the settings of a new run are tried first."""
        if fix.command is not None:
            self._controls.command(fix.command)
        elif fix.go_on:
            self.go_on()
        else:
            self._restart_with(fix)

    def _restart_with(self, fix: Fix) -> None:
        try:
            load(self.store.folder.scenario, list(fix.settings))
        except TuilabError as error:
            self.notify(str(error), title=f"{fix.label}: not possible", severity="warning")
            return
        words = f"starting anew: {fix.label}"
        self._follow_another(words, partial(self._restart, sets=fix.settings))

    def next_panel(self, by: int) -> None:
        """Go round the panels, or what there is in the view of the layer that stands alone."""
        if isinstance(self.screen, Overlay):
            self.screen.turn(by)
        else:
            self.stage.next_panel(by)

    def _remember(self, screen: DetailScreen) -> None:
        self._look = screen.look

    def _draw_above(self) -> None:
        if isinstance(self.screen, Overlay):
            self.screen.draw()

    def next_variant(self) -> None:
        """Show the next run of a comparison."""
        if not self.session.several:
            self.notify("there is no other run; f forks one off this one", timeout=3)
            return
        self._switch(self.session.following)

    def _switch(self, worker: Worker) -> None:
        self.store.close()
        self.follow(worker)
        self.tick()

    def restart_run(self, *, new_seed: bool) -> None:
        """Stop the worker and start another one."""
        words = "restarting with a new seed" if new_seed else "restarting"
        self._follow_another(words, partial(self._restart, new_seed=new_seed))

    def go_on(self) -> None:
        """Go on with a run that has ended, from a checkpoint."""
        if self.store.live:
            self.notify("the run has not ended", timeout=3)
        elif self.store.state == "finished":
            more = shell_command("run", "--resume", self.worker.folder.path, "--steps", "N")
            self.notify(f"all of its steps are made; {more} gives it more", timeout=6)
        else:
            self._follow_another("going on from the last good checkpoint", self._go_on)

    def _follow_another(self, words: str, begin: Callable[[RunFolder], Worker]) -> None:
        """Start a worker in the place of this one."""
        if self.session.restart(self.store, begin):
            self.notify(words, timeout=3)

    def on_restarted(self, message: Restarted) -> None:
        """Follow the new run."""
        shown = self.session.replace(message)
        if message.worker is None:
            self.notify(message.error, title="not begun", severity="error")
        elif shown:
            self._switch(message.worker)

    def fork_run(self) -> None:
        """Ask what shall be different in a run that branches off this one."""
        try:
            plan = forks.plan(self.store)
        except TuilabError as error:
            self.notify(str(error), title="no fork", severity="error")
        else:
            self.push_screen(ForkScreen(plan), partial(self._fork_with, plan.at))

    def _fork_with(self, at: int | None, changes: Mapping[str, float] | None) -> None:
        if changes is None:
            return
        sets = [f"optimizer.{key}={value!r}" for key, value in changes.items()]
        if self.session.fork(lambda folder: self._fork(folder, Options(), at=at, sets=sets)):
            self.notify("branching off", timeout=3)

    def on_forked(self, message: Forked) -> None:
        """Show the fork; the run it came from is a key away."""
        shown = self.session.join(message)
        if message.worker is None:
            self.notify(message.error, title="no fork", severity="error")
            return
        self.stage.compared = True
        if shown:
            self._switch(message.worker)
            self.notify("this is the fork; v goes round, back to where it came from", timeout=5)

    def show_tour(self) -> None:
        """Open the list of scenarios; the run goes on until another is chosen."""
        if self.tour is None:
            self.notify("tuilab tour goes through the scenarios", timeout=3)
        else:
            self.push_screen(PickerScreen(self.tour, leaving="back"), self._tour_to)

    def tour_by(self, places: int) -> None:
        """Go to the next scenario of the tour in a direction."""
        if self.tour is None:
            self.notify("tuilab tour goes through the scenarios", timeout=3)
        elif (entry := self.tour.neighbour(places)) is None:
            self.notify(f"this is the {'last' if places > 0 else 'first'} scenario", timeout=3)
        else:
            self._tour_to(entry)

    def _tour_to(self, entry: CatalogEntry | None) -> None:
        """Stop what is running, and run the scenario that was chosen, if one was."""
        if entry is None or self.tour is None:
            return
        if self.session.begin(self.store, entry, self.tour.begin):
            self.notify(f"starting {entry.name}", timeout=3)

    def on_begun(self, message: Begun) -> None:
        """Show the scenario that was chosen."""
        if not self.session.renew(message) or self.tour is None:
            self.notify(message.error, title="no other run", severity="error")
            return
        self.tour.go_to(message.entry)
        self._expect = self.tour.expected.get(message.entry.path, ())
        self.stage.compared = self.session.several
        self.stage.side = None
        self._switch(self.session.runs[0])

    def _note_claims(self, tour: Tour) -> None:
        tour.note(self.stage.claims)
        self.stage.place()

    def on_refused(self, message: Refused) -> None:
        """Say why a command did not pass; a run that ended meanwhile needs no word."""
        if message.command.kind != "stop":
            self._controls.forget()
            self.notify(message.reason, title="not applied", severity="warning")

    def take_picture(self, panel: str = "") -> None:
        """Write what is on the screen, or a panel of it, into the run folder."""
        snapshot = self.store.snapshot
        step = self.store.step if snapshot is None or self.store.at is None else snapshot.step
        name = "-".join(filter(None, (f"step-{step}", panel)))
        picture, folder = take(self, panel), self.worker.folder
        self.run_worker(partial(self._keep_picture, picture, folder, name), thread=True)

    def _keep_picture(self, picture: str, folder: RunFolder, name: str) -> None:
        """Write a picture, in a thread: making a PNG takes as long as some frames."""
        try:
            files = keep(picture, folder, name)
        except TuilabError as error:
            self.call_from_thread(self.notify, str(error), severity="error")
            return
        kinds = " and ".join(file.suffix[1:].upper() for file in files)
        words = f"{kinds}: {files[0].with_suffix('')}"
        if len(files) == 1:
            words += f"\n{NoPngError()}"
        self.call_from_thread(self.notify, words, title="picture", timeout=5)

    def show_help(self) -> None:
        """Open the help."""
        self.push_screen(HelpScreen())

    def leave(self) -> None:
        """Leave; ask first what becomes of runs that go on."""
        going = [run for run in self.session.others if not has_ended(run)]
        if self.store.live:
            going.insert(0, self.worker)
        if not going:
            self.exit(self.worker)
        else:
            self.push_screen(LeaveScreen([str(run.folder.path) for run in going]), self._leave)

    def _leave(self, choice: Choice | None) -> None:
        if choice == "stop":
            self.session.stop(self.store)
            self.sender.after(self.session.stop_others)
            self.sender.after(lambda: self.call_from_thread(self.exit, self.worker))
        elif choice == "leave":
            self.exit(self.worker)


def view(
    runs: Sequence[Worker],
    expect: "Sequence[Expectation]" = (),
    tour: Tour | None = None,
    dress: Appearance | None = None,
    *,
    side_by_side: bool = False,
) -> Sequence[Worker]:
    """Show runs until the user leaves; return what they are then (a restart makes another).

    `expect` is what is expected over all of them; `side_by_side`, whether their layers stand
    beside each other at first. Raises ViewError where the view breaks.
    """
    app = ViewerApp(*runs, expect=expect, tour=tour, dress=dress, side_by_side=side_by_side)
    app.run(mouse=dress is None or dress.mouse)
    if app.return_code:  # Textual has printed why
        path = app.worker.folder.path
        raise ViewError(
            f"the view broke; a run that is alive goes on: {shell_command('attach', path)}"
        )
    app.store.close()
    app.session.await_end()
    return app.session.runs
