"""Augmentation: random changes of the training images, never of those for validation.

Like a layer, a step is bound once: it allocates its buffers and returns a function from a batch
(batch, features) to one of them. Random numbers are drawn on the host, so that every back-end sees
the same images.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from engine.backends.base import Array, Backend
from engine.data.preprocessing import Pixels
from engine.errors import ConfigError, require
from engine.registry import Registry

Change = Callable[[Array], Array]
augmentations: Registry["Augmentation"] = Registry("augmentation")


@dataclass(frozen=True)
class Augmentation:
    """A frozen description of a random change."""

    def bind(
        self, pixels: Pixels, batch: int, backend: Backend, *, generator: np.random.Generator
    ) -> Change:
        """Return a function of a batch of flattened images, which it does not change."""
        raise NotImplementedError


@augmentations.register("horizontal_flip")
@dataclass(frozen=True)
class HorizontalFlip(Augmentation):
    """Mirrors an image left to right with a `probability`."""

    probability: float = 0.5  # of a flip

    def __post_init__(self) -> None:
        good = 0 <= self.probability <= 1
        require(good, "probability", f"must lie in [0, 1], is {self.probability:g}")

    def bind(
        self, pixels: Pixels, batch: int, backend: Backend, *, generator: np.random.Generator
    ) -> Change:
        xp, shape = backend.xp, (batch, *pixels)
        draw, chosen = np.empty(batch), np.empty((batch, 1, 1, 1), np.bool_)
        out = backend.empty((batch, int(np.prod(pixels))))
        images = out.reshape(shape)

        def flip(x: Array) -> Array:
            generator.random(out=draw)
            np.less(draw, self.probability, out=chosen[:, 0, 0, 0])
            xp.copyto(out, x)
            xp.copyto(images, x.reshape(shape)[..., ::-1], where=xp.asarray(chosen))
            return out

        return flip


@augmentations.register("random_crop")
@dataclass(frozen=True)
class RandomCrop(Augmentation):
    """Pads an image with `padding` zeros on every side and crops it at a random position.

    After `zero_mean`, zero is the mean of a pixel.
    """

    padding: int = 4  # pixels of the border

    def __post_init__(self) -> None:
        require(self.padding >= 0, "padding", f"must not be negative, is {self.padding}")

    def bind(
        self, pixels: Pixels, batch: int, backend: Backend, *, generator: np.random.Generator
    ) -> Change:
        (channels, height, width), p = pixels, self.padding
        side = min(height, width)
        require(p < side, "padding", f"must be less than the images' side of {side}, is {p}")
        tall, wide = height + 2 * p, width + 2 * p
        padded = backend.full((batch, channels, tall, wide), 0.0)
        middle = padded[:, :, p : p + height, p : p + width]
        flat = padded.reshape(-1)
        window = np.arange(channels * tall * wide).reshape(channels, tall, wide)
        first = backend.to_device(window[:, :height, :width].reshape(1, -1))
        starts = np.arange(batch)[:, None] * window.size
        draw, offset = np.empty((2, batch, 1)), np.empty((2, batch, 1), np.int64)
        places = backend.empty((batch, first.size), np.int64)
        out = backend.empty((batch, first.size))

        def crop(x: Array) -> Array:
            generator.random(out=draw)
            np.multiply(draw, 2 * p + 1, out=draw)
            np.copyto(offset, draw, casting="unsafe")  # down to 0 … 2 p
            down, right = offset
            np.multiply(down, wide, out=down)
            np.add(down, right, out=down)
            np.add(down, starts, out=down)
            backend.xp.copyto(middle, x.reshape(middle.shape))
            backend.xp.add(first, backend.xp.asarray(down), out=places)
            backend.take_rows(flat, places, out)
            return out

        return crop


def bind_all(
    steps: Sequence[Augmentation],
    pixels: Pixels | None,
    batch: int,
    backend: Backend,
    *,
    generator: np.random.Generator,
) -> Change | None:
    """Return the composition of all `steps`, None without steps. Raises ConfigError."""
    if not steps:
        return None
    if pixels is None:
        raise ConfigError(
            "needs images; this source has none, or preprocessing mixes the pixels", "augment"
        )
    changes: list[Change] = []
    for position, step in enumerate(steps):
        try:
            changes.append(step.bind(pixels, batch, backend, generator=generator))
        except ConfigError as error:
            raise error.under(f"augment[{position}]") from None

    def change(x: Array) -> Array:
        for one in changes:
            x = one(x)
        return x

    return change
