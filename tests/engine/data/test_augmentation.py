"""Augmentation: what is drawn and how often, and that only training batches are touched."""

import tracemalloc

import numpy as np
import numpy.typing as npt
import pytest

from engine.activations import ReLU
from engine.backends import make_backend
from engine.backends.base import Backend
from engine.data.augmentation import Augmentation, Change, HorizontalFlip, RandomCrop, augmentations
from engine.data.augmentation import bind_all as bind
from engine.data.dataset import Dataset, Examples
from engine.data.preprocessing import Pixels
from engine.errors import ConfigError
from engine.initializers import He
from engine.network import mlp
from engine.optimization.optimizers import SGD
from engine.statistics.frames import Frame
from engine.training.random_streams import PURPOSES, stream
from engine.training.trainer import Trainer

PIXELS = (2, 4, 5)
BATCH = 400
BOTH = [HorizontalFlip(), RandomCrop(2)]
Values = npt.NDArray[np.float64]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def images(batch: int = BATCH) -> Values:
    """Images of numbers that occur once each, none of them zero."""
    x = np.arange(1.0, batch * 40 + 1).reshape(batch, 40)
    x.setflags(write=False)
    return x


def bound(*steps: Augmentation, seed: int = 0, backend: Backend | None = None) -> Change:
    backend = backend or make_backend("numpy", "float64")
    change = bind(steps, PIXELS, BATCH, backend, generator=rng(seed))
    assert change is not None
    return change


def changed(*steps: Augmentation, seed: int = 0) -> Values:
    return np.array(bound(*steps, seed=seed)(images())).reshape(BATCH, *PIXELS)


RAW = images().reshape(BATCH, *PIXELS)


@pytest.mark.parametrize("step", [cls() for cls in augmentations.values()], ids=str)
class TestEach:
    def test_the_seed_says_all_and_each_batch_is_drawn_anew(self, step: Augmentation) -> None:
        pixels = (1, 8, 8)
        x = rng().normal(size=(50, 64))
        x.setflags(write=False)
        first, again = (
            bind([step], pixels, 50, make_backend("numpy", "float64"), generator=rng(3))
            for _ in range(2)
        )
        assert first is not None
        assert again is not None
        one, two = (np.array(first(x)) for _ in range(2))
        np.testing.assert_array_equal(one, again(x))
        np.testing.assert_array_equal(two, again(x))
        assert not np.array_equal(one, two)

    def test_the_dtype_is_that_of_the_backend(self, step: Augmentation) -> None:
        change = bind([step], (1, 8, 8), 3, make_backend("numpy"), generator=rng())
        assert change is not None
        assert change(np.ones((3, 64), np.float32)).dtype == np.float32


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_so_many_images_are_mirrored_and_the_others_left(probability: float) -> None:
    result = changed(HorizontalFlip(probability))
    mirrored = (result == RAW[..., ::-1]).all(axis=(1, 2, 3))
    same = (result == RAW).all(axis=(1, 2, 3))
    assert (mirrored ^ same).all()
    assert mirrored.mean() == pytest.approx(probability, abs=0.07)


def test_a_crop_is_a_window_of_the_padded_image_and_every_place_is_as_likely() -> None:
    result = changed(RandomCrop(2))
    padded = np.pad(RAW, [(0, 0), (0, 0), (2, 2), (2, 2)])
    counts = np.zeros((5, 5), int)
    for image, around in zip(result, padded, strict=True):
        fits = [
            (down, right)
            for down in range(5)
            for right in range(5)
            if np.array_equal(image, around[:, down : down + 4, right : right + 5])
        ]
        assert len(fits) == 1
        counts[fits[0]] += 1
    assert counts.min() >= 4  # 16 are expected at each; by chance less than once in 1000 seeds
    assert counts.max() <= 34


def test_without_padding_nothing_moves() -> None:
    np.testing.assert_array_equal(changed(RandomCrop(0)), RAW)


