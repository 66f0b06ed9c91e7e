"""Layers over images: gradients by centred differences, and values against PyTorch."""

from typing import Any

import numpy as np
import pytest

from engine.activations import ReLU
from engine.backends import make_backend
from engine.backends.base import Backend
from engine.errors import ShapeError
from engine.initializers import He
from engine.layers.base import Layer, layers
from engine.layers.batch_norm import BatchNorm
from engine.layers.conv2d import Conv2d
from engine.layers.layer_norm import LayerNorm
from engine.layers.linear import Linear
from engine.layers.nonlinearity import Nonlinearity
from engine.layers.pool2d import AvgPool2d, MaxPool2d
from engine.layers.reshape import Flatten, Image
from engine.losses import SoftmaxCrossEntropy
from engine.network import BoundNetwork, Network
from engine.training.gradcheck import numerical_gradient, relative_error
from tests.engine.conftest import Array, BindLayer

IMAGES = (3, 6, 7, 2)  # batch, height, width, channels
CASES: list[tuple[Layer, tuple[int, ...]]] = [
    (Conv2d(4), IMAGES),
    (Conv2d(4, kernel=3, stride=2, padding=1), IMAGES),
    (Conv2d(3, kernel=2, stride=3, padding=2, bias=None), IMAGES),
    (Conv2d(2, kernel=1), IMAGES),
    (Conv2d(2, kernel=5, padding=2), IMAGES),
    (MaxPool2d(), IMAGES),
    (MaxPool2d(3, stride=1), IMAGES),
    (MaxPool2d(2, stride=3), IMAGES),
    (AvgPool2d(), IMAGES),
    (AvgPool2d(3, stride=2), IMAGES),
    (Flatten(), IMAGES),
    (Image(2, 3, 4), (5, 24)),
    (BatchNorm(), IMAGES),
    (LayerNorm(), IMAGES),
]
IMAGE_LAYERS = ("conv2d", "max_pool2d", "avg_pool2d", "flatten", "image")


def case_id(value: object) -> str:
    return str(value).split(" initializer")[0] if isinstance(value, Layer) else ""


def test_every_layer_over_images_is_among_the_cases() -> None:
    assert {layers[name] for name in IMAGE_LAYERS} <= {type(layer) for layer, _ in CASES}


@pytest.mark.parametrize(("layer", "shape"), CASES, ids=case_id)
def test_gradients_agree_with_centred_differences(
    layer: Layer, shape: tuple[int, ...], backend: Backend, bind_layer: BindLayer
) -> None:
    bound, store = bind_layer(layer, shape)
    x = np.random.default_rng(0).normal(size=shape)
    weights = np.random.default_rng(3).normal(size=bound.output.shape)
    values = backend.to_host(store.values).copy()

    def f() -> float:
        store.values[...] = backend.to_device(values)
        y = bound.forward(backend.to_device(x), True)
        return float((backend.to_host(y) * weights).sum())

    f()
    dx = backend.to_host(bound.backward(backend.to_device(weights))).copy()
    dp = backend.to_host(store.gradients).copy()
    assert bound.output.shape[1:] == layer.output_shape(shape[1:])
    assert relative_error(dx, numerical_gradient(f, x)) < 1e-7
    if values.size:
        assert relative_error(dp, numerical_gradient(f, values)) < 1e-7


def test_the_gradient_of_equal_values_goes_to_the_first(
    bind_layer: BindLayer, backend: Backend
) -> None:
    bound, _ = bind_layer(MaxPool2d(), (1, 2, 2, 1))
    bound.forward(backend.full((1, 2, 2, 1), 1.0), True)
    dx = bound.backward(backend.full((1, 1, 1, 1), 1.0))
    assert backend.to_host(dx).reshape(-1).tolist() == [1, 0, 0, 0]


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (Conv2d(4), (24,)),
        (Conv2d(4, kernel=9), (6, 7, 2)),
        (MaxPool2d(9), (6, 7, 2)),
        (AvgPool2d(), (24,)),
        (Image(3, 32, 32), (24,)),
        (Linear(4), (6, 7, 2)),
    ],
    ids=case_id,
)
def test_what_does_not_fit_is_refused(layer: Layer, shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError):
        layer.output_shape(shape)


def channels_first(images: Array) -> Array:
    return images.transpose(0, 3, 1, 2)


