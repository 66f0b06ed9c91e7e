"""Pictures of what is on the screen, as SVG and PNG.

SVG needs nothing else. PNG needs resvg, from the extra `png`.
"""

from itertools import count
from pathlib import Path
from typing import Any, Final

from textual.app import App

from engine.errors import UnknownNameError
from tuilab.charts.svg import svg
from tuilab.errors import RunError
from tuilab.record.run_folder import RunFolder

ZOOM: Final = 2  # pixels of a PNG for each of the SVG: sharp on a slide


class NoPngError(RunError):
    """The library that makes PNG is not there."""

    def __init__(self) -> None:
        super().__init__(
            "PNG needs resvg-py: in tuilab's folder, python3 -m pip install -e '.[png]'; "
            "SVG needs nothing"
        )


def png(picture: str) -> bytes:
    """Return an SVG of ours as PNG. Raises NoPngError."""
    try:
        from resvg_py import svg_to_bytes
    except ImportError as error:
        raise NoPngError from error
    return bytes(svg_to_bytes(svg_string=picture, zoom=ZOOM, monospace_family="DejaVu Sans Mono"))


def panels(app: App[Any]) -> list[str]:
    """Return the names of the panels that are in sight."""
    return [str(panel.id) for panel in app.screen.query(".panel") if panel.region.area]


def take(app: App[Any], panel: str = "") -> str:
    """Return what an app shows now as SVG, or one of its panels. Raises UnknownNameError."""
    if panel and panel not in panels(app):
        raise UnknownNameError("panel", panel, panels(app), "panel")
    region = app.screen.query_one(f"#{panel}").region if panel else app.screen.region
    strips = app.screen._compositor.render_strips()
    rows = [strip.crop(region.x, region.right) for strip in strips[region.y : region.bottom]]
    variables = app.theme_variables
    return svg(rows, region.width, variables["foreground"], variables["background"], app.title)


def keep(picture: str, folder: RunFolder, name: str) -> list[Path]:
    """Write a picture into the run folder, as SVG and, where that can be made, as PNG.

    Nothing is overwritten: a number is added where there is one of that name. Raises RunError.
    """
    place = folder.path / "pictures"
    try:
        place.mkdir(exist_ok=True)
        file = _unused(place, name)
        file.write_text(picture, encoding="utf-8")
        try:
            image = png(picture)
        except NoPngError:
            return [file]
        file.with_suffix(".png").write_bytes(image)
    except OSError as error:
        raise RunError(f"cannot write into {place}: {error.strerror or error}") from error
    return [file, file.with_suffix(".png")]


def _unused(place: Path, name: str) -> Path:
    for number in count(1):
        file = place / f"{name}{'' if number == 1 else f'-{number}'}.svg"
        if not file.exists():
            return file
    raise AssertionError  # count goes on for ever
