"""`tuilab.watch`: finds the adapter for what it is given."""

import sys
from collections.abc import Callable, Sequence
from typing import Any, Literal

from engine.errors import ConfigError
from tuilab.adapters.cadence import SHARE, Every
from tuilab.adapters.watched_run import WatchedRun, WatchOptions


def watch(
    model: Any,
    optimizer: Any = None,
    *,
    out: str | None = None,
    title: str = "",
    every: Every = SHARE,
    layers: str | Sequence[str] | Callable[[str, Any], bool] | None = None,
    compiled: Literal["eager", "off"] = "eager",
    classes: int = 0,
    total_steps: int = 0,
    steps_per_epoch: int = 0,
    quiet: bool = False,
    stop: Callable[[], None] | None = None,
) -> WatchedRun:
    """Record the training of `model` by `optimizer` from now on, to be looked at live.

    `model` is a `torch.nn.Module`, or several of them, and `optimizer` what steps them, or several.
    A step of the run ends when each optimiser has stepped. Models and optimisers that Accelerate or
    Lightning Fabric has prepared are welcome. Without an optimiser, `model` is a `Trainer` of
    tuilab's own engine, which measures by its own clock.

    `out` is the run folder [default: runs/<time>-<program>]. `every` says when statistics are
    measured: a share of the time below 1, a number of steps, or "never" but on request. `layers`
    selects layers by patterns of their paths ("*.mlp.*"), or by a function of path and module.
    Steps that are measured run without `torch.compile`; with `compiled` "off", they run as compiled
    and only weights, gradients and updates are measured.

    `classes`, `total_steps` and `steps_per_epoch` help the diagnosis where they are known. `stop`
    is called when the view ends the training; without it, the step raises `tuilab.Stopped`.

    Raises ConfigError for arguments without a meaning, RunError where nothing can be recorded.
    """
    if compiled not in ("eager", "off"):
        raise ConfigError(f'must be "eager" or "off", is {compiled!r}', "compiled")
    options = WatchOptions(
        out=out,
        title=title,
        every=every,
        classes=classes,
        total_steps=total_steps,
        steps_per_epoch=steps_per_epoch,
        quiet=quiet,
        stop=stop,
    )
    if optimizer is None and _is_trainer(model):
        if every != SHARE or layers is not None:
            raise ConfigError("a Trainer of the engine measures all layers by its own clock")
        from tuilab.adapters.engine.trainer_run import watch_trainer

        return watch_trainer(model, options)
    models = _listed(model, "model")
    optimizers = _listed(optimizer, "optimizer")
    from tuilab.adapters.torch.sessions import begin

    return begin(models, optimizers, options, layers, compiled)


def _is_trainer(model: Any) -> bool:
    """Return whether a model is a trainer of the engine, without loading that."""
    module = sys.modules.get("engine.training.trainer")
    return module is not None and isinstance(model, module.Trainer)


def _listed(value: Any, name: str) -> list[Any]:
    if value is None:
        raise ConfigError("is needed: tuilab.watch(model, optimizer)", name)
    return [*value] if isinstance(value, list | tuple) else [value]
