"""The synthetic sources: where their points lie, and that a seed says all."""

import numpy as np
import pytest

from engine.data.dataset import Loaded, sources
from engine.data.sources.blobs import Blobs
from engine.data.sources.circles import Circles
from engine.data.sources.moons import Moons
from engine.data.sources.points import PointSource
from engine.data.sources.spirals import Spirals
from engine.errors import ConfigError

SYNTHETIC = [cls() for cls in sources.values() if issubclass(cls, PointSource)]


def drawn(source: PointSource, seed: int = 0) -> Loaded:
    return source.load(generator=np.random.default_rng(seed), directory=None)


def name(source: PointSource) -> str:
    return sources.name_of(source)


@pytest.mark.parametrize("source", SYNTHETIC, ids=name)
class TestEach:
    def test_the_seed_says_all(self, source: PointSource) -> None:
        first, again, other = (drawn(source, seed).train.x for seed in (0, 0, 1))
        np.testing.assert_array_equal(first, again)
        assert not np.array_equal(first, other)

    def test_classes_are_balanced_and_named(self, source: PointSource) -> None:
        loaded = drawn(source)
        counts = np.bincount(loaded.train.y, minlength=len(loaded.classes))
        assert len(counts) == len(loaded.classes) == source.class_count()
        assert counts.max() - counts.min() <= 1
        assert loaded.name == f"{name(source)} 300×2"

    @pytest.mark.parametrize(
        ("setting", "value"),
        [("samples", 1), ("noise", -0.1), ("noise", float("nan")), ("noise", float("inf"))],
    )
    def test_impossible_settings_are_refused(
        self, source: PointSource, setting: str, value: float
    ) -> None:
        with pytest.raises(ConfigError) as error:
            type(source)(**{setting: value})  # type: ignore[arg-type]
        assert error.value.path == setting


def test_all_four_are_registered() -> None:
    assert {name(source) for source in SYNTHETIC} == {"spirals", "moons", "circles", "blobs"}


def test_noise_is_the_std_of_what_is_added() -> None:
    clean, noisy = (drawn(Moons(samples=5000, noise=noise)).train.x for noise in (0.0, 0.3))
    assert (noisy - clean).std() == pytest.approx(0.3, rel=0.03)


@pytest.mark.parametrize(("classes", "turns"), [(2, 0.5), (5, 3.0)])
def test_a_spiral_turns_evenly_from_the_centre_outwards(classes: int, turns: float) -> None:
    train = drawn(Spirals(noise=0, classes=classes, turns=turns)).train
    radius = np.hypot(*train.x.T)
    assert radius.max() <= 1
    turned = np.arctan2(train.x[:, 1], train.x[:, 0]) / (2 * np.pi) - train.y / classes
    off = (turned - turns * radius + 0.5) % 1 - 0.5  # of a turn
    np.testing.assert_allclose(off, 0, atol=1e-12)


def test_moons_are_half_circles_that_interlock() -> None:
    train = drawn(Moons(noise=0)).train
    upper, lower = train.x[train.y == 0], train.x[train.y == 1]
    np.testing.assert_allclose(np.hypot(*upper.T), 1)
    np.testing.assert_allclose(np.hypot(*(lower - [1.0, 0.5]).T), 1)
    assert upper[:, 1].min() >= 0
    assert lower[:, 1].max() <= 0.5


def test_circles_have_their_radii() -> None:
    train = drawn(Circles(noise=0, factor=0.3)).train
    np.testing.assert_allclose(np.hypot(*train.x.T), np.where(train.y == 0, 1, 0.3))


def test_blobs_lie_around_their_centres() -> None:
    train = drawn(Blobs(samples=4000, features=7, classes=4, noise=0.5)).train
    assert train.x.shape == (4000, 7)
    for label in range(4):
        np.testing.assert_allclose(train.x[train.y == label].std(axis=0), 0.5, rtol=0.1)


@pytest.mark.parametrize(
    ("source", "settings", "path"),
    [
        (Spirals, {"turns": 0.0}, "turns"),
        (Spirals, {"classes": 1}, "classes"),
        (Spirals, {"samples": 4, "classes": 5}, "samples"),
        (Circles, {"factor": 1.0}, "factor"),
        (Blobs, {"features": 0}, "features"),
        (Blobs, {"spread": float("inf")}, "spread"),
    ],
)
def test_what_only_one_of_them_has_is_checked_too(
    source: type[PointSource], settings: dict[str, float], path: str
) -> None:
    with pytest.raises(ConfigError) as error:
        source(**settings)  # type: ignore[arg-type]
    assert error.value.path == path
