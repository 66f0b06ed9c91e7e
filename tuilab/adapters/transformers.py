"""Watches Hugging Face's `Trainer`: `Trainer(…, callbacks=[tuilab.transformers.Watch()])`."""

from typing import Any, Final, Unpack

from transformers import TrainerCallback

from tuilab.adapters.callback import (
    Keywords,
    WatchingCallback,
    guarded,
    takes_part,
    validation_metrics,
)

KNOWN: Final = ("loss", "learning_rate", "epoch", "total_flos")
"""What `Trainer` logs and the run knows of each step, not only every `logging_steps`."""
TOTALS: Final = "train_"
"""How the names of the sums begin that `Trainer` logs at its end."""


class Watch(WatchingCallback, TrainerCallback):
    """Records what a `Trainer` of Hugging Face trains; takes the options of `tuilab.watch`.

    Losses come from the backward passes of each step, other values from what `Trainer` logs every
    `logging_steps`, validations from `evaluate`. The key for "stop" ends `train` after the step.
    In a job of several processes each measures its part, and that of rank 0 records.
    """

    def __init__(self, **options: Unpack[Keywords]) -> None:
        super().__init__(**options)
        self._stopped = False

    @guarded
    def on_train_begin(
        self,
        args: Any,
        state: Any,
        control: Any,
        model: Any = None,
        optimizer: Any = None,
        **_: Any,
    ) -> None:
        """Begin the run."""
        if not takes_part(first=state.is_world_process_zero):
            return
        self._stopped = False
        known = {"title": type(model).__name__, "total_steps": max(0, state.max_steps)}
        if state.num_train_epochs > 0 and args.max_steps <= 0:
            known["steps_per_epoch"] = round(state.max_steps / state.num_train_epochs)
        self.begin(model, optimizer, self._stop, **known)

    def _stop(self) -> None:
        self._stopped = True

    @guarded
    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """End the training where the view has asked for that."""
        if self._stopped:
            control.should_training_stop = True

    @guarded
    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any
    ) -> None:
        """Record what was logged of the step that has just ended."""
        values = {
            name: value
            for name, value in (logs or {}).items()
            if isinstance(value, float | int) and name not in KNOWN
            if not name.startswith((TOTALS, "eval_"))
        }
        if values and self.run is not None and self.run.step:
            self.run.log(**values)

    @guarded
    def on_evaluate(
        self, args: Any, state: Any, control: Any, metrics: dict[str, Any] | None = None, **_: Any
    ) -> None:
        """Record the metrics of an evaluation."""
        values = validation_metrics(metrics or {})
        for name in ("runtime", "samples_per_second", "steps_per_second", "model_preparation_time"):
            values.pop(name, None)
        if values and self.run is not None:
            self.run.validation(**values)

    @guarded
    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """End the run."""
        self.end()
