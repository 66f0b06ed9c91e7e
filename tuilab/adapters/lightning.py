"""Watches PyTorch Lightning: `Trainer(callbacks=[tuilab.lightning.Watch()])`."""

import math
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final, Unpack

from engine.errors import ConfigError
from tuilab.adapters.callback import (
    TRAINING,
    Keywords,
    WatchingCallback,
    guarded,
    takes_part,
    validation_metrics,
    without_prefix,
)
from tuilab.adapters.torch.watcher import TorchWatcher

PACKAGES: Final = ("lightning.pytorch", "pytorch_lightning")
"""The same framework under two names; a program may use either."""


def _callback_classes() -> Iterator[type]:
    """Yield the base classes for callbacks of the packages that the program has imported."""
    loaded = [name for name in PACKAGES if name in sys.modules]
    installed = [name for name in PACKAGES if find_spec(name.partition(".")[0]) is not None]
    if not installed:
        raise ConfigError("Lightning is not installed: pip install lightning")
    for name in loaded or installed[:1]:
        yield import_module(name).Callback


Callback: Any = type("Callback", (*_callback_classes(),), {})


class Watch(WatchingCallback, Callback):
    """Records what a Lightning `Trainer` trains; takes the options of `tuilab.watch`.

    Losses come from the backward passes, other values from `self.log`, validations from the
    validation loop. The key for "stop" ends `fit` as early stopping does. In a job of several
    processes each measures its part, and that of rank 0 records.
    """

    def __init__(self, **options: Unpack[Keywords]) -> None:
        super().__init__(**options)
        self._logged: dict[str, Any] = {}  # as last seen, to find out what is new
        self._step = 0

    @guarded
    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Begin the run."""
        if not takes_part(first=trainer.is_global_zero):
            return
        total = trainer.estimated_stepping_batches
        batches = trainer.num_training_batches
        known: dict[str, Any] = {
            "title": type(pl_module).__name__,
            "total_steps": int(total) if math.isfinite(total) and total > 0 else 0,
        }
        if pl_module.automatic_optimization and math.isfinite(batches):
            known["steps_per_epoch"] = math.ceil(batches / trainer.accumulate_grad_batches)

        def stop() -> None:
            trainer.should_stop = True

        self._logged, self._step = dict(trainer.callback_metrics), 0
        self.begin(pl_module, trainer.optimizers, stop, **known)
        watcher = self.run.controls if self.run is not None else None
        if pl_module.automatic_optimization and isinstance(watcher, TorchWatcher):
            # A training step may call parts of the module without calling the module itself.
            pl_module.training_step = watcher.as_pass(pl_module, pl_module.training_step)

    @guarded
    def on_train_batch_end(self, trainer: Any, *_: Any, **__: Any) -> None:
        """Record what was logged in the batch, if it has ended a step."""
        if self.run is not None and self.watching and self.run.step != self._step:
            self._step = self.run.step
            self._log(trainer)

    @guarded
    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """Record what was logged at the end of the epoch before."""
        if self.run is not None and self.watching and self.run.step:
            self._log(trainer)

    @guarded
    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """Record the metrics of a validation."""
        if self.run is not None and self.watching and not trainer.sanity_checking:
            metrics = validation_metrics(self._new(trainer))
            if metrics:
                self.run.validation(**metrics)

    @guarded
    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """End the run."""
        pl_module.__dict__.pop("training_step", None)
        self.end()

    @guarded
    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """End the run with the error that ended the training."""
        pl_module.__dict__.pop("training_step", None)
        self.end(exception)

    def _new(self, trainer: Any) -> dict[str, Any]:
        """Return the metrics that were computed since the last call: other objects."""
        metrics = dict(trainer.callback_metrics)
        new = {
            name: value for name, value in metrics.items() if self._logged.get(name) is not value
        }
        self._logged = metrics
        return new

    def _log(self, trainer: Any) -> None:
        values = {}
        new = self._new(trainer)
        for name, value in new.items():
            short = without_prefix(name.removesuffix("_step"), TRAINING)
            # The loss of each step is known from its backward passes, of all its batches.
            if short != "loss" and f"{name}_step" not in new:
                values[short] = value
        if values and self.run is not None:
            self.run.log(**values)
