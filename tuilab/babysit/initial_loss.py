"""The loss with the initial weights against the loss of guessing (claim E1)."""

from math import isfinite, nan
from typing import Final

import numpy as np

from tuilab.babysit.check import LOOK, Check, CheckResult, CheckVerdict
from tuilab.babysit.subject import Subject

EXAMPLES: Final = 1000
CLOSE, NEAR, FAR = 1.1, 1.5, 3.0
"""Multiples of the loss of guessing. With He initialisation of the output layer the scores have
std 1, which adds about 0.5 to ln C."""
BELOW: Final = 0.75
KNOWING: Final = 3.0
"""Multiple of 1/C above which an accuracy is implausible for initial weights."""


def check(subject: Subject) -> CheckResult:
    """Measure loss and accuracy of a few training batches, without regularisation."""
    loss, accuracy, spread = _measure(subject)
    chance, classes = subject.chance, subject.classes
    verdict, meaning = _judge(loss / chance if isfinite(loss) else nan, accuracy, spread, classes)
    return CheckResult(
        verdict,
        measured=loss,
        shown=f"{loss:.4g}, accuracy {accuracy:.1%}",
        expected=f"{formula(subject)} = {chance:.4g}, accuracy about {1 / classes:.1%}",
        meaning=meaning,
        details={"chance": chance, "accuracy": accuracy, "score_std": spread},
    )


def formula(subject: Subject) -> str:
    """Return the loss of guessing as a formula with numbers: "ln 10", "(10 − 1) · 1"."""
    margin = getattr(subject.loss, "margin", 1.0)
    text = subject.loss.chance_formula or "the loss of equal scores"
    return text.replace("C", str(subject.classes)).replace("margin", f"{margin:g}")


def _measure(subject: Subject) -> tuple[float, float, float]:
    """Return the mean loss, the mean accuracy and the std of the scores.

    In training mode, because running averages of batch normalisation are not initialised yet.
    """
    batch = subject.batch_size(EXAMPLES)
    examples = subject.examples(EXAMPLES)
    trainer = subject.trainer(examples, batch=batch, steps=1, regularized=False)
    step, results, spreads = trainer.training_step, [], []
    for start in range(0, len(examples) - batch + 1, batch):
        step.take(np.arange(start, start + batch), augment=False)
        if not start:
            step.start()
        results.append(step.gradients())
        scores = subject.backend.to_host(step.network.bound[-1].output)
        spreads.append(float(scores.std(dtype=np.float64)))
    return (
        float(np.mean([result.data_loss for result in results])),
        float(np.mean([result.accuracy for result in results])),
        float(np.mean(spreads)),
    )


def _judge(ratio: float, accuracy: float, spread: float, classes: int) -> tuple[CheckVerdict, str]:
    smaller = "make the initial weights smaller, in particular those of the output layer"
    if not isfinite(ratio):
        return "wrong", f"The initial weights already overflow: {smaller}, or scale the inputs."
    if ratio > FAR:
        return "wrong", (
            f"Far above guessing: with scores of std {spread:.2g} the network is confident in "
            f"wrong answers before it has learnt anything; {smaller}, or scale down the inputs."
        )
    if ratio > NEAR:
        return LOOK, (
            f"Above guessing: scores of std {spread:.2g} prefer some classes before anything is "
            f"learnt; {smaller}."
        )
    if ratio < BELOW:
        return LOOK, "Below guessing, which initial weights cannot achieve; check the labels."
    if accuracy > KNOWING / classes:
        return LOOK, (
            "Higher accuracy than initial weights can have: check whether the labels are among the "
            "inputs, or nearly all examples are of one class."
        )
    if ratio > CLOSE:
        return "good", (
            f"Close to guessing. Scores of std {spread:.2g} cause the difference, and the first "
            "steps will remove it."
        )
    return "good", "The loss of guessing: the network considers all classes equally likely."


CHECK: Final = Check("initial_loss", "initial loss", check)
