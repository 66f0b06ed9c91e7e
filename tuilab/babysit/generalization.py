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
from tuilab.babysit.check import LOOK, Check, CheckResult, CheckVerdict
from tuilab.babysit.subject import Subject, sample
from tuilab.babysit.trials import affordable, train
from tuilab.scenario.building import build_trainer

EXAMPLES: Final = 2000
"""Upper limit of the examples per split whose accuracy is compared."""
WORK, LEAST, MOST = 3e10, 50, 2000
"""Multiplications, and limits of the number of steps."""
EPOCHS: Final = 20
LONG: Final = 100
"""Steps after which some learning is expected, or an epoch if that is longer."""
OVERFITS: Final = 0.1
LEARNT: Final = 0.02
"""Margin by which an accuracy must exceed that of always predicting the most common class."""
FALLING: Final = 0.02
"""Decrease of the loss over the last quarter of a run, as a share, if it is still learning."""


@dataclass(frozen=True, slots=True)
class ShortRunResult:
    """Loss and accuracies of a short run."""

    loss: Floats
    epoch: int  # steps per epoch
    train: float
    validation: float
    base: float  # the accuracy of always predicting the most common class

    @property
    def gap(self) -> float:
        return self.train - self.validation

    @property
    def long(self) -> bool:
        """Whether it was long enough to expect some learning."""
        return len(self.loss) >= max(LONG, self.epoch)

    @property
    def falling(self) -> bool:
        """Whether the loss still fell in the last quarter."""
        quarter = max(1, len(self.loss) // 4)
        before, last = self.loss[-2 * quarter : -quarter], self.loss[-quarter:]
        return len(before) > 0 and bool(last.mean() < (1 - FALLING) * before.mean())


def check(subject: Subject) -> CheckResult:
    """Train for a limited number of steps as the scenario says, and compare the two splits."""
    if subject.data.validation is None:
        return CheckResult(
            LOOK,
            measured=nan,
            shown="no validation split",
            expected="a split to compare with",
            meaning="Generalisation cannot be measured; set data.validation, for example to 0.2.",
        )
    run = _run(subject, subject.data.validation)
    verdict, meaning = _judge(run)
    return CheckResult(
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


def _run(subject: Subject, validation: Examples) -> ShortRunResult:
    trainer = _trainer(subject)
    seconds = 0

    def report(frame: Frame) -> bool:
        nonlocal seconds
        if frame.time >= seconds:
            seconds += 1
            subject.progress(f"step {frame.first_step:,} of {trainer.total_steps:,}")
        return False

    trial = train(trainer, enough=report)
    seed, loss = subject.scenario.seed, subject.scenario.loss
    accuracies = [
        Evaluator(trainer.network, loss, sample(split, EXAMPLES, seed=seed))()[1]
        for split in (subject.data.train, validation)
    ]
    most_common = float(np.bincount(validation.y).max()) / len(validation)
    return ShortRunResult(
        trial.loss, trainer.steps_per_epoch, accuracies[0], accuracies[1], most_common
    )


def _trainer(subject: Subject) -> Trainer:
    """Return a trainer of the scenario for as many steps as a check may take."""
    scenario, data, backend = subject.scenario, subject.data, subject.backend
    whole = build_trainer(scenario, data, backend, probes=False)
    most = min(MOST, whole.total_steps, EPOCHS * whole.steps_per_epoch)
    steps = affordable(whole, WORK, min(LEAST, most), most)
    length = msgspec.structs.replace(scenario.train, epochs=None, steps=steps)
    short = msgspec.structs.replace(scenario, train=length, expect=())
    return build_trainer(short, data, backend, probes=False)


def _judge(run: ShortRunResult) -> tuple[CheckVerdict, str]:
    if not np.isfinite(run.loss).all():
        return "wrong", "Training diverges: lower the learning rate."
    if max(run.train, run.validation) < run.base + LEARNT:
        return "wrong" if run.long else LOOK, (
            "It is no better than always predicting the most common class: see the checks above, "
            "in particular the learning rate."
        )
    if run.gap > OVERFITS:
        return LOOK, (
            "Overfitting: the network memorises its examples. Increase weight decay, add dropout "
            "or augmentation, or use more data."
        )
    if run.long and run.train < (1 + run.base) / 2 and not run.falling:
        return LOOK, (
            "Underfitting: both accuracies are low, and the loss no longer falls. Use more units, "
            "or less regularisation."
        )
    if run.falling:
        return "good", "The network is still learning, and it generalises."
    return "good", "The network has learnt the training examples, and it generalises."


CHECK: Final = Check("generalization", "train/validation gap", check)
