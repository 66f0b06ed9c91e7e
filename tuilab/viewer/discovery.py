"""Members found by being there: panels, views of a layer, kinds of charts.

A module of a family's package defines its member at module level; no other file names it.
"""

from importlib import import_module
from pkgutil import iter_modules
from typing import Any, Protocol, TypeVar


class Member(Protocol):
    """What every member has."""

    @property
    def order(self) -> int:
        """Its place among the others: on the screen, or for the key that goes through them."""


T = TypeVar("T", bound=Member)


def discover(package: str, kind: type[T]) -> tuple[T, ...]:
    """Return the instances of `kind` that the modules of `package` define, by their `order`."""
    members: dict[int, T] = {}
    path: Any = import_module(package).__path__
    for info in iter_modules(path):
        for value in vars(import_module(f"{package}.{info.name}")).values():
            if isinstance(value, kind):
                members[id(value)] = value
    return tuple(sorted(members.values(), key=lambda member: member.order))
