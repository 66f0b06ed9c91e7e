"""MNIST as the tests make it up."""

import gzip
from pathlib import Path

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def idx(values: Bytes) -> bytes:
    header = bytes([0, 0, 8, values.ndim])
    return header + b"".join(n.to_bytes(4, "big") for n in values.shape) + values.tobytes()


def write_split(folder: Path, split: str, labels: list[int], *, packed: bool = False) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    images = rng().integers(0, 256, (len(labels), 28, 28), np.uint8)
    files = {
        f"{split}-images-idx3-ubyte": idx(images),
        f"{split}-labels-idx1-ubyte": idx(np.array(labels, np.uint8)),
    }
    for name, content in files.items():
        if packed:
            (folder / f"{name}.gz").write_bytes(gzip.compress(content))
        else:
            (folder / name).write_bytes(content)
