"""Families: registries, initialisers, non-linearities, errors, back-ends, parameters."""

import math
from dataclasses import dataclass

import numpy as np
import pytest

from engine.activations import (
    ELU,
    GELU,
    Activation,
    Identity,
    LeakyReLU,
    ReLU,
    Sigmoid,
    Tanh,
    activations,
)
from engine.activations.special import ERF_SCRATCH, erf
from engine.backends import make_backend
from engine.backends.base import Backend
from engine.errors import BackendError, ConfigError, ShapeError, TuilabError, UnknownNameError
from engine.initializers import Constant, He, Normal, Orthogonal, Uniform, initializers
from engine.layers.base import Scope
from engine.layers.batch_norm import BatchNorm
from engine.layers.linear import Linear
from engine.layers.nonlinearity import Nonlinearity
from engine.losses import Loss, MeanSquaredError, MulticlassSVM, SoftmaxCrossEntropy, losses
from engine.network import BoundNetwork, Network, mlp
from engine.optimization.optimizers import SGD
from engine.registry import Registry
from tests.engine.conftest import Array, BindLayer
from tests.engine.variants import ACTIVATIONS, name


def test_a_registry_finds_builds_and_suggests() -> None:
    assert isinstance(initializers.build("normal", std=0.5), Normal)
    assert activations.name_of(Tanh()) == "tanh"
    with pytest.raises(UnknownNameError, match="did you mean 'xavier'"):
        initializers["xavierr"]
    with pytest.raises(UnknownNameError, match="did you mean 'std'"):
        initializers.build("normal", sdt=1.0)


def test_a_name_is_registered_once() -> None:
    family: Registry[object] = Registry("thing")

    @family.register("a")
    @dataclass
    class A:
        pass

    with pytest.raises(ValueError, match="twice"):
        family.register("a")(A)


def output_and_slope(f: Activation, x: Array, backend: Backend) -> tuple[Array, Array]:
    """Return f(x) and f′(x)."""
    given = backend.to_device(x)
    y, dx = backend.empty(x.shape), backend.empty(x.shape)
    scratch = [backend.empty(x.shape) for _ in range(f.scratch)]
    f.forward(backend, given, y, scratch)
    f.backward(backend, given, y, backend.full(x.shape, 1.0), dx, scratch)
    return backend.to_host(y), backend.to_host(dx)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("f", ACTIVATIONS, ids=name)
def test_an_activation_stays_in_its_bounds_at_any_input(f: Activation, dtype: str) -> None:
    x = np.array([[-1e30, -100.0, *np.linspace(-3, 3, 61), 100.0, 1e30]])
    values, slopes = output_and_slope(f, x, make_backend("numpy", dtype))
    assert np.isfinite(values).all()
    assert np.isfinite(slopes).all()
    low, high = f.bounds
    assert low is None or values.min() >= low
    assert high is None or values.max() <= high


def test_sigmoid_equals_its_definition(backend: Backend) -> None:
    x = np.linspace(-30, 30, 101)
    y = backend.empty(x.shape)
    Sigmoid().forward(backend, backend.to_device(x), y)
    np.testing.assert_allclose(backend.to_host(y), 1 / (1 + np.exp(-x)), atol=1e-15)


@pytest.mark.parametrize("f", ACTIVATIONS, ids=name)
def test_where_an_activation_calls_itself_saturated_its_slope_is_small(
    f: Activation, backend: Backend
) -> None:
    y, slope = output_and_slope(f, np.linspace(-30, 30, 601), backend)
    if f.saturated is not None:
        low, high = f.saturated
        saturated = (y <= low) | (y >= high)
        assert saturated.any()
        assert np.abs(slope[saturated]).max() < 0.06
        assert np.abs(slope[~saturated]).min() > 0.02
    if f.silent_at is not None:
        assert not slope[y <= f.silent_at].any()


