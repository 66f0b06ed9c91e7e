"""Screenshots as SVG and, with resvg from the extra `png`, as PNG."""

from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Final

from textual.app import App
from textual.screen import Screen

from engine.errors import TuilabError, UnknownNameError
from tuilab.errors import RunError, missing_package
from tuilab.record.run_folder import RunFolder
from tuilab.viewer.model.store import RunStore
from tuilab.viewer.terminal.svg import svg

PIXELS: Final = 2  # of a PNG per pixel of the SVG, each way: sharp on a slide


class NoPngError(RunError):
    """The library that writes PNG is not installed."""

    def __init__(self) -> None:
        super().__init__(missing_package("PNG needs resvg-py", "resvg-py"))


def png(image: str) -> bytes:
    """Return an SVG image as PNG. Raises NoPngError."""
    try:
        from resvg_py import svg_to_bytes
    except ImportError as error:
        raise NoPngError from error
    return bytes(svg_to_bytes(svg_string=image, zoom=PIXELS, monospace_family="DejaVu Sans Mono"))


def panels(screen: Screen[Any]) -> list[str]:
    """Return the names of the panels that are visible on a screen."""
    return [str(panel.id) for panel in screen.query(".panel") if panel.region.area]


def take(app: App[Any], panel: str = "") -> str:
    """Return the screen of an app, or one of its panels, as SVG. Raises UnknownNameError."""
    visible = panels(app.screen)
    if panel and panel not in visible:
        raise UnknownNameError("panel", panel, visible, "panel")
    region = app.screen.query_one(f"#{panel}").region if panel else app.screen.region
    strips = app.screen._compositor.render_strips()
    rows = [strip.crop(region.x, region.right) for strip in strips[region.y : region.bottom]]
    variables = app.theme_variables
    return svg(rows, region.width, variables["foreground"], variables["background"], app.title)


def save(image: str, folder: RunFolder, name: str) -> list[Path]:
    """Write an SVG image to the run folder, as SVG and, where possible, as PNG.

    Nothing is overwritten: a number is added to a name that is taken. Raises RunError.
    """
    place = folder.path / "pictures"
    try:
        place.mkdir(exist_ok=True)
        file = _unused(place, name)
        file.write_text(image, encoding="utf-8")
        try:
            pixels = png(image)
        except NoPngError:
            return [file]
        file.with_suffix(".png").write_bytes(pixels)
    except OSError as error:
        raise RunError(f"cannot write into {place}: {error.strerror or error}") from error
    return [file, file.with_suffix(".png")]


def _unused(place: Path, name: str) -> Path:
    for number in count(1):
        file = place / f"{name}{'' if number == 1 else f'-{number}'}.svg"
        if not file.exists():
            return file
    raise AssertionError  # count never ends


class Screenshots:
    """Takes screenshots of an app into the folder of the run that it shows, that of `store`."""

    def __init__(self, app: App[Any], store: Callable[[], RunStore]) -> None:
        self._app, self._store = app, store

    def take(self, panel: str = "") -> None:
        """Save the screen, or a panel of it; the files are written in a thread."""
        store = self._store()
        past = store.snapshot is not None and store.at is not None
        step = store.snapshot.step if store.snapshot is not None and past else store.step
        name = "-".join(filter(None, (f"step-{step}", panel)))
        image = take(self._app, panel)
        self._app.run_worker(partial(self._save, image, store.folder, name), thread=True)

    def _save(self, image: str, folder: RunFolder, name: str) -> None:
        """Write the files and notify of them; a PNG takes as long as several frames."""
        app = self._app
        try:
            files = save(image, folder, name)
        except TuilabError as error:
            app.call_from_thread(app.notify, str(error), severity="error")
            return
        kinds = " and ".join(file.suffix[1:].upper() for file in files)
        words = f"{kinds}: {files[0].with_suffix('')}"
        if len(files) == 1:
            words += f"\n{NoPngError()}"
        app.call_from_thread(app.notify, words, title="picture", timeout=5)
