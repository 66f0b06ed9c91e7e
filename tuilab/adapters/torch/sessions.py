"""Which models are watched now: a second `watch` of one does not pile up hooks."""

import gc
import sys
from collections.abc import Sequence
from typing import Any, Final

from torch import nn
from torch.optim import Optimizer

from engine.errors import ConfigError
from tuilab.adapters.torch.watcher import Compiled, Layers, TorchWatcher
from tuilab.adapters.watched_run import WatchedRun, WatchOptions

_ACTIVE: Final[list[tuple[list[int], list[int], WatchedRun]]] = []
"""Runs by the identities of their models and optimisers."""


def begin(
    models: Sequence[Any],
    optimizers: Sequence[Any],
    options: WatchOptions,
    layers: Layers,
    compiled: Compiled,
) -> WatchedRun:
    """Watch models and optimisers. Raises ConfigError, RunError.

    Models that are watched already, with the same optimisers, keep their run. With others, as when
    a cell of a notebook is run again, their run ends and a new one begins; so does a run whose
    models no longer exist. Optimisers may be those
    that Accelerate or Lightning Fabric has prepared.
    """
    optimizers = [inner_optimizer(optimizer) for optimizer in optimizers]
    for model in models:
        if not isinstance(model, nn.Module):
            raise ConfigError(f"must be a torch.nn.Module, is {type(model).__name__}", "model")
    for optimizer in optimizers:
        if not isinstance(optimizer, Optimizer):
            raise ConfigError(
                f"must be a torch.optim.Optimizer, is {type(optimizer).__name__}", "optimizer"
            )
    _check_owned(models, optimizers)
    ours = [id(model) for model in models], [id(optimizer) for optimizer in optimizers]
    if "IPython" in sys.modules:
        gc.collect()  # the models of a cell that is run again, which may be in cycles
    for entry in [*_ACTIVE]:
        if entry[2].closed:
            _ACTIVE.remove(entry)
        elif _is_orphaned(entry[2]):
            entry[2].close()
            _ACTIVE.remove(entry)
        elif entry[:2] == ours:
            return entry[2]
        elif {*entry[0]} & {*ours[0]} or {*entry[1]} & {*ours[1]}:
            entry[2].close()
            _ACTIVE.remove(entry)
    run = TorchWatcher(models, optimizers, options, layers, compiled).run
    _ACTIVE.append((*ours, run))
    return run


def _is_orphaned(run: WatchedRun) -> bool:
    """Return whether all models of a run are gone."""
    return isinstance(run.controls, TorchWatcher) and run.controls.orphaned


def inner_optimizer(optimizer: Any) -> Any:
    """Return the optimiser inside of a framework's wrapper, whose hooks are those that are called.

    The wrappers of Accelerate, Lightning and Fabric call it `optimizer`; some of them claim to be
    optimisers themselves.
    """
    while isinstance(inner := getattr(optimizer, "optimizer", None), Optimizer):
        optimizer = inner
    return optimizer


def _check_owned(models: Sequence[nn.Module], optimizers: Sequence[Optimizer]) -> None:
    """Warn of parameters that no optimiser changes, which is a classic fault. Never raises."""
    owned = {id(p) for o in optimizers for group in o.param_groups for p in group["params"]}
    trained = [
        name
        for model in models
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and id(parameter) not in owned
    ]
    if trained:
        shown = ", ".join(trained[:3]) + (" …" if len(trained) > 3 else "")
        print(
            f"tuilab: {len(trained)} parameters that require a gradient are in no optimiser that is"
            f" watched: {shown}",
            file=sys.stderr,
        )
