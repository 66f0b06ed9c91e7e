"""What has happened since the last frame, and the frame that is made of it."""

from collections.abc import Mapping

import numpy as np

from engine.states import RunState
from engine.statistics.frames import (
    BatchDependence,
    Event,
    Frame,
    Snapshot,
    TrainingStatus,
    Validation,
)
from engine.training.clock import Clock
from engine.training.training_step import StepResult


class FrameBuilder:
    """Gathers, step by step, what the next frame will tell; `pace` gives it its times."""

    def __init__(self, pace: Clock) -> None:
        self._pace = pace
        self._begin()

    def _begin(self) -> None:
        self._results: list[StepResult] = []
        self._rates: list[float] = []
        self.events: list[Event] = []
        self.validations: list[Validation] = []
        self.snapshot: Snapshot | None = None
        self.batch_dependence: BatchDependence | None = None
        self.standing: TrainingStatus | None = None

    @property
    def is_empty(self) -> bool:
        """Whether there is neither a step nor an event to tell of."""
        return not self._results and not self.events

    def step_made(self, result: StepResult, rate: float) -> None:
        """Add a step, and the learning rate it was made with."""
        self._results.append(result)
        self._rates.append(rate)

    def happened(self, step: int, kind: str, detail: dict[str, object]) -> None:
        """Add an event after `step` updates, now."""
        self.events.append(Event(step, self._pace.elapsed(), kind, detail))

    def build(self, step: int, epoch: float, hyper: Mapping[str, float], state: str) -> Frame:
        """Return the frame up to `step`, and begin the next."""
        results, over = self._results, state not in ("running", "paused")
        frame = Frame(
            first_step=step - len(results),
            time=self._pace.elapsed(),
            epoch=epoch,
            series={
                "loss": np.array([r.loss for r in results]),
                "data_loss": np.array([r.data_loss for r in results]),
                "accuracy": np.array([r.accuracy for r in results]),
                "learning_rate": np.array(self._rates),
            },
            steps_per_second=self._pace.steps_per_second(overall=over),
            probe_share=self._pace.probe_share(overall=over),
            hyperparameters=dict(hyper),
            validations=tuple(self.validations),
            batch_dependence=self.batch_dependence,
            snapshot=self.snapshot,
            events=tuple(self.events),
            status=self.standing,
            state=RunState(state),
        )
        self._begin()
        self._pace.frame_made()
        return frame
