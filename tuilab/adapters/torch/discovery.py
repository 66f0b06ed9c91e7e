"""Finds the models and optimisers of a program that does not name them, and watches them.

Only what is needed to find them is imported at first: the program may never train. A hook on all
optimisers stays, for those that come later; a hook on all modules goes once something is watched.
"""

import functools
import gc
import os
import sys
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_pre_hook
from torch.utils.hooks import RemovableHandle

import tuilab
from tuilab.adapters import launched

if TYPE_CHECKING:
    from tuilab.adapters.torch.watcher import TorchWatcher

ENGINE: Final = Path(tuilab.__file__).parents[1] / "engine" / "__init__.py"


class Discovery:
    """Watches what a program trains, from its first training step on.

    That is the first call of a module with parameters of an optimiser, in training mode and with
    gradients; where hooks see none, the first step of an optimiser.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._settings = settings
        self._pid = os.getpid()  # processes that are forked off are not watched
        self._created: weakref.WeakSet[Optimizer] = weakref.WeakSet()
        self._rejected: dict[int, int] = {}  # modules by id, and how many optimisers there were
        self._watcher: TorchWatcher | None = None
        self._calls: RemovableHandle | None = None
        self._busy = False
        self._off = False  # nothing is looked for any more
        self.stepped = False  # whether any optimiser has made a step

    def install(self) -> None:
        """Look for models and optimisers from now on."""
        register_optimizer_step_pre_hook(self._stepping)
        original, created = Optimizer.__init__, self._optimizer_created

        @functools.wraps(original)
        def __init__(self: Optimizer, *args: Any, **kwargs: Any) -> None:  # noqa: N807
            original(self, *args, **kwargs)
            created(self)

        Optimizer.__init__ = __init__

    def _optimizer_created(self, optimizer: Optimizer) -> None:
        """See all calls of modules until the next step of an optimiser."""
        if self._off or os.getpid() != self._pid:
            return
        self._created.add(optimizer)
        if self._calls is None:
            self._calls = register_module_forward_pre_hook(self._called)

    # Hooks. Nothing but Stopped leaves them.

    def _called(self, module: nn.Module, args: Any) -> None:
        """Begin to watch at the outermost call of the first training step."""
        if torch.compiler.is_compiling() or self._busy or self._off:
            return
        if not module.training or not torch.is_grad_enabled() or os.getpid() != self._pid:
            return
        if self._rejected.get(id(module)) == len(self._created):
            return
        self._busy = True
        try:
            owned = _parameters(self._unwatched())
            if any(id(parameter) in owned for parameter in module.parameters()):
                self._watch()
                if self._watcher is not None:
                    self._watcher.entered(module, args)
            else:
                self._rejected[id(module)] = len(self._created)
        except Exception as error:  # noqa: BLE001  (never into the program)
            self._failed(error)
        finally:
            self._busy = False

    def _stepping(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        """Watch an optimiser that steps for the first time, and what it trains."""
        if self._off or self._busy or os.getpid() != self._pid:
            return
        self.stepped = True
        self._remove_hook()
        if self._watcher is not None and self._watcher.has(optimizer):
            return
        self._busy = True
        try:
            self._created.add(optimizer)  # perhaps it was copied, or unpickled
            self._watch()
        except Exception as error:  # noqa: BLE001  (never into the program)
            self._failed(error)
        finally:
            self._busy = False

    # Watching.

    def _unwatched(self) -> list[Optimizer]:
        watcher = self._watcher
        return [o for o in self._created if watcher is None or not watcher.has(o)]

    def _watch(self) -> None:
        """Watch all that is trained and not watched yet, unless the program does that itself."""
        if self._watcher is None:
            if problem := conflict():
                return self._give_up(problem)
            from tuilab.adapters.torch.sessions import is_watching

            if is_watching():
                return self._switch_off()
        elif self._watcher.run.closed:
            return self._switch_off()
        optimizers = self._unwatched()
        models = models_of(optimizers)
        inside = {id(parameter) for model in models for parameter in model.parameters()}
        optimizers = [o for o in optimizers if _parameters([o]) & inside]
        if self._watcher is not None and self._watcher.has_models:
            self._watcher.join(models, optimizers)
        elif models:
            self._begin(models, optimizers)
        return None

    def _begin(self, models: Sequence[nn.Module], optimizers: Sequence[Optimizer]) -> None:
        """Begin a run; where there was one, its models are gone."""
        from tuilab.adapters.torch.sessions import begin_watcher
        from tuilab.adapters.watched_run import WatchOptions

        if self._watcher is not None:
            self._watcher.run.close()
        settings = self._settings
        options = WatchOptions(
            title=settings["title"], every=settings["every"], quiet=settings["logged"]
        )
        layers = settings["layers"] or None
        self._watcher = begin_watcher(models, optimizers, options, layers, "eager")

    def _switch_off(self) -> None:
        self._off = True
        self._remove_hook()

    def _remove_hook(self) -> None:
        if self._calls is not None:
            self._calls.remove()
            self._calls = None
            self._rejected.clear()

    def _failed(self, error: BaseException) -> None:
        known = any(cls.__name__ == "TuilabError" for cls in type(error).__mro__)
        self._give_up(str(error) if known else f"{type(error).__name__}: {error}")

    def _give_up(self, problem: str) -> None:
        self._switch_off()
        print(f"tuilab: cannot watch the program: {problem}", file=sys.stderr, flush=True)

    def nothing_recorded(self) -> str:
        """Return why there is no run, or "" where there is one or the reason was printed."""
        program_has_run = launched.current is not None and bool(launched.current.folders)
        if self._watcher is not None or program_has_run or self._off:
            return ""
        if self.stepped:
            return "no optimiser made a step with parameters of a torch.nn.Module"
        return "no optimiser of torch.optim made a step"


def _parameters(optimizers: Sequence[Optimizer]) -> set[int]:
    """Return the ids of the parameters of optimisers."""
    return {id(p) for o in optimizers for group in o.param_groups for p in group["params"]}


def models_of(optimizers: Sequence[Optimizer]) -> list[nn.Module]:
    """Return the modules with parameters of optimisers that no other module contains.

    Of several that share parameters, such as a model in two wrappers, only as many as hold all.
    """
    owned = _parameters(optimizers)
    modules = [
        thing
        for thing in gc.get_objects()
        if issubclass(type(thing), nn.Module) and "_modules" in thing.__dict__  # is complete
    ]
    inner = {id(child) for module in modules for child in module._modules.values()}
    roots = [
        (len(shared), -len(parameters), at, module, shared)
        for at, module in enumerate(modules)
        if id(module) not in inner
        and (shared := (parameters := {id(p) for p in module.parameters()}) & owned)
    ]
    chosen: list[tuple[int, nn.Module]] = []
    covered: set[int] = set()
    for _, _, at, module, shared in sorted(roots, key=lambda root: root[:2], reverse=True):
        if not shared <= covered:
            covered |= shared
            chosen.append((at, module))
    return [module for _, module in sorted(chosen, key=lambda root: root[0])]


def conflict() -> str:
    """Return why tuilab cannot be imported beside the modules of the program, or ""."""
    import importlib.util

    module = sys.modules.get("engine")
    spec = getattr(module, "__spec__", None) if module else importlib.util.find_spec("engine")
    origin = getattr(module, "__file__", None) or getattr(spec, "origin", None)
    if origin is None or Path(origin).resolve() != ENGINE.resolve():
        where = origin or "somewhere"
        return f"its module 'engine' ({where}) has the name of a package that tuilab needs"
    return ""


_DISCOVERY: Discovery | None = None


def install(settings: Mapping[str, Any]) -> None:
    """Watch what this program trains; called once, when it has imported torch."""
    global _DISCOVERY
    launched.current = launched.Launch.from_settings(settings)
    _DISCOVERY = Discovery(settings)
    _DISCOVERY.install()


def nothing_recorded() -> str:
    """Return why the program left no run, or "" where nothing is to be explained."""
    return "" if _DISCOVERY is None else _DISCOVERY.nothing_recorded()
