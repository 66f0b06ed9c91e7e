"""What theory expects at the start, against closed forms and against real networks."""

import math
from typing import Final

import numpy as np
import numpy.typing as npt
import pytest

from engine.activations import (
    GELU,
    Activation,
    Identity,
    LeakyReLU,
    ReLU,
    Sigmoid,
    Tanh,
    activations,
)
from engine.backends import make_backend
from engine.initializers import (
    Constant,
    GlorotNormal,
    He,
    HeUniform,
    Initializer,
    Normal,
    Orthogonal,
    Uniform,
    Xavier,
    Zeros,
)
from engine.layers.dropout import Dropout
from engine.layers.linear import Linear
from engine.layers.nonlinearity import Nonlinearity
from engine.network import BoundNetwork, Network, mlp
from engine.network.signal_propagation import expected, moments
from engine.statistics.frames import FirstWeights, Floats, LayerInfo, gain

WIDTH: Final = 300
DRAWS: Final = 6


@pytest.mark.parametrize("std", [0.02, 1.0, 22.0])
def test_relu_has_closed_forms(std: float) -> None:
    found = moments(ReLU(), std)
    assert found.mean == pytest.approx(std / math.sqrt(2 * math.pi), rel=1e-9)
    assert found.square == pytest.approx(std**2 / 2, rel=1e-9)
    assert found.slope_square == pytest.approx(0.5, rel=1e-9)
    assert found.std == pytest.approx(std * math.sqrt(0.5 - 0.5 / math.pi), rel=1e-9)


def test_a_leaky_relu_follows_its_slope() -> None:
    found = moments(LeakyReLU(0.3), 2.0)
    assert found.square == pytest.approx(4 * (1 + 0.09) / 2, rel=1e-9)
    assert found.slope_square == pytest.approx((1 + 0.09) / 2, rel=1e-9)


def test_tanh_is_linear_for_small_inputs_and_a_step_for_large_ones() -> None:
    small, large = moments(Tanh(), 1e-4), moments(Tanh(), 1e3)
    assert small.std == pytest.approx(1e-4, rel=1e-6)
    assert small.slope_square == pytest.approx(1, rel=1e-6)
    assert large.std == pytest.approx(1, rel=1e-3)
    # ∫ (1 − tanh²)² dz = 4/3, times the density at 0
    assert large.slope_square == pytest.approx(4 / 3 / (1e3 * math.sqrt(2 * math.pi)), rel=1e-3)


def test_an_even_quadrature_would_miss_a_saturated_tanh() -> None:
    x, w = np.polynomial.hermite_e.hermegauss(100)
    even = float(w @ (1 - np.tanh(22.0 * x) ** 2) ** 2) / math.sqrt(2 * math.pi)
    exact = moments(Tanh(), 22.0).slope_square
    t = np.linspace(-9, 9, 2_000_001)
    density = np.exp(-t * t / 2) / math.sqrt(2 * math.pi)
    fine = float(((1 - np.tanh(22.0 * t) ** 2) ** 2 * density).sum() * (t[1] - t[0]))
    assert exact == pytest.approx(fine, rel=1e-9)
    assert abs(even / exact - 1) > 0.1


@pytest.mark.parametrize("name", activations)
@pytest.mark.parametrize(("std", "mean"), [(0.3, 0.0), (1.5, 0.4), (6.0, -1.0)])
def test_every_activation_agrees_with_random_draws(name: str, std: float, mean: float) -> None:
    activation = activations[name]()
    z = np.random.default_rng(0).normal(mean, std, 400_000)
    scratch = [np.empty_like(z) for _ in range(activation.scratch)]
    y, slope = np.empty_like(z), np.empty_like(z)
    backend = make_backend("numpy", "float64")
    activation.forward(backend, z, y, scratch)
    activation.backward(backend, z, y, np.ones_like(z), slope, scratch)
    found = moments(activation, std, mean)
    for value, sample in ((found.mean, y), (found.square, y**2), (found.slope_square, slope**2)):
        error = sample.std() / math.sqrt(len(z))
        assert abs(value - sample.mean()) < 5 * error + 1e-12


def measured(network: Network, x: npt.NDArray[np.float64]) -> tuple[Floats, Floats]:
    """Return the std of each hidden layer's activations, and of dL/dA for random dL/dscores.

    The geometric mean of several draws: of one, an error goes on growing from layer to layer.
    """
    outputs = [g.output for g in network.groups(x.shape[1:])][:-1]
    draws = []
    for seed in range(DRAWS):
        rng = np.random.default_rng(seed)
        bound = BoundNetwork.of(network, x.shape, make_backend("numpy", "float64"), generator=rng)
        scores = bound.forward(x, True)
        std = [bound.bound[at].output.std() for at in outputs]
        bound.backward(rng.normal(size=scores.shape))
        draws.append([std, [bound.bound[at + 1].input_gradient.std() for at in outputs]])
    std, gradient = np.exp(np.log(draws).mean(axis=0))
    return np.asarray(std), np.asarray(gradient)