def torch_layer(torch: Any, layer: Layer, values: dict[str, Array]) -> Any:
    """Return PyTorch's counterpart with the same parameters."""
    match layer:
        case Conv2d():
            k, channels = layer.kernel, values["weight"].shape[0] // layer.kernel**2
            twin = torch.nn.Conv2d(
                channels,
                layer.filters,
                k,
                layer.stride,
                layer.padding,
                bias=layer.bias is not None,
            ).double()
            weight = values["weight"].reshape(k, k, channels, layer.filters)
            twin.weight.data.copy_(torch.from_numpy(weight.transpose(3, 2, 0, 1).copy()))
            if layer.bias is not None:
                twin.bias.data.copy_(torch.from_numpy(values["bias"]))
            return twin
        case MaxPool2d():
            return torch.nn.MaxPool2d(layer.size, layer.stride or None)
        case AvgPool2d():
            return torch.nn.AvgPool2d(layer.size, layer.stride or None)
        case BatchNorm():
            twin = torch.nn.BatchNorm2d(values["gamma"].size).double()
        case LayerNorm():
            twin = torch.nn.LayerNorm(values["gamma"].transpose(2, 0, 1).shape).double()
        case _:
            pytest.skip("PyTorch has no such layer")
    for name, parameter in (("gamma", twin.weight), ("beta", twin.bias)):
        ours = values[name].transpose(2, 0, 1) if values[name].ndim == 3 else values[name]
        parameter.data.copy_(torch.from_numpy(ours.copy()))
    return twin


@pytest.mark.parity
@pytest.mark.parametrize(("layer", "shape"), CASES, ids=case_id)
def test_forwards_and_backwards_equal_those_of_pytorch(
    layer: Layer, shape: tuple[int, ...], bind_layer: BindLayer, backend: Backend
) -> None:
    torch: Any = pytest.importorskip("torch", reason="PyTorch is not installed")
    if backend.name != "numpy":
        pytest.skip("compared on NumPy; the back-ends are compared with each other")
    bound, store = bind_layer(layer, shape)
    twin = torch_layer(torch, layer, store.value_views[0])
    x = np.random.default_rng(0).normal(size=shape)
    y = bound.forward(x, True)
    dy = np.random.default_rng(1).normal(size=y.shape)
    dx = bound.backward(dy)
    theirs = torch.from_numpy(channels_first(x).copy()).requires_grad_()
    out = twin(theirs)
    out.backward(torch.from_numpy(channels_first(dy).copy()))
    np.testing.assert_allclose(channels_first(y), out.detach().numpy(), rtol=0, atol=1e-10)
    np.testing.assert_allclose(channels_first(dx), theirs.grad.numpy(), rtol=0, atol=1e-10)
    if isinstance(layer, Conv2d):
        k = layer.kernel
        weight_gradient = store.gradient_views[0]["weight"].reshape(k, k, -1, layer.filters)
        np.testing.assert_allclose(
            weight_gradient.transpose(3, 2, 0, 1), twin.weight.grad.numpy(), rtol=0, atol=1e-10
        )


def test_a_small_convnet_learns_and_is_counted_by_its_weights() -> None:
    backend = make_backend("numpy", "float64")
    network = Network(
        [
            Image(1, 8, 8),
            Conv2d(6, padding=1, initializer=He(), bias=None),
            BatchNorm(),
            Nonlinearity(ReLU()),
            MaxPool2d(),
            Flatten(),
            Linear(2, He()),
        ]
    )
    infos = [group.info for group in network.groups((64,))]
    assert [(i.name, i.kind, i.units) for i in infos] == [
        ("relu", "conv2d", 6),
        ("output", "linear", 2),
    ]
    generator = np.random.default_rng(0)
    x = generator.normal(size=(40, 8, 8))
    y = np.arange(40) % 2
    x[y == 1, 2:6, 3] += 2.5  # a vertical bar
    bound = BoundNetwork.of(network, (40, 64), backend, generator=generator)
    loss = SoftmaxCrossEntropy().bind((2,), 40, backend)
    history = []
    for _ in range(60):
        history.append(loss.forward(bound.forward(x.reshape(40, 64), True), y))
        bound.backward(loss.backward())
        bound.store.values[...] -= 0.1 * bound.store.gradients
    assert history[-1] < 0.1 * history[0]
