"""The checks of a device, on the emulated one, and on a GPU where there is one."""

from functools import cache

import pytest

from engine.activations import activations
from engine.backends import make_backend
from engine.backends.base import Backend
from engine.errors import BackendError
from engine.layers.base import layers
from tests.engine.cuda_graph.checks import REPEATS, ROWS, checks
from tests.engine.cuda_graph.emulator import EmulatedBackend

NAMES = [check.name for check in checks(EmulatedBackend("float64"))]


@cache
def gpu(dtype: str) -> Backend | BackendError:
    try:
        return make_backend("cupy", dtype)
    except BackendError as error:
        return error


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("place", "dtype"), [("emulated", "float32"), ("cupy", "float32"), ("cupy", "float64")]
)
def test_a_device(place: str, dtype: str, name: str) -> None:
    backend = EmulatedBackend(dtype) if place == "emulated" else gpu(dtype)
    if isinstance(backend, BackendError):
        pytest.skip(str(backend))
    repeats = 2 if place == "emulated" else REPEATS  # where threads run one at a time
    (check,) = [each for each in checks(backend, repeats) if each.name == name]
    check.run()


def test_every_layer_is_trained() -> None:
    trained = {layer.kind for row in ROWS.values() for layer in row}
    assert {name for name, _ in layers.items()} <= trained
    assert len(dict(activations.items())) > 5
