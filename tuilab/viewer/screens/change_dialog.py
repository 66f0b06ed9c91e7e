"""The dialogs in which one says what is to change: a list, then a layer, then what it becomes."""

from collections.abc import Callable
from functools import partial
from typing import Any

from textual.screen import Screen

from engine.commands import Command
from engine.errors import ConfigError
from tuilab.record import RunInfo
from tuilab.toml_structs import field_names
from tuilab.viewer.model import changes
from tuilab.viewer.model.changes import WAYS, ChangeOption
from tuilab.viewer.screens.dialogs import ChoiceScreen, EntryScreen


class ChangeDialog:
    """Asks, screen after screen, and sends the command that comes of it.

    `push` opens a screen and calls back with its answer. `layer` (from 1) is the one that is
    looked at; None: it will be asked for.
    """

    def __init__(
        self,
        send: Callable[[Command], None],
        push: Callable[[Screen[Any], Any], object],
        info: RunInfo,
        layer: int | None = None,
    ) -> None:
        self._send, self._push, self._info, self._layer = send, push, info, layer

    def open(self) -> None:
        """Offer what can be done."""
        names = {layer.index: layer.name for layer in self._info.layers}
        title = "change the network"
        if self._layer is not None:
            title = f"change layer {self._layer} ({names.get(self._layer, '')})"
        self._choose(title, changes.ways(self._info, self._layer), self._way_chosen)

    def ask_batch_size(self) -> None:
        """Ask for a number of examples."""
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

    def _way_chosen(self, key: str) -> None:
        way = WAYS[key]
        if way.fits is None:
            self._layer_chosen(way, str(changes.EVERY_LAYER))
        elif self._layer is not None:
            self._layer_chosen(way, str(self._layer))
        else:
            options = changes.targets(self._info, way)
            self._choose(f"{way.label}: which layer?", options, partial(self._layer_chosen, way))

    def _layer_chosen(self, way: ChangeOption, layer: str) -> None:
        if way.family is None:
            self._send(changes.named(way, int(layer), ""))
            return
        title = way.title(int(layer))
        self._choose(
            title,
            changes.members(way.family, way.now(self._info, int(layer))),
            lambda name: self._member_chosen(way, int(layer), name, title),
        )

    def _member_chosen(self, way: ChangeOption, layer: int, name: str, title: str) -> None:
        """Send a member that has no settings; let those of another be looked over first."""
        assert way.family is not None
        settings = field_names(way.family[name])
        if not settings:
            self._send(changes.named(way, layer, name))
            return

        def parse(text: str) -> Command | str:
            try:
                return changes.named(way, layer, text) if text.strip() else ""
            except ConfigError as error:
                return str(error)

        def send(command: Command | None) -> None:
            if command is not None:
                self._send(command)

        typed = changes.written(way.family, name)
        explained = f"{name}({', '.join(settings)})"
        screen = EntryScreen(title, explained, parse, typed=typed, hint=typed)
        self._push(screen, send)

    def _choose(
        self, title: str, options: list[changes.Option], then: Callable[[str], None]
    ) -> None:
        def chosen(key: str | None) -> None:
            if key is not None:
                then(key)

        self._push(ChoiceScreen(title, options), chosen)
