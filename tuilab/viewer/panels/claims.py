"""The claims of the scenario: verdict, measured number and expected band."""

from typing import TYPE_CHECKING

from tuilab.charts.symbols import VERDICTS
from tuilab.charts.text import Line, wrap
from tuilab.viewer.model.claims import Claims

if TYPE_CHECKING:
    from tuilab.claims.expectations import Verdict

NO_BREAK = "\u00a0"


def claim_lines(claims: Claims, cells: int, *, back: bool = False) -> list[Line]:
    """Return the claims of the scenario with their verdicts and measured numbers.

    Claims are judged over the whole record; with `back`, where an earlier step is shown, the
    heading says so.
    """
    if claims.problem:
        return [[("claims", "muted")], *wrap([(claims.problem, "warning")], cells)]
    passed = sum(v.passed is True for v in claims.verdicts)
    hold = f"{passed} of {len(claims.verdicts)} hold{' now' if back else ''}"
    lines: list[Line] = [[("claims  ", "muted"), (hold, "")]]
    for verdict in claims.verdicts:
        lines += _claim(verdict, cells)
    return lines


def _claim(verdict: "Verdict", cells: int) -> list[Line]:
    symbol = VERDICTS[verdict.passed]
    measured = "" if verdict.measured is None else f"{verdict.measured_text} "
    numbers = [(measured, symbol.role), (verdict.band, "muted")]
    glued = [(text.replace(" ", NO_BREAK), role) for text, role in numbers]
    return wrap([symbol.lead, (f"{verdict.claim}  ", ""), *glued], cells, 2)
