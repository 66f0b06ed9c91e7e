"""Watches Keras on its PyTorch back-end: its layers are modules, but its optimisers are its own."""

import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, cast

import keras
import torch
from torch import nn

from tuilab.adapters.torch.module_tree import Layers, ModuleTree
from tuilab.adapters.torch.nonlinearities import Response, named_response
from tuilab.adapters.torch.rows import Known
from tuilab.adapters.torch.watcher import Compiled, TorchWatcher
from tuilab.adapters.watched_run import PACE, WatchOptions
from tuilab.record import Compute, Source

MERGING: Final = (
    "Add",
    "Average",
    "Concatenate",
    "Dot",
    "Maximum",
    "Minimum",
    "Multiply",
    "Subtract",
)
"""Layers that join several others, and belong to none of them."""
PASSING: Final = (
    "ActivityRegularization", "AlphaDropout", "AveragePooling", "Cropping", "Dropout", "Flatten",
    "Gaussian", "GlobalAveragePooling", "GlobalMaxPooling", "Identity", "Masking", "MaxPooling",
    "Permute", "Random", "RepeatVector", "Rescaling", "Reshape", "SpatialDropout", "UpSampling",
    "ZeroPadding",
)  # fmt: skip
"""Beginnings of the names of layers without weights that are no non-linearity."""
WHOLE: Final = (keras.layers.RNN,)
"""Layers that are measured as a whole, although they have layers inside."""


class KerasOptimizer(torch.optim.Optimizer):
    """Makes the steps of an optimiser of Keras look like those of one of PyTorch, hooks included.

    `attach` replaces the `apply` of the Keras optimiser, `detach` puts it back. The group has the
    learning rate of the step under way, and what is written there is used for it. Parameters whose
    gradient was removed are not updated.
    """

    def __init__(self, optimizer: Any, variables: Sequence[Any]) -> None:
        rate = float(optimizer.learning_rate)
        super().__init__([variable.value for variable in variables], {"lr": rate})
        self._optimizer = optimizer
        self._apply = optimizer.apply
        self._arguments: tuple[Any, Any] = (), None

    def attach(self) -> None:
        """Make the steps of the Keras optimiser those of this one."""
        self._optimizer.__dict__["apply"] = self._observed

    def detach(self) -> None:
        """Leave the Keras optimiser as it was."""
        self._optimizer.__dict__.pop("apply", None)

    def _observed(self, grads: Any, trainable_variables: Any = None) -> None:
        self._arguments = grads, trainable_variables
        self.param_groups[0]["lr"] = float(self._optimizer.learning_rate)
        try:
            self.step()
        finally:
            self._arguments = (), None

    def step(self, closure: Any = None) -> None:
        """Let the Keras optimiser make its step."""
        grads, variables = self._arguments
        optimizer, rate = self._optimizer, self.param_groups[0]["lr"]
        if variables is not None:
            variables = [*variables]
            if not optimizer.built:
                optimizer.build(variables)
            pairs = [
                (gradient, variable)
                for gradient, variable in zip(grads, variables, strict=True)
                if gradient is None or variable.value.grad is not None
            ]
            grads, variables = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        changed = rate != float(optimizer.learning_rate)
        if changed:  # also where the learning rate follows a schedule and has no setter
            optimizer.__dict__["_get_current_learning_rate"] = lambda: rate
        try:
            self._apply(grads, variables)
        finally:
            if changed:
                del optimizer.__dict__["_get_current_learning_rate"]


class KerasTree(ModuleTree):
    """The layers and variables of a Keras model, by the names of its layers."""

    def refresh(self) -> None:
        found = [pair for _, model in self._models() for pair in walk(model)]
        variables = [
            (_joined(path, variable.name), cast(torch.Tensor, variable.value))
            for path, layer in found
            for variable in own_variables(layer)
        ]
        fingerprint: list[Any] = [
            *(id(layer) for _, layer in found),
            *(id(v) for _, v in variables),
        ]
        if fingerprint == self._fingerprint:
            return
        self._fingerprint = fingerprint
        self._kinds = {path: type(layer).__name__ for path, layer in found}
        self._chosen = {path for path, layer in found if self._selects(path, layer)}
        self._parameters = [(name, weakref.ref(value)) for name, value in variables]
        self.known = {id(layer): known_layer(path, layer) for path, layer in found}


