"""The states of a run and the kinds of its events: words that frames, records and views share."""

from enum import StrEnum
from typing import Final


class RunState(StrEnum):
    """How a run is going, or how it ended."""

    STARTING = "starting"
    RUNNING = "running"
    PAUSED = "paused"
    FINISHED = "finished"  # all steps are done
    DIVERGED = "diverged"  # the loss became NaN or infinite
    STOPPED = "stopped"  # by a command or a signal
    FAILED = "failed"  # by an error
    KILLED = "killed"  # its process is gone without having recorded how it ended
    UNREADABLE = "unreadable"  # its record cannot be read

    @property
    def ended(self) -> bool:
        """Whether the training process recorded that the run is over."""
        return self in RECORDED_ENDS

    @property
    def live(self) -> bool:
        """Whether a process is there to take commands."""
        return self in (RunState.STARTING, RunState.RUNNING, RunState.PAUSED)


RECORDED_ENDS: Final = frozenset(
    (RunState.FINISHED, RunState.DIVERGED, RunState.STOPPED, RunState.FAILED)
)


class EventKind(StrEnum):
    """What an event records: a command that was applied, or something that happened."""

    SET = "set"
    PAUSE = "pause"
    RESUME = "resume"
    STEP = "step"
    RUN_TO_EPOCH = "run_to_epoch"
    SPEED = "speed"
    STOP = "stop"
    ARM = "arm"
    CHECKPOINT = "checkpoint"
    BATCH_SIZE = "batch_size"
    SCHEDULE = "schedule"
    FREEZE = "freeze"
    UNFREEZE = "unfreeze"
    REINITIALIZE = "reinitialize"
    ACTIVATION = "activation"
    BATCH_NORM = "batch_norm"
    REFUSED = "refused"  # a command that could not be applied
    SKIPPED = "skipped"  # a step that was not made: its gradient was not finite
    RESUMED = "resumed"  # training continued from a checkpoint
    DIVERGED = "diverged"
    EAGER = "eager"  # a GPU computes operation by operation, and why
    RANKS = "ranks"  # one of several ranks differs from the others, or is gone
    FINDING = "finding"  # the diagnosis found something
    CLEARED = "cleared"  # a finding no longer holds
