"""What a screen above the stage has in common with the others: it shows a part of it, larger."""

from typing import TypeVar

from textual.screen import Screen

Answer = TypeVar("Answer")


class Overlay(Screen[Answer]):
    """A screen over the store of the run that is shown."""

    def draw(self) -> None:
        """Bring it up to date."""
        raise NotImplementedError

    def turn(self, by: int) -> None:
        """Go to what comes next on it, as the keys do that go round the panels of the stage."""
        raise NotImplementedError
