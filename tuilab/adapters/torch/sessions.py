"""Which models are watched now: a second `watch` of one does not pile up hooks."""

import gc
import sys
from collections.abc import Sequence
from typing import Any, Final

from torch import nn
from torch.optim import Optimizer

from engine.errors import ConfigError
from tuilab.adapters.torch.module_tree import Layers
from tuilab.adapters.torch.watcher import Compiled, TorchWatcher
from tuilab.adapters.watched_run import WatchedRun, WatchOptions

_ACTIVE: Final[list[tuple[list[int], list[int], TorchWatcher]]] = []
"""Watchers by the identities of their models and optimisers."""


def is_watching() -> bool:
    """Return whether anything is watched now."""
    return any(not watcher.run.closed for _, _, watcher in _ACTIVE)


def begin(
    models: Sequence[Any],
    optimizers: Sequence[Any],
    options: WatchOptions,
    layers: Layers,
    compiled: Compiled,
) -> WatchedRun:
    """Watch models and optimisers. Raises ConfigError, RunError.

    Models that are watched already, with the same optimisers, keep their run. With others, as when
    a cell of a notebook is run again, their run ends and a new one begins; the run of models that
    no longer exist ends, too. Optimisers may be those that Accelerate or Fabric has prepared.
    """
    return begin_watcher(models, optimizers, options, layers, compiled).run


def begin_watcher(
    models: Sequence[Any],
    optimizers: Sequence[Any],
    options: WatchOptions,
    layers: Layers,
    compiled: Compiled,
) -> TorchWatcher:
    """Return what watches for `begin`."""
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
        if entry[2].run.closed:
            _ACTIVE.remove(entry)
        elif not entry[2].has_models:
            entry[2].run.close()
            _ACTIVE.remove(entry)
        elif entry[:2] == ours:
            return entry[2]
        elif {*entry[0]} & {*ours[0]} or {*entry[1]} & {*ours[1]}:
            entry[2].run.close()
            _ACTIVE.remove(entry)
    watcher = TorchWatcher(models, optimizers, options, layers, compiled)
    _ACTIVE.append((*ours, watcher))
    return watcher


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
