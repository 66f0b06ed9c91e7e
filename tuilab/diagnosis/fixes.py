"""Fixes for a finding: changes that the view can make, live or by restarting the run.

Each rule returns the fixes that help against it (`Rule.fixes`), the best first.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from engine.commands import Command
from engine.statistics.frames import LayerInfo

HEALTHY: Final = 1e-3  # size of an update relative to the weights (lecture 6)
FAR: Final = 10.0  # the largest factor by which a learning rate is changed at once
RATE: Final = "optimizer.learning_rate"


@dataclass(frozen=True, slots=True)
class Fix:
    """One change: a command to the live run, or settings with which to restart it."""

    label: str
    command: Command | None = None
    settings: tuple[str, ...] = ()  # as `--set` takes them
    go_on: bool = False  # resume from the last good checkpoint

    @property
    def how(self) -> str:
        """How the fix is applied, in words."""
        if self.command is not None:
            return "now, from the next step on"
        return "resumes from the last good checkpoint" if self.go_on else "restarts the run"


@dataclass(frozen=True, slots=True)
class Case:
    """What is known about a run when fixes are offered."""

    layers: Sequence[LayerInfo]  # hidden layers first, the output layer last
    initializer: str = ""  # by its name
    own_layers: bool = False  # defined in [[layer]] tables, which settings cannot change
    hyperparameters: Mapping[str, float] = field(default_factory=dict)
    live: bool = True

    @property
    def activation(self) -> str:
        """The non-linearity of the first layer."""
        return self.layers[0].activation if self.layers else ""

    @property
    def normalized(self) -> bool:
        """Whether there is batch normalisation."""
        return any(layer.normalization for layer in self.layers)


def good_initializer(activation: str) -> str:
    """Return the name of the initialiser that keeps the spread with this non-linearity."""
    if activation in ("tanh", "sigmoid", "identity"):
        return "xavier"
    return "lecun" if activation == "selu" else "he"


def set_rate(case: Case, factor: float) -> list[Fix]:
    """Return the fix that multiplies the learning rate: live, or in a new run."""
    rate = case.hyperparameters.get("learning_rate", 0.0)
    if rate <= 0:
        return []
    new = float(f"{rate * factor:.2g}")
    label = f"learning rate {rate:.3g} → {new:.3g}"
    if case.live:
        return [Fix(label, Command("set", "learning_rate", new))]
    return [Fix(label, settings=(f"{RATE}={new:g}",))]


def healthy_rate(case: Case, ratio: float) -> list[Fix]:
    """Return the fix that brings updates, `ratio` of the weights, to a healthy size."""
    factor = HEALTHY / ratio if ratio > 0 else FAR
    return set_rate(case, min(max(factor, 1 / FAR), FAR))


def initialize(case: Case) -> list[Fix]:
    """Return fixes for the initial weights: an initialiser that fits, or batch normalisation."""
    if case.own_layers:
        return []
    fixes = []
    good = good_initializer(case.activation)
    if case.initializer != good:
        fixes.append(Fix(f"{good} initialisation", settings=(f'network.initializer="{good}"',)))
    if not case.normalized:
        fixes.append(Fix("batch normalisation", settings=("network.batch_norm=true",)))
    return fixes


def activate(case: Case, name: str) -> list[Fix]:
    """Return the fix that replaces the non-linearity."""
    if case.own_layers or case.activation == name:
        return []
    return [Fix(f"{name} activation", settings=(f'network.activation="{name}"',))]


def set_hyperparameter(case: Case, key: str, value: float, path: str) -> list[Fix]:
    """Return the fix that sets a hyper-parameter: live if the run has it, else at `path`."""
    label = f"{key.replace('_', ' ')} {value:g}"
    if case.live and key in case.hyperparameters:
        return [Fix(label, Command("set", key, value))]
    return [Fix(label, settings=(f"{path}={value:g}",))]
