"""A search whose trials take a moment."""

from typing import Any

from tests.tuilab.support import small

LR = "optimizer.learning_rate"


def searching(**search: Any) -> dict[str, Any]:
    """The table of a scenario that searches a learning rate."""
    found = {"trials": 3, "epochs": 2, "space": {LR: {"log": [1e-3, 1e-1]}}} | search
    return small(search=found, data={"validation": 0.2})
