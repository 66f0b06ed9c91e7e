"""Watches PyTorch models and their optimisers: `watch` begins, hooks do the rest."""

import sys
import weakref
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from time import perf_counter
from typing import Any, Final, Literal, TypeAlias

import numpy as np
import torch
from torch import nn
from torch.optim import Optimizer

from engine.commands import Command
from engine.errors import ConfigError
from engine.statistics.frames import BINS, FIELDS, TENSORS, Snapshot, TrainingStatus
from engine.statistics.symmetry import asymmetry
from tuilab.adapters.torch.hyperparameters import Factors, restore
from tuilab.adapters.torch.losses import TAP
from tuilab.adapters.torch.rows import (
    WINDOW_EXAMPLES,
    WINDOW_SNAPSHOTS,
    Known,
    Row,
    clean,
    first_weights,
    known_modules,
    unwrapped,
)
from tuilab.adapters.torch.tensors import HostSlots, host_array
from tuilab.adapters.torch.trace import Trace
from tuilab.adapters.watched_run import PACE, Measured, Stopped, WatchedRun, WatchOptions
from tuilab.record import Compute, Source

Layers: TypeAlias = str | Sequence[str] | Callable[[str, nn.Module], bool] | None
Compiled: TypeAlias = Literal["eager", "off"]
COMPARED: Final = 1 << 16
"""About how many weights of a layer are compared with each other for its asymmetry."""
PATIENCE: Final = 16
"""Steps of one optimiser in a cycle after which the others are no longer waited for: a critic may
make several for one of its generator, and an optimiser may be for a later phase."""
CHUNK: Final = 1 << 22
"""Elements of the weights before a step that are held at a time, beyond those of one parameter."""


