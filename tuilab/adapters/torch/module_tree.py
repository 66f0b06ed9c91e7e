"""The modules and parameters of the watched models, looked up anew only when they have changed."""

import weakref
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import Any, TypeAlias

import torch
from torch import nn

from tuilab.adapters.torch.rows import Known, clean, known_modules, unwrapped

Layers: TypeAlias = str | Sequence[str] | Callable[[str, nn.Module], bool] | None


class ModuleTree:
    """What some models consist of; `layers` selects what is recorded. It keeps nothing alive."""

    def __init__(self, models: Callable[[], list[nn.Module]], layers: Layers) -> None:
        """`models` returns those that are still in use."""
        self._models, self._layers = models, layers
        self._fingerprint: list[Any] = []
        self._kinds: dict[str, str] = {}  # of modules, by path
        self._chosen: dict[str, bool] = {}  # by path: whether it is recorded
        self._parameters: list[tuple[str, weakref.ref[torch.Tensor]]] = []
        self.known: dict[int, Known] = {}
        """All modules that are executed, by `id`."""

    def refresh(self) -> None:
        """Look whether modules or parameters were added, removed or replaced."""
        models = [unwrapped(model) for model in self._models()]
        fingerprint = _fingerprint(models)
        if fingerprint == self._fingerprint:
            return
        self._fingerprint = fingerprint
        prefixes = [f"{at}." if len(models) > 1 else "" for at in range(len(models))]
        self._kinds, self._chosen, self._parameters, self.known = {}, {}, [], {}
        for prefix, model in zip(prefixes, models, strict=True):
            for name, module in model.named_modules(remove_duplicate=False):
                path = clean(prefix + name)
                self._kinds[path] = type(module).__name__
                self._chosen[path] = self._selects(path, module)
            self._parameters += [
                (clean(prefix + name), weakref.ref(parameter))
                for name, parameter in model.named_parameters(remove_duplicate=False)
            ]
            self.known |= known_modules(model, prefix)

    @property
    def parameters(self) -> list[tuple[str, torch.Tensor]]:
        """All parameters by their names; those of tied weights under each of them."""
        return [(name, p) for name, ref in self._parameters if (p := ref()) is not None]

    def chosen(self, path: str) -> bool:
        """Return whether the layer at a path is recorded: a module, or a function inside of one."""
        chosen = self._chosen.get(path)
        if chosen is None:
            chosen = self._chosen[path] = self._selects(path, None)
        return chosen

    def _selects(self, path: str, module: nn.Module | None) -> bool:
        if self._layers is None:
            return True
        if callable(self._layers):
            return module is not None and bool(self._layers(path, module))
        patterns = (self._layers,) if isinstance(self._layers, str) else self._layers
        return any(fnmatchcase(path, pattern) for pattern in patterns)

    def kind(self, path: str) -> str:
        """Return the name of the class of a module; "Parameter" where there is none."""
        return self._kinds.get(path, "Parameter")


def _fingerprint(models: Sequence[nn.Module]) -> list[Any]:
    """Return what changes with the modules and the parameters of some models."""
    todo, seen = [*models], []
    while todo:
        module = todo.pop()
        seen.append(id(module))
        seen.append(type(module))
        seen += map(id, module._parameters.values())
        todo += [child for child in module._modules.values() if child is not None]
    return seen
