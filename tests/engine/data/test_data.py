"""Data sources, splits and preprocessing."""

import os
from pathlib import Path

import numpy as np
import pytest

from engine.data.dataset import Examples, Loaded, prepare
from engine.data.preprocessing import Normalize, Scale, ZeroMean
from engine.data.sources.cifar10 import FOLDER, RECORD, Cifar10, read_batch
from engine.data.sources.digits import Digits
from engine.data.sources.gaussian import Gaussian
from engine.errors import ConfigError, DataError
from engine.training.random_streams import PURPOSES, stream


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_gaussian_is_unit_gaussian_with_learnable_labels() -> None:
    loaded = Gaussian().load(generator=rng(), directory=None)
    x, y = loaded.train.x, loaded.train.y
    assert x.shape == (1000, 500)
    assert x.mean() == pytest.approx(0, abs=0.01)
    assert x.std() == pytest.approx(1, abs=0.01)
    assert set(y) == set(range(10))
    weights = np.linalg.lstsq(x[:900], np.eye(10)[y[:900]], rcond=None)[0]
    assert (np.argmax(x[900:] @ weights, axis=1) == y[900:]).mean() > 0.2  # chance is 0.1


def test_digits_are_the_real_ones() -> None:
    loaded = Digits().load(generator=rng(), directory=None)
    assert loaded.train.x.shape == (1797, 64)
    assert (loaded.train.x.min(), loaded.train.x.max()) == (0, 16)
    counts = [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert np.bincount(loaded.train.y).tolist() == counts
    first = loaded.train.x[0].reshape(8, 8)
    assert first[0].tolist() == [0, 0, 5, 13, 9, 1, 0, 0]


def write_batch(path: Path, labels: list[int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    records = rng().integers(0, 256, (len(labels), RECORD), np.uint8)
    records[:, 0] = labels
    records.tofile(path)


def test_cifar10_reads_records_and_takes_short_files(tmp_path: Path) -> None:
    write_batch(tmp_path / FOLDER / "data_batch_1.bin", [3, 0, 9])
    write_batch(tmp_path / FOLDER / "data_batch_2.bin", [1])
    write_batch(tmp_path / FOLDER / "test_batch.bin", [5, 6])
    for directory in (tmp_path, tmp_path / FOLDER):
        loaded = Cifar10().load(generator=rng(), directory=directory)
        assert loaded.train.y.tolist() == [3, 0, 9, 1]
        assert loaded.train.x.shape == (4, 3072)
        assert loaded.test is not None
        assert loaded.test.y.tolist() == [5, 6]
    limited = Cifar10(limit=2).load(generator=rng(), directory=tmp_path)
    assert limited.train.y.tolist() == [3, 0]


def test_cifar10_refuses_a_truncated_file(tmp_path: Path) -> None:
    path = tmp_path / "data_batch_1.bin"
    write_batch(path, [1, 2])
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(DataError, match=r"6136 bytes, which is 1 records .* 3063 more"):
        read_batch(path)
    path.write_bytes(b"")
    with pytest.raises(DataError, match="truncated"):
        read_batch(path)


def test_cifar10_refuses_labels_out_of_range(tmp_path: Path) -> None:
    write_batch(tmp_path / "data_batch_1.bin", [1, 2, 10])
    with pytest.raises(DataError, match=r"record 2 has label 10, allowed are 0 … 9"):
        read_batch(tmp_path / "data_batch_1.bin")


@pytest.mark.parametrize("directory", [None, Path("nowhere")])
def test_cifar10_says_where_it_looked(directory: Path | None) -> None:
    assert not Cifar10().is_here(directory)
    with pytest.raises(DataError) as error:
        Cifar10().load(generator=rng(), directory=directory)
    for words in (str(directory or "no folder"), FOLDER, "tuilab data fetch cifar10", "--data-dir"):
        assert words in str(error.value)


@pytest.mark.skipif("TUILAB_DATA" not in os.environ, reason="TUILAB_DATA is not set")
def test_the_real_cifar10_has_balanced_classes() -> None:
    loaded = Cifar10().load(generator=rng(), directory=Path(os.environ["TUILAB_DATA"]))
    assert loaded.train.x.shape[1] == 3072
    counts = np.bincount(loaded.train.y, minlength=10)
    assert counts.min() > 0.8 * counts.mean()
    assert 100 < loaded.train.x.mean() < 140


def table() -> Loaded:
    x = rng().normal(5, [1.0, 10.0, 100.0, 0.0], (200, 4))
    return Loaded("table", ("a", "b"), Examples(x, np.arange(200) % 2))


def test_the_split_is_by_seed_disjoint_and_complete() -> None:
    splits = [
        prepare(table(), validation=0.25, preprocess=[], generator=stream(seed, "split"))
        for seed in (0, 0, 1)
    ]
    for split in splits:
        assert split.validation is not None
        assert (len(split.train), len(split.validation)) == (150, 50)
        rows = np.concatenate([split.train.x, split.validation.x])
        assert len(np.unique(rows[:, 0])) == 200
    np.testing.assert_array_equal(splits[0].train.x, splits[1].train.x)
    assert not np.array_equal(splits[0].train.x, splits[2].train.x)


def test_statistics_come_from_the_training_split_only() -> None:
    data = prepare(table(), validation=0.5, preprocess=[ZeroMean(), Normalize()], generator=rng())
    assert data.validation is not None
    np.testing.assert_allclose(data.train.x.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(data.train.x.std(axis=0)[:3], 1, atol=1e-12)
    assert data.train.x[:, 3].std() == 0  # a constant feature stays what it is
    other = data.validation.x[:, :3]
    assert np.abs(other.mean(axis=0)).max() > 1e-3
    np.testing.assert_allclose(other.std(axis=0), 1, atol=0.2)


def test_scale_multiplies() -> None:
    loaded = table()
    data = prepare(loaded, validation=0, preprocess=[Scale(0.5)], generator=rng())
    np.testing.assert_allclose(data.train.x, loaded.train.x / 2)
    assert data.validation is None


def test_a_split_that_leaves_nothing_is_refused() -> None:
    few = Loaded("few", ("a", "b"), Examples(np.ones((3, 2)), np.array([0, 1, 0])))
    with pytest.raises(ConfigError) as error:
        prepare(few, validation=0.1, preprocess=[], generator=rng())
    assert error.value.path == "validation"


def test_labels_beyond_the_classes_are_refused() -> None:
    wrong = Loaded("wrong", ("a",), Examples(np.ones((3, 2)), np.array([0, 1, 0])))
    with pytest.raises(DataError, match="do not fit 1 classes"):
        prepare(wrong, validation=0, preprocess=[], generator=rng())


def test_streams_are_independent_of_each_other() -> None:
    draws = {p: stream(7, p).random() for p in PURPOSES}
    assert len(set(draws.values())) == len(PURPOSES)
    assert stream(7, "weights").random() == draws["weights"]


def test_the_test_examples_are_kept_apart_unless_they_are_asked_for(tmp_path: Path) -> None:
    write_batch(tmp_path / "data_batch_1.bin", [3, 0, 9, 1, 5, 6, 2, 2, 7, 8])
    write_batch(tmp_path / "test_batch.bin", [4, 4])
    loaded = Cifar10().load(generator=rng(), directory=tmp_path)
    split = prepare(loaded, validation=0.2, preprocess=[], generator=rng())
    assert split.validation is not None
    assert (len(split.train), len(split.validation)) == (8, 2)
    assert 4 not in split.validation.y
    final = prepare(loaded, validation="test", preprocess=[], generator=rng())
    assert final.validation is not None
    assert (len(final.train), final.validation.y.tolist()) == (10, [4, 4])
    with pytest.raises(ConfigError, match="no test examples"):
        prepare(table(), validation="test", preprocess=[], generator=rng())
