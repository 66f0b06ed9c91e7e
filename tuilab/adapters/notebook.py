"""What a run shows in a notebook: the viewer's screen as a picture, drawn when it is asked for."""

import sys
from importlib import import_module
from pathlib import Path
from typing import Any


def in_notebook() -> bool:
    """Return whether the program runs in a notebook, which displays pictures."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return getattr(shell, "kernel", None) is not None


def picture(folder: Path, panel: str | None = None) -> str:
    """Return the screen of a run as SVG.

    The viewer lies above the watchers, and takes a second to load: it is found by its name.
    """
    return str(import_module("tuilab.notebook").picture(folder, panel=panel))


class Picture:
    """A picture that notebooks display."""

    def __init__(self, image: str, text: str) -> None:
        self._image, self._text = image, text

    def _repr_svg_(self) -> str:
        return self._image

    def __repr__(self) -> str:
        return self._text


def display(shown: Picture, handle: Any = None) -> Any:
    """Display a picture in place of the one of a handle, or as a new one; return its handle."""
    if handle is not None:
        handle.update(shown)
        return handle
    return import_module("IPython.display").display(shown, display_id=True)
