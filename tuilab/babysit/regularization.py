"""Regularisation increases the loss by exactly the penalty (claim E2)."""

from math import isfinite
from typing import Final

import numpy as np

from engine.network import BoundNetwork
from tuilab.babysit.check import LOOK, Check, CheckResult, CheckVerdict
from tuilab.babysit.subject import Subject

EXAMPLES: Final = 100
SUBSTITUTE: Final = 1.0
"""The λ to measure with if the scenario has none."""
TOLERANCE: Final = 1e-3
HEAVY, CRUSHING = 10.0, 100.0
"""Multiples of the data loss, with the initial weights."""


def check(subject: Subject) -> CheckResult:
    """Compare the increase of the loss by penalties on one batch with the sum over weights."""
    batch = subject.batch_size(EXAMPLES)
    trainer = subject.trainer(subject.examples(batch), batch=batch, steps=1, regularized=False)
    hyper, step = trainer.hyperparameters, trainer.training_step
    step.take(np.arange(batch), augment=False)
    without = step.gradients().loss
    optimizer = subject.scenario.optimizer
    decay, lasso = optimizer.weight_decay, optimizer.l1
    substituted = not decay and not lasso
    hyper |= {"weight_decay": decay or SUBSTITUTE * substituted, "l1": lasso}
    rise = step.gradients().loss - without
    decoupled = 0.0 if optimizer.decoupled else hyper["weight_decay"]
    sums = _sums(trainer.network)
    expected = 0.5 * decoupled * sums[0] + lasso * sums[1]
    verdict, meaning = _judge(
        rise, expected, without, decoupled=optimizer.decoupled, substituted=substituted
    )
    return CheckResult(
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
    """Return ΣW² and Σ|W| over all matrices, i.e. without biases and normalisation."""
    square = absolute = 0.0
    for named in network.store.value_views:
        for weight in (w for w in named.values() if w.ndim > 1):
            values = network.backend.to_host(weight).astype(np.float64)
            square += float(np.sum(values * values))
            absolute += float(np.sum(np.abs(values)))
    return square, absolute


def _judge(
    rise: float, expected: float, without: float, *, decoupled: bool, substituted: bool
) -> tuple[CheckVerdict, str]:
    if not isfinite(rise) or abs(rise - expected) > TOLERANCE * abs(expected):
        return "wrong", (
            "The loss does not increase by the penalty of the weights: the weights overflow, or "
            "the weights of a layer are left out or counted twice."
        )
    if substituted:
        return (
            "good",
            "Exactly the penalty. The scenario has no λ; this one is for the measurement.",
        )
    if expected > CRUSHING * without:
        return "wrong", (
            f"The penalty is {expected / without:.3g} times the data loss: training will shrink "
            "the weights and learn nothing; divide λ by that factor."
        )
    if expected > HEAVY * without:
        return LOOK, (
            f"The penalty is {expected / without:.3g} times the data loss, so training will first "
            "reduce the penalty; try a smaller λ."
        )
    if decoupled:
        return "good", "This optimiser decays weights apart from the loss, which does not change."
    share = expected / (expected + without) if expected else 0.0
    return "good", f"Exactly the penalty, which is {share:.2g} of the initial loss."


CHECK: Final = Check("regularization", "regularisation", check)
