"""The modules and parameters of the watched models, looked up again only when they have changed."""

import weakref
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import Any, TypeAlias

import torch
from torch import nn

from tuilab.adapters.torch.rows import Known, clean, kind_of, known_modules, unwrapped

Layers: TypeAlias = str | Sequence[str] | Callable[[str, nn.Module], bool] | None


class ModuleTree:
    """What some models consist of; `layers` selects what is recorded. It keeps nothing alive."""

    def __init__(self, models: Callable[[], list[tuple[str, nn.Module]]], layers: Layers) -> None:
        """`models` returns those that are still in use, with the prefixes of their paths."""
        self._models, self._layers = models, layers
        self._fingerprint: list[Any] = []
        self._kinds: dict[str, str] = {}  # of modules, by path
        self._chosen: set[str] = set()  # paths of modules
        self._parameters: list[tuple[str, weakref.ref[torch.Tensor]]] = []
        self.known: dict[int, Known] = {}
        """Modules by `id`, also those that are not recorded."""
        self.compiled = False  # whether `torch.compile` wraps a model, or one of its modules

    def refresh(self) -> None:
        """Look whether modules or parameters were added, removed or replaced."""
        wrapped = self._models()
        models = [(prefix, unwrapped(model)) for prefix, model in wrapped]
        fingerprint = _fingerprint(models)
        if fingerprint == self._fingerprint:
            return
        self._fingerprint = fingerprint
        self.compiled = any(
            "_orig_mod" in module._modules for _, model in wrapped for module in model.modules()
        )
        self._kinds, self._chosen, self._parameters, self.known = {}, set(), [], {}
        for prefix, model in models:
            for name, module in model.named_modules(remove_duplicate=False):
                path = clean(prefix + name)
                self._kinds[path] = kind_of(module)
                if self._selects(path, module):
                    self._chosen.add(path)
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
        """Return whether a module, or a function called in one, is recorded."""
        return self._layers is None or path in self._chosen or self._matches(path)

    def _selects(self, path: str, module: nn.Module) -> bool:
        if callable(self._layers):
            return bool(self._layers(path, module))
        return self._layers is None or self._matches(path)

    def _matches(self, path: str) -> bool:
        if self._layers is None or callable(self._layers):
            return False
        patterns = (self._layers,) if isinstance(self._layers, str) else self._layers
        return any(fnmatchcase(path, pattern) for pattern in patterns)

    def kind(self, path: str) -> str:
        """Return the name of the class of a module; "Parameter" where there is none."""
        return self._kinds.get(path, "Parameter")


def _fingerprint(models: Sequence[tuple[str, nn.Module]]) -> list[Any]:
    """Return what changes with the modules and the parameters of some models."""
    todo = [model for _, model in models]
    seen: list[Any] = [prefix for prefix, _ in models]
    while todo:
        module = todo.pop()
        seen.append(id(module))
        seen.append(type(module))
        seen += map(id, module._parameters.values())
        todo += [child for child in module._modules.values() if child is not None]
    return seen
