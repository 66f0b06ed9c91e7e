"""Signals that shrink or grow from layer to layer, forwards and backwards (lecture 6)."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Final

import numpy as np

from tuilab.diagnosis.base import (
    DEEP,
    Rule,
    RuleContext,
    Symptom,
    initializer_advice,
    loosened,
    percent,
    rules,
)
from tuilab.diagnosis.finding import Finding, Severity
from tuilab.diagnosis.fixes import Case, Fix, activate, initialize

SATURATED: Final = 0.5
"""Share of saturated activations in a layer above which they reduce the gradient."""
Levels = Mapping[Severity, tuple[str, float]]  # severity → key and threshold, the worst last


def trend(
    seen: RuleContext, gain: float, levels: Levels, what: str, slack: float
) -> Symptom | None:
    """Return a symptom if `gain`, a factor per layer, is beyond a level, below or above 1.

    None with fewer than DEEP hidden layers: one or two layers do not make a trend.
    """
    depth = seen.run.hidden
    reached = None
    for severity, (key, level) in levels.items():
        bound = loosened(level, slack)
        if depth >= DEEP and (gain < bound if level < 1 else gain > bound):
            reached = severity, key, level
    if reached is None:
        return None
    severity, key, level = reached
    word = "shrinks" if level < 1 else "grows"
    whole = np.float64(gain) ** (depth - 1)  # may be infinite; a Python float would raise
    cause = f"{what} {word} by a factor of {gain:.2f} per layer ({whole:.2g} over {depth} layers)"
    layers = tuple(range(1, depth + 1))
    return Symptom(severity, gain, level, key, cause, initializer_advice(seen.run), layers)


@rules.register("shrinking_activations")
@dataclass(frozen=True)
class ShrinkingActivations(Rule):
    """gain.forward is below a threshold at the start: the initial scale is too small.

    Each layer multiplies the spread by its gain: after ten layers with a gain of 0.5, a thousandth
    is left (lecture 6, "weight initialization").

    Only the start shows the initial scale; training changes it later.
    """

    at_start: ClassVar = True
    only_at_start: ClassVar = True
    warning: float = 0.8  # gain per layer from which it is a warning
    error: float = 0.5  # gain per layer from which it is an error

    def look(self, seen: RuleContext, slack: float) -> Symptom | None:
        levels: Levels = {"warning": ("warning", self.warning), "error": ("error", self.error)}
        gain = seen.snapshot.gain_forward
        return trend(seen, gain, levels, "the spread of activations", slack)

    def fixes(self, finding: Finding, case: Case) -> list[Fix]:
        return initialize(case)


@rules.register("growing_activations")
@dataclass(frozen=True)
class GrowingActivations(ShrinkingActivations):
    """gain.forward is above a threshold at the start: the initial scale is too large.

    Large pre-activations saturate tanh and sigmoid, and cause a loss far above that of guessing
    (lecture 6, "weight initialization").
    """

    warning: float = 1.25  # gain per layer from which it is a warning
    error: float = 2.0  # gain per layer from which it is an error


@rules.register("vanishing_gradient")
@dataclass(frozen=True)
class VanishingGradient(Rule):
    """gain.backward is below a threshold, at any time: the first layers hardly learn.

    Backpropagation multiplies dL/dA by the weights and slopes of each layer; the slope of a sigmoid
    is at most ¼ (lecture 6, "activation functions").
    """

    tensor: ClassVar = "activation_grad"
    at_start: ClassVar = True
    gain: float = 0.5  # per layer, below which it is reported

    def look(self, seen: RuleContext, slack: float) -> Symptom | None:
        gain = seen.snapshot.gain_backward
        what = "towards the input, dL/dA"
        if saturated := _saturated(seen):
            what = f"{saturated} of the activations in a layer are saturated; {what}"
        symptom = trend(seen, gain, {"error": ("gain", self.gain)}, what, slack)
        if symptom is not None and seen.run.layers[0].activation == "sigmoid":
            advice = f"a sigmoid passes on at most a quarter, tanh and relu more; {symptom.advice}"
            return replace(symptom, advice=advice)
        return symptom

    def fixes(self, finding: Finding, case: Case) -> list[Fix]:
        other = activate(case, "tanh") if case.activation == "sigmoid" else []
        return initialize(case) + other


@rules.register("exploding_gradient")
@dataclass(frozen=True)
class ExplodingGradient(VanishingGradient):
    """gain.backward is above a threshold, at any time: updates of the first layers are erratic.

    Weights with a std of 1 cause it (lecture 6, "weight initialization").
    """

    gain: float = 2.0  # per layer, above which it is reported


def _saturated(seen: RuleContext) -> str:
    shares = seen.hidden(seen.snapshot.field("activation", "saturated_fraction"))
    worst = float(np.nan_to_num(shares).max(initial=0.0))
    return percent(worst) if worst > SATURATED else ""
