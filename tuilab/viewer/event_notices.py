"""Events of the run as notifications: what changed while the view was open."""

import time
from typing import Final

from engine.states import EventKind
from engine.statistics.frames import Event
from engine.training.changes import CHANGES
from tuilab.charts.event_markers import setting_label
from tuilab.viewer.controls import Controls
from tuilab.viewer.host import Host
from tuilab.viewer.model.changes import sentence
from tuilab.viewer.screens.overlay import Overlay

HIGHLIGHT: Final = 1.5  # seconds for which a changed hyper-parameter is highlighted
COVERED: Final = {
    EventKind.PAUSE: "paused",
    EventKind.RESUME: "running",
    EventKind.STEP: "took one step",
}
"""Notifications of what the header shows, for screens that cover it."""


class EventNotices:
    """Notifies of the events that come while `app` shows a run; `controls` take them in."""

    def __init__(self, app: Host, controls: Controls) -> None:
        self._app, self._controls = app, controls
        self._seen = 0
        self._changed, self._until = "", 0.0

    def forget(self) -> None:
        """Start over, with another run."""
        self._seen = 0

    @property
    def highlighted(self) -> str:
        """The hyper-parameter that has just changed, or ""."""
        return self._changed if time.monotonic() < self._until else ""

    def read(self, *, opened: bool) -> None:
        """Take in new events; those of a run that was just `opened` are history."""
        events = self._app.store.events
        new, self._seen = events[self._seen :], len(events)
        for event in new:
            if not opened:
                self._notify(event)
                if event.kind == EventKind.SET:
                    self._changed = str(event.detail.get("key", ""))
                    self._until = time.monotonic() + HIGHLIGHT
            self._controls.notice(event)

    def _notify(self, event: Event) -> None:
        covered = isinstance(self._app.screen, Overlay)
        if event.kind == EventKind.REFUSED:
            reason = str(event.detail.get("reason", ""))
            self._app.notify(reason, title="not applied", severity="warning")
        elif event.kind == EventKind.CHECKPOINT:
            file = event.detail.get("file")
            self._app.notify(f"saved as checkpoints/{file}" if file else "saved", timeout=3)
        elif event.kind == EventKind.RANKS:
            message = str(event.detail.get("message", ""))
            self._app.notify(message, title="ranks", severity="warning")
        elif event.kind in CHANGES:
            self._app.notify(sentence(event))
        elif covered and event.kind == EventKind.SET:
            self._app.notify(setting_label(event), timeout=3)
        elif covered and event.kind in COVERED:
            self._app.notify(COVERED[EventKind(event.kind)], timeout=3)
