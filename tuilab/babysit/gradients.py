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
    elements, left_out = (
        sum(getattr(check, name) for check in arrays) for name in ("checked", "left_out")
    )
    verdict, meaning = _judge(
        worst.error, f"the {worst.name} of layer {worst.layer} ({worst.kind})"
    )
    if not elements:
        verdict, meaning = LOOK, "No gradient could be checked."
    shown = f"largest relative error {worst.error:.1e}" if elements else "no element checked"
    if left_out:
        shown += f", {left_out} of {elements + left_out} elements left out"
        meaning += (
            " Elements are left out where a unit crosses the kink of its non-linearity within "
            "every usable step, as in networks whose activations are almost 0."
        )
    return CheckResult(
        verdict,
        measured=worst.error,
        shown=shown,
        expected=f"at most {KINKED:g}",
        meaning=meaning,
        details={"arrays": len(arrays), "elements": elements, "left_out": left_out},
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
