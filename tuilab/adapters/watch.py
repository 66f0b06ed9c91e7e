"""`tuilab.watch`: finds the adapter for what it is given."""

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
) -> WatchedRun:
    """Record the training of `model` by `optimizer` from now on, to be looked at live.

    `model` is a `torch.nn.Module`, or several of them, and `optimizer` what steps them, or several.
    A step of the run ends when each optimiser has stepped.

    `out` is the run folder [default: runs/<time>-<program>]. `every` says when statistics are
    measured: a share of the time below 1, a number of steps, or "never" but on request. `layers`
    selects layers by patterns of their paths ("*.mlp.*"), or by a function of path and module.
    Steps that are measured run without `torch.compile`; with `compiled` "off", they run as compiled
    and only weights, gradients and updates are measured.

    `classes`, `total_steps` and `steps_per_epoch` help the diagnosis where they are known.

    Raises ConfigError for arguments without a meaning, RunError where nothing can be recorded.
    """
    from tuilab.adapters.torch.sessions import begin

    models = _listed(model, "model")
    optimizers = _listed(optimizer, "optimizer")
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
    )
    return begin(models, optimizers, options, layers, compiled)


def _listed(value: Any, name: str) -> list[Any]:
    if value is None:
        raise ConfigError("is needed: tuilab.watch(model, optimizer)", name)
    return [*value] if isinstance(value, list | tuple) else [value]
