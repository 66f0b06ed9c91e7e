"""The app: polls the run, draws the stage, and turns actions into commands."""

import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Final

from textual.app import ComposeResult, SystemCommand
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.screen import ModalScreen, Screen

from engine.errors import TuilabError
from engine.trainer import Command
from tuilab import launch, resuming
from tuilab.catalog import Entry
from tuilab.control import ControlClient
from tuilab.errors import ViewError
from tuilab.launch import Worker, has_ended
from tuilab.runs import RunFolder
from tuilab.terminal import is_terminal
from tuilab.viewer.actions import ACTIONS, BY_ID
from tuilab.viewer.camera import NoPngError, keep, panels, take
from tuilab.viewer.claims import ClaimJudge, Claims, judge_folder, judge_group
from tuilab.viewer.commands import CommandSender, MakeClient
from tuilab.viewer.companions import Companions
from tuilab.viewer.detail import DetailScreen
from tuilab.viewer.dress import Dress, DressedApp
from tuilab.viewer.panels.detail import Look
from tuilab.viewer.picker import PickerScreen
from tuilab.viewer.screens import (
    Choice,
    ChoiceScreen,
    HelpScreen,
    LeaveScreen,
    ValueScreen,
    in_words,
)
from tuilab.viewer.session import Begun, Restarted, Session
from tuilab.viewer.stage import Stage
from tuilab.viewer.store import RunStore
from tuilab.viewer.tour import Tour

if TYPE_CHECKING:
    from tuilab.expectations import Expectation

FIRST: Final = ("tab", "shift+tab")  # keys that come before Textual's own, which move the focus
PERIOD: Final = 0.1  # seconds between two polls
COMPANIONS_PERIOD: Final = 0.5  # seconds between two looks at the other runs
FLASH: Final = 1.5  # seconds that a changed hyper-parameter stays highlighted
PATIENCE: Final = 1.0  # seconds that a pause may take to show before it is asked for again


@dataclass
class Refused(Message):
    """A command did not pass."""

    command: Command
    reason: str