@pytest.mark.parametrize("f", ACTIVATIONS, ids=name)
def test_nan_is_passed_on_so_that_divergence_is_seen(f: Activation, backend: Backend) -> None:
    y, slope = output_and_slope(f, np.array([np.nan]), backend)
    assert np.isnan(y).all()
    assert np.isnan(slope).all() or f == Identity()


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 3e-16), ("float32", 2e-7)])
def test_erf_equals_the_c_librarys(dtype: str, tolerance: float) -> None:
    x = np.concatenate([np.linspace(-7, 7, 20_001), [-1e30, -0.0, 1e-300, 1e30]]).astype(dtype)
    expected = [math.erf(value) for value in x]
    y, *scratch = (np.empty_like(x) for _ in range(1 + ERF_SCRATCH))
    erf(np, x, y, scratch)
    np.testing.assert_allclose(y, expected, rtol=0, atol=tolerance)
    erf(np, x, x, scratch)
    np.testing.assert_array_equal(x, y)


def test_softmax_of_equal_scores_costs_ln_c_and_huge_scores_stay_finite(backend: Backend) -> None:
    loss = SoftmaxCrossEntropy().bind((10,), 4, backend)
    labels = backend.to_device(np.array([0, 3, 9, 9]))
    assert loss.forward(backend.full((4, 10), 0.0), labels) == pytest.approx(np.log(10))
    assert np.isfinite(loss.forward(backend.full((4, 10), 1e30), labels))


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (SoftmaxCrossEntropy(label_smoothing=0.3), np.log(10)),
        (MulticlassSVM(), 9.0),
        (MulticlassSVM(margin=0.5), 4.5),
        (MeanSquaredError(), 0.1),
    ],
    ids=name,
)
def test_a_loss_of_scores_that_are_all_zero_is_what_the_lecture_expects(
    loss: Loss, expected: float, backend: Backend
) -> None:
    bound = loss.bind((10,), 4, backend)
    labels = backend.to_device(np.array([0, 3, 9, 9]))
    assert bound.forward(backend.full((4, 10), 0.0), labels) == pytest.approx(expected)


def test_the_hinge_loss_is_that_of_the_course_notes(backend: Backend) -> None:
    # cat, car, frog: the worked example of CS231n's lecture 3, losses 2.9, 0 and 12.9.
    scores = np.array([[3.2, 5.1, -1.7], [1.3, 4.9, 2.0], [2.2, 2.5, -3.1]])
    bound = MulticlassSVM().bind((3,), 3, backend)
    labels = backend.to_device(np.array([0, 1, 2]))
    assert bound.forward(backend.to_device(scores), labels) == pytest.approx(15.8 / 3)


