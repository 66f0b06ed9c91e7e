"""The gradients of the first weights against centred differences, in float64."""

from typing import Final

import numpy as np

from tuilab.babysit.check import LOOK, Check, Step, Verdict
from tuilab.babysit.gradcheck import KINKED, WRONG, check_gradients
from tuilab.babysit.subject import Subject

ELEMENTS: Final = 4
"""Of each array of parameters."""


def check(subject: Subject) -> Check:
    """Look at a few dimensions of every array of parameters."""
    checks = check_gradients(subject.scenario, subject.data, ELEMENTS)
    errors = [check.error for check in checks]
    place = int(np.argmax([error if error == error else np.inf for error in errors]))
    worst = checks[place]
    verdict, meaning = _judge(
        worst.error, f"the {worst.name} of layer {worst.layer} ({worst.kind})"
    )
    return Check(
        verdict,
        measured=worst.error,
        shown=f"relative error {worst.error:.1e} at worst",
        expected=f"at most {KINKED:g}",
        meaning=meaning,
        details={"arrays": len(checks), "elements": sum(check.checked for check in checks)},
    )


def _judge(error: float, where: str) -> tuple[Verdict, str]:
    if error <= KINKED:
        return "good", "Backpropagation gives the slopes that the loss has."
    if error <= WRONG:
        return LOOK, (
            f"Uncomfortable at {where}: tuilab gradcheck shows every array; kinks, or first "
            "weights that make the loss very steep, can be the reason."
        )
    return "wrong", f"The gradient of {where} is not the slope of the loss: tuilab gradcheck."


STEP: Final = Step("gradients", "gradients", check)
