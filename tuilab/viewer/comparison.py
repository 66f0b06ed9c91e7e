"""The other runs of a comparison: they are followed, and drawn beside the current one."""

import time
from collections.abc import Callable
from typing import Final

from tuilab.process.launch import has_ended
from tuilab.viewer.host import Host
from tuilab.viewer.model.other_runs import OtherRuns

PERIOD: Final = 0.5  # seconds between two polls of the other runs
ALONE: Final = "there is no other run; tuilab compare shows several"


class Comparison:
    """Follows the runs beside the one that `app` shows.

    With `drawn`, their curves are; `remember` keeps that for the next view.
    """

    def __init__(self, app: Host, remember: Callable[..., None], *, drawn: bool) -> None:
        self._app, self._remember = app, remember
        self._others, self._due = OtherRuns(()), 0.0
        self._live = False  # one of them was running at the last poll
        self._drawn = drawn
        self.changed = False  # claims over several runs may have changed

    def follow(self) -> None:
        """Follow the runs beside the current one, after it changed."""
        self._others.close()
        self._others = OtherRuns([run.folder for run in self._app.session.others])
        self._due = 0.0

    def poll(self) -> None:
        """Read what is new of the other runs, if that is due."""
        if (now := time.monotonic()) < self._due:
            return
        self._due = now + PERIOD
        if self._others.poll():
            self._show()
        live = any(not has_ended(run) for run in self._app.session.others)
        self.changed |= live or self._live  # once more after the last one has ended
        self._live = live

    def _show(self) -> None:
        self._app.dashboard.show_others([*self._others] if self._drawn else [])

    def _has_others(self) -> bool:
        several = self._app.session.several
        if not several:
            self._app.notify(ALONE, timeout=3)
        return several

    def toggle_curves(self) -> None:
        """Draw the curves of the other runs, or leave them out."""
        if not self._has_others():
            return
        self._drawn = not self._drawn
        self._remember(beside=self._drawn)
        self._show()
        if not self._drawn and self._app.dashboard.compared:
            self._app.dashboard.compare(None)

    def cycle_layers(self) -> None:
        """Show the layers of all runs side by side: of the next tensors, then not any more."""
        if self._has_others():
            self._drawn = True
            self._show()
            self._app.dashboard.cycle_compared()