class TorchWatcher:
    """Measures the steps of some optimisers, and changes what the view asks for."""

    def __init__(
        self,
        models: Sequence[nn.Module],
        optimizers: Sequence[Optimizer],
        options: WatchOptions,
        layers: Layers = None,
        compiled: Compiled = "eager",
    ) -> None:
        self._models = [
            (f"{at}." if len(models) > 1 else "", weakref.ref(model))
            for at, model in enumerate(models)
        ]
        self.optimizers = [*optimizers]
        self._layers, self._compiled = layers, compiled
        self._slots = HostSlots()
        self._trace = Trace(self._slots, self._failed)
        self._factors = Factors(self.optimizers)
        self._frozen: set[str] = set()  # paths of layers whose parameters stay as they are
        self._published: list[Row] = []  # in the order in which they are recorded
        self._step = _Step()
        self._armed = False
        self._stance: Any = None  # forces eager execution while it is active
        self._detached = False
        self._window = [0, 0]  # examples and snapshots since units were last judged
        self._losses: list[torch.Tensor] = []
        self._scale: torch.Tensor | None = None
        self._undo: list[tuple[dict[str, Any], str, Any]] = []
        self._seen: list[int] = []  # optimisers that have stepped in this cycle, by id
        self._idle: set[int] = set()  # optimisers that no cycle waits for, until they step
        self.run = WatchedRun(options, self, self._source(), self._compute())
        for optimizer in self.optimizers:
            self._attach(optimizer)
        TAP.add(self._backward, self._skipped)
        if self.run.cadence.first():
            self._arm()

    def _attach(self, optimizer: Optimizer) -> None:
        optimizer.register_step_pre_hook(self._before_step)
        optimizer.register_step_post_hook(self._after_step)
        TAP.steps[optimizer] = 0

    # What is found later.

    @property
    def has_models(self) -> bool:
        """Whether any of the models is still there."""
        return bool(self._alive())

    def has(self, optimizer: Optimizer) -> bool:
        """Return whether an optimiser is watched."""
        return any(own is optimizer for own in self.optimizers)

    def join(self, models: Sequence[nn.Module], optimizers: Sequence[Optimizer]) -> None:
        """Watch further optimisers, and those models that are not watched, from the next step."""
        watched = {id(model) for model in self._alive()}
        for model in models:
            if id(model) not in watched:
                self._models.append((f"{len(self._models)}.", weakref.ref(model)))
        self._idle = {id(optimizer) for optimizer in self.optimizers}
        for optimizer in optimizers:
            self.optimizers.append(optimizer)
            self._attach(optimizer)

    def entered(self, module: nn.Module, args: Any) -> None:
        """Take note of a call of a module that had begun when the watching did."""
        if self._trace.installed:
            self._trace._before(module, args)

    # What is recorded at the start.

    def _source(self) -> Source:
        capabilities = (*PACE, "set", "scale", "freeze", "unfreeze", "checkpoint")
        return Source(source="torch", capabilities=capabilities, settable=tuple(self._factors.keys))

    def _compute(self) -> Compute:
        parameter = next((p for model in self._alive() for p in model.parameters()), None)
        device = "cpu" if parameter is None else str(parameter.device)
        dtype = "" if parameter is None else str(parameter.dtype).removeprefix("torch.")
        return Compute(
            backend="torch", device=device, software=f"torch {torch.__version__}", dtype=dtype
        )

    def _alive(self) -> list[nn.Module]:
        return [model for _, model in self._prefixed()]

    def _prefixed(self) -> list[tuple[str, nn.Module]]:
        """Return the models that are still there, with what their paths begin with."""
        models = ((prefix, reference()) for prefix, reference in self._models)
        return [(prefix, model) for prefix, model in models if model is not None]

    # Arming.

    def _arm(self) -> None:
        """Measure the next step."""
        begin = perf_counter()
        self._armed = True
        if self._compiled != "off":
            known: dict[int, Known] = {}
            for prefix, model in self._prefixed():
                known |= known_modules(unwrapped(model), prefix)
            self._trace.install(self._chosen_modules(known))
            if "torch._dynamo" in sys.modules:  # the program may have compiled something
                self._stance = torch.compiler.set_stance("force_eager")
        self._step.spent += perf_counter() - begin

    def _chosen_modules(self, known: Mapping[int, Known]) -> Mapping[int, Known]:
        if self._layers is None:
            return known
        return {
            at: module
            for at, module in known.items()
            if not module.leaf or self._chosen(module.path)
        }

    def _chosen(self, path: str) -> bool:
        """Return whether a layer is recorded."""
        if self._layers is None:
            return True
        if isinstance(self._layers, str):
            return fnmatchcase(path, self._layers)
        if callable(self._layers):
            module = next(
                (m for model in self._alive() for name, m in unwrapped(model).named_modules()
                 if clean(name) == path), None,
            )  # fmt: skip
            return module is not None and bool(self._layers(path, module))
        return any(fnmatchcase(path, pattern) for pattern in self._layers)

    def _disarm(self) -> None:
        self._armed = False
        self._trace.remove()
        if self._stance is not None:
            stance, self._stance = self._stance, None
            stance.__exit__(None, None, None)

    # Hooks. Nothing but Stopped leaves them.

    def _backward(self, loss: torch.Tensor, scale: torch.Tensor | None) -> None:
        if not self._detached:
            self._losses.append(loss)
            self._scale = scale
            self.run.gradient_known()

    def _skipped(self) -> None:
        if not self._detached:
            self._losses.clear()
            self.run.skip_step()

    def _before_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        if self._detached:
            return
        try:
            TAP.steps[optimizer] = TAP.steps.get(optimizer, 0) + 1
            if self._frozen:
                self._drop_frozen_gradients(optimizer)
            if self._armed:
                begin = perf_counter()
                closure = kwargs.get("closure") or (args[1] if len(args) > 1 else None)
                self._measure_before(optimizer, with_gradients=closure is None)
                self._step.spent += perf_counter() - begin
            self._undo = self._factors.apply(optimizer)
        except Exception as error:  # noqa: BLE001  (never into the program)
            self._failed(error)

    def _after_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        if self._detached:
            return
        try:
            used = self._used(optimizer)
            if self._undo:
                restore(self._undo)
                self._undo = []
            if self._armed:
                begin = perf_counter()
                self._measure_after()
                self._step.spent += perf_counter() - begin
            self._seen.append(id(optimizer))
            self._idle.discard(id(optimizer))
            if self._seen.count(id(optimizer)) > PATIENCE:
                self._idle = {id(other) for other in self.optimizers} - {*self._seen}
                self._losses = self._losses[-1:]  # not the sum over all these steps
            if all(id(other) in {*self._seen, *self._idle} for other in self.optimizers):
                self._end_cycle(used)
        except Stopped:
            raise
        except Exception as error:  # noqa: BLE001  (never into the program)
            self._failed(error)

    def _used(self, optimizer: Optimizer) -> dict[str, float]:
        """Return the learning rate of the step that was just made."""
        rate = optimizer.param_groups[0].get("lr")
        return {} if rate is None else {"learning_rate": float(rate)}

    def _end_cycle(self, values: dict[str, Any]) -> None:
        """All optimisers have stepped: the step of the run has ended. Raises Stopped."""
        self._seen.clear()
        if self._losses:
            losses, self._losses = self._losses, []
            values["loss"] = sum(float(loss.sum()) for loss in losses)
        measured = None
        if self._armed:
            begin = perf_counter()
            measured = self._measured()
            self._step.spent += perf_counter() - begin
            self._disarm()
        spent = self._step.spent + self._trace.spent
        self._step, self._trace.spent = _Step(), 0.0
        if self.run.end_step(values, measured, spent) and not self._detached:
            self._arm()

    def _failed(self, error: BaseException) -> None:
        self.run.failed(error)

    def detach(self) -> None:
        """Take all hooks away, or leave them idle where that could disturb their caller."""
        self._detached = True
        self._disarm()
        TAP.remove(self._backward)

    # Measuring.

    def _weights(self, optimizer: Optimizer) -> list[tuple[str, torch.Tensor]]:
        """Return the parameters of layers that an optimiser changes, by name."""
        own = _parameters(optimizer)
        return [(name, p) for name, p in self._named() if id(p) in own]

    def _named(self) -> list[tuple[str, torch.Tensor]]:
        """Return all parameters by their names; those of tied weights under each of them."""
        return [
            (clean(prefix + name), parameter)
            for prefix, model in self._prefixed()
            for name, parameter in unwrapped(model).named_parameters(remove_duplicate=False)
        ]

    def _rows_by_parameter(self) -> dict[str, Row]:
        """Return the row that shows a parameter, by name: that of the first call of its module."""
        rows: dict[str, Row] = {}
        for row in self._trace.rows.values():
            if row.parameter:
                rows.setdefault(row.parameter, row)
        return rows

    def _measure_before(self, optimizer: Optimizer, *, with_gradients: bool) -> None:
        self._add_parameter_rows()
        rows = self._rows_by_parameter()
        measured: dict[int, Row] = {}  # by id of the parameter: tied weights are measured once
        for name, parameter in self._weights(optimizer):
            row = rows.get(name)
            if row is None:
                continue
            if (other := measured.get(id(parameter))) is not None:
                self._step.tied.append((other, row))
                continue
            measured[id(parameter)] = row
            self._slots.measure(self._trace.slot(row, "weight"), parameter)
            before = parameter.detach().clone()
            self._step.before.append((row, parameter, before, optimizer))
            if with_gradients:
                self._measure_gradient(row, parameter, optimizer)

    def _measure_gradient(self, row: Row, parameter: torch.Tensor, optimizer: Optimizer) -> None:
        if parameter.grad is None:
            return
        slot = self._trace.slot(row, "weight_grad")
        self._slots.measure(slot, parameter.grad)
        # A fused optimiser divides by the scale of a GradScaler itself, and says by which.
        scale = getattr(optimizer, "grad_scale", None)
        if scale is not None:
            self._slots.divide(slot, float(scale))

    def _measure_after(self) -> None:
        for row, parameter, before, optimizer in self._step.before:
            if "weight_grad" not in row.slots or not self._slots.filled(row.slots["weight_grad"]):
                self._measure_gradient(row, parameter, optimizer)  # computed by a closure
            self._slots.measure(self._trace.slot(row, "update"), parameter, before=before)
            self._step.asymmetry[row] = _asymmetry(parameter)
        for source, target in self._step.tied:
            for tensor in ("weight", "weight_grad", "update"):
                if tensor in source.slots:
                    self._slots.copy(source.slots[tensor], self._trace.slot(target, tensor))
        self._step.before.clear()
        self._step.tied.clear()

    def _add_parameter_rows(self) -> None:
        """Add rows for parameters with at least two axes that no layer shows."""
        shown = self._rows_by_parameter()
        modules = {
            clean(prefix + name): type(module).__name__
            for prefix, model in self._prefixed()
            for name, module in unwrapped(model).named_modules()
        }
        for name, parameter in self._named():
            where = name.rpartition(".")[0]
            if name in shown or parameter.ndim < 2 or not self._chosen(where):
                continue
            taken = any(row.path == where for row in self._trace.rows.values())
            path = name if taken or not where else where
            row = Row(path, "Parameter" if taken else modules.get(where, "Parameter"))
            row.parameter, row.parameters = name, parameter.numel()
            row.units = parameter.shape[0]
            self._trace.rows[path, 0] = row

    def _measured(self) -> Measured:
        """Return the snapshot of the step, to be built later from what was measured."""
        trace = self._trace
        if not trace.passes and trace.passes_in_evaluation:
            trace.accept_evaluation = True  # the model is trained in evaluation mode
        for row in trace.rows.values():
            if "pre_activation" in row.slots and not row.joined:
                target = trace.slot(row, "activation")
                self._slots.copy(row.slots["pre_activation"], target)
        if self._scale is not None:
            for row in trace.rows.values():
                if "activation_grad" in row.slots:
                    self._slots.divide(row.slots["activation_grad"], float(self._scale))
        self._judge_units()
        rows = self._order()
        status = self._status(rows) if len(rows) > len(self._published) else None
        self._published = rows
        taken = self._slots.take()
        step = self.run.step
        dead = np.array([row.dead_fraction for row in rows])
        nan = np.full(len(rows), np.nan)
        unlike = np.array([self._step.asymmetry.get(row, np.nan) for row in rows])
        slots = [dict(row.slots) for row in rows]
        units = [row.unit_statistics for row in rows]
        for row in rows:
            row.unit_statistics = None
        epoch = self.run.epoch

        def snapshot() -> Snapshot:
            statistics = taken()
            names = {name for by_name in slots for name in by_name}
            tensors = tuple(name for name in TENSORS if name in names) or ("activation",)
            shape = len(rows), len(tensors)
            table = np.full((*shape, len(FIELDS)), np.nan)
            histograms = np.zeros((*shape, BINS + 2), np.int64)
            ranges = np.full((*shape, 2), np.nan)
            for at, by_name in enumerate(slots):
                for where, name in enumerate(tensors):
                    if (slot := by_name.get(name)) is not None:
                        table[at, where] = statistics.statistics[slot]
                        histograms[at, where] = statistics.histograms[slot]
                        ranges[at, where] = statistics.ranges[slot]
            made = Snapshot(
                step, epoch, table, histograms, ranges, dead, nan.copy(), unlike, nan.copy(),
                units, tensors,
            )  # fmt: skip
            with np.errstate(divide="ignore", invalid="ignore"):
                update, weight = made.field("update", "norm"), made.field("weight", "norm")
                np.divide(update, weight, out=made.update_ratio)
            return made

        return Measured(snapshot=snapshot, status=status)

    def _judge_units(self) -> None:
        """Count examples and snapshots; at the end of a window, judge which units were dead."""
        self._window[0] += self._trace.batch_size
        self._window[1] += 1
        if self._window[0] >= WINDOW_EXAMPLES or self._window[1] >= WINDOW_SNAPSHOTS:
            self._window = [0, 0]
            for row in self._trace.rows.values():
                row.end_window()

    def _order(self) -> list[Row]:
        """Return the rows as they are recorded: as executed, outputs last, later ones behind."""
        new = [row for row in self._trace.rows.values() if row not in self._published]
        if not self._published:
            if new and not any(row.is_output for row in new):
                weighted = [row for row in new if row.kind != "Parameter"] or new
                weighted[-1].is_output = True
            new.sort(key=lambda row: row.is_output)
        return [*self._published, *new]

    def _status(self, rows: Sequence[Row]) -> TrainingStatus:
        for row in rows:
            if row.first is None and row.parameter and self.run.step == 0:
                self._describe_first_weights(row)
        return TrainingStatus(
            layers=[
                row.info(at, frozen=row.path in self._frozen) for at, row in enumerate(rows, 1)
            ],
            parameters=sum(p.numel() for model in self._alive() for p in model.parameters()),
            batch_size=self._trace.batch_size,
            steps_per_epoch=self.run.steps_per_epoch,
        )

    def _describe_first_weights(self, row: Row) -> None:
        parameter = dict(self._named()).get(row.parameter)
        if parameter is not None and "weight" in row.slots:
            mean, std = self._slots.moments(row.slots["weight"])
            row.first = first_weights(parameter, std, mean)

    # Controls.

    def hyperparameters(self) -> Mapping[str, float]:
        """Return the values with which the next step is made."""
        return self._factors.values()

    def refusal(self, command: Command) -> str:
        """Return why a command cannot be applied, or ""."""
        if command.kind in ("set", "scale"):
            return self._factors.refusal(command)
        if command.kind in ("freeze", "unfreeze") and command.layer > len(self._published):
            return f"there is no layer {command.layer}: there are {len(self._published)}"
        return ""

    def apply(self, command: Command) -> Mapping[str, object]:
        """Apply a command. Raises ConfigError."""
        if refusal := self.refusal(command):
            raise ConfigError(refusal)
        if command.kind in ("set", "scale"):
            return self._factors.change(command)
        chosen = self._published if command.layer == 0 else [self._published[command.layer - 1]]
        paths = {row.path for row in chosen if not (command.layer == 0 and row.is_output)}
        self._frozen = self._frozen | paths if command.kind == "freeze" else self._frozen - paths
        self.run.describe(self._status(self._published))
        return command.plain()

    def _drop_frozen_gradients(self, optimizer: Optimizer) -> None:
        """Let an optimiser skip frozen layers: a gradient of 0 would still move them."""
        for name, parameter in self._weights(optimizer):
            if name.rpartition(".")[0] in self._frozen or name in self._frozen:
                parameter.grad = None

    def save(self, path: Path) -> None:
        """Save the state of all models as a safetensors file, by name."""
        from safetensors.torch import save_file

        tensors = {}
        for prefix, model in self._prefixed():
            for name, value in model.state_dict().items():
                if isinstance(value, torch.Tensor):
                    tensors[clean(prefix + name)] = value.detach().cpu().contiguous().clone()
        save_file(tensors, path, {"format": "pt"})


class _Step:
    """What belongs to the step under way."""

    def __init__(self) -> None:
        self.spent = 0.0  # seconds
        self.before: list[tuple[Row, torch.Tensor, torch.Tensor, Optimizer]] = []
        """Rows with their weights, copies of them before the step, and who changes them."""
        self.tied: list[tuple[Row, Row]] = []
        self.asymmetry: dict[Row, float] = {}


def _parameters(optimizer: Optimizer) -> set[int]:
    return {id(p) for group in optimizer.param_groups for p in group["params"]}


def _asymmetry(parameter: torch.Tensor) -> float:
    """Return the asymmetry of a layer's units: see `engine.statistics.symmetry`."""
    if parameter.ndim < 2 or parameter.numel() == 0:
        return float("nan")
    weight = parameter.detach().reshape(len(parameter), -1)
    stride = max(1, -(-weight.numel() // COMPARED))
    return asymmetry(host_array(weight[:, ::stride]).T)
