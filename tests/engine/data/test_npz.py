"""Arrays in .npz files: shapes, types, names, and files that are something else."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from engine.data.dataset import Loaded, prepare
from engine.data.sources.npz import Npz
from engine.errors import ConfigError, DataError

Values = npt.NDArray[Any]
X = np.arange(12.0).reshape(3, 4)
Y = np.array([1, 0, 1])


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def load(folder: Path, x: Values = X, y: Values = Y) -> Loaded:
    np.savez(folder / "table.npz", x=x, y=y)
    return Npz("table.npz").load(generator=rng(), directory=folder)


def test_inputs_and_labels_are_read(tmp_path: Path) -> None:
    loaded = load(tmp_path)
    assert loaded.name == "table.npz 3×4"
    assert loaded.classes == ("0", "1")
    assert loaded.pixels is None
    np.testing.assert_array_equal(loaded.train.x, X)
    assert loaded.train.y.tolist() == [1, 0, 1]


@pytest.mark.parametrize(("shape", "pixels"), [((3, 5, 7), (1, 5, 7)), ((3, 2, 5, 7), (2, 5, 7))])
def test_images_are_flattened_and_their_shape_is_kept(
    tmp_path: Path, shape: tuple[int, ...], pixels: tuple[int, int, int]
) -> None:
    x = np.arange(np.prod(shape)).reshape(shape).astype(np.uint8)
    loaded = load(tmp_path, x)
    assert loaded.pixels == pixels
    np.testing.assert_array_equal(loaded.train.x, x.reshape(3, -1))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "uint8", "int64", "bool"])
def test_any_type_of_number_can_be_trained_on(tmp_path: Path, dtype: str) -> None:
    loaded = load(tmp_path, (X > 3).astype(dtype))
    data = prepare(loaded, validation=0, preprocess=[], generator=rng())
    assert np.issubdtype(data.train.x.dtype, np.floating)
    np.testing.assert_array_equal(data.train.x, X > 3)


@pytest.mark.parametrize(
    ("y", "classes", "codes"),
    [
        (np.array([7, -2, 7], np.int8), ("-2", "7"), [1, 0, 1]),
        (np.array([10.0, 9.0, 9.0]), ("9", "10"), [1, 0, 0]),
        (np.array(["cat", "ant", "cat"]), ("ant", "cat"), [1, 0, 1]),
        (np.array([b"cat", b"ant", b"ant"]), ("ant", "cat"), [1, 0, 0]),
        (np.array([True, False, False]), ("False", "True"), [1, 0, 0]),
    ],
)
def test_labels_become_classes_in_their_order(
    tmp_path: Path, y: Values, classes: tuple[str, ...], codes: list[int]
) -> None:
    loaded = load(tmp_path, y=y)
    assert loaded.classes == classes
    assert loaded.train.y.tolist() == codes


def test_arrays_may_have_other_names(tmp_path: Path) -> None:
    np.savez(tmp_path / "table.npz", images=X, labels=Y)
    path = str(tmp_path / "table.npz")
    loaded = Npz(path, x="images", y="labels").load(generator=rng(), directory=None)
    assert len(loaded.train) == 3
    with pytest.raises(ConfigError, match=r"unknown array of .*did you mean 'labels'") as error:
        Npz(path, x="images", y="label").load(generator=rng(), directory=None)
    assert error.value.path == "y"
    with pytest.raises(ConfigError, match="must not be the same"):
        Npz(path, x="images", y="images")


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (X[0], Y, r"x is float64 \(4,\), expected \(examples, features\)"),
        (X.reshape(3, 4, 1, 1, 1), Y, r"x is float64 \(3, 4, 1, 1, 1\), expected"),
        (X[:, :0], Y, r"x is float64 \(3, 0\): it is empty"),
        (X.astype(complex), Y, "x is complex128 .*, expected numbers"),
        (X.astype(str), Y, "expected numbers"),
        (np.where(X == 6, np.nan, X), Y, r"x\[1, 2\] is nan, expected finite numbers"),
        (X, Y[:2], r"y is int64 \(2,\), expected a label for each of 3 examples: \(3,\)"),
        (X, np.eye(3), r"y is float64 \(3, 3\), expected a label for each"),
        (X, Y.astype(complex), "y is complex128 .*expected whole numbers or words"),
        (X, np.array([0, 1, 0.5]), r"y\[2\]: the label '0.5' is not a class"),
        (X, np.array(["a", "", "b"]), r"y\[1\]: the label is missing"),
        (X, np.zeros(3, int), r"all 3 labels are '0'"),
    ],
)
def test_arrays_that_do_not_fit_are_said_with_type_and_shape(
    tmp_path: Path, x: Values, y: Values, message: str
) -> None:
    with pytest.raises(DataError, match=message) as error:
        load(tmp_path, x, y)
    assert str(tmp_path / "table.npz") in str(error.value)


class Trap:
    """Something that would act when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (pytest.fail, ("it was unpickled",))


def test_pickles_are_never_opened(tmp_path: Path) -> None:
    np.savez(tmp_path / "table.npz", x=X, y=np.array([Trap()] * 3), allow_pickle=True)
    with pytest.raises(DataError, match=r"table\.npz is not an \.npz file of numbers"):
        Npz("table.npz").load(generator=rng(), directory=tmp_path)
    (tmp_path / "table.npz").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(DataError, match=r"table\.npz is not an \.npz file of numbers"):
        Npz("table.npz").load(generator=rng(), directory=tmp_path)


def test_a_single_array_is_no_npz_file(tmp_path: Path) -> None:
    np.save(tmp_path / "table.npy", X)
    with pytest.raises(DataError, match=r"is a single array, expected an \.npz file"):
        Npz("table.npy").load(generator=rng(), directory=tmp_path)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
@pytest.mark.parametrize("packed", [False, True])
def test_a_truncated_file_is_refused(tmp_path: Path, share: float, packed: bool) -> None:
    path = tmp_path / "table.npz"
    (np.savez_compressed if packed else np.savez)(path, x=X, y=Y)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(DataError, match=r"table\.npz"):
        Npz("table.npz").load(generator=rng(), directory=tmp_path)


@pytest.mark.parametrize("packed", [False, True])
def test_a_file_with_a_byte_changed_is_read_as_it_was_or_refused(
    tmp_path: Path, packed: bool
) -> None:
    path = tmp_path / "table.npz"
    (np.savez_compressed if packed else np.savez)(path, x=X, y=Y)
    content = path.read_bytes()
    for place in range(0, len(content), 3):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0x55]) + content[place + 1 :])
        try:
            loaded = Npz("table.npz").load(generator=rng(), directory=tmp_path)
        except (DataError, ConfigError):
            continue
        np.testing.assert_array_equal(loaded.train.x, X)
