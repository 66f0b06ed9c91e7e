"""What the callbacks of all frameworks share: a run that begins and ends with the training."""

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any, Final, Literal, TypedDict, TypeVar, cast

from tuilab.adapters.cadence import Every
from tuilab.adapters.watch import watch
from tuilab.adapters.watched_run import WatchedRun

M = TypeVar("M", bound=Callable[..., None])
SHORT: Final = {"acc": "accuracy"}
"""Names that frameworks shorten."""
VALIDATION: Final = ("val", "valid", "validation", "eval")
TRAINING: Final = ("train", "training")


class Keywords(TypedDict, total=False):
    """What may be given to `Watch`: see `tuilab.watch`."""

    out: str | None
    title: str
    every: Every
    layers: str | Sequence[str] | Callable[[str, Any], bool] | None
    compiled: Literal["eager", "off"]
    classes: int
    total_steps: int
    steps_per_epoch: int
    quiet: bool


class WatchingCallback:
    """Begins a run when the training begins; `run` is that run while there is one."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self._options = options
        self.run: WatchedRun | None = None

    def begin(self, model: Any, optimizer: Any, stop: Callable[[], None], **known: Any) -> None:
        """Watch a model; what the framework knows yields to the options of the user."""
        self.run = watch(model, optimizer, stop=stop, **(known | self._options))

    @property
    def watching(self) -> bool:
        """Whether a run is being recorded."""
        return self.run is not None and not self.run.closed

    def end(self, error: BaseException | None = None) -> None:
        """End the run, because of an error if there is one."""
        run, self.run = self.run, None
        if run is not None:
            run.__exit__(None if error is None else type(error), error, None)

    def give_up(self, error: BaseException) -> None:
        """Go on without watching, and print why."""
        if self.run is not None:
            self.run.failed(error)
        else:
            print(f"tuilab: not watching: {error}", file=sys.stderr, flush=True)

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy in another process needs: not the run, which stays in this one."""
        return {**self.__dict__, "run": None}


def guarded(method: M) -> M:
    """Return a method of a callback that never raises into the program."""

    @wraps(method)
    def call(self: Any, *args: Any, **kwargs: Any) -> None:
        try:
            method(self, *args, **kwargs)
        except Exception as error:  # noqa: BLE001  (the training must go on)
            self.give_up(error)

    return cast(M, call)


def takes_part(*, first: bool) -> bool:
    """Return whether a process watches: the first of a job, and others that it can meet."""
    distributed = sys.modules.get("torch.distributed")
    return first or (
        distributed is not None and distributed.is_available() and distributed.is_initialized()
    )


def without_prefix(name: str, prefixes: Sequence[str]) -> str:
    """Return the name of a metric as tuilab has it: "val_loss", "val/loss" → "loss"."""
    for prefix in prefixes:
        for separator in ("_", "/", "."):
            if name.startswith(prefix + separator):
                name = name.removeprefix(prefix + separator)
                return SHORT.get(name, name)
    return SHORT.get(name, name)


def validation_metrics(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metrics that were measured on other data, under the names of tuilab."""
    names = {name: without_prefix(name, VALIDATION) for name in metrics}
    return {short: metrics[name] for name, short in names.items() if short != name}
