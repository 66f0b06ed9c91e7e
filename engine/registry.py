"""Families of small members (activations, initialisers, data sources …), looked up by name.

A member registers where it is defined, so that adding one touches one file:

    @initializers.register("normal")
    @dataclass(frozen=True)
    class Normal(Initializer):
        std: float = 0.01

Members are frozen dataclasses: their fields are their settings, in Python and in a scenario file.
A family whose members have a file each names their package. All modules of that package are
imported when the family is first read, so that a new file needs no entry anywhere.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from importlib import import_module
from pkgutil import iter_modules
from typing import Generic, TypeAlias, TypeVar

from engine.errors import UnknownNameError

T = TypeVar("T")
Setting: TypeAlias = bool | int | float | str


class Registry(Mapping[str, type[T]], Generic[T]):
    """A mapping from name to member class; `kind` names the family in error messages."""

    def __init__(self, kind: str, package: str = "") -> None:
        """Begin a family; the modules of `package` are imported when it is first read."""
        self.kind = kind
        self._registered: dict[str, type[T]] = {}
        self._package = package

    @property
    def _members(self) -> dict[str, type[T]]:
        if self._package:
            package, self._package = import_module(self._package), ""
            for module in iter_modules(package.__path__):
                import_module(f"{package.__name__}.{module.name}")
        return self._registered

    def register(self, name: str) -> Callable[[type[T]], type[T]]:
        """Return a class decorator that adds the member under `name`, which must be free."""

        def add(member: type[T]) -> type[T]:
            if name in self._registered:
                raise ValueError(f"{self.kind} '{name}' is registered twice")
            if not is_dataclass(member):
                raise TypeError(f"{self.kind} '{name}' must be a dataclass")
            self._registered[name] = member
            return member

        return add

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

    def build(self, name: str, **settings: Setting) -> T:
        """Return the member `name` with `settings`. Raises UnknownNameError for either."""
        member = self[name]
        known = {field.name for field in fields(member)}  # type: ignore[arg-type]
        for key in settings:
            if key not in known:
                raise UnknownNameError(f"setting of {self.kind} '{name}'", key, known, key)
        return member(**settings)

    def name_of(self, member: T) -> str:
        """Return the name under which the class of `member` is registered."""
        for name, cls in self._registered.items():
            if cls is type(member):
                return name
        raise UnknownNameError(self.kind, type(member).__name__, self._registered)
