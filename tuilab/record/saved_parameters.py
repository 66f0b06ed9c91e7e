"""The checkpoints that a run has saved, and the parameters of one layer read from them.

A checkpoint is a file in the safetensors format; its metadata say where the parameters of each
layer lie in its flat arrays. Reading them needs nothing of the trainer that wrote them.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import safetensors

from engine.errors import CheckpointError
from tuilab.record.reader import RunReader
from tuilab.record.run_folder import RunFolder

CHECKPOINT_FORMAT: Final = "tuilab checkpoint 2"
Array = npt.NDArray[np.generic]


@dataclass(frozen=True, slots=True)
class SavedCheckpoint:
    """A checkpoint that was recorded, and whose file exists."""

    step: int
    path: Path


@dataclass(frozen=True, slots=True, eq=False)
class Parameters:
    """What a layer had learned after `step` updates."""

    step: int
    arrays: Mapping[str, Array]  # "weight" (inputs, units), "bias", "gamma", "running_mean" …


def saved_checkpoints(folder: RunFolder, reader: RunReader) -> list[SavedCheckpoint]:
    """Return the checkpoints of a run whose files exist, oldest first."""
    recorded = [
        SavedCheckpoint(step, folder.checkpoints / file) for step, file in reader.checkpoints()
    ]
    return [checkpoint for checkpoint in recorded if checkpoint.path.is_file()]


class SavedParameters:
    """Reads parameters layer by layer, and remembers what it read last."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._last: tuple[SavedCheckpoint, int, Parameters] | None = None

    def read(self, reader: RunReader, layer: int, step: int) -> Parameters | None:
        """Return a layer's parameters (layers count from 1) from the newest checkpoint by `step`.

        From the oldest checkpoint where all are later; None where there is none yet. Raises
        CheckpointError.
        """
        checkpoints = saved_checkpoints(self._folder, reader)
        if not checkpoints:
            return None
        earlier = [checkpoint for checkpoint in checkpoints if checkpoint.step <= step]
        chosen = earlier[-1] if earlier else checkpoints[0]
        if self._last is None or self._last[:2] != (chosen, layer):
            parameters = Parameters(chosen.step, read_layer(chosen.path, layer))
            self._last = chosen, layer, parameters
        return self._last[2]


def read_layer(path: Path, layer: int) -> dict[str, Array]:
    """Return the arrays of one layer (from 1) of a checkpoint by name; read nothing else of it.

    The checksum covers the whole file and is not verified. Raises CheckpointError.
    """
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            metadata: Mapping[str, str] = file.metadata() or {}
            if metadata.get("format") != CHECKPOINT_FORMAT:
                written = metadata.get("format", "no format")
                raise CheckpointError(
                    f"{path}: not a checkpoint of this version of tuilab (it has {written})"
                )
            slices: list[dict[str, Any]] = json.loads(metadata["state"])["slices"]
            return {
                piece["name"]: _read_slice(file, piece)
                for piece in slices
                if piece["layer"] == layer
            }
    except (OSError, safetensors.SafetensorError, ValueError, KeyError) as error:
        raise CheckpointError(f"{path}: cannot be read as a checkpoint: {error}") from error


def _read_slice(file: Any, piece: Mapping[str, Any]) -> Array:
    shape, start = tuple(piece["shape"]), piece["start"]
    values: Array = file.get_slice(piece["array"])[start : start + prod(shape)]
    return values.reshape(shape)
