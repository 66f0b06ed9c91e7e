"""The interface of a rule, its input and output, and the registry of rules.

    @rules.register("saturation")
    @dataclass(frozen=True)
    class Saturation(Rule):
        share: float = 0.5

The fields of a rule are its thresholds: keys of `[diagnosis.saturation]` in a scenario file. The
first may also be given alone (`saturation = 0.6`).
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np
import numpy.typing as npt

from engine.registry import Registry
from engine.statistics.frames import Floats, Frame, Snapshot
from tuilab.diagnosis.dialects import Dialect
from tuilab.diagnosis.finding import Finding, Severity
from tuilab.diagnosis.fixes import Case, Fix, good_initializer
from tuilab.diagnosis.past import Moment, Past, RunFacts

Flags = npt.NDArray[np.bool_]
DEEP: Final = 4  # hidden layers from which there is a trend over depth
rules: Registry["Rule"] = Registry("rule", "tuilab.diagnosis.rules")


@dataclass(frozen=True, slots=True)
class Symptom:
    """A condition of a rule that holds, with the evidence."""

    severity: Severity
    measured: float
    threshold: float
    key: str  # the rule's setting that holds the threshold
    cause: str  # a sentence with the number in it
    advice: str  # what helps, and the key to set
    layers: tuple[int, ...] = ()  # from 1
    remedy: str = ""  # which of the rule's remedies is advised, if it has several


@dataclass(frozen=True, slots=True)
class RuleContext:
    """What a rule examines: the past so far, and the last frame."""

    past: Past
    frame: Frame

    @property
    def run(self) -> RunFacts:
        return self.past.run

    @property
    def words(self) -> Dialect:
        """How advice names what to change."""
        return self.past.run.dialect

    def named(self, layer: int) -> str:
        """Return a layer (from 1) in words: "layer 3", or "layer 3 (encoder.0)"."""
        path = self.run.layers[layer - 1].location
        return f"layer {layer}" if path == str(layer) else f"layer {layer} ({path})"

    @property
    def snapshot(self) -> Snapshot:
        """The newest statistics; they exist at every moment of the kind "snapshot"."""
        assert self.past.newest is not None
        return self.past.newest

    def hidden(self, values: Floats) -> Floats:
        """Return the values of the hidden layers, given one value per layer."""
        return values[: self.run.hidden]


@dataclass(frozen=True)
class Rule:
    """A rule without state; its docstring states the condition and its source."""

    moment: ClassVar[Moment] = "snapshot"
    at_start: ClassVar[bool] = False
    """Whether one moment is enough at step 0, before there is training noise."""
    only_at_start: ClassVar[bool] = False
    """Whether it can begin only at step 0; it may still clear later."""
    patient: ClassVar[bool] = True
    """Whether it must hold for several moments; False if one is enough."""
    tensor: ClassVar[str] = "activation"
    """Which tensor of a layer shows it best."""

    def look(self, seen: RuleContext, slack: float) -> Symptom | None:
        """Return the symptom if the condition holds with thresholds `slack` times looser.

        Slack is 1 until there is a finding, and larger while it is open (hysteresis).
        """
        raise NotImplementedError

    def fixes(self, finding: Finding, case: Case) -> list[Fix]:
        """Return the changes that help against a finding of this rule, the best first."""
        return []


def above(value: float, threshold: float, slack: float) -> bool:
    """Return whether a value that should be small is above its threshold; NaN never is."""
    return value > threshold / slack


def below(value: float, threshold: float, slack: float) -> bool:
    """Return whether a value that should be large is below its threshold; NaN never is."""
    return value < threshold * slack


def loosened(factor: float, slack: float) -> float:
    """Return a threshold closer to 1, the healthy factor: its logarithm divided by `slack`."""
    return math.exp(math.log(factor) / slack)


def numbered(flags: Flags) -> tuple[int, ...]:
    """Return the numbers, from 1, of the layers for which a flag is set."""
    return tuple(int(at) + 1 for at in np.flatnonzero(flags))


def percent(share: float) -> str:
    """Return a share as a percentage with as many digits as it needs."""
    value = 100 * share
    return (
        f"{value:.0f} %" if value >= 9.95 else f"{value:.1g} %" if value < 1 else f"{value:.1f} %"
    )


def initializer_advice(run: RunFacts) -> str:
    """Return the initialiser to use, and its key, or what else to do where it is used already."""
    good = good_initializer(run.layers[0].activation)
    normalize = run.dialect.normalization(own_layers=run.own_layers)
    if run.initializer == good:
        return f"normalise: {normalize}"
    return f"{run.dialect.initializer(good, own_layers=run.own_layers)}, or {normalize}"
