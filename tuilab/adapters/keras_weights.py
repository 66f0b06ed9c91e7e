"""Watches Keras where it compiles the whole step: weights before and after a batch, and metrics."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from time import perf_counter
from typing import Any, Final

import keras
import numpy as np

from engine.commands import Command
from engine.errors import ConfigError
from engine.statistics.arrays import Host
from engine.statistics.frames import BINS, FIELDS, LayerInfo, Snapshot, TrainingStatus
from engine.statistics.tensor_statistics import measure_tensor
from tuilab.adapters.scalars import Fetched, Scalars, floats
from tuilab.adapters.watched_run import PACE, Measured, WatchedRun, WatchOptions
from tuilab.record import Compute, Source

TENSORS: Final = ("weight", "update")


@dataclass(eq=False)
class _Layer:
    """A layer and the variable with its weights."""

    path: str
    layer: Any
    weights: Any
    before: Host | None = field(default=None, repr=False)


class KerasWeights:
    """Measures the weights of `fit` by batches; `run` is the run that it records."""

    def __init__(self, model: Any, options: WatchOptions, layers: Any = None) -> None:
        self._model = model
        self._chosen = layers
        self._layers: list[_Layer] = []
        self._spent = 0.0
        self._described = False
        backend = keras.backend.backend()
        self.run = WatchedRun(
            options,
            self,
            Source(source="keras", capabilities=(*PACE, "checkpoint")),
            Compute(
                backend=backend,
                software=f"keras {keras.__version__}, {backend}",
                dtype=keras.config.floatx(),
            ),
        )
        self._armed = self.run.cadence.first()

    # Of the batches.

    def before_batch(self) -> None:
        """Copy the weights before a batch that is measured."""
        if not self._armed:
            return
        begin = perf_counter()
        if not self._layers:
            self._layers = [*self._find()]
        self._synchronize()
        for row in self._layers:
            row.before = _array(row.weights).copy()
        self._spent = perf_counter() - begin

    def after_batch(self, logs: Mapping[str, Any]) -> None:
        """Record a batch: its metrics and, where it is measured, weights and updates."""
        begin = perf_counter()
        measured = self._measured() if self._armed and self._layers else None
        values = {**logs, "learning_rate": float(self._model.optimizer.learning_rate)}
        spent, self._spent = self._spent + perf_counter() - begin, 0.0
        self._armed = self.run.end_step(values, measured, spent)

    def _synchronize(self) -> None:
        """Let the variables have their current values, which JAX holds elsewhere during `fit`."""
        synchronize = getattr(self._model, "jax_state_sync", None)
        if synchronize is not None:
            synchronize()

    def _find(self) -> Sequence[_Layer]:
        found = []
        for layer in self._model._flatten_layers(include_self=False):
            own = [v for v in layer.trainable_variables if len(v.shape) > 1]
            if own and not layer._layers and self._is_chosen(layer):
                found.append(_Layer(layer.path, layer, own[0]))
        return found

    def _is_chosen(self, layer: Any) -> bool:
        if self._chosen is None:
            return True
        if callable(self._chosen):
            return bool(self._chosen(layer.path, layer))
        patterns = [self._chosen] if isinstance(self._chosen, str) else self._chosen
        return any(fnmatchcase(layer.path, pattern) for pattern in patterns)

    def _measured(self) -> Measured:
        self._synchronize()
        count = len(self._layers)
        table = np.full((count, len(TENSORS), len(FIELDS)), np.nan)
        histograms = np.zeros((count, len(TENSORS), BINS + 2), np.int64)
        ranges = np.full((count, len(TENSORS), 2), np.nan)
        for at, row in enumerate(self._layers):
            if row.before is None:
                continue
            after, before = _array(row.weights), row.before
            for where, values in enumerate((before, after - before)):
                measured = measure_tensor(values)
                table[at, where], ranges[at, where] = measured.row, measured.range
                histograms[at, where] = measured.histogram
            row.before = None
        nan = np.full(count, np.nan)
        snapshot = Snapshot(
            self.run.step, self.run.epoch, table, histograms, ranges, nan.copy(), nan.copy(),
            nan.copy(), nan.copy(), (), TENSORS,
        )  # fmt: skip
        with np.errstate(divide="ignore", invalid="ignore"):
            update, weight = snapshot.field("update", "norm"), snapshot.field("weight", "norm")
            np.divide(update, weight, out=snapshot.update_ratio)
        status = None if self._described else self._status()
        self._described = True
        return Measured(
            snapshot=lambda: snapshot, status=None if status is None else lambda: status
        )

    def _status(self) -> TrainingStatus:
        last = len(self._layers)
        return TrainingStatus(
            layers=[
                LayerInfo(
                    index=at,
                    name=row.layer.name if at < last else "output",
                    path=row.path.replace("/", "."),
                    parent=row.path.replace("/", ".").rpartition(".")[0],
                    kind=type(row.layer).__name__,
                    role="output" if at == last else "hidden",
                    units=int(row.weights.shape[-1]),
                    activation=getattr(getattr(row.layer, "activation", None), "__name__", ""),
                    parameters=int(row.layer.count_params()),
                )
                for at, row in enumerate(self._layers, start=1)
            ],
            parameters=int(self._model.count_params()),
            steps_per_epoch=self.run.steps_per_epoch,
        )

    # What the view may change.

    def hyperparameters(self) -> Mapping[str, float]:
        """Return the learning rate of the next step."""
        return {"learning_rate": float(self._model.optimizer.learning_rate)}

    def refusal(self, command: Command) -> str:
        """Return "": every command that is offered can be applied."""
        return ""

    def apply(self, command: Command) -> Mapping[str, object]:
        """Raise ConfigError: a compiled step takes no changes."""
        raise ConfigError(f"a compiled step does not take the command '{command.kind}'")

    def uneven(self) -> bool:
        """Return False: one process trains."""
        return False

    def fetch(self, rows: Sequence[Scalars]) -> Fetched:
        """Return numbers, which are all in main memory."""
        return floats(rows)

    def save(self, path: Path) -> None:
        """Save all variables as a safetensors file, by the paths of Keras."""
        from safetensors.numpy import save_file

        self._synchronize()
        save_file({v.path: _array(v) for v in self._model.variables}, path)

    def detach(self) -> None:
        """Copy no more weights."""
        self._armed = False


def _array(variable: Any) -> Host:
    """Return the values of a variable as float32 or float64, contiguous."""
    values = np.asarray(keras.ops.convert_to_numpy(variable))
    kept = values.dtype in (np.float32, np.float64)
    return np.ascontiguousarray(values if kept else values.astype(np.float32))
