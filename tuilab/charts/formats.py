"""Numbers as text of fixed or bounded width."""

import math
from typing import Final

from tuilab.charts.rounding import settled

THIN: Final = "\u2009"  # thin space, one cell: thousands


DIGITS: Final = 12
"""Significant digits that decide how a value is rounded: its last bits differ by processor."""


def _settled(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def sci(value: float, digits: int = 1) -> str:
    """Format as `4.0e-01`, in 6 + digits cells, one more for a minus sign."""
    return f"{_settled(value):.{digits}e}" if math.isfinite(value) else word(value)


def percent(share: float) -> str:
    """Format a share as `50%` or `0.4%`, in at most 4 cells."""
    if not math.isfinite(share):
        return word(share)
    value = _settled(100 * share)
    return f"{value:.1f}%" if 0 < value < 9.95 else f"{value:.0f}%"


def factor(value: float) -> str:
    """Format a factor as `×0.71`, in 5 or 6 cells."""
    if not math.isfinite(value):
        return word(value)
    value = _settled(value)
    if 0 < value < 0.005 or value >= 999.5:
        mantissa, exponent = f"{value:.0e}".split("e")
        return f"×{mantissa}e{int(exponent)}"
    digits = 2 if value < 9.995 else 1 if value < 99.95 else 0
    return f"×{value:.{digits}f}"


def log10(value: float) -> str:
    """Format the decimal logarithm of a ratio as `−3.0`."""
    if value > 0 and math.isfinite(value):
        return f"{settled(math.log10(value)) + 0.0:.1f}".replace("-", "−")
    return "−∞" if value == 0 else word(value)


def power(value: float) -> str:
    """Format a ratio as a power of ten: `10⁻³·⁵`."""
    exponent = log10(value)
    raised = exponent.translate(str.maketrans("−0123456789.", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹·"))
    return f"10{raised}" if math.isfinite(value) and value > 0 else word(value)


def rate(value: float) -> str:
    """Format a learning rate as `1.00e-2`."""
    if not math.isfinite(value):
        return word(value)
    mantissa, exponent = f"{_settled(value):.2e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def number(value: float) -> str:
    """Format with three significant digits, without an exponent where that is short."""
    if not math.isfinite(value):
        return word(value)
    value = _settled(value)
    if value == 0 or 1e-3 <= abs(value) < 1e4:
        return f"{value:.3g}" if abs(value) < 999.5 else f"{value:.0f}"
    return rate(value)


def significant(value: float) -> str:
    """Format with exactly three significant digits, so that a changing number does not jump."""
    value = _settled(value)
    if value == 0 or 1e-3 <= abs(value) < 999.5:
        return f"{value:#.3g}".rstrip(".")
    return rate(value)


def count(value: int) -> str:
    """Format with thin spaces between thousands."""
    return f"{value:,}".replace(",", THIN)


def short(value: float) -> str:
    """Format the end of an axis, a power of two, in at most 7 cells."""
    if value < 0:
        return f"−{short(-value)}"
    value = _settled(value)
    if value == 0 or 0.01 <= value < 10_000:
        return f"{value:.3g}" if value < 999.5 else f"{value:.0f}"
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def brief(value: float, digits: int = 2) -> str:
    """Format with two significant digits, or another number of them: `0.31`, `1.2e-5`."""
    if value < 0:
        return f"−{brief(-value, digits)}"
    if not math.isfinite(value):
        return word(value)
    value = _settled(value)
    mantissa, power = f"{value:.{digits - 1}e}".split("e")
    exponent = int(power)
    if value == 0 or exponent in range(-2, 3):
        return f"{value:.{max(digits - 1 - exponent, 0)}f}" if value else "0"
    return f"{mantissa}e{exponent}"


def between(low: str, high: str) -> str:
    """Format a range whose ends are formatted; one of them if they are equal."""
    return low if low.removeprefix("×") == high else f"{low}…{high}"


def span(low: float, high: float, cells: int = 10) -> str:
    """Format a range as `0.31…0.92` or `3.1…4.2e-5`, in at most `cells`.

    Where it does not fit, it has fewer digits, or only the largest value.
    """
    for digits in (2, 1):
        ends = brief(low, digits), brief(high, digits)
        text = between(*ends)
        mantissa, _, power = ends[0].partition("e")
        if power and ends[1].endswith(f"e{power}") and ends[0] != ends[1]:
            text = f"{mantissa}…{ends[1]}"
        if len(text) <= cells:
            return text
    largest = brief(max(abs(low), abs(high)), 1)
    return f"±{largest}" if low < 0 else f"≤{largest}"


def word(value: float) -> str:
    """Return the word for NaN, ∞ or −∞."""
    return "–" if math.isnan(value) else "∞" if value > 0 else "−∞"
