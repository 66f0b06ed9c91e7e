"""Regularisation raises the loss by exactly its penalty (claim E2)."""

from math import isfinite
from typing import Final

import numpy as np

from engine.network import BoundNetwork
from tuilab.babysit.check import LOOK, Check, Step, Verdict
from tuilab.babysit.subject import Subject

EXAMPLES: Final = 100
BORROWED: Final = 1.0
"""The λ to measure with where the scenario has none."""
TOLERANCE: Final = 1e-3
HEAVY, CRUSHING = 10.0, 100.0
"""Times the loss of the data, at the first weights."""


def check(subject: Subject) -> Check:
    """Compare loss with penalties less loss without, at one batch, with the sum over weights."""
    batch = subject.batch_size(EXAMPLES)
    trainer = subject.trainer(subject.examples(batch), batch=batch, steps=1, regularized=False)
    hyper, step = trainer.hyperparameters, trainer.training_step
    step.take(np.arange(batch), augment=False)
    without = step.gradients().loss
    optimizer = subject.scenario.optimizer
    decay, lasso = optimizer.weight_decay, optimizer.l1
    borrowed = not decay and not lasso
    hyper |= {"weight_decay": decay or BORROWED * borrowed, "l1": lasso}
    rise = step.gradients().loss - without
    decoupled = 0.0 if optimizer.decoupled else hyper["weight_decay"]
    sums = _sums(trainer.network)
    expected = 0.5 * decoupled * sums[0] + lasso * sums[1]
    verdict, meaning = _judge(
        rise, expected, without, decoupled=optimizer.decoupled, borrowed=borrowed
    )
    return Check(
        verdict,
        measured=rise,
        shown=f"loss + {rise:.6g} with λ = {hyper['weight_decay']:g}",
        expected=f"{_formula(optimizer.decoupled, lasso)} = {expected:.6g}",
        meaning=meaning,
        details={
            "weight_decay": hyper["weight_decay"],
            "l1": lasso,
            "penalty": expected,
            "loss_without": without,
            "squared_norm": sums[0],
        },
    )


def _formula(decoupled: bool, lasso: float) -> str:
    parts = ["½λ‖W‖²"] * (not decoupled) + ["λ₁Σ|W|"] * bool(lasso)
    return " + ".join(parts) or "nothing"


def _sums(network: BoundNetwork) -> tuple[float, float]:
    """Return ΣW² and Σ|W| over what has rows and columns: not biases, not normalisation."""
    square = absolute = 0.0
    for named in network.store.value_views:
        for weight in (w for w in named.values() if w.ndim > 1):
            values = network.backend.to_host(weight).astype(np.float64)
            square += float(np.sum(values * values))
            absolute += float(np.sum(np.abs(values)))
    return square, absolute


def _judge(
    rise: float, expected: float, without: float, *, decoupled: bool, borrowed: bool
) -> tuple[Verdict, str]:
    if not isfinite(rise) or abs(rise - expected) > TOLERANCE * abs(expected):
        return "wrong", (
            "The loss does not rise by the penalty that its weights have: the weights overflow, "
            "or a layer's weights are left out or counted twice."
        )
    if borrowed:
        return "good", "Exactly its penalty. The scenario has none: this λ was for the measurement."
    if expected > CRUSHING * without:
        return "wrong", (
            f"The penalty is {expected / without:.3g} × the loss of the data: training will shrink "
            "the weights and learn nothing; divide λ by as much."
        )
    if expected > HEAVY * without:
        return LOOK, (
            f"The penalty is {expected / without:.3g} × the loss of the data: at first it is the "
            "penalty that will be trained; try a smaller λ."
        )
    if decoupled:
        return "good", "This optimiser shrinks weights apart from the loss, which stays as it is."
    share = expected / (expected + without) if expected else 0.0
    return "good", f"Exactly its penalty, {share:.2g} of the whole loss at the first weights."


STEP: Final = Step("regularization", "regularisation", check)
