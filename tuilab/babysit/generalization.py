"""The gap between training and validation accuracy after a short run (claim E9)."""

from dataclasses import dataclass
from math import nan
from typing import Final

import msgspec
import numpy as np

from engine.data.dataset import Examples
from engine.statistics.frames import Floats, Frame
from engine.training.evaluation import Evaluator
from engine.training.trainer import Trainer
from tuilab.babysit.check import LOOK, Check, Step, Verdict
from tuilab.babysit.subject import Subject, sample
from tuilab.babysit.trials import affordable, train
from tuilab.scenario.building import build_trainer

EXAMPLES: Final = 2000
"""Of each split, at most, whose accuracy is compared."""
WORK, LEAST, MOST = 3e10, 50, 2000
"""Multiplications, and bounds of the steps that these pay for."""
EPOCHS: Final = 20
LONG: Final = 100
"""Steps of which one expects that they teach something; an epoch, if that has more."""
OVERFITS: Final = 0.1
LEARNT: Final = 0.02
"""By how much an accuracy must exceed that of always saying the commonest class."""
FALLING: Final = 0.02
"""Share of its loss that a run still loses over its last quarter while it is learning."""


@dataclass(frozen=True, slots=True)
class Run:
    """What a short run came to."""

    loss: Floats
    epoch: int  # steps of one
    train: float
    validation: float
    base: float  # the accuracy of always saying the commonest class

    @property
    def gap(self) -> float:
        return self.train - self.validation

    @property
    def long(self) -> bool:
        """Whether it was long enough to expect something of it."""
        return len(self.loss) >= max(LONG, self.epoch)

    @property
    def falling(self) -> bool:
        """Whether the loss of the last quarter still falls."""
        quarter = max(1, len(self.loss) // 4)
        before, last = self.loss[-2 * quarter : -quarter], self.loss[-quarter:]
        return len(before) > 0 and bool(last.mean() < (1 - FALLING) * before.mean())


def check(subject: Subject) -> Check:
    """Train for a while as the scenario says, schedule and all, and compare the two splits."""
    if subject.data.validation is None:
        return Check(
            LOOK,
            measured=nan,
            shown="no validation split",
            expected="one to compare with",
            meaning="Nothing tells whether it generalises: set data.validation to a share.",
        )
    run = _run(subject, subject.data.validation)
    verdict, meaning = _judge(run)
    return Check(
        verdict,
        measured=run.gap,
        shown=f"training {run.train:.1%}, validation {run.validation:.1%}: gap {run.gap:.1%} "
        f"after {len(run.loss):,} steps",
        expected=f"a gap of less than {OVERFITS:.0%}, both above {run.base:.1%}",
        meaning=meaning,
        details={
            "train_accuracy": run.train,
            "validation_accuracy": run.validation,
            "steps": len(run.loss),
            "final_loss": float(run.loss[-1]),
        },
    )


def _run(subject: Subject, validation: Examples) -> Run:
    trainer = _trainer(subject)
    told = 0

    def tell(frame: Frame) -> bool:
        nonlocal told
        if frame.time >= told:
            told += 1
            subject.tell(f"step {frame.first_step:,} of {trainer.total_steps:,}")
        return False

    trial = train(trainer, enough=tell)
    seed, loss = subject.scenario.seed, subject.scenario.loss
    accuracies = [
        Evaluator(trainer.network, loss, sample(split, EXAMPLES, seed=seed))()[1]
        for split in (subject.data.train, validation)
    ]
    commonest = float(np.bincount(validation.y).max()) / len(validation)
    return Run(trial.loss, trainer.steps_per_epoch, accuracies[0], accuracies[1], commonest)


def _trainer(subject: Subject) -> Trainer:
    """Bind the scenario as it is, for as many steps as a check may take."""
    scenario, data, backend = subject.scenario, subject.data, subject.backend
    whole = build_trainer(scenario, data, backend, probes=False)
    most = min(MOST, whole.total_steps, EPOCHS * whole.steps_per_epoch)
    steps = affordable(whole, WORK, min(LEAST, most), most)
    length = msgspec.structs.replace(scenario.train, epochs=None, steps=steps)
    short = msgspec.structs.replace(scenario, train=length, expect=())
    return build_trainer(short, data, backend, probes=False)


def _judge(run: Run) -> tuple[Verdict, str]:
    if not np.isfinite(run.loss).all():
        return "wrong", "Training diverges: lower the learning rate."
    if max(run.train, run.validation) < run.base + LEARNT:
        return "wrong" if run.long else LOOK, (
            "It does no better than to name the commonest class each time: see the steps above, "
            "and first of all the learning rate."
        )
    if run.gap > OVERFITS:
        return LOOK, (
            "Overfitting: it knows its examples better than what they have in common. Raise the "
            "weight decay, add dropout or augmentation, or find more data."
        )
    if run.long and run.train < (1 + run.base) / 2 and not run.falling:
        return LOOK, (
            "Underfitting: few are right, seen or not, and the loss falls no further. The network "
            "can have more units, or less regularisation."
        )
    if run.falling:
        return "good", "It learns, and what it learns holds for what it has not seen."
    return "good", "It has learnt what it was shown, and that holds for what it has not seen."


STEP: Final = Step("generalization", "train/validation gap", check)
