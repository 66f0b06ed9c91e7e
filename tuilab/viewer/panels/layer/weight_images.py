"""The weights of a layer over pixels, and the filters of a convolution, as images."""

from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from tuilab.charts import formats
from tuilab.charts.color_scales import STEPS, solid
from tuilab.charts.images import Arrangement, arrange, rows_of
from tuilab.charts.symbols import DEAD
from tuilab.charts.text import Line, Piece, crop, fit, join
from tuilab.record.saved_parameters import Parameters
from tuilab.viewer.panels.layer.base import Key, Subject, View, as_of, next_page

WAITING: Final = "waiting for the first checkpoint: weights are saved about every five seconds"
TOO_SMALL: Final = "not enough room for these weights"
NORMALISED: Final = "each scaled by its largest weight"


@dataclass(frozen=True, slots=True)
class LayerWeights:
    """The weights (inputs, units) of a layer, and the shape of its inputs."""

    parameters: Parameters
    sees: tuple[int, ...]
    planes: tuple[int, int, int] | None  # (channels, height, width) of flat inputs by planes
    dead: bytes | None = None  # (units,) of 0 and 1


@dataclass(frozen=True, slots=True)
class Page:
    """The images on one page: their arrangement, and the units that they belong to."""

    arrangement: Arrangement
    units: range
    number: int
    pages: int


def is_image(subject: Subject) -> bool:
    """Return whether the weights of a layer belong to pixels, or are filters."""
    shown = len(subject.layer.sees) == 3 or _planes(subject) is not None
    return shown and subject.saves_parameters


def _planes(subject: Subject) -> tuple[int, int, int] | None:
    """Return (channels, height, width) of the pixels that a dense first layer gets."""
    first, pixels = subject.layer.index == 1, subject.pixels
    fits = pixels is not None and subject.layer.sees == (prod(pixels),)
    return pixels if first and fits else None


def images(weights: LayerWeights) -> npt.NDArray[Any]:
    """Return weights (inputs, units) as images (units, height, width, channels), 1 or 3 channels.

    Channels of any other number are placed side by side, with a column of NaN between them.
    """
    weight = weights.parameters.arrays["weight"]
    if weights.planes is not None:
        stacked = weight.reshape(*weights.planes, -1).transpose(3, 1, 2, 0)
    else:
        stacked = weight.reshape(*weights.sees, -1).transpose(3, 0, 1, 2)
    if stacked.shape[3] in (1, 3):
        return np.asarray(stacked)
    units, height, width, channels = stacked.shape
    beside = np.full((units, height, channels, width + 1), np.nan)
    beside[..., :width] = stacked.transpose(0, 1, 3, 2)
    return beside.reshape(units, height, -1, 1)[:, :, :-1]


def draw(subject: Subject, cells: int, height: int) -> list[Line]:
    """Return a page of images and their scale in `height` lines of `cells`."""
    parameters, recorded = subject.parameters(), subject.units()
    if parameters is None:
        return [crop([(WAITING, "muted")], cells)][:height]
    dead = recorded[1].dead if recorded is not None else None
    weights = LayerWeights(
        parameters, subject.layer.sees, _planes(subject), None if dead is None else bytes(dead)
    )
    return list(_lines(weights, subject.state.page, cells, height))


@lru_cache(2)  # images are expensive, and change only with a checkpoint
def _lines(weights: LayerWeights, page: int, cells: int, height: int) -> tuple[Line, ...]:
    pictures = _cropped(images(weights), weights, cells)
    shown = _page(pictures, page, cells, height - 2)
    if not shown.arrangement.most:
        return (crop([(TOO_SMALL, "muted")], cells),)[:height]
    members = [pictures[unit] for unit in shown.units]
    dead = weights.dead
    if dead is not None and len(dead) != len(pictures):
        dead = None
    captions = [_caption(unit, dead is not None and bool(dead[unit])) for unit in shown.units]
    lines = rows_of(members, captions, shown.arrangement, _least(len(pictures)))
    lines += [[] for _ in range(height - 1 - len(lines))]
    return (*lines, _legend(pictures, shown, cells))[:height]


def _least(units: int) -> int:
    return len(f"{DEAD.glyph} {units}")


def _caption(unit: int, dead: bool) -> Line:
    return [(f"{DEAD.glyph} {unit + 1}", DEAD.role)] if dead else [(f"{unit + 1}", "muted")]


def _cropped(pictures: npt.NDArray[Any], weights: LayerWeights, cells: int) -> npt.NDArray[Any]:
    """Leave out input channels for which there is no room."""
    sees = weights.sees
    if len(sees) == 3 and sees[2] not in (1, 3) and pictures.shape[2] > cells:
        return pictures[:, :, : max(cells // (sees[1] + 1), 1) * (sees[1] + 1) - 1]
    return pictures


def _page(pictures: npt.NDArray[Any], page: int, cells: int, rows: int) -> Page:
    total, height, width, _ = pictures.shape
    arrangement = arrange((height, width), total, cells, rows, _least(total))
    most = max(arrangement.most, 1)
    pages = -(-total // most)
    start = page % pages * most
    return Page(arrangement, range(start, min(start + most, total)), page % pages, pages)


def _legend(pictures: npt.NDArray[Any], shown: Page, cells: int) -> Line:
    members = pictures[shown.units.start : shown.units.stop]
    largest = np.abs(np.where(np.isfinite(members), members, 0)).max(axis=(1, 2, 3))
    reach = f"{formats.sci(float(largest.min()))} … {formats.sci(float(largest.max()))}"
    if pictures.shape[3] == 3:
        scale: Line = [solid("#7b7b7b", 2), (" zero is mid-grey", "muted")]
    else:
        ramp: Line = [solid(f"signed.{at}", 2) for at in range(-STEPS, STEPS + 1, 4)]
        scale = [("− ", "muted"), *ramp, (" +", "muted")]
    pieces = [Piece(9, scale), Piece(6, [(NORMALISED, "muted"), (f"  {reach}", "")])]
    if shown.pages > 1:
        place = f"{shown.units.start + 1}–{shown.units.stop} of {len(pictures)}"
        pieces.append(Piece(8, [(place, "bold"), ("  tab: more", "muted")]))
    return join([piece.line for piece in fit(pieces, cells, gap=3)], "   ")


def title(subject: Subject) -> Line:
    """Return the step of the weights, and what an image shows."""
    parameters = subject.parameters()
    if parameters is None:
        return []
    words: Line = [("weights ", "muted"), *as_of(parameters.step, subject)]
    return [*words, (f"   {_what(subject, parameters)}", "muted")]


def _what(subject: Subject, parameters: Parameters) -> str:
    planes, units = _planes(subject), parameters.arrays["weight"].shape[1]
    if planes is not None:
        colour = ", red green blue" if planes[0] == 3 else ""
        return f"{units} units over {planes[1]}×{planes[2]} pixels{colour}"
    height, width, channels = subject.layer.sees
    beside = "" if channels in (1, 3) else ", channels side by side"
    return f"{units} filters of {height}×{width}×{channels}{beside}"


VIEW: Final = View(
    30,
    "weights",
    "i",
    "its weights as images: over pixels, or the filters of a convolution",
    is_image,
    title,
    draw,
    next_page,
    keys=(Key(8, "tab", "next page", "the units that do not fit on this page"),),
)