def test_steps_follow_each_other() -> None:
    flipped_first = changed(HorizontalFlip(1.0), RandomCrop(2))
    generator = rng()
    generator.random(BATCH)  # what the flip draws
    crop = bind(
        [RandomCrop(2)], PIXELS, BATCH, make_backend("numpy", "float64"), generator=generator
    )
    assert crop is not None
    expected = crop(np.ascontiguousarray(RAW[..., ::-1]).reshape(BATCH, -1))
    np.testing.assert_array_equal(flipped_first, expected.reshape(RAW.shape))


def test_a_batch_allocates_no_arrays() -> None:
    change, x = bound(*BOTH), images()
    change(x)
    buffer = np.setbufsize(16)  # of the ufuncs themselves, which broadcast through 128 kB
    tracemalloc.start()
    try:
        change(x)
        tracemalloc.reset_peak()
        before, _ = tracemalloc.get_traced_memory()
        change(x)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        np.setbufsize(buffer)
    assert peak - before < BATCH * 8  # the smallest array of a batch; an image batch has 128 kB


@pytest.mark.parametrize(
    ("step", "path"),
    [
        (lambda: HorizontalFlip(1.1), "probability"),
        (lambda: HorizontalFlip(float("nan")), "probability"),
        (lambda: RandomCrop(-1), "padding"),
        (lambda: bound(HorizontalFlip(), RandomCrop(4)), "augment[1].padding"),
    ],
)
def test_settings_that_cannot_be_are_refused(step: object, path: str) -> None:
    assert callable(step)
    with pytest.raises(ConfigError) as error:
        step()
    assert error.value.path == path


def data(pixels: Pixels | None = PIXELS) -> Dataset:
    x, y = rng().normal(size=(100, 40)), np.arange(100) % 3
    names = ("a", "b", "c")
    return Dataset("d", names, Examples(x[:80], y[:80]), Examples(x[80:], y[80:]), pixels)


def trainer(*augment: Augmentation, probes: bool = True, pixels: Pixels | None = PIXELS) -> Trainer:
    return Trainer(
        mlp([6], 3, activation=ReLU(), initializer=He()),
        data(pixels),
        optimizer=SGD(0.01),
        batch_size=20,
        steps=12,
        backend=make_backend("numpy", "float64"),
        probes=probes,
        augment=augment,
    )


def weights(made: Trainer) -> Values:
    for _ in made.frames(interval=0):
        pass
    return np.array(made.network.store.values)


def test_a_step_trains_on_the_changed_batch() -> None:
    plain, mirrored = trainer(), trainer(HorizontalFlip(1.0))
    mirrored_data = data().train.x.reshape(80, *PIXELS)[..., ::-1].reshape(80, 40)
    by_hand = trainer()
    by_hand.training_step.x[...] = mirrored_data
    found = weights(mirrored)
    np.testing.assert_array_equal(found, weights(by_hand))
    assert not np.array_equal(found, weights(plain))


def test_a_flip_that_never_happens_leaves_the_run_as_it_is() -> None:
    np.testing.assert_array_equal(weights(trainer(HorizontalFlip(0.0))), weights(trainer()))


def test_weights_are_bit_equal_with_probes_on_and_off() -> None:
    np.testing.assert_array_equal(weights(trainer(*BOTH)), weights(trainer(*BOTH, probes=False)))


def test_evaluation_sees_the_images_as_they_are() -> None:
    def first(made: Trainer) -> Frame:
        return next(iter(made.frames(interval=0)))

    plain, augmented = first(trainer()), first(trainer(*BOTH))
    assert plain.validations[0] == augmented.validations[0]
    assert plain.loss[0] != augmented.loss[0]


def test_images_are_needed() -> None:
    with pytest.raises(ConfigError, match="needs images") as error:
        trainer(HorizontalFlip(), pixels=None)
    assert error.value.path == "augment"


def test_its_random_stream_is_its_own_and_leaves_the_others() -> None:
    draws = {stream(7, purpose).random() for purpose in PURPOSES}
    assert len(draws) == len(PURPOSES)
    assert stream(0, "shuffle").integers(2**32) == 3833089861  # as before there was augmentation