class KerasWatcher(TorchWatcher):
    """Measures what `fit` trains on the PyTorch back-end."""

    def __init__(
        self, model: Any, options: WatchOptions, layers: Layers, compiled: Compiled
    ) -> None:
        self._optimizer = KerasOptimizer(model.optimizer, model.trainable_variables)
        super().__init__([model], [self._optimizer], options, layers, compiled)
        self._optimizer.attach()

    def detach(self) -> None:
        super().detach()
        self._optimizer.detach()

    def _source(self) -> Source:
        capabilities = (*PACE, "set", "scale", "freeze", "unfreeze", "checkpoint")
        return Source(source="keras", capabilities=capabilities, settable=("learning_rate",))

    def _compute(self) -> Compute:
        before = super()._compute()
        software = f"keras {keras.__version__}, {before.software}"
        return Compute(backend="torch", device=before.device, software=software, dtype=before.dtype)

    def _module_tree(self, layers: Layers) -> ModuleTree:
        return KerasTree(self._prefixed, layers)

    def save(self, path: Path) -> None:
        """Save all variables as a safetensors file, by the paths of Keras."""
        from safetensors.torch import save_file

        variables = [v for model in self._alive() for v in cast(Any, model).variables]
        tensors = {v.path: v.value.detach().cpu().contiguous().clone() for v in variables}
        save_file(tensors, path, {"format": "pt"})


def walk(model: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield a model and its layers with their paths; not the inside of layers measured whole."""
    yield path, model
    if not isinstance(model, WHOLE):
        for layer in sublayers(model):
            yield from walk(layer, _joined(path, layer.name))


def sublayers(layer: Any) -> list[Any]:
    """Return the layers directly inside of a layer, without those that only hold an input."""
    inside = layer._flatten_layers(include_self=False, recursive=False)
    return [inner for inner in inside if not isinstance(inner, keras.layers.InputLayer)]


def own_variables(layer: Any) -> list[Any]:
    """Return the trainable variables that a layer has itself, not the layers inside of it."""
    if isinstance(layer, WHOLE):
        return list(layer.trainable_variables)
    inside = {id(v) for inner in sublayers(layer) for v in inner.trainable_variables}
    return [v for v in layer.trainable_variables if id(v) not in inside]


def known_layer(path: str, layer: nn.Module) -> Known:
    """Return what a layer of Keras is taken for."""
    kind = type(layer).__name__
    inside = not isinstance(layer, WHOLE) and sublayers(layer)
    if inside or kind in MERGING or not path:
        return Known(path, kind, leaf=False)
    own = own_variables(layer)
    if not own:
        passes = kind.startswith(PASSING)
        response = None if passes else response_of(layer)
        return Known(path, "Identity" if passes else kind, leaf=True, response=response)
    weights = next((v for v in own if v.value.ndim > 1), own[0])
    embeds = isinstance(layer, keras.layers.Embedding)
    return Known(
        path,
        kind,
        leaf=True,
        weight=_joined(path, weights.name),
        normalizes="Normalization" in kind,
        channels_first=getattr(layer, "data_format", "") == "channels_first",
        units_last=not embeds,
        parameters=sum(v.value.numel() for v in own),
    )


def response_of(layer: Any) -> Response | None:
    """Return what is known of a layer of Keras that is a non-linearity; None if nothing is."""
    if isinstance(layer, keras.layers.Activation):
        return named_response(getattr(layer.activation, "__name__", ""))
    if isinstance(layer, keras.layers.ReLU):
        plain = layer.max_value is None and not layer.negative_slope and not layer.threshold
        return named_response("relu") if plain else None
    if isinstance(layer, keras.layers.Softmax):
        return named_response("softmax")
    return None


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
