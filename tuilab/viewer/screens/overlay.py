"""Screens above the dashboard that show a part of it in detail."""

from typing import TypeVar

from textual.screen import Screen

Answer = TypeVar("Answer")


class Overlay(Screen[Answer]):
    """A screen over the store of the run that is shown."""

    def draw(self) -> None:
        """Bring it up to date."""
        raise NotImplementedError

    def turn(self, by: int) -> None:
        """Go to the next part, or to an earlier one: what the keys for the next panel do."""
        raise NotImplementedError
