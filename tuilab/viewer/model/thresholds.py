"""From which values on numbers are coloured: the thresholds of a run's diagnosis. No Textual."""

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from engine.errors import ConfigError
from tuilab.diagnosis.base import Rule
from tuilab.diagnosis.rules.dead_units import DeadUnits
from tuilab.diagnosis.rules.gain import GrowingActivations, ShrinkingActivations
from tuilab.diagnosis.rules.learning_rate import HighLearningRate, LowLearningRate
from tuilab.diagnosis.rules.saturation import Saturation
from tuilab.diagnosis.settings import parse
from tuilab.record.run_folder import RunFolder

AnyRule = TypeVar("AnyRule", bound=Rule)


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The bounds of healthy values; each method returns the role of a value, "" if healthy."""

    shrinking: ShrinkingActivations = field(default_factory=ShrinkingActivations)
    growing: GrowingActivations = field(default_factory=GrowingActivations)
    slow: LowLearningRate = field(default_factory=LowLearningRate)
    fast: HighLearningRate = field(default_factory=HighLearningRate)
    dead_units: DeadUnits = field(default_factory=DeadUnits)
    saturation: Saturation = field(default_factory=Saturation)

    @classmethod
    def of(cls, rules: Mapping[str, Rule]) -> "Thresholds":
        """Return those of `rules` by name; a rule that is switched off has its defaults."""

        def of_rule(name: str, kind: type[AnyRule]) -> AnyRule:
            rule = rules.get(name)
            return rule if isinstance(rule, kind) else kind()

        return cls(
            of_rule("shrinking_activations", ShrinkingActivations),
            of_rule("growing_activations", GrowingActivations),
            of_rule("low_learning_rate", LowLearningRate),
            of_rule("high_learning_rate", HighLearningRate),
            of_rule("dead_units", DeadUnits),
            of_rule("saturation", Saturation),
        )

    @property
    def healthy_gain(self) -> tuple[float, float]:
        """The factors per layer between which a signal is healthy."""
        return self.shrinking.warning, self.growing.warning

    @property
    def healthy_ratio(self) -> tuple[float, float]:
        """The update ratios between which training is healthy."""
        return self.slow.update_ratio, self.fast.warning

    def gain(self, value: float) -> str:
        """Return the role of a factor per layer."""
        return _band(value, self.healthy_gain, (self.shrinking.error, self.growing.error))

    def update_ratio(self, value: float) -> str:
        """Return the role of ‖ΔW‖/‖W‖."""
        return _band(value, self.healthy_ratio, (0.0, self.fast.error))

    def dead(self, share: float) -> str:
        """Return the role of a layer's share of dead units."""
        rule = self.dead_units
        return "error" if share > rule.error else "warning" if share > rule.warning else ""

    def saturated(self, share: float) -> str:
        """Return the role of a layer's share of saturated activations."""
        return "warning" if share > self.saturation.share else ""


def _band(value: float, healthy: tuple[float, float], usable: tuple[float, float]) -> str:
    if math.isnan(value):
        return "faint"
    if not usable[0] <= value <= usable[1]:
        return "error"
    return "" if healthy[0] <= value <= healthy[1] else "warning"


DEFAULTS = Thresholds()


def thresholds_of(folder: RunFolder) -> Thresholds:
    """Return the thresholds of a run, from [diagnosis] in the scenario in its folder.

    Return the defaults where there is no such file, or none that can be read.
    """
    try:
        changed = folder.scenario.stat().st_mtime_ns
    except OSError:
        return DEFAULTS
    return _read(folder.scenario, changed)


@lru_cache(64)
def _read(path: Path, changed: int) -> Thresholds:
    try:
        table: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
        return Thresholds.of(parse(table.get("diagnosis", {})).rules)
    except (OSError, ValueError, ConfigError):
        return DEFAULTS
