"""Networks written layer by layer."""

from typing import Any

import pytest

from engine.activations import ReLU, Tanh
from engine.errors import ConfigError
from engine.initializers import He, Normal
from engine.layers.base import layers
from engine.layers.batch_norm import BatchNorm
from engine.layers.conv2d import Conv2d
from engine.layers.linear import Linear
from engine.layers.nonlinearity import Nonlinearity
from engine.layers.pool2d import MaxPool2d
from engine.layers.reshape import Flatten, Image
from engine.layers.residual import Residual
from tests.tuilab.support import small
from tuilab.scenario.building import build_network, load_data
from tuilab.scenario.layer_tables import FAMILIES, parse_layer
from tuilab.scenario.parsing import parse


def test_a_table_gives_the_layer_with_its_settings() -> None:
    table = {"name": "conv2d", "filters": 8, "padding": 1, "initializer": "he"}
    assert parse_layer(table, "") == Conv2d(8, padding=1, initializer=He())
    assert parse_layer({"name": "relu"}, "") == Nonlinearity(ReLU())
    assert parse_layer({"name": "activation", "activation": "tanh"}, "") == Nonlinearity(Tanh())
    normal = {"name": "normal", "std": 0.1}
    assert parse_layer({"name": "linear", "units": 3, "initializer": normal}, "") == Linear(
        3, Normal(0.1)
    )
    block = {"name": "residual", "layers": [{"name": "linear", "units": 4}, {"name": "relu"}]}
    assert parse_layer(block, "") == Residual((Linear(4), Nonlinearity(ReLU())))


def test_every_family_inside_a_layer_is_written_by_name() -> None:
    assert all(registry for registry in FAMILIES.values())
    assert all(name in layers for name in ("linear", "conv2d", "residual"))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"name": "conv3d"}, r"layer\[1\].name: unknown layer 'conv3d'; did you mean 'conv2d'"),
        ({}, r"layer\[1\].name: unknown layer"),
        ({"name": "conv2d"}, r"layer\[1\]: layer 'conv2d' needs filters"),
        ({"name": "linear", "units": 0}, r"layer\[1\].units: must be at least 1, is 0"),
        ({"name": "linear", "units": "many"}, r"layer\[1\].units: expected 'int'"),
        ({"name": "linear", "unit": 3}, r"layer\[1\].unit: .* did you mean 'units'"),
        ({"name": "relu", "slope": 3}, r"layer\[1\].slope: unknown relu setting"),
        (
            {"name": "linear", "units": 3, "initializer": "hee"},
            r"layer\[1\].initializer: unknown initializer 'hee'; did you mean 'he'",
        ),
        (
            {"name": "residual", "layers": [{"name": "liner"}]},
            r"layer\[1\].layers\[0\].name: unknown layer 'liner'",
        ),
        ({"name": "residual", "layers": 3}, r"layer\[1\].layers: write each layer as a table"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(table: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse(layered({"name": "linear", "units": 4}, table), "x")


def layered(*tables: dict[str, Any], **network: Any) -> dict[str, Any]:
    whole = small()
    whole["network"] = network
    whole["layer"] = [*tables]
    return whole


def test_layers_stand_between_the_data_and_its_classes() -> None:
    scenario = parse(layered({"name": "linear", "units": 4}, {"name": "relu"}), "x")
    network = build_network(scenario, load_data(scenario, None))
    assert [type(member) for member in network.layers] == [Linear, Nonlinearity, Linear]
    assert network.shapes((8,))[-1] == (3,)


def test_pixels_become_images_and_are_flattened_before_the_output() -> None:
    table = layered(
        {"name": "conv2d", "filters": 5, "padding": 1},
        {"name": "batch_norm"},
        {"name": "relu"},
        {"name": "max_pool2d"},
    )
    table["data"] = {"source": "digits", "batch_size": 32}
    scenario = parse(table, "x")
    network = build_network(scenario, load_data(scenario, None))
    kinds = [Image, Conv2d, BatchNorm, Nonlinearity, MaxPool2d, Flatten, Linear]
    assert [type(member) for member in network.layers] == kinds
    assert network.shapes((64,))[-1] == (10,)


@pytest.mark.parametrize(
    ("network", "path"),
    [({"hidden": [3]}, "network.hidden"), ({"batch_norm": True}, "network.batch_norm")],
)
def test_the_short_form_goes_without_layers(network: dict[str, Any], path: str) -> None:
    with pytest.raises(ConfigError, match="cannot be combined") as error:
        parse(layered({"name": "linear", "units": 4}, **network), "x")
    assert error.value.path == path


def test_there_must_be_layers_with_weights() -> None:
    with pytest.raises(ConfigError, match=r"give hidden layers"):
        parse(small() | {"network": {}}, "x")
    with pytest.raises(ConfigError, match=r"no \[\[layer\]\] has weights"):
        parse(layered({"name": "relu"}), "x")


def test_expectations_count_the_layers_that_have_weights() -> None:
    table = layered({"name": "linear", "units": 4}, {"name": "relu"})
    table["expect"] = [{"metric": "layers[3].activation.std", "above": 0}]
    with pytest.raises(ConfigError, match="the network has 1 hidden layers"):
        parse(table, "x")


def test_a_bias_can_be_set_or_left_out() -> None:
    assert parse_layer({"name": "linear", "units": 3, "bias": False}, "") == Linear(3, bias=None)
    assert parse_layer({"name": "conv2d", "filters": 3, "bias": 0.1}, "") == Conv2d(3, bias=0.1)