@pytest.mark.parametrize("norm", [False, True], ids=["plain", "batch_norm"])
@pytest.mark.parametrize(
    ("activation", "rule"),
    [
        (ReLU(), Xavier()),
        (ReLU(), He()),
        (ReLU(), HeUniform()),
        (ReLU(), Normal(0.1)),
        (Tanh(), Normal(0.01)),
        (Tanh(), Normal(1.0)),
        (Tanh(), Xavier()),
        (Tanh(), Orthogonal(1.3)),
        (Sigmoid(), GlorotNormal()),
        (LeakyReLU(0.2), Uniform(0.1)),
        (GELU(), He()),
        (Identity(), Normal(0.05)),
    ],
    ids=str,
)
def test_real_networks_do_as_expected(
    activation: Activation, rule: Initializer, norm: bool
) -> None:
    sizes = [WIDTH, 400, WIDTH, WIDTH, 250, WIDTH]  # fan_in and fan_out must not be mixed up
    network = mlp(sizes, 10, activation=activation, initializer=rule, batch_norm=norm)
    x = np.random.default_rng(0).normal(0.5, 1.2, (400, WIDTH))
    std, gradient = measured(network, x)
    theory = expected([g.info for g in network.groups((WIDTH,))], 1.2, 0.5)
    assert not theory.reason
    np.testing.assert_allclose([p.std for p in theory.passages], std, rtol=0.08)
    np.testing.assert_allclose(
        [p.backward for p in theory.passages[:-1]], gradient[:-1] / gradient[1:], rtol=0.08
    )
    assert math.isnan(theory.passages[-1].backward)
    assert theory.gain_forward == pytest.approx(gain(std), rel=0.03)
    assert theory.gain_backward == pytest.approx(gain(gradient[::-1]), rel=0.03)


@pytest.mark.parametrize(
    ("activation", "rule", "forward", "backward"),
    [  # the lecture's five, ten layers of 500: claims.md, group C
        (Tanh(), Normal(0.01), 0.22, 0.22),
        (Tanh(), Normal(1.0), 1.0, 3.49),
        (Tanh(), Xavier(), 0.90, 0.91),
        (ReLU(), Xavier(), 0.707, 0.707),
        (ReLU(), He(), 1.0, 1.0),
    ],
    ids=str,
)
def test_the_lectures_networks(
    activation: Activation, rule: Initializer, forward: float, backward: float
) -> None:
    network = mlp([500] * 10, 10, activation=activation, initializer=rule)
    theory = expected([g.info for g in network.groups((500,))], 1.0)
    assert theory.gain_forward == pytest.approx(forward, abs=0.01)
    assert theory.gain_backward == pytest.approx(backward, rel=0.02)
    if isinstance(activation, ReLU):
        assert theory.passages[3].preserved == pytest.approx(math.sqrt(0.5))


def test_a_positive_bias_counts() -> None:
    network = mlp([WIDTH] * 3, 10, activation=ReLU(), initializer=He(), bias=0.7)
    x = np.random.default_rng(0).normal(size=(400, WIDTH))
    std, _ = measured(network, x)
    biased = expected([g.info for g in network.groups((WIDTH,))], 1.0).passages
    np.testing.assert_allclose([p.std for p in biased], std, rtol=0.1)
    plain = moments(ReLU(), math.sqrt(2))
    assert biased[0].std > 1.1 * plain.std


def test_batch_normalisation_of_relu_explodes_backwards_by_a_known_factor() -> None:
    network = mlp([500] * 8, 10, activation=ReLU(), initializer=Normal(0.01), batch_norm=True)
    theory = expected([g.info for g in network.groups((500,))], 1.0)
    assert theory.gain_forward == pytest.approx(1)
    assert theory.gain_backward == pytest.approx(math.sqrt(math.pi / (math.pi - 1)))


def layer(**more: object) -> LayerInfo:
    settings = {"kind": "linear", "activation": "relu", "first": FirstWeights(9, 9, 0.3)} | more
    return LayerInfo(2, "relu", units=9, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (layer(kind="conv2d"), "it does not follow conv2d (layer 2)"),
        (layer(activation="maxout"), "maxout (layer 2) is beyond it"),
        (layer(first=None), "the first weights of layer 2 have no known spread"),
        (layer(between=("dropout",)), "dropout at layer 2 is beyond it"),
    ],
)
def test_where_theory_ends_it_says_why(wrong: LayerInfo, reason: str) -> None:
    good = layer()
    found = expected([good, wrong, good, good], 1.0)
    assert found.reason == reason
    assert len(found.passages) == 1
    assert math.isnan(found.gain_forward)
    assert math.isnan(found.gain_backward)
    assert "is unknown" in expected([good, good], 0.0).reason


def test_a_network_says_what_theory_needs() -> None:
    network = Network([
        Dropout(0.2), Linear(7, Xavier(), 0.1), Nonlinearity(LeakyReLU(0.3)),
        Linear(5, Constant(1.0)), Nonlinearity(ReLU()), Dropout(0.5), Linear(3, Zeros(), None),
    ])  # fmt: skip
    one, two, out = [group.info for group in network.groups((4,))]
    assert one.first == FirstWeights(4, 7, 0.5, 0.1)
    assert one.settings == {"slope": 0.3}
    assert one.between == ("dropout",)
    assert two.first is None
    assert two.between == ("dropout",)
    assert out.first == FirstWeights(5, 3, 0.0)
    assert out.between == ()
