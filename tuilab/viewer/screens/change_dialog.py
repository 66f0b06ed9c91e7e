"""The dialogs that change the network: what, in which layer, and to what."""

from collections.abc import Callable
from functools import partial
from typing import Protocol, TypeVar

from textual.screen import Screen

from engine.commands import Command
from engine.errors import ConfigError
from tuilab.record import RunInfo
from tuilab.toml_structs import field_names
from tuilab.viewer.model import changes
from tuilab.viewer.model.changes import OPTIONS, ChangeOption
from tuilab.viewer.screens.dialogs import ChoiceScreen, EntryScreen

Answer = TypeVar("Answer")


class Push(Protocol):
    """Opens a screen, and calls back with its answer."""

    def __call__(
        self, screen: Screen[Answer], callback: Callable[[Answer | None], None], /
    ) -> object: ...


class ChangeDialog:
    """Asks with one screen after another, then sends the resulting command.

    `push` opens a screen and calls back with its answer. `layer` (from 1) is the layer that is
    shown; None: ask for one.
    """

    def __init__(
        self,
        send: Callable[[Command], None],
        push: Push,
        info: RunInfo,
        layer: int | None = None,
    ) -> None:
        self._send, self._push, self._info, self._layer = send, push, info, layer

    def open(self) -> None:
        """Show what can be changed."""
        names = {layer.index: layer.name for layer in self._info.layers}
        title = "change the network"
        if self._layer is not None:
            title = f"change layer {self._layer} ({names.get(self._layer, '')})"
        self._choose(title, changes.options(self._info, self._layer), self._option_chosen)

    def ask_batch_size(self) -> None:
        """Ask for a batch size."""
        examples = self._info.samples[0]

        def parse(text: str) -> int | str:
            try:
                return changes.batch_size(text, examples) if text.strip() else ""
            except ConfigError as error:
                return str(error)

        def send(size: int | None) -> None:
            if size is not None:
                self._send(Command("batch_size", value=float(size)))

        now = f"{self._info.batch_size:,} of {examples:,} training examples"
        screen = EntryScreen("batch size", f"now {now}", parse, hint=str(self._info.batch_size))
        self._push(screen, send)

    def _option_chosen(self, key: str) -> None:
        option = OPTIONS[key]
        if option.fits is None:
            self._layer_chosen(option, str(changes.EVERY_LAYER))
        elif self._layer is not None:
            self._layer_chosen(option, str(self._layer))
        else:
            items = changes.targets(self._info, option)
            self._choose(
                f"{option.label}: which layer?", items, partial(self._layer_chosen, option)
            )

    def _layer_chosen(self, option: ChangeOption, layer: str) -> None:
        if option.family is None:
            self._send(changes.named(option, int(layer), ""))
            return
        title = option.title(int(layer))
        self._choose(
            title,
            changes.members(option.family, option.now(self._info, int(layer))),
            lambda name: self._member_chosen(option, int(layer), name, title),
        )

    def _member_chosen(self, option: ChangeOption, layer: int, name: str, title: str) -> None:
        """Send the command, after a dialog for the settings of the member if it has any."""
        assert option.family is not None
        settings = field_names(option.family[name])
        if not settings:
            self._send(changes.named(option, layer, name))
            return

        def parse(text: str) -> Command | str:
            try:
                return changes.named(option, layer, text) if text.strip() else ""
            except ConfigError as error:
                return str(error)

        def send(command: Command | None) -> None:
            if command is not None:
                self._send(command)

        typed = changes.written(option.family, name)
        signature = f"{name}({', '.join(settings)})"
        screen = EntryScreen(title, signature, parse, typed=typed, hint=typed)
        self._push(screen, send)

    def _choose(self, title: str, items: list[changes.Item], then: Callable[[str], None]) -> None:
        def chosen(key: str | None) -> None:
            if key is not None:
                then(key)

        self._push(ChoiceScreen(title, items), chosen)
