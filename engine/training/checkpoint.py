"""Checkpoints: everything that later steps depend on, so that they are the same bit for bit.

A checkpoint is a file in the safetensors format: the arrays, and as metadata one JSON text with the
rest. A checksum over both detects damage, and `identity` a checkpoint of another run.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

import numpy as np
import safetensors
from safetensors.numpy import save

from engine.backends.base import Array, Backend, Host
from engine.data.dataset import Examples
from engine.errors import CheckpointError
from engine.network.parameter_layout import Slice
from engine.optimization.hyperparameters import Hyperparameters

FORMAT: Final = "tuilab checkpoint 2"
FINGERPRINT_ROWS: Final = 64
"""Inputs that identify a data set: all of them may be gigabytes."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The state of a training run between two steps, on the host."""

    step: int  # updates made
    seconds: float  # since the run began
    identity: Mapping[str, str]  # what was trained, and on what
    hyperparameters: Mapping[str, float]  # as set, without the schedule's factor
    generators: Mapping[str, Any]  # states of NumPy's bit generators, by purpose
    arrays: Mapping[str, Host]
    total_steps: int = 0  # planned for the run; 0 if not recorded
    slices: Sequence[Slice] = ()  # where the parameters of each layer lie
    changes: Sequence[Mapping[str, Any]] = ()
    """Commands that changed what is trained: the fields of each, and its step."""

    def save(self, path: Path) -> None:
        """Write the file atomically: to a scratch file, flushed, renamed. Raises OSError."""
        parts = {k: v for k, v in self._parts().items() if k != "arrays"}
        rest = json.dumps(parts, default=asdict)  # of the slices
        metadata = {"format": FORMAT, "checksum": _checksum(rest, self.arrays), "state": rest}
        scratch = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            with scratch.open("wb") as file:
                file.write(save(dict(self.arrays), metadata))
                file.flush()
                os.fsync(file.fileno())
            scratch.replace(path)
            _flush_folder(path.parent)
        finally:
            with suppress(OSError):
                scratch.unlink(missing_ok=True)

    def _parts(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in Checkpoint.__slots__}

    @classmethod
    def load(cls, path: Path) -> "Checkpoint":
        """Return the checkpoint in a file. Raises CheckpointError if there is no intact one."""
        with _open(path) as (file, metadata):
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        rest = metadata.get("state", "")
        if metadata.get("checksum") != _checksum(rest, arrays):
            raise CheckpointError(f"{path}: damaged: its contents do not match its checksum")
        values = json.loads(rest)
        values["slices"] = [Slice.parse(part) for part in values["slices"]]
        return cls(**values, arrays=arrays)


@contextmanager
def _open(path: Path) -> Iterator[tuple[Any, Mapping[str, str]]]:
    """Open a file and its metadata. Raises CheckpointError, also for errors inside the block."""
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT:
                name = metadata.get("format", "no format")
                raise CheckpointError(f"{path}: not a checkpoint of this version (it says {name})")
            yield file, metadata
    except (OSError, safetensors.SafetensorError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read as a checkpoint: {error}") from error


def _checksum(rest: str, arrays: Mapping[str, Host]) -> str:
    digest = blake2b(rest.encode(), digest_size=16)
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(array.data)
    return digest.hexdigest()


def _flush_folder(folder: Path) -> None:
    """Flush a folder, so that a renaming in it survives a power failure."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fingerprint(examples: Examples) -> str:
    """Return a short text that identifies these examples in this order."""
    rows = slice(None, None, max(1, len(examples) // FINGERPRINT_ROWS))
    digest = blake2b(np.ascontiguousarray(examples.x[rows]).data, digest_size=8)
    digest.update(np.ascontiguousarray(examples.y).data)
    shape = "×".join(map(str, examples.x.shape))
    return f"{shape} {digest.hexdigest()}"


@dataclass(frozen=True, slots=True)
class TrainingState:
    """The live state of a training run, which `copy` reads and `put_back` overwrites."""

    identity: Mapping[str, str]
    hyperparameters: Hyperparameters
    generators: Mapping[str, np.random.Generator]
    arrays: Mapping[str, Array]  # on the device or the host
    backend: Backend
    slices: Sequence[Slice]  # of the arrays

    def copy(
        self, step: int, seconds: float, total_steps: int, changes: Sequence[Mapping[str, Any]] = ()
    ) -> Checkpoint:
        """Return a checkpoint that shares no memory with the run."""
        return Checkpoint(
            step,
            seconds,
            dict(self.identity),
            dict(self.hyperparameters),
            {name: stream.bit_generator.state for name, stream in self.generators.items()},
            {name: self.backend.to_host(array).copy() for name, array in self.arrays.items()},
            total_steps,
            self.slices,
            tuple(changes),
        )

    def put_back(self, checkpoint: Checkpoint) -> None:
        """Set the run to `checkpoint`. Raises CheckpointError, and changes nothing then."""
        _same("what was trained", self.identity, checkpoint.identity, str)
        _same("the arrays", self.arrays, checkpoint.arrays, lambda a: f"{a.dtype} {(*a.shape,)}")
        _same(
            "the hyper-parameters", self.hyperparameters, checkpoint.hyperparameters, lambda _: ""
        )
        _same("the random streams", self.generators, checkpoint.generators, lambda _: "")
        for name, array in self.arrays.items():
            saved = checkpoint.arrays[name]
            on_host = isinstance(array, np.ndarray)
            array[...] = saved if on_host else self.backend.to_device(saved, saved.dtype)
        for name, generator in self.generators.items():
            generator.bit_generator.state = checkpoint.generators[name]
        self.hyperparameters.update(checkpoint.hyperparameters)


def _same(
    what: str, ours: Mapping[str, Any], saved: Mapping[str, Any], form: Callable[[Any], str]
) -> None:
    """Raise CheckpointError if two mappings differ in their names or in `form` of a value."""
    for name in [*ours, *saved]:
        here = form(ours[name]) if name in ours else "nothing"
        there = form(saved[name]) if name in saved else "nothing"
        if here != there:
            raise CheckpointError(
                f"the checkpoint belongs to another run: {what} differ in '{name}': "
                f"{there} there, {here} here"
            )
