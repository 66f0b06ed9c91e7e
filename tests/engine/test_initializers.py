"""Initialisers: the statistics that they claim, and biases."""

import numpy as np
import pytest

from engine.activations import ReLU
from engine.backends import make_backend
from engine.errors import ConfigError
from engine.initializers import (
    Constant,
    GlorotNormal,
    GlorotUniform,
    He,
    HeUniform,
    IdentityMatrix,
    Initializer,
    LeCun,
    Normal,
    Orthogonal,
    Uniform,
    Weights,
    Xavier,
    Zeros,
    initializers,
)
from engine.network import BoundNetwork, mlp

SHAPE = (500, 400)
GAUSSIAN = {
    Normal(0.01): 0.01,
    Xavier(): 500**-0.5,
    LeCun(): 500**-0.5,
    GlorotNormal(): (2 / 900) ** 0.5,
    He(): (2 / 500) ** 0.5,
}
UNIFORM = {
    Uniform(0.2): 0.2,
    GlorotUniform(): (6 / 900) ** 0.5,
    HeUniform(): (6 / 500) ** 0.5,
}
FIXED = {Zeros(): 0.0, Constant(0.25): 0.25}


def draw(rule: Initializer, shape: tuple[int, ...] = SHAPE, seed: int = 0) -> Weights:
    generator = np.random.default_rng(seed)
    return rule(shape, fan_in=shape[0], fan_out=shape[-1], generator=generator)


@pytest.mark.parametrize(("rule", "std"), GAUSSIAN.items(), ids=str)
def test_gaussian_rules_have_the_std_and_the_tails_they_claim(
    rule: Initializer, std: float
) -> None:
    weights = draw(rule)
    assert weights.std() == pytest.approx(std, rel=0.01)
    assert abs(weights.mean()) < 0.01 * std
    assert (np.abs(weights) > 2 * std).mean() == pytest.approx(0.0455, abs=0.003)


@pytest.mark.parametrize(("rule", "limit"), UNIFORM.items(), ids=str)
def test_uniform_rules_fill_their_range_evenly(rule: Initializer, limit: float) -> None:
    weights = draw(rule)
    assert np.abs(weights).max() == pytest.approx(limit, rel=1e-3)
    assert np.abs(weights).max() <= limit
    assert weights.std() == pytest.approx(limit / 3**0.5, rel=0.01)
    assert (np.abs(weights) > limit / 2).mean() == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize(("rule", "value"), FIXED.items(), ids=str)
def test_fixed_rules_are_exact(rule: Initializer, value: float) -> None:
    assert (draw(rule) == value).all()


@pytest.mark.parametrize("shape", [(6, 6), (9, 4), (4, 9), (4, 3, 5)])
def test_orthogonal_rows_or_columns_are_orthonormal_times_the_gain(shape: tuple[int, ...]) -> None:
    weights = draw(Orthogonal(1.5), shape).reshape(shape[0], -1)
    fewer = weights if weights.shape[0] <= weights.shape[1] else weights.T
    np.testing.assert_allclose(fewer @ fewer.T, 2.25 * np.eye(len(fewer)), atol=1e-13)


def test_orthogonal_matrices_of_either_sign_are_drawn() -> None:
    signs = [np.sign(np.linalg.det(draw(Orthogonal(), (3, 3), seed))) for seed in range(200)]
    assert abs(np.mean(signs)) < 0.3


def test_identity_passes_its_inputs_on_whatever_the_shape() -> None:
    x = np.arange(3.0)
    np.testing.assert_array_equal(x @ draw(IdentityMatrix(), (3, 5)), [0, 1, 2, 0, 0])
    np.testing.assert_array_equal(x @ draw(IdentityMatrix(), (3, 2)), [0, 1])
    with pytest.raises(ConfigError, match="matrix"):
        draw(IdentityMatrix(), (3, 2, 2))


@pytest.mark.parametrize("name", list(initializers))
def test_every_rule_gives_the_shape_in_float64_and_the_same_for_the_same_seed(name: str) -> None:
    rule = initializers[name]()
    weights = draw(rule, (7, 3))
    assert weights.shape == (7, 3)
    assert weights.dtype == np.float64
    np.testing.assert_array_equal(weights, draw(rule, (7, 3)))
    random = name not in ("zeros", "constant", "identity")
    assert (weights != draw(rule, (7, 3), seed=1)).any() == random


@pytest.mark.parametrize("batch_norm", [False, True])
def test_every_bias_there_is_begins_at_the_value_given(batch_norm: bool) -> None:
    network = BoundNetwork.of(
        mlp([4, 3], 2, activation=ReLU(), initializer=He(), bias=0.25, batch_norm=batch_norm),
        (8, 5),
        make_backend("numpy", "float64"),
        generator=np.random.default_rng(0),
    )
    biases = [views["bias"] for views in network.store.value_views if "bias" in views]
    assert len(biases) == (1 if batch_norm else 3)
    assert all((bias == 0.25).all() for bias in biases)
