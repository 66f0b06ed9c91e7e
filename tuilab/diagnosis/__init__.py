"""The diagnosis: rules that look at what the recorder gets, and say what is wrong and what helps.

A rule says whether its condition holds now, and in which layers; `Monitor` alone knows patience,
hysteresis and severity, and turns conditions into findings. One file a family of rules; a new rule
registers where it is defined, and everything else (decoding, metrics, tests) goes by the registry.
"""

from tuilab.diagnosis.base import rules
from tuilab.diagnosis.finding import Finding
from tuilab.diagnosis.monitor import Monitor
from tuilab.diagnosis.past import RunFacts
from tuilab.diagnosis.rules import (
    cost,
    dead_units,
    gain,
    generalization,
    inputs,
    learning_rate,
    loss,
    not_finite,
    saturation,
    symmetry,
)
from tuilab.diagnosis.settings import Diagnosis

__all__ = [
    "Diagnosis",
    "Finding",
    "Monitor",
    "RunFacts",
    "cost",
    "dead_units",
    "gain",
    "generalization",
    "inputs",
    "learning_rate",
    "loss",
    "not_finite",
    "rules",
    "saturation",
    "symmetry",
]
