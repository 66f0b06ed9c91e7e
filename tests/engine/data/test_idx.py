"""MNIST and Fashion-MNIST: IDX files that are whole, compressed, misplaced or damaged."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from engine.data.dataset import Loaded, prepare
from engine.data.sources.fashion_mnist import FashionMnist
from engine.data.sources.idx import IdxImages, read_idx
from engine.data.sources.mnist import Mnist
from engine.errors import ConfigError, DataError
from tests.engine.data.idx_files import Bytes, idx, rng, write_split


def load(source: IdxImages, directory: Path | None) -> Loaded:
    return source.load(generator=rng(), directory=directory)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(("source", "sub"), [(Mnist(), "mnist"), (FashionMnist(), "fashion_mnist")])
def test_images_and_labels_are_read(
    tmp_path: Path, source: IdxImages, sub: str, packed: bool
) -> None:
    write_split(tmp_path / sub, "train", [5, 0, 9], packed=packed)
    write_split(tmp_path / sub, "t10k", [7], packed=packed)
    for directory in (tmp_path, tmp_path / sub):
        assert source.is_here(directory)
        loaded = load(source, directory)
        assert loaded.name == f"{sub} 3×784"
        assert loaded.pixels == (1, 28, 28)
        assert len(loaded.classes) == 10
        assert loaded.train.y.tolist() == [5, 0, 9]
        expected = rng().integers(0, 256, (3, 28, 28), np.uint8).reshape(3, 784)
        np.testing.assert_array_equal(loaded.train.x, expected)
        assert loaded.test is not None
        assert loaded.test.y.tolist() == [7]


def test_the_two_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    write_split(tmp_path / "mnist", "train", [1])
    write_split(tmp_path / "fashion_mnist", "train", [2])
    assert load(Mnist(), tmp_path).train.y.tolist() == [1]
    assert load(FashionMnist(), tmp_path).train.y.tolist() == [2]


def test_limit_takes_the_first(tmp_path: Path) -> None:
    write_split(tmp_path, "train", [5, 0, 9])
    assert load(Mnist(limit=2), tmp_path).train.y.tolist() == [5, 0]
    with pytest.raises(ConfigError, match="must not be negative"):
        Mnist(limit=-1)


def test_without_a_test_split_a_share_is_held_out(tmp_path: Path) -> None:
    write_split(tmp_path, "train", list(range(10)))
    loaded = load(Mnist(), tmp_path)
    assert loaded.test is None
    data = prepare(loaded, validation=0.2, preprocess=[], generator=rng())
    assert data.train.x.dtype == np.float32
    assert data.validation is not None
    assert (len(data.train), len(data.validation)) == (8, 2)


@pytest.mark.parametrize("directory", [None, Path("nowhere")])
def test_what_is_not_there_is_said_with_what_was_expected(directory: Path | None) -> None:
    assert not FashionMnist().is_here(directory)
    with pytest.raises(DataError, match=r"fashion_mnist/train-images-idx3-ubyte\.gz"):
        load(FashionMnist(), directory)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("train-labels-idx1-ubyte", "no train-labels-idx1-ubyte in"),
        ("t10k-images-idx3-ubyte", "no t10k-images-idx3-ubyte in"),
        ("t10k-labels-idx1-ubyte", "no t10k-labels-idx1-ubyte in"),
    ],
)
def test_a_file_that_lacks_its_companion_is_named(tmp_path: Path, name: str, message: str) -> None:
    write_split(tmp_path, "train", [1, 2])
    write_split(tmp_path, "t10k", [1, 2])
    (tmp_path / name).unlink()
    with pytest.raises(DataError, match=message):
        load(Mnist(), tmp_path)


LABELS = idx(np.arange(10, dtype=np.uint8))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"begins with the bytes \(none\), expected 00 00 08"),
        (b"\0\0\x08", "begins with the bytes 00 00 08, expected"),
        (b"\x1f\x8b\x08\x08abc", "begins with the bytes 1f 8b 08 08"),
        (b"\0\0\x0d\x01" + LABELS[4:], "begins with the bytes 00 00 0d 01"),
        (b"\0\0\x08\x00" + LABELS[4:], "begins with the bytes 00 00 08 00"),
        (b"\0\0\x08\x03\0\0", "has 6 bytes, expected 16 for its header of 16"),
        (LABELS[:-1], "has 17 bytes, expected 18 for its header of 8 bytes and 10 values"),
        (LABELS + b"\0", "has 19 bytes, expected 18"),
        (b"\0\0\x08\x04" + b"\xff" * 16, "has 20 bytes, expected 340282366"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_a_damaged_file_is_said_with_what_was_found_and_expected(
    tmp_path: Path, content: bytes, message: str, packed: bool
) -> None:
    path = tmp_path / ("damaged.gz" if packed else "damaged")
    path.write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(DataError, match=message) as error:
        read_idx(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    "change", [lambda b: b[:-9], lambda b: b[:25] + b"\xff" * 8, lambda b: b"x"]
)
def test_a_damaged_gzip_file_is_refused(tmp_path: Path, change: object) -> None:
    assert callable(change)
    path = tmp_path / "labels.gz"
    path.write_bytes(change(gzip.compress(bytes(range(256)) * 9)))
    with pytest.raises(DataError, match=r"labels\.gz is truncated or not a gzip file"):
        read_idx(path)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot read"):
        read_idx(tmp_path)


@pytest.mark.parametrize(
    ("part", "values", "message"),
    [
        ("images-idx3", np.zeros((2, 28, 27), np.uint8), "2 × 28 × 27 pixels, expected .* 28 × 28"),
        ("images-idx3", np.zeros((2, 784), np.uint8), "has 2 axes, expected 3 of images"),
        ("images-idx3", np.zeros((3, 28, 28), np.uint8), "has 3 images and .* 2 labels"),
        ("labels-idx1", np.zeros((2, 1), np.uint8), "has 2 axes, expected 1 of labels"),
        ("labels-idx1", np.array([3, 10], np.uint8), "label 1 is 10, allowed are 0 … 9"),
    ],
)
def test_files_that_do_not_fit_are_refused(
    tmp_path: Path, part: str, values: Bytes, message: str
) -> None:
    write_split(tmp_path, "train", [1, 2])
    (tmp_path / f"train-{part}-ubyte").write_bytes(idx(values))
    with pytest.raises(DataError, match=message):
        load(Mnist(), tmp_path)


def test_no_images_at_all_are_refused(tmp_path: Path) -> None:
    write_split(tmp_path, "train", [])
    with pytest.raises(DataError, match="0 × 28 × 28"):
        load(Mnist(), tmp_path)
