"""Gradients at the initial weights against centred differences, in float64."""

from typing import Final

import numpy as np

from tuilab.babysit.check import LOOK, Check, CheckResult, CheckVerdict
from tuilab.babysit.gradcheck import KINKED, WRONG, check_gradients
from tuilab.babysit.subject import Subject

ELEMENTS: Final = 4
"""Elements per parameter array."""


def check(subject: Subject) -> CheckResult:
    """Check a few elements of every parameter array."""
    arrays = check_gradients(subject.scenario, subject.data, ELEMENTS)
    errors = [check.error for check in arrays]
    index = int(np.argmax([error if error == error else np.inf for error in errors]))
    worst = arrays[index]
    verdict, meaning = _judge(
        worst.error, f"the {worst.name} of layer {worst.layer} ({worst.kind})"
    )
    return CheckResult(
        verdict,
        measured=worst.error,
        shown=f"largest relative error {worst.error:.1e}",
        expected=f"at most {KINKED:g}",
        meaning=meaning,
        details={"arrays": len(arrays), "elements": sum(check.checked for check in arrays)},
    )


def _judge(error: float, where: str) -> tuple[CheckVerdict, str]:
    if error <= KINKED:
        return "good", "Backpropagation agrees with the numerical gradient of the loss."
    if error <= WRONG:
        return LOOK, (
            f"Uncomfortable for {where}. Kinks, or initial weights that make the loss very steep, "
            "can be the reason. tuilab gradcheck shows all arrays."
        )
    return "wrong", f"The gradient of {where} is wrong. tuilab gradcheck shows all arrays."


CHECK: Final = Check("gradients", "gradients", check)
