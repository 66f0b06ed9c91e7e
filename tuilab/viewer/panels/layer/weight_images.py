"""The weights of a layer over pixels as pictures, and the filters of a convolution."""

from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from tuilab.charts import formats
from tuilab.charts.color_scales import STEPS, solid
from tuilab.charts.images import Arrangement, arrange, rows_of
from tuilab.charts.text import Line, Piece, crop, fit, join
from tuilab.record.saved_parameters import Parameters
from tuilab.viewer.panels.layer.base import Key, Subject, View, as_of, next_page

WAITING: Final = "waiting for the first checkpoint: weights are saved about every five seconds"
TOO_SMALL: Final = "too small a screen for these weights"
NORMALISED: Final = "each by its own largest weight"


@dataclass(frozen=True, slots=True)
class LayerWeights:
    """The weights (inputs, units) of a layer, and what they lie over."""

    parameters: Parameters
    sees: tuple[int, ...]
    planes: tuple[int, int, int] | None  # channels, height, width, where inputs are plane by plane
    dead: bytes | None = None  # which units are


@dataclass(frozen=True, slots=True)
class Shown:
    """Pictures on one page: how they stand, and which units they are of."""

    arrangement: Arrangement
    units: range
    page: int
    pages: int


def is_picture(subject: Subject) -> bool:
    """Tell whether the weights of a layer lie over pixels or are filters."""
    return len(subject.layer.sees) == 3 or _planes(subject) is not None


def _planes(subject: Subject) -> tuple[int, int, int] | None:
    """Return (channels, height, width) of the pixels that a flat first layer sees."""
    first, pixels = subject.layer.index == 1, subject.pixels
    fits = pixels is not None and subject.layer.sees == (prod(pixels),)
    return pixels if first and fits else None


def images(seen: LayerWeights) -> npt.NDArray[Any]:
    """Return weights (inputs, units) as pictures (units, height, width, channels), 1 or 3 channels.

    Other channels stand beside each other, a column of NaN between them.
    """
    weight = seen.parameters.arrays["weight"]
    if seen.planes is not None:
        stacked = weight.reshape(*seen.planes, -1).transpose(3, 1, 2, 0)
    else:
        stacked = weight.reshape(*seen.sees, -1).transpose(3, 0, 1, 2)
    if stacked.shape[3] in (1, 3):
        return np.asarray(stacked)
    units, height, width, channels = stacked.shape
    beside = np.full((units, height, channels, width + 1), np.nan)
    beside[..., :width] = stacked.transpose(0, 1, 3, 2)
    return beside.reshape(units, height, -1, 1)[:, :, :-1]


def draw(subject: Subject, cells: int, height: int) -> list[Line]:
    """Draw a page of pictures and their scale into `height` lines of `cells`."""
    parameters, found = subject.parameters(), subject.units()
    if parameters is None:
        return [crop([(WAITING, "muted")], cells)][:height]
    dead = found[1].dead if found is not None else None
    seen = LayerWeights(
        parameters, subject.layer.sees, _planes(subject), None if dead is None else bytes(dead)
    )
    return list(_lines(seen, subject.look.page, cells, height))


@lru_cache(2)  # pictures are dear, and change only when a checkpoint was saved
def _lines(seen: LayerWeights, page: int, cells: int, height: int) -> tuple[Line, ...]:
    pictures = _cropped(images(seen), seen, cells)
    shown = _page(pictures, page, cells, height - 2)
    if not shown.arrangement.most:
        return (crop([(TOO_SMALL, "muted")], cells),)[:height]
    members = [pictures[unit] for unit in shown.units]
    dead = seen.dead if seen.dead is not None and len(seen.dead) == len(pictures) else None
    captions = [_caption(unit, dead is not None and bool(dead[unit])) for unit in shown.units]
    lines = rows_of(members, captions, shown.arrangement, _least(len(pictures)))
    lines += [[] for _ in range(height - 1 - len(lines))]
    return (*lines, _legend(pictures, shown, cells))[:height]


def _least(units: int) -> int:
    return len(f"✕ {units}")


def _caption(unit: int, dead: bool) -> Line:
    return [(f"✕ {unit + 1}", "error")] if dead else [(f"{unit + 1}", "muted")]


def _cropped(pictures: npt.NDArray[Any], seen: LayerWeights, cells: int) -> npt.NDArray[Any]:
    """Leave out input channels that have no room beside the others."""
    sees = seen.sees
    if len(sees) == 3 and sees[2] not in (1, 3) and pictures.shape[2] > cells:
        return pictures[:, :, : max(cells // (sees[1] + 1), 1) * (sees[1] + 1) - 1]
    return pictures


def _page(pictures: npt.NDArray[Any], page: int, cells: int, rows: int) -> Shown:
    total, height, width, _ = pictures.shape
    arrangement = arrange((height, width), total, cells, rows, _least(total))
    most = max(arrangement.most, 1)
    pages = -(-total // most)
    start = page % pages * most
    return Shown(arrangement, range(start, min(start + most, total)), page % pages, pages)


def _legend(pictures: npt.NDArray[Any], shown: Shown, cells: int) -> Line:
    members = pictures[shown.units.start : shown.units.stop]
    largest = np.abs(np.where(np.isfinite(members), members, 0)).max(axis=(1, 2, 3))
    reach = f"{formats.sci(float(largest.min()))} … {formats.sci(float(largest.max()))}"
    if pictures.shape[3] == 3:
        scale: Line = [solid("#7b7b7b", 2), (" zero is mid-grey", "muted")]
    else:
        ramp: Line = [solid(f"signed.{each}", 2) for each in range(-STEPS, STEPS + 1, 4)]
        scale = [("− ", "muted"), *ramp, (" +", "muted")]
    pieces = [Piece(9, scale), Piece(6, [(NORMALISED, "muted"), (f"  {reach}", "")])]
    if shown.pages > 1:
        place = f"{shown.units.start + 1}–{shown.units.stop} of {len(pictures)}"
        pieces.append(Piece(8, [(place, "bold"), ("  tab: more", "muted")]))
    return join([piece.line for piece in fit(pieces, cells, gap=3)], "   ")


def title(subject: Subject) -> Line:
    """Say of which step the weights are, and what stands in a picture."""
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
    "weights",
    "i",
    "its weights as pictures: over pixels, or the filters of a convolution",
    is_picture,
    title,
    draw,
    next_page,
    keys=(Key(8, "tab", "next page", "those that have no room on this page"),),
)
