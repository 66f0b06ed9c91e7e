"""Commands to the run: those that keys send, and those for which a dialog asks for a value."""

import time
from functools import partial
from typing import Final

from engine.commands import Command
from engine.states import RunState
from engine.statistics.frames import Event
from tuilab.charts import formats
from tuilab.record import RunInfo
from tuilab.viewer.host import Host
from tuilab.viewer.model.capabilities import offers
from tuilab.viewer.model.command_sender import CommandSender
from tuilab.viewer.model.speed_limit import SpeedLimit
from tuilab.viewer.screens.change_dialog import ChangeDialog
from tuilab.viewer.screens.dialogs import ChoiceScreen, ValueScreen, in_words
from tuilab.viewer.screens.layer_screen import LayerScreen

PATIENCE: Final = 1.0  # seconds after which a pause that has not shown counts as lost


class Controls:
    """Changes the run that the app shows; `forget` when it shows another."""

    def __init__(self, app: Host, sender: CommandSender) -> None:
        self._app, self._sender = app, sender
        self.forget()

    def forget(self) -> None:
        """Rely on what is recorded, not on what was requested."""
        self._requested_pause: tuple[bool, float] | None = None
        self._speed = SpeedLimit()

    def notice(self, event: Event) -> None:
        """Take in an event of the run, such as the pause that was requested."""
        if event.kind in ("pause", "resume", "step"):
            self._requested_pause = None

    def command(self, command: Command) -> None:
        """Send a command to the worker, or notify why that is not possible."""
        store = self._app.store
        if not store.live:
            self._notify("the run has ended")
        elif not store.info.socket:
            self._notify("the run is still starting")
        elif not offers(store.info, command.kind):
            self._notify(f"this run does not offer: {command.kind.replace('_', ' ')}")
        else:
            self._sender.send(store.info.socket, command)

    def toggle_pause(self) -> None:
        """Pause or resume; a request of a moment ago counts more than what is recorded."""
        paused, requested = self._app.store.state == RunState.PAUSED, self._requested_pause
        if requested is not None and time.monotonic() < requested[1]:
            paused = requested[0]
        self._requested_pause = (not paused, time.monotonic() + PATIENCE)
        self.command(Command("resume" if paused else "pause"))

    def ask(self, key: str) -> None:
        """Open the field for a hyper-parameter; with "", the choice of all of them."""
        values = self._app.store.info.hyperparameters
        if not self._app.store.live:
            self._notify("the run has ended")
        elif not key:
            options = [(k, f"{in_words(k):<16}{formats.number(v)}") for k, v in values.items()]
            self._app.push_screen(ChoiceScreen("hyper-parameters", options), self._chosen)
        elif key not in values:
            self._notify(f"this run has no {in_words(key)}")
        else:
            self._app.push_screen(ValueScreen(key, values[key]), partial(self._set, key))

    def _chosen(self, key: str | None) -> None:
        if key:
            self.ask(key)

    def _set(self, key: str, value: float | None) -> None:
        if value is not None:
            self.command(Command("set", key, value))

    def change(self, what: str) -> None:
        """Ask for a new "batch_size", or what to change in the "network"."""
        store, screen = self._app.store, self._app.screen
        info = store.info
        layer = screen.view_state.layer if isinstance(screen, LayerScreen) else None
        if not store.live:
            self._notify("the run has ended")
        elif not info.layers:
            self._notify("the run is still starting")
        elif store.at is not None:
            self._notify("this is an earlier step; end returns to now")
        elif what == "batch_size":
            self._dialog(info).ask_batch_size()
        else:
            self._dialog(info, layer).open()

    def limit_speed(self, factor: float) -> None:
        """Multiply the limit on steps per second; it goes once training would not be slower."""
        store = self._app.store
        if store.live and factor > 1 and not store.info.speed_limit:
            self._notify("there is no speed limit; - sets one")
        else:
            self.command(Command("speed", value=self._speed.changed(store, factor)))

    def refused(self, command: Command, reason: str) -> None:
        """Notify why a command was not accepted; a "stop" of a run that just ended needs none."""
        if command.kind != "stop":
            self.forget()
            self._app.notify(reason, title="not applied", severity="warning")

    def _dialog(self, info: RunInfo, layer: int | None = None) -> ChangeDialog:
        return ChangeDialog(self.command, self._app.push_screen, info, layer)

    def _notify(self, words: str) -> None:
        self._app.notify(words, timeout=3)
