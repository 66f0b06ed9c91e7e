"""Watches PyTorch models and their optimisers: `watch` begins, hooks do the rest."""

import warnings
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import wraps
from pathlib import Path
from threading import get_ident
from time import perf_counter
from typing import Any, Final, Literal, TypeAlias, TypeVar

import torch
from torch import nn
from torch.optim import Optimizer

from engine.commands import Command
from engine.errors import ConfigError
from engine.statistics.frames import Snapshot, TrainingStatus
from tuilab.adapters.scalars import Fetched, Scalars, now
from tuilab.adapters.torch.device_slots import fetch, sum_of
from tuilab.adapters.torch.hyperparameters import Factors, restore
from tuilab.adapters.torch.losses import TAP
from tuilab.adapters.torch.module_tree import Layers, ModuleTree
from tuilab.adapters.torch.ranks import FollowingRun, LeadingRun, SharedStatistics, begin_run
from tuilab.adapters.torch.rows import Row, clean, first_weights, units_first
from tuilab.adapters.torch.slots import TensorSlots, own_part
from tuilab.adapters.torch.snapshots import Snapshots
from tuilab.adapters.torch.tensors import MEAN, STD
from tuilab.adapters.torch.trace import Trace
from tuilab.adapters.watched_run import PACE, Measured, Stopped, WatchOptions
from tuilab.record import Compute, Source