class ViewerApp(DressedApp[Worker]):
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
        judge: Callable[[RunFolder], Claims] = judge_folder,
        expect: "Sequence[Expectation]" = (),
        tour: Tour | None = None,
        dress: Dress | None = None,
    ) -> None:
        super().__init__(dress)
        self.stage: Stage = Stage(lambda: self.role_styles, self.run_by_id)
        self._judge_folder, self._expect = judge, expect
        self._restart, self._go_on = restart, go_on
        self.sender = CommandSender(
            lambda command, reason: self._tell(Refused(command, reason)), make_client
        )
        self._flash: tuple[str, float] = ("", 0.0)
        self._look = Look()
        self._seen_events = 0
        self._asked_pause: tuple[bool, float] | None = None
        self._on_terminal = is_terminal(sys.__stdin__)
        self.tour = tour
        self.stage.guide_lines = tour.guide if tour is not None else None
        self.session = Session(runs, self.sender, self._tell)
        self._companions, self._companions_due = Companions(()), 0.0
        self._beside = self.settings.beside  # the curves of the others are drawn too
        self.stage.compared = self.session.several
        self.follow(runs[0])

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
        self._asked_pause = None
        self._companions.close()
        self._companions = Companions([run.folder for run in self.session.others])
        self._companions_due = 0.0

    def _claims(self, folder: RunFolder) -> Claims:
        folders = [run.folder for run in self.session.runs]
        return judge_group(self._judge_folder(folder), self._expect, folders)

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
        changes = store.poll()
        if changes.events:
            self._notice_events()
        highlighted = self._flash[0] if time.monotonic() < self._flash[1] else ""
        self._follow_companions()
        self.stage.draw(store, changes, highlighted)
        if changes.snapshot:
            self._draw_detail()
        self.judge.request(changed=changes.snapshot or changes.state)
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

    def _notice_events(self) -> None:
        """Highlight what was changed while we watch; not the history of a run just opened."""
        opened = self._seen_events == 0 and len(self.store.events) > 1
        new = self.store.events[self._seen_events :]
        self._seen_events = len(self.store.events)
        for event in new:
            if event.kind == "set" and not opened:
                self._flash = str(event.detail.get("key", "")), time.monotonic() + FLASH
            if event.kind in ("pause", "resume", "step"):
                self._asked_pause = None

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keep the keys of the table, those in FIRST too, from what lies behind a dialog."""
        if action == "run" and isinstance(self.screen, ModalScreen):
            return False
        return super().check_action(action, parameters)

    def action_run(self, action: str) -> None:
        """Run an action by its id: what every key binding calls."""
        self.run_by_id(action)

    def run_by_id(self, action: str) -> None:
        """Run an action of the table."""
        BY_ID[action].run(self)

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """Offer the table, and the choice of any theme, in the command palette."""
        for action in ACTIONS:
            yield SystemCommand(
                f"{action.label} ({action.shown})", action.help, lambda a=action: a.run(self)
            )
        yield SystemCommand("theme", "choose the colours", self.action_change_theme)
        for panel in panels(self):
            take_it = partial(self.take_picture, panel)
            yield SystemCommand(f"picture of {panel}", "this panel as SVG and PNG", take_it)

    def command(self, command: Command) -> None:
        """Send a command to the worker, or say why there is none to take it."""
        if not self.store.live:
            self.notify("the run has ended", timeout=3)
        elif not self.store.info.socket:
            self.notify("the run is still starting", timeout=3)
        else:
            self.sender.send(self.store.info.socket, command)

    def toggle_pause(self) -> None:
        """Pause or resume; what was asked for a moment ago counts before what is recorded."""
        paused, asked = self.store.state == "paused", self._asked_pause
        if asked is not None and time.monotonic() < asked[1]:
            paused = asked[0]
        self._asked_pause = (not paused, time.monotonic() + PATIENCE)
        self.command(Command("resume" if paused else "pause"))

    def ask(self, key: str) -> None:
        """Open the field for a hyper-parameter; the choice of all where `key` is empty."""
        values = self.store.info.hyperparameters
        if not self.store.live:
            self.notify("the run has ended", timeout=3)
        elif not key:
            self.push_screen(ChoiceScreen(values), self._chosen)
        elif key not in values:
            self.notify(f"this run has no {in_words(key)}", timeout=3)
        else:
            self.push_screen(ValueScreen(key, values[key]), partial(self._set, key))

    def _chosen(self, key: str | None) -> None:
        if key:
            self.ask(key)

    def _set(self, key: str, value: float | None) -> None:
        if value is not None:
            self.command(Command("set", key, value))

    def look(self, by: int) -> None:
        """Go through the recorded snapshots, back or forth in time."""
        if self.store.look(by):
            self.stage.rearranged()
            self._draw_detail()

    def show_detail(self) -> None:
        """Open the screen of one layer."""
        if self.store.snapshot is None:
            self.notify("there are no statistics yet", timeout=3)
        elif not isinstance(self.screen, DetailScreen):
            screen = DetailScreen(lambda: self.role_styles, lambda: self.store, self._look)
            self.push_screen(screen, lambda _: self._remember(screen))

    def next_panel(self, by: int) -> None:
        """Go round the panels, or the tensors of the layer that stands alone."""
        if isinstance(self.screen, DetailScreen):
            self.screen.action_tensor(by)
        else:
            self.stage.next_panel(by)

    def _remember(self, screen: DetailScreen) -> None:
        self._look = screen.look

    def _draw_detail(self) -> None:
        if isinstance(self.screen, DetailScreen):
            self.screen.draw()

    def next_variant(self) -> None:
        """Show the next run of a comparison."""
        if not self.session.several:
            self.notify("there is no other run: this scenario compares none", timeout=3)
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
            self.notify("the run goes on", timeout=3)
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
            self.notify(message.error, title="no other run", severity="error")
        elif shown:
            self._switch(message.worker)

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

    def _tour_to(self, entry: Entry | None) -> None:
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
        self._switch(self.session.runs[0])

    def _note_claims(self, tour: Tour) -> None:
        if not self.session.several:  # of several, what is claimed of one is not all
            tour.note(self.store, self.stage.claims)
        self.stage.place()

    def on_refused(self, message: Refused) -> None:
        """Say why a command did not pass; a run that ended meanwhile needs no word."""
        if message.command.kind != "stop":
            self._asked_pause = None
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
    dress: Dress | None = None,
) -> Sequence[Worker]:
    """Show runs until the user leaves; return what they are then (a restart makes another).

    `expect` is what is expected over all of them. Raises ViewError where the view breaks.
    """
    app = ViewerApp(*runs, expect=expect, tour=tour, dress=dress)
    app.run(mouse=dress is None or dress.mouse)
    if app.return_code:  # Textual has printed why
        path = app.worker.folder.path
        raise ViewError(f"the view broke; a run that is alive goes on: tuilab attach {path}")
    app.store.close()
    return app.session.runs
