"""The loss at the first weights against what chance gives (claim E1)."""

from math import isfinite, nan
from typing import Final

import numpy as np

from tuilab.babysit.check import LOOK, Check, Step, Verdict
from tuilab.babysit.subject import Subject

EXAMPLES: Final = 1000
CLOSE, NEAR, FAR = 1.1, 1.5, 3.0
"""Times chance. He's weights at the output make scores of std 1, which add some 0.5 to ln C."""
BELOW: Final = 0.75
KNOWING: Final = 3.0
"""An accuracy above so many times 1/C is more than first weights can know."""


def check(subject: Subject) -> Check:
    """Measure loss and accuracy of some training batches, without regularisation."""
    loss, accuracy, spread = _measure(subject)
    chance, classes = subject.chance, subject.classes
    verdict, meaning = _judge(loss / chance if isfinite(loss) else nan, accuracy, spread, classes)
    return Check(
        verdict,
        measured=loss,
        shown=f"{loss:.4g}, accuracy {accuracy:.1%}",
        expected=f"{formula(subject)} = {chance:.4g}, accuracy about {1 / classes:.1%}",
        meaning=meaning,
        details={"chance": chance, "accuracy": accuracy, "score_std": spread},
    )


def formula(subject: Subject) -> str:
    """Return what chance gives, with the numbers put in: "ln 10", "(10 − 1) · 1"."""
    margin = getattr(subject.loss, "margin", 1.0)
    text = subject.loss.chance_formula or "the loss of equal scores"
    return text.replace("C", str(subject.classes)).replace("margin", f"{margin:g}")


def _measure(subject: Subject) -> tuple[float, float, float]:
    """Return mean loss, mean accuracy and the std of the scores.

    In training mode, for running averages of batch normalisation know nothing yet.
    """
    batch = subject.batch_size(EXAMPLES)
    examples = subject.examples(EXAMPLES)
    trainer = subject.trainer(examples, batch=batch, steps=1, regularized=False)
    step, found, spreads = trainer.training_step, [], []
    for start in range(0, len(examples) - batch + 1, batch):
        step.take(np.arange(start, start + batch), augment=False)
        if not start:
            step.start()
        found.append(step.gradients())
        scores = subject.backend.to_host(step.network.bound[-1].output)
        spreads.append(float(scores.std(dtype=np.float64)))
    return (
        float(np.mean([result.data_loss for result in found])),
        float(np.mean([result.accuracy for result in found])),
        float(np.mean(spreads)),
    )


def _judge(ratio: float, accuracy: float, spread: float, classes: int) -> tuple[Verdict, str]:
    smaller = "make the first weights smaller, above all those of the output layer"
    if not isfinite(ratio):
        return "wrong", f"The first weights already overflow: {smaller}, or scale the inputs."
    if ratio > FAR:
        return "wrong", (
            f"Far more than chance: with scores of std {spread:.2g} the network is sure of wrong "
            f"answers before it has learnt anything; {smaller}, or the inputs."
        )
    if ratio > NEAR:
        return LOOK, (
            f"More than chance: scores of std {spread:.2g} take sides before anything is learnt; "
            f"{smaller}."
        )
    if ratio < BELOW:
        return LOOK, "Less than chance: first weights cannot know that; look at the labels."
    if accuracy > KNOWING / classes:
        return LOOK, (
            "More right answers than first weights can know: look whether the labels are among "
            "the inputs, or nearly all of one class."
        )
    if ratio > CLOSE:
        return "good", (
            f"Near chance; scores of std {spread:.2g} are what lies above it, and the first steps "
            "take that away."
        )
    return "good", "As chance gives: the network holds every class for equally likely."


STEP: Final = Step("initial_loss", "initial loss", check)
