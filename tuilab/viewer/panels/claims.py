"""The claims of the scenario, in words: verdict, measured number and band."""

from typing import TYPE_CHECKING

from tuilab.charts.text import Line, wrap
from tuilab.viewer.model.claims import Claims

if TYPE_CHECKING:
    from tuilab.claims.expectations import Verdict

NO_BREAK = "\u00a0"


def claim_lines(claims: Claims, cells: int, *, back: bool = False) -> list[Line]:
    """List the claims of the scenario, each with its verdict and the measured number.

    They are judged over all that is recorded, which is said where the rest is of the past (`back`).
    """
    if claims.problem:
        return [[("claims", "muted")], *wrap([(claims.problem, "warning")], cells)]
    passed = sum(v.passed is True for v in claims.verdicts)
    hold = f"{passed} of {len(claims.verdicts)} hold{' as of now' if back else ''}"
    lines: list[Line] = [[("claims  ", "muted"), (hold, "")]]
    for verdict in claims.verdicts:
        lines += _claim(verdict, cells)
    return lines


def _claim(verdict: "Verdict", cells: int) -> list[Line]:
    glyph, role = {True: ("✓", "success"), False: ("✗", "error"), None: ("…", "muted")}[
        verdict.passed
    ]
    measured = "" if verdict.measured is None else f"{verdict.measured_text} "
    numbers = [(measured, role), (verdict.band, "muted")]
    glued = [(text.replace(" ", NO_BREAK), tint) for text, tint in numbers]
    return wrap([(f"{glyph} ", role), (f"{verdict.claim}  ", ""), *glued], cells, 2)
