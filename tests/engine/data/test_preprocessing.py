"""Preprocessing: held to its definitions, fitted on the training split only, saved and read."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from engine.data.dataset import Dataset, Examples, Loaded, prepare
from engine.data.preprocessing import (
    PCA,
    MeanImage,
    Normalize,
    PerChannelMean,
    PerChannelNormalize,
    Pixels,
    Preprocessor,
    Scale,
    Whiten,
    ZeroMean,
    fit,
    load,
    preprocessors,
    save,
)
from engine.errors import ConfigError, DataError

PIXELS = (3, 4, 5)
Table = npt.NDArray[Any]


def images(examples: int = 300, seed: int = 0, dtype: str = "float64") -> Table:
    """Correlated inputs (examples, 60) whose channels differ in mean and spread."""
    generator = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).normal(size=(60, 60))
    x = (generator.normal(size=(examples, 60)) @ mixing).reshape(examples, *PIXELS)
    x = x * np.array([1.0, 3.0, 0.5])[:, None, None] + np.array([5.0, -2.0, 100.0])[:, None, None]
    return np.asarray(x.reshape(examples, -1), dtype)


def prepared(
    *steps: Preprocessor, pixels: Pixels | None = PIXELS, dtype: str = "float64"
) -> Dataset:
    """A data set whose test examples, here its validation split, are unlike its training split."""
    train, other = images(dtype=dtype), 2 * images(40, seed=1, dtype=dtype) + 3
    y = np.arange(300) % 2
    loaded = Loaded("i", ("a", "b"), Examples(train, y), Examples(other, y[:40]), pixels)
    return prepare(loaded, validation="test", preprocess=steps, generator=np.random.default_rng(0))


def both(data: Dataset) -> tuple[Table, Table]:
    assert data.validation is not None
    return data.train.x, data.validation.x


RAW = images(), 2 * images(40, seed=1) + 3
ALL = [cls() for cls in preprocessors.values()]


@pytest.mark.parametrize("step", ALL, ids=preprocessors.name_of)
class TestEach:
    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    def test_type_and_examples_are_kept_and_inputs_are_left_alone(
        self, step: Preprocessor, dtype: str
    ) -> None:
        x = images(dtype=dtype)
        x.setflags(write=False)
        result = fit(step, x, PIXELS)(x)
        assert (result.dtype, result.shape) == (np.dtype(dtype), x.shape)

    def test_only_the_training_split_is_looked_at(self, step: Preprocessor) -> None:
        fitted = fit(step, RAW[0], PIXELS)
        data = prepared(step)
        for seen, raw in zip(both(data), RAW, strict=True):
            np.testing.assert_array_equal(seen, fitted(raw))

    def test_every_example_is_mapped_by_itself(self, step: Preprocessor) -> None:
        fitted = fit(step, RAW[0], PIXELS)
        np.testing.assert_allclose(fitted(RAW[1])[7:9], fitted(RAW[1][7:9]), rtol=1e-9, atol=1e-9)

    def test_statistics_survive_the_disk(self, step: Preprocessor, tmp_path: Path) -> None:
        fitted = fit(step, RAW[0], PIXELS)
        save(tmp_path / "p.npz", [fitted])
        (again,) = load(tmp_path / "p.npz")
        assert again.name == preprocessors.name_of(step)
        np.testing.assert_array_equal(again(RAW[1]), fitted(RAW[1]))

    def test_constant_inputs_stay_finite(self, step: Preprocessor) -> None:
        x = np.full((20, 60), 7.0)
        assert np.isfinite(fit(step, x, PIXELS)(x)).all()


def test_mean_image_is_zero_mean_by_another_name() -> None:
    for seen, expected in zip(both(prepared(MeanImage())), both(prepared(ZeroMean())), strict=True):
        np.testing.assert_array_equal(seen, expected)
    np.testing.assert_allclose(both(prepared(MeanImage()))[0], RAW[0] - RAW[0].mean(axis=0))


def test_channels_have_mean_0_and_std_1() -> None:
    data = prepared(PerChannelMean(), PerChannelNormalize())
    channels = data.train.x.reshape(300, *PIXELS)
    np.testing.assert_allclose(channels.mean(axis=(0, 2, 3)), 0, atol=1e-12)
    np.testing.assert_allclose(channels.std(axis=(0, 2, 3)), 1, atol=1e-12)
    train = RAW[0].reshape(300, *PIXELS)
    mean = train.mean(axis=(0, 2, 3))[:, None, None]
    std = train.std(axis=(0, 2, 3))[:, None, None]
    expected = (RAW[1].reshape(40, *PIXELS) - mean) / std
    np.testing.assert_allclose(both(data)[1], expected.reshape(40, -1))
    assert [step.statistics[k].shape for step in data.preprocess for k in step.statistics] == [
        (3,),
        (3,),
    ]


def covariance(x: Table) -> Table:
    return np.asarray(np.cov(x.T, bias=True))


def test_pca_decorrelates_with_the_largest_variance_first() -> None:
    x = prepared(PCA()).train.x
    found = covariance(x)
    expected = np.linalg.eigvalsh(covariance(RAW[0]))[::-1]
    np.testing.assert_allclose(np.diag(found), expected, rtol=1e-9)
    np.testing.assert_allclose(found - np.diag(np.diag(found)), 0, atol=1e-9 * expected[0])


def test_pca_is_a_rotation_about_the_mean() -> None:
    fitted = fit(PCA(), RAW[0])
    mean, axes = fitted.statistics["mean"], fitted.statistics["axes"]
    np.testing.assert_allclose(axes.T @ axes, np.eye(60), atol=1e-12)
    np.testing.assert_allclose(fitted(RAW[1]) @ axes.T + mean, RAW[1], rtol=1e-9)


def test_pca_of_k_keeps_the_first_k() -> None:
    full, kept = (prepared(PCA(k)).train.x for k in (0, 7))
    assert kept.shape == (300, 7)
    np.testing.assert_allclose(kept, full[:, :7], rtol=1e-9, atol=1e-9)


def test_the_sign_of_an_axis_does_not_hang_on_that_of_the_data() -> None:
    axes = fit(PCA(), RAW[0]).statistics["axes"]
    assert (axes[np.abs(axes).argmax(axis=0), range(60)] > 0).all()
    np.testing.assert_allclose(fit(PCA(), -RAW[0]).statistics["axes"], axes, atol=1e-9)


@pytest.mark.parametrize("k", [0, 5])
def test_whitened_inputs_have_the_covariance_of_white_noise(k: int) -> None:
    x = prepared(Whiten(epsilon=1e-12, k=k)).train.x
    np.testing.assert_allclose(covariance(x), np.eye(k or 60), atol=1e-8)
    np.testing.assert_allclose(x.mean(axis=0), 0, atol=1e-10)


def test_whitening_in_float32_takes_its_statistics_in_float64() -> None:
    x = prepared(Whiten(), dtype="float32").train.x
    assert x.dtype == np.float32
    np.testing.assert_allclose(covariance(x), np.eye(60), atol=2e-2)


def test_epsilon_keeps_what_does_not_vary_small() -> None:
    x = np.random.default_rng(0).normal(size=(100, 3)) @ np.ones((3, 5))  # of rank 1
    white = fit(Whiten(epsilon=1e-3), x)(x)
    assert white[:, 0].std() == pytest.approx(1, rel=1e-3)
    assert np.abs(white[:, 1:]).max() < 1e-6


def test_covariance_by_blocks_is_that_of_the_whole() -> None:
    x = np.random.default_rng(0).normal(3, 2, size=(2345, 4))
    np.testing.assert_allclose(
        fit(Whiten(), x).statistics["variance"], np.linalg.eigvalsh(covariance(x))[::-1]
    )


def test_steps_are_fitted_one_after_the_other_and_saved_as_one() -> None:
    steps = [Scale(0.5), ZeroMean(), Normalize(), PCA(4)]
    data = prepared(*steps)
    assert [fitted.name for fitted in data.preprocess] == ["scale", "zero_mean", "normalize", "pca"]
    x = RAW[1]
    for fitted in data.preprocess:
        x = fitted(x)
    np.testing.assert_array_equal(x, both(data)[1])


def test_a_pipeline_of_many_steps_keeps_its_order_on_disk(tmp_path: Path) -> None:
    data = prepared(*[Scale(1.5), ZeroMean()] * 6)  # more than ten, which sort last as text
    save(tmp_path / "p.npz", data.preprocess)
    again = load(tmp_path / "p.npz")
    assert [step.name for step in again] == ["scale", "zero_mean"] * 6
    x = RAW[1]
    for step in again:
        x = step(x)
    np.testing.assert_array_equal(x, both(data)[1])
    assert [path.name for path in tmp_path.iterdir()] == ["p.npz"]


@pytest.mark.parametrize("step", [PerChannelMean(), PerChannelNormalize()], ids=str)
@pytest.mark.parametrize("mixed", [False, True])
def test_channels_need_pixels(step: Preprocessor, mixed: bool) -> None:
    steps = [PCA(), step] if mixed else [step]
    with pytest.raises(ConfigError, match="needs images") as error:
        prepared(*steps, pixels=PIXELS if mixed else None)
    assert error.value.path == f"preprocess[{len(steps) - 1}]"


@pytest.mark.parametrize("step", [PCA(), Whiten()], ids=str)
def test_what_mixes_pixels_leaves_none(step: Preprocessor) -> None:
    assert prepared(ZeroMean()).pixels == PIXELS
    assert prepared(ZeroMean(), step).pixels is None


@pytest.mark.parametrize(
    ("make", "path"),
    [
        (lambda: PCA(-1), "k"),
        (lambda: Whiten(k=-1), "k"),
        (lambda: Whiten(epsilon=0.0), "epsilon"),
        (lambda: Whiten(epsilon=float("nan")), "epsilon"),
        (lambda: Scale(0.0), "factor"),
        (lambda: prepared(ZeroMean(), PCA(61)), "preprocess[1].k"),
    ],
)
def test_settings_that_cannot_be_are_refused(make: Any, path: str) -> None:
    with pytest.raises(ConfigError) as error:
        make()
    assert error.value.path == path


@pytest.mark.parametrize("content", [b"", b"not an archive", None])
def test_a_file_that_is_no_preprocessing_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "p.npz"
    if content is None:
        np.savez(path, x=np.ones(3))
    else:
        path.write_bytes(content)
    with pytest.raises(DataError, match=r"p\.npz is not a file of preprocessing"):
        load(path)


def test_files_that_cannot_be_read_or_written_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot read"):
        load(tmp_path / "none.npz")
    with pytest.raises(DataError, match="cannot write"):
        save(tmp_path / "no" / "p.npz", [fit(Scale(), RAW[0])])
