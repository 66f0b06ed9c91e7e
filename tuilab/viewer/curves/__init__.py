"""The kinds of charts over steps: what each draws, and which numbers it shows.

A module that defines a `Kind` adds one; panels, keys and help follow.
"""

from typing import Final

from tuilab.viewer.curves.base import Kind, Scene, Value
from tuilab.viewer.discovery import discover

KINDS: Final = discover("tuilab.viewer.curves", Kind)  # type: ignore[type-abstract]
"""All kinds, in the order of the key; the first is always on the screen."""

__all__ = ["KINDS", "Kind", "Scene", "Value"]
