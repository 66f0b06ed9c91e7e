"""Watches Keras: `model.fit(…, callbacks=[tuilab.keras.Watch()])`."""

import sys
from typing import Any, Unpack

import keras

from tuilab.adapters.cadence import SHARE
from tuilab.adapters.callback import Keywords, WatchingCallback, guarded, validation_metrics
from tuilab.adapters.watched_run import WatchedRun, WatchOptions


class Watch(WatchingCallback, keras.callbacks.Callback):
    """Records what `fit` trains; takes the options of `tuilab.watch`.

    On the PyTorch back-end, everything is measured that a program in PyTorch shows, and the
    learning rate can be changed and layers frozen by key. On other back-ends, which compile the
    whole step, only weights, their updates and the metrics are measured. The key for "stop" ends
    `fit` after the batch. Metrics other than the loss are means over the epoch so far, as Keras
    computes them.
    """

    def __init__(self, **options: Unpack[Keywords]) -> None:
        super().__init__(**options)

    @guarded
    def on_train_begin(self, logs: Any = None) -> None:
        """Begin the run."""
        steps, epochs = self.params.get("steps") or 0, self.params.get("epochs") or 0
        model = self.model
        known: dict[str, Any] = {
            "title": model.name,
            "total_steps": steps * epochs,
            "steps_per_epoch": steps,
            "every": SHARE,
        } | self._options
        layers, compiled = known.pop("layers", None), known.pop("compiled", "eager")

        def stop() -> None:
            model.stop_training = True

        options = WatchOptions(**known, stop=stop)
        self.run = self._begin_run(model, options, layers, compiled)

    def _begin_run(
        self, model: Any, options: WatchOptions, layers: Any, compiled: Any
    ) -> WatchedRun:
        if keras.backend.backend() == "torch":
            from tuilab.adapters.torch.keras_watcher import KerasWatcher

            return KerasWatcher(model, options, layers, compiled).run
        from tuilab.adapters.keras_weights import KerasWeights

        print(
            f"tuilab: on the {keras.backend.backend()} back-end of Keras only weights, updates and"
            " metrics are recorded; KERAS_BACKEND=torch records activations and gradients too",
            file=sys.stderr,
        )
        return KerasWeights(model, options, layers).run

    @guarded
    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Record the metrics of a batch."""
        if self.run is None or not self.watching:
            return
        step = getattr(self.run.controls, "after_batch", None)
        if step is not None:
            step(logs or {})
        elif self.run.step:
            self.run.log(**{name: value for name, value in (logs or {}).items() if name != "loss"})

    @guarded
    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Remember the weights before a batch, where the framework has no other way."""
        if self.run is not None and self.watching:
            before = getattr(self.run.controls, "before_batch", None)
            if before is not None:
                before()

    @guarded
    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Record the metrics of a validation."""
        metrics = validation_metrics(logs or {})
        if metrics and self.run is not None:
            self.run.validation(**metrics)

    @guarded
    def on_train_end(self, logs: Any = None) -> None:
        """End the run."""
        self.end()
