"""What keys change of what is trained: commands, and the fields in which one types a value."""

import time
from functools import partial
from typing import Any, Final, Protocol

from textual.screen import Screen

from engine.commands import Command
from engine.statistics.frames import Event
from tuilab.charts import formats
from tuilab.record import RunInfo
from tuilab.viewer.model.command_sender import CommandSender
from tuilab.viewer.model.speed_limit import SpeedLimit
from tuilab.viewer.model.store import RunStore
from tuilab.viewer.screens.change_dialog import ChangeDialog
from tuilab.viewer.screens.dialogs import ChoiceScreen, ValueScreen, in_words
from tuilab.viewer.screens.layer_screen import DetailScreen

PATIENCE: Final = 1.0  # seconds that a pause may take to show before it is asked for again


class Host(Protocol):
    """What is needed of the app."""

    store: RunStore
    sender: CommandSender

    @property
    def screen(self) -> Screen[Any]: ...
    def notify(self, message: str, *, timeout: float | None = None) -> None: ...
    def push_screen(self, screen: Screen[Any], callback: Any = None) -> Any: ...


class Controls:
    """Changes the run that the app shows; `forget` when it shows another."""

    def __init__(self, app: Host) -> None:
        self._app = app
        self.forget()

    def forget(self) -> None:
        """Go by what is recorded from now on, not by what was asked for."""
        self._asked_pause: tuple[bool, float] | None = None
        self._speed = SpeedLimit()

    def notice(self, event: Event) -> None:
        """Take in what the run tells: a pause that was asked for is there."""
        if event.kind in ("pause", "resume", "step"):
            self._asked_pause = None

    def command(self, command: Command) -> None:
        """Send a command to the worker, or say why there is none to take it."""
        store = self._app.store
        if not store.live:
            self._say("the run has ended")
        elif not store.info.socket:
            self._say("the run is still starting")
        else:
            self._app.sender.send(store.info.socket, command)

    def toggle_pause(self) -> None:
        """Pause or resume; what was asked for a moment ago counts before what is recorded."""
        paused, asked = self._app.store.state == "paused", self._asked_pause
        if asked is not None and time.monotonic() < asked[1]:
            paused = asked[0]
        self._asked_pause = (not paused, time.monotonic() + PATIENCE)
        self.command(Command("resume" if paused else "pause"))

    def ask(self, key: str) -> None:
        """Open the field for a hyper-parameter; the choice of all where `key` is empty."""
        values = self._app.store.info.hyperparameters
        if not self._app.store.live:
            self._say("the run has ended")
        elif not key:
            options = [(k, f"{in_words(k):<16}{formats.number(v)}") for k, v in values.items()]
            self._app.push_screen(ChoiceScreen("hyper-parameters", options), self._chosen)
        elif key not in values:
            self._say(f"this run has no {in_words(key)}")
        else:
            self._app.push_screen(ValueScreen(key, values[key]), partial(self._set, key))

    def _chosen(self, key: str | None) -> None:
        if key:
            self.ask(key)

    def _set(self, key: str, value: float | None) -> None:
        if value is not None:
            self.command(Command("set", key, value))

    def change(self, what: str) -> None:
        """Ask for another "batch_size", or what else shall change in the "network"."""
        store, screen = self._app.store, self._app.screen
        info, layer = store.info, screen.look.layer if isinstance(screen, DetailScreen) else None
        if not store.live:
            self._say("the run has ended")
        elif not info.layers:
            self._say("the run is still starting")
        elif store.at is not None:
            self._say("this is the past; end comes back to now")
        elif what == "batch_size":
            self._dialog(info).ask_batch_size()
        else:
            self._dialog(info, layer).open()

    def limit_speed(self, factor: float) -> None:
        """Let a class follow: make fewer steps a second, or more, up to all there can be."""
        store = self._app.store
        if store.live and factor > 1 and not store.info.speed_limit:
            self._say("there is no speed limit; - sets one")
        else:
            self.command(Command("speed", value=self._speed.changed(store, factor)))

    def _dialog(self, info: RunInfo, layer: int | None = None) -> ChangeDialog:
        return ChangeDialog(self.command, self._app.push_screen, info, layer)

    def _say(self, words: str) -> None:
        self._app.notify(words, timeout=3)
