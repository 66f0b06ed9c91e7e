"""What the engine's tests share: back-ends, and a layer bound on its own."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from engine.backends import NumPyBackend, make_backend
from engine.backends.base import Backend
from engine.errors import BackendError
from engine.layers.base import Bound, Layer, Scope
from engine.network.parameters import ParameterStore, allocate

Array = npt.NDArray[Any]


@pytest.fixture(params=["numpy", "formulas", "cupy"])
def backend(request: pytest.FixtureRequest) -> Backend:
    """Each back-end in float64, and NumPy's without compiled kernels; skipped if it cannot run."""
    if request.param == "formulas":
        return NumPyBackend("float64")
    try:
        return make_backend(request.param, "float64")
    except BackendError as error:
        pytest.skip(str(error))


BindLayer = Callable[[Layer, tuple[int, ...]], tuple[Bound, ParameterStore]]


@pytest.fixture
def bind_layer(backend: Backend) -> BindLayer:
    """Bind one layer for inputs (batch, *features), with generic parameters."""

    def bind(layer: Layer, batch_shape: tuple[int, ...]) -> tuple[Bound, ParameterStore]:
        x = batch_shape[1:]
        store = allocate([layer.parameters(x)], [layer.state(x)], backend, np.random.default_rng(1))
        # γ = 1 and β = 0 would hide a factor or a term that is missing.
        noise = np.random.default_rng(2).normal(1, 0.3, store.values.shape)
        store.values[...] = backend.to_device(noise)
        views = store.value_views[0], store.gradient_views[0], store.state_views[0]
        return layer.bind(x, Scope(backend, batch_shape[0], *views)), store

    return bind


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make passes over the parameters work in blocks that are shorter than a test's network."""
    monkeypatch.setattr(NumPyBackend, "block", 50)
