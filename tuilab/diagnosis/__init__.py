"""The diagnosis: rules that examine a run's frames, and report what is wrong and what helps.

A rule reports whether its condition holds now, and in which layers; `Monitor` alone knows patience,
hysteresis and severity, and turns conditions into findings. Rules are one file a family in
`tuilab.diagnosis.rules`; the registry (`tuilab.diagnosis.base.rules`) discovers whatever is there.
"""

from tuilab.diagnosis.finding import Finding
from tuilab.diagnosis.monitor import Monitor
from tuilab.diagnosis.past import RunFacts
from tuilab.diagnosis.settings import Diagnosis

__all__ = ["Diagnosis", "Finding", "Monitor", "RunFacts"]