Compiled: TypeAlias = Literal["eager", "off"]
OF_GLOBAL_HOOKS: Final = r"Using `torch\.compile\(module\)` when there are global hooks"
"""The beginning of a warning that does not apply: our hooks know that a wrapper is no layer."""
PATIENCE: Final = 16
"""Steps of one optimiser in a cycle after which the others are no longer waited for: a critic may
make several for one of its generator, and an optimiser may be for a later phase."""
T = TypeVar("T")


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
        self._compiled = compiled
        self._tree = self._module_tree(layers)
        self._slots = TensorSlots()
        self._trace = Trace(self._slots, self._failed, self._tree.chosen)
        self._factors = Factors(self.optimizers)
        self._frozen: set[str] = set()  # paths of layers whose parameters stay as they are
        self._published: list[Row] = []  # in the order in which they are recorded
        self._step = _Step()
        self._armed = False
        self._stance: Any = None  # forces eager execution while it is active
        self._detached = False
        self._thread = get_ident()
        self._snapshots = Snapshots()
        self._losses: list[torch.Tensor] = []
        self._repeating = False  # whether a closure is called again in the same step
        self._scale: torch.Tensor | None = None
        self._undo: list[tuple[dict[str, Any], str, Any]] = []
        self._seen: list[int] = []  # optimisers that have stepped in this cycle, by id
        self._idle: set[int] = set()  # optimisers that no cycle waits for, until they step
        self.run = begin_run(options, self, self._source(), self._compute())
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
            self._trace.enter(module, args)

    def as_pass(self, model: nn.Module, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return `function`, seen as one forward pass of `model` whatever parts of it it calls."""

        @wraps(function)
        def seen(*args: Any, **kwargs: Any) -> Any:
            output = None
            self._trace.enter(model, args)
            try:
                output = function(*args, **kwargs)
            finally:
                self._trace.leave(model, args, kwargs, output)
            return output

        return seen

    # What is recorded at the start.

    def _module_tree(self, layers: Layers) -> ModuleTree:
        return ModuleTree(self._prefixed, layers)

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
            self._tree.refresh()
            self._trace.install(self._tree.known)
            self.run.cadence.slowed = self._tree.compiled
            warnings.filterwarnings("ignore", OF_GLOBAL_HOOKS)
            self._stance = torch.compiler.set_stance("force_eager")
        self._step.spent += perf_counter() - begin

    def _disarm(self) -> None:
        if not self._armed:
            return
        self._armed = False
        self._trace.remove()
        if self._stance is not None:
            stance, self._stance = self._stance, None
            stance.__exit__(None, None, None)

    # Hooks. Nothing but Stopped leaves them.

    def _backward(self, loss: torch.Tensor, scale: torch.Tensor | None) -> None:
        if not self._detached and not self._repeating:
            self._losses.append(loss)
            self._scale = scale
            self.run.gradient_known()

    def _skipped(self) -> None:
        if not self._detached:
            self._losses.clear()
            self.run.skip_step()

    def _before_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> Any:
        """Prepare for a step; return its arguments where its closure is to be followed."""
        if self._detached:
            self._disarm()
            return None
        try:
            TAP.steps[optimizer] = TAP.steps.get(optimizer, 0) + 1
            closure = kwargs.get("closure") or (args[1] if len(args) > 1 else None)
            if closure is None:
                self._before_update(optimizer)
            self._undo = self._factors.apply(optimizer)
            if closure is not None:
                return _with_closure(args, kwargs, self._followed(closure, optimizer))
        except Exception as error:  # noqa: BLE001  (never into the program)
            self._failed(error)
        return None

    def _before_update(self, optimizer: Optimizer, *, measured: bool = False) -> None:
        """The gradients are known, and the weights are as before the step."""
        if self._frozen:
            self._drop_frozen_gradients(optimizer)
        if self._armed and not measured:
            begin = perf_counter()
            self._measure_before(optimizer)
            self._step.spent += perf_counter() - begin

    def _followed(self, closure: Callable[[], Any], optimizer: Optimizer) -> Callable[[], Any]:
        """Return a closure that computes the gradients, of which the first are measured."""
        calls = 0

        def followed() -> Any:
            nonlocal calls
            calls += 1
            self._repeating = calls > 1
            try:
                loss = closure()
            finally:
                self._repeating = False
            if not self._detached:
                try:
                    self._before_update(optimizer, measured=calls > 1)
                except Exception as error:  # noqa: BLE001  (never into the program)
                    self._failed(error)
            return loss

        return followed

    def _after_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        if self._detached:
            restore(self._undo)
            self._undo = []
            self._disarm()
            if self._ends_cycle(optimizer):
                self._end_cycle({})
            return
        try:
            used = self._used(optimizer)
            if self._undo:
                restore(self._undo)
                self._undo = []
            if self._armed:
                begin = perf_counter()
                self._measured_or_failed(self._measure_after)
                self._step.spent += perf_counter() - begin
            if self._ends_cycle(optimizer):
                self._end_cycle(used)
        except Stopped:
            raise
        except Exception as error:  # noqa: BLE001  (never into the program)
            self._failed(error)

    def _measured_or_failed(self, measure: Callable[[], T]) -> T | None:
        """Measure; if that fails, watch no more, but let other ranks know at the step's end."""
        try:
            return measure()
        except Exception as error:  # noqa: BLE001  (never into the program)
            self._failed(error)
            return None

    def _ends_cycle(self, optimizer: Optimizer) -> bool:
        """Return whether all optimisers have stepped, now that this one has."""
        self._seen.append(id(optimizer))
        self._idle.discard(id(optimizer))
        if self._seen.count(id(optimizer)) > PATIENCE:
            self._idle = {id(other) for other in self.optimizers} - {*self._seen}
            self._losses = self._losses[-1:]  # not the sum over all these steps
        return all(id(other) in {*self._seen, *self._idle} for other in self.optimizers)

    def _used(self, optimizer: Optimizer) -> dict[str, Any]:
        """Return the learning rate of the step that was just made."""
        rate = optimizer.param_groups[0].get("lr")
        return {} if rate is None else {"learning_rate": now(rate)}

    def _end_cycle(self, values: dict[str, Any]) -> None:
        """All optimisers have stepped: the step of the run has ended. Raises Stopped."""
        self._seen.clear()
        if self._detached:
            with suppress(Exception):
                self.run.pass_step()
            return
        if self._losses:
            losses, self._losses = self._losses, []
            values["loss"] = sum_of(losses)
        measured = None
        if self._armed:
            begin = perf_counter()
            measured = self._measured_or_failed(self._measured)
            self._step.spent += perf_counter() - begin
            self._disarm()
        spent = self._step.spent + self._trace.spent
        self._step, self._trace.spent = _Step(), 0.0
        if self.run.closed:  # because measuring failed
            self.run.pass_step()
        elif self.run.end_step(values, measured, spent) and not self._detached:
            self._arm()

    def _failed(self, error: BaseException) -> None:
        self.run.failed(error)

    def detach(self) -> None:
        """Watch no more.

        What belongs to the program's thread is undone there, at the latest at its next step.
        """
        self._detached = True
        TAP.remove(self._backward)
        if get_ident() == self._thread:
            self._disarm()

    # Measuring.

    def _weights(self, optimizer: Optimizer) -> list[tuple[str, torch.Tensor]]:
        """Return the parameters of layers that an optimiser changes, by name."""
        own = _parameters(optimizer)
        self._tree.refresh()
        return [(name, p) for name, p in self._tree.parameters if id(p) in own]

    def _rows_by_parameter(self) -> dict[str, Row]:
        """Return the row that shows a parameter, by name: that of the first call of its module."""
        rows: dict[str, Row] = {}
        for row in self._trace.rows.values():
            if row.parameter:
                rows.setdefault(row.parameter, row)
        return rows

    def _measure_before(self, optimizer: Optimizer) -> None:
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
            self._slots.see_asymmetry(row, units_first(parameter, row))
            before = self._slots.copy_of(parameter)
            self._step.before.append((row, parameter, before))
            self._measure_gradient(row, parameter, optimizer)

    def _measure_gradient(self, row: Row, parameter: torch.Tensor, optimizer: Optimizer) -> None:
        if parameter.grad is None:
            return
        slot = self._trace.slot(row, "weight_grad")
        self._slots.measure(slot, parameter.grad)
        # A fused optimiser divides by the scale of a GradScaler itself, and says by which.
        scale = getattr(optimizer, "grad_scale", None)
        if scale is not None:
            self._slots.divide(slot, scale)

    def _measure_after(self) -> None:
        for row, parameter, before in self._step.before:
            self._slots.measure(self._trace.slot(row, "update"), parameter, before=before)
        for source, target in self._step.tied:
            for tensor in ("weight", "weight_grad", "update"):
                if tensor in source.slots:
                    self._slots.copy(source.slots[tensor], self._trace.slot(target, tensor))
        self._step.before.clear()
        self._step.tied.clear()

    def _add_parameter_rows(self) -> None:
        """Add rows for parameters with at least two axes that no layer shows."""
        self._tree.refresh()
        shown = self._rows_by_parameter()
        paths = {row.path for row in self._trace.rows.values()}
        for name, parameter in self._tree.parameters:
            where = name.rpartition(".")[0]
            if name in shown or parameter.ndim < 2 or not self._tree.chosen(where):
                continue
            taken = where in paths
            path = name if taken or not where else where
            paths.add(path)
            row = Row(path, "Parameter" if taken else self._tree.kind(where))
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
                    self._slots.divide(row.slots["activation_grad"], self._scale)
        rows = self._order()
        self._complete_inputs(rows)
        layers = self._status(rows) if len(rows) > len(self._published) else None
        self._published = rows
        shapes: dict[Row, torch.Size] = {}
        if self.run.step == 0:
            parameters = dict(self._tree.parameters)
            shapes = {
                row: units_first(parameters[row.parameter], row).shape
                for row in rows
                if row.parameter
            }
        taken, shared = self._slots.take(), None
        step, epoch, examples = self.run.step, self.run.epoch, trace.batch_size
        slots = [dict(row.slots) for row in rows]
        if isinstance(self.run, LeadingRun | FollowingRun):
            shared = SharedStatistics(taken, rows, slots, self._slots.sharded)
        pending = shared or taken

        def snapshot() -> Snapshot:  # by the recorder's thread, in the order of the steps
            return self._snapshots.build(rows, slots, pending.result(), step, epoch, examples)

        def status() -> TrainingStatus:
            assert layers is not None
            statistics = pending.result()
            for row, shape in shapes.items():
                if (slot := row.slots.get("weight")) is not None:
                    mean, std = statistics.statistics[slot, [MEAN, STD]].tolist()
                    row.first = first_weights(shape, std, mean)
            firsts = [row.first for row in rows]
            return replace(
                layers,
                layers=[
                    replace(layer, first=first)
                    for layer, first in zip(layers.layers, firsts, strict=True)
                ],
            )

        return Measured(
            snapshot=snapshot,
            status=None if layers is None else status,
            ready=pending.ready,
            shared=shared,
        )

    def _complete_inputs(self, rows: Sequence[Row]) -> None:
        """Let inputs that other layers have returned have the statistics of those outputs.

        In a chain they would say nothing that the layer before does not say.
        """
        if not self._published:
            self._trace.is_chain = [row.follows for row in rows[1:]] == rows[:-1]
        for row in rows:
            if self._trace.is_chain:
                row.slots.pop("input", None)
            elif row.input_from is not None:
                source, tensor = row.input_from
                if tensor in source.slots:
                    self._slots.copy(source.slots[tensor], self._trace.slot(row, "input"))

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
        return TrainingStatus(
            layers=[
                row.info(at, frozen=row.path in self._frozen) for at, row in enumerate(rows, 1)
            ],
            parameters=sum(p.numel() for model in self._alive() for p in model.parameters()),
            batch_size=self._trace.batch_size,
            steps_per_epoch=self.run.steps_per_epoch,
        )

    # Controls.

    def hyperparameters(self) -> Mapping[str, float]:
        """Return the values with which the next step is made."""
        return self._factors.values()

    def fetch(self, rows: Sequence[Scalars]) -> Fetched:
        """Begin to copy the tensors among some numbers to the host."""
        return fetch(rows)

    def refusal(self, command: Command) -> str:
        """Return why a command cannot be applied, or ""."""
        if command.kind in ("set", "scale"):
            return self._factors.refusal(command)
        if command.kind in ("freeze", "unfreeze") and command.layer > len(self._published):
            return f"there is no layer {command.layer}: there are {len(self._published)}"
        return ""

    def uneven(self) -> bool:
        """Return whether the program has entered `DistributedDataParallel.join`."""
        return any(
            getattr(getattr(model, "_join_config", None), "enable", False)
            for model in self._alive()
        )

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
        """Save the state of all models as a safetensors file, by name.

        Raises ConfigError for parameters that are divided between ranks.
        """
        from safetensors.torch import save_file

        tensors = {}
        for prefix, model in self._prefixed():
            for name, value in model.state_dict().items():
                if isinstance(value, torch.Tensor):
                    part = own_part(value)
                    if part is None or part[1]:
                        raise ConfigError(f"{name} is divided between ranks and cannot be saved")
                    tensors[clean(prefix + name)] = part[0].detach().cpu().contiguous().clone()
        save_file(tensors, path, {"format": "pt"})


class _Step:
    """What belongs to the step under way."""

    def __init__(self) -> None:
        self.spent = 0.0  # seconds
        self.before: list[tuple[Row, torch.Tensor, torch.Tensor]] = []
        """Rows with their weights, and copies of these before the step."""
        self.tied: list[tuple[Row, Row]] = []


def _with_closure(args: Any, kwargs: Any, closure: Callable[[], Any]) -> tuple[Any, Any]:
    """Return the arguments of a step, its optimiser first, with another closure."""
    if len(args) > 1:
        return (args[0], closure, *args[2:]), kwargs
    return args, {**kwargs, "closure": closure}


def _parameters(optimizer: Optimizer) -> set[int]:
    return {id(p) for group in optimizer.param_groups for p in group["params"]}
