"""`--range KEY=LOW:HIGH`: a range from the command line instead of the narrowed one."""

from dataclasses import replace

from tuilab.errors import SearchError
from tuilab.scenario.search.space import Range, Space


def chosen_range(text: str, space: Space) -> tuple[str, Range]:
    """Return the key and the range that `text` gives it. Raises SearchError."""
    key, _, ends = (part.strip() for part in text.partition("="))
    parameter = space.get(key)
    if not isinstance(parameter, Range):
        ranges = ", ".join(name for name, other in space.items() if isinstance(other, Range))
        raise SearchError(
            f"--range {text}: '{key}' is not a searched range (choose from: {ranges})"
        )
    try:
        low, high = (float(end) for end in ends.split(":"))
    except ValueError:
        raise SearchError(f"--range {text}: write KEY=LOW:HIGH") from None
    if not low < high or (parameter.logarithmic and low <= 0):
        raise SearchError(f"--range {text}: LOW must be below HIGH, and above 0 on a log scale")
    return key, replace(parameter, low=low, high=high)
