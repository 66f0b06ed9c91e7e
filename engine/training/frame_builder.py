"""Builds a frame from everything that has happened since the last one."""

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
    """Collects steps, events and statistics for the next frame; `clock` gives it its times."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._begin()

    def _begin(self) -> None:
        self._results: list[StepResult] = []
        self._rates: list[float] = []
        self.events: list[Event] = []
        self.validations: list[Validation] = []
        self.snapshot: Snapshot | None = None
        self.batch_dependence: BatchDependence | None = None
        self.status: TrainingStatus | None = None

    @property
    def is_empty(self) -> bool:
        """Whether there is neither a step nor an event to report."""
        return not self._results and not self.events

    def add_step(self, result: StepResult, rate: float) -> None:
        """Add the result of a step and the learning rate that it used."""
        self._results.append(result)
        self._rates.append(rate)

    def add_event(self, step: int, kind: str, detail: Mapping[str, object]) -> None:
        """Add an event that happens now, after `step` updates."""
        self.events.append(Event(step, self._clock.elapsed(), kind, dict(detail)))

    def build(self, step: int, epoch: float, hyper: Mapping[str, float], state: RunState) -> Frame:
        """Return the frame up to `step`, and begin the next."""
        results, over = self._results, not state.live
        frame = Frame(
            first_step=step - len(results),
            time=self._clock.elapsed(),
            epoch=epoch,
            series={
                "loss": np.array([r.loss for r in results]),
                "data_loss": np.array([r.data_loss for r in results]),
                "accuracy": np.array([r.accuracy for r in results]),
                "learning_rate": np.array(self._rates),
            },
            steps_per_second=self._clock.steps_per_second(overall=over),
            probe_share=self._clock.probe_share(overall=over),
            hyperparameters=dict(hyper),
            validations=tuple(self.validations),
            batch_dependence=self.batch_dependence,
            snapshot=self.snapshot,
            events=tuple(self.events),
            status=self.status,
            state=state,
        )
        self._begin()
        self._clock.count_frame()
        return frame
