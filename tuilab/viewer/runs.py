"""Which run is shown, and how another takes its place: restart, resume, fork, variant, tour."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from engine.errors import TuilabError
from engine.states import RunState
from tuilab.diagnosis.fixes import Fix
from tuilab.process import fork as forking
from tuilab.process import launch
from tuilab.process import resume as resuming
from tuilab.process.launch import Options, Worker
from tuilab.record.run_folder import RunFolder
from tuilab.scenario.catalog import CatalogEntry
from tuilab.scenario.loading import load
from tuilab.terminal import shell_command
from tuilab.viewer.host import Host
from tuilab.viewer.model.tour import Tour
from tuilab.viewer.screens.fork_dialog import ForkScreen, plan
from tuilab.viewer.screens.scenario_picker import PickerScreen
from tuilab.viewer.session import Begun, Forked, Restarted

if TYPE_CHECKING:
    from tuilab.claims.expectations import Expectation


@dataclass(frozen=True, slots=True)
class Launchers:
    """The functions that start a worker; tests have others."""

    restart: Callable[..., Worker] = launch.restart
    go_on: Callable[[RunFolder], Worker] = resuming.go_on
    fork: Callable[..., Worker] = forking.fork


LAUNCHERS: Final = Launchers()


class Runs:
    """Starts runs in place of the one that `app` shows, and switches between several."""

    def __init__(
        self,
        app: Host,
        launchers: Launchers,
        expect: "Sequence[Expectation]" = (),
        tour: Tour | None = None,
    ) -> None:
        self._app, self._launchers, self.tour = app, launchers, tour
        self.expect = expect  # of all runs together

    def next(self) -> None:
        """Show the next run of a comparison."""
        if not self._app.session.several:
            self._app.notify("there is no other run; f forks this one", timeout=3)
            return
        self._app.switch_to(self._app.session.following)

    def restart(self, *, new_seed: bool) -> None:
        """Stop the run, and start it again."""
        words = "restarting with a new seed" if new_seed else "restarting"
        self._replace(words, partial(self._launchers.restart, new_seed=new_seed))

    def restart_with(self, fix: Fix) -> None:
        """Stop the run, and start it again with the settings of a fix, if they are valid."""
        try:
            load(self._app.store.folder.scenario, list(fix.settings))
        except TuilabError as error:
            self._app.notify(str(error), title=f"{fix.label}: not possible", severity="warning")
            return
        words = f"restarting with {fix.label}"
        self._replace(words, partial(self._launchers.restart, sets=fix.settings))

    def go_on(self) -> None:
        """Resume a run that has ended, from a checkpoint."""
        store = self._app.store
        if store.live:
            self._app.notify("the run has not ended", timeout=3)
        elif store.state == RunState.FINISHED:
            more = shell_command("run", "--resume", store.folder.path, "--steps", "N")
            self._app.notify(f"the run finished all its steps; train longer: {more}", timeout=6)
        else:
            self._replace("resuming from the last good checkpoint", self._launchers.go_on)

    def _replace(self, words: str, begin: Callable[[RunFolder], Worker]) -> None:
        if self._app.session.restart(self._app.store, begin):
            self._app.notify(words, timeout=3)

    def restarted(self, message: Restarted) -> None:
        """Show the run that was started in place of another."""
        shown = self._app.session.replace(message)
        if message.worker is None:
            self._app.notify(message.error, title="not started", severity="error")
        elif shown:
            self._app.switch_to(message.worker)

    def fork(self) -> None:
        """Ask for the settings of a fork of the run."""
        try:
            fork_plan = plan(self._app.store)
        except TuilabError as error:
            self._app.notify(str(error), title="no fork", severity="error")
        else:
            self._app.push_screen(ForkScreen(fork_plan), partial(self._fork_with, fork_plan.at))

    def _fork_with(self, at: int | None, changes: Mapping[str, float] | None) -> None:
        if changes is None:
            return
        sets = [f"optimizer.{key}={value!r}" for key, value in changes.items()]
        fork = self._launchers.fork
        if self._app.session.fork(lambda folder: fork(folder, Options(), at=at, sets=sets)):
            self._app.notify("forking", timeout=3)

    def forked(self, message: Forked) -> None:
        """Show the fork."""
        shown = self._app.session.join(message)
        if message.worker is None:
            self._app.notify(message.error, title="no fork", severity="error")
            return
        self._app.dashboard.several = True
        if shown:
            self._app.switch_to(message.worker)
            self._app.notify("this is the fork; v switches to the run it came from", timeout=5)

    def show_tour(self) -> None:
        """Open the list of scenarios; the run continues until another is chosen."""
        if (tour := self._touring()) is not None:
            self._app.push_screen(PickerScreen(tour, leaving="back"), self._tour_to)

    def tour_by(self, places: int) -> None:
        """Go to the next scenario of the tour, or to the previous one."""
        if (tour := self._touring()) is None:
            return
        if (entry := tour.neighbour(places)) is None:
            which = "last" if places > 0 else "first"
            self._app.notify(f"this is the {which} scenario", timeout=3)
        else:
            self._tour_to(entry)

    def _touring(self) -> Tour | None:
        if self.tour is None:
            self._app.notify("tuilab tour goes through the scenarios", timeout=3)
        return self.tour

    def _tour_to(self, entry: CatalogEntry | None) -> None:
        """Stop all runs, and start those of a scenario, if one was chosen."""
        if entry is None or self.tour is None:
            return
        if self._app.session.begin(self._app.store, entry, self.tour.begin):
            self._app.notify(f"starting {entry.name}", timeout=3)

    def begun(self, message: Begun) -> None:
        """Show the scenario that was chosen."""
        app = self._app
        if not app.session.renew(message) or self.tour is None:
            app.notify(message.error, title="not started", severity="error")
            return
        self.tour.go_to(message.entry)
        self.expect = self.tour.expected.get(message.entry.path, ())
        app.dashboard.several = app.session.several
        app.dashboard.compared = None
        app.switch_to(app.session.runs[0])
