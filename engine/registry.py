"""Families of small members (activations, initialisers, data sources …), found by name.

A member registers where it is defined, so that adding one touches one file:

    @initializers.register("normal")
    @dataclass(frozen=True)
    class Normal(Initializer):
        std: float = 0.01

Members are frozen dataclasses: their fields are their settings, in Python and in a scenario file.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Generic, TypeVar

from engine.errors import UnknownNameError

T = TypeVar("T")


class Registry(Mapping[str, type[T]], Generic[T]):
    """A mapping from name to member class; `kind` names the family in error messages."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._members: dict[str, type[T]] = {}

    def register(self, name: str) -> Callable[[type[T]], type[T]]:
        """Class decorator: enter the member under `name` (which must be free)."""

        def enter(member: type[T]) -> type[T]:
            if name in self._members:
                raise ValueError(f"{self.kind} '{name}' is registered twice")
            if not is_dataclass(member):
                raise TypeError(f"{self.kind} '{name}' must be a dataclass")
            self._members[name] = member
            return member

        return enter

    def __getitem__(self, name: str) -> type[T]:
        try:
            return self._members[name]
        except (KeyError, TypeError):
            raise UnknownNameError(self.kind, name, self._members) from None

    def __contains__(self, name: object) -> bool:
        return name in self._members

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)

    def build(self, name: str, **settings: Any) -> T:
        """Make the member `name` with `settings`; unknown ones raise UnknownNameError."""
        member = self[name]
        known = {field.name for field in fields(member)}  # type: ignore[arg-type]
        for key in settings:
            if key not in known:
                raise UnknownNameError(f"setting of {self.kind} '{name}'", key, known, key)
        return member(**settings)

    def name_of(self, member: T) -> str:
        """Return the name under which the class of `member` is registered."""
        for name, cls in self._members.items():
            if cls is type(member):
                return name
        raise UnknownNameError(self.kind, type(member).__name__, self._members)