def test_batch_norm_gives_unit_gaussians_in_training_and_uses_averages_after(
    backend: Backend,
) -> None:
    layer, x = BatchNorm(momentum=1.0), np.random.default_rng(0).normal(7, 3, (50, 4))
    views = {n: backend.to_device(v) for n, v in layer.state((4,)).items()}
    parameters = {"gamma": backend.full((4,), 1.0), "beta": backend.full((4,), 0.0)}
    scope = Scope(backend, 50, parameters, parameters, views)
    bound = layer.bind((4,), scope)
    y = backend.to_host(bound.forward(backend.to_device(x), True)).copy()
    np.testing.assert_allclose(y.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(y.std(axis=0), 1, atol=1e-4)
    np.testing.assert_allclose(backend.to_host(views["running_mean"]), x.mean(axis=0))
    np.testing.assert_allclose(backend.to_host(views["running_var"]), x.var(axis=0, ddof=1))
    kept = {n: v.copy() for n, v in views.items()}
    other = backend.to_host(bound.forward(backend.to_device(x * 2), False))
    expected = (2 * x - x.mean(axis=0)) / np.sqrt(x.var(axis=0, ddof=1) + layer.epsilon)
    np.testing.assert_allclose(other, expected)
    assert all((views[n] == kept[n]).all() for n in views)  # evaluation changes nothing


def test_parameters_are_views_of_one_flat_array_with_what_decays_first(backend: Backend) -> None:
    bound = BoundNetwork.of(
        mlp([5], 3, activation=ReLU(), initializer=He(), batch_norm=True),
        (8, 4),
        backend,
        generator=np.random.default_rng(0),
    )
    store = bound.store
    assert store.values.shape == (4 * 5 + 5 + 5 + 5 * 3 + 3,)
    assert store.decaying == 4 * 5 + 5 * 3
    store.values[...] = 7.0
    assert all((view == 7).all() for named in store.value_views for view in named.values())


def test_layers_are_counted_as_the_lecture_does() -> None:
    network = mlp([5, 6], 3, activation=ReLU(), initializer=He(), batch_norm=True)
    infos = [group.info for group in network.groups((4,))]
    assert [(i.index, i.name, i.units, i.normalization) for i in infos] == [
        (1, "relu", 5, "batch_norm"),
        (2, "relu", 6, "batch_norm"),
        (3, "output", 3, ""),
    ]
    assert sum(i.parameters for i in infos) == 4 * 5 + 10 + 5 * 6 + 12 + 6 * 3 + 3


def test_layers_that_do_not_fit_are_named() -> None:
    with pytest.raises(ShapeError, match=r"layer 1 \(linear\).*\(3, 32, 32\)"):
        Network([Linear(3)]).shapes((3, 32, 32))
    with pytest.raises(ConfigError, match="needs a layer that has weights"):
        Network([Nonlinearity()])


def test_batch_norm_refuses_a_batch_of_one(bind_layer: BindLayer) -> None:
    with pytest.raises(ShapeError, match="at least 2"):
        bind_layer(BatchNorm(), (1, 4))


@pytest.mark.parametrize(
    ("make", "path"),
    [
        (lambda: Linear(0), "units"),
        (lambda: LeakyReLU(1.5), "slope"),
        (lambda: ELU(0.0), "alpha"),
        (lambda: GELU("exact"), "approximate"),  # type: ignore[arg-type]
        (lambda: Normal(-1.0), "std"),
        (lambda: Uniform(-1.0), "limit"),
        (lambda: Constant(float("inf")), "value"),
        (lambda: Orthogonal(float("nan")), "gain"),
        (lambda: SoftmaxCrossEntropy(1.0), "label_smoothing"),
        (lambda: MulticlassSVM(0.0), "margin"),
        (lambda: BatchNorm(momentum=0), "momentum"),
        (lambda: SGD(-0.1), "learning_rate"),
        (lambda: SGD(momentum=1.0), "momentum"),
    ],
)
def test_members_check_their_settings(make: object, path: str) -> None:
    with pytest.raises(ConfigError) as error:
        make()  # type: ignore[operator]
    assert error.value.path == path
    assert str(error.value.under("a", "b")).startswith(f"a.b.{path}: ")


def test_unknown_back_ends_and_dtypes_are_named() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'numpy'"):
        make_backend("nunpy")
    with pytest.raises(UnknownNameError, match="float16"):
        make_backend("numpy", "float16")


def test_auto_takes_what_there_is_and_cupy_says_what_is_missing() -> None:
    assert make_backend("auto").name in ("numpy", "cupy")
    try:
        make_backend("cupy")
    except BackendError as error:
        assert "--backend numpy" in str(error) or "pip install" in str(error)


def test_every_error_knows_its_exit_code() -> None:
    for cls in (ConfigError, ShapeError, BackendError):
        assert issubclass(cls, TuilabError)
        assert cls.exit_code == 2


@pytest.mark.parametrize("loss_name", losses)
def test_every_loss_says_what_chance_gives(loss_name: str) -> None:
    loss = losses[loss_name]()
    expected = {"ln C": math.log(7), "(C − 1) · margin": 6.0, "1/C": 1 / 7}
    assert loss.chance(7) == pytest.approx(expected[loss.chance_formula], rel=1e-12)
