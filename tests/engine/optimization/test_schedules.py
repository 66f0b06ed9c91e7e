"""Schedules: their curves, PyTorch's, and how they go together with key presses."""

from queue import SimpleQueue
from typing import Any

import numpy as np
import pytest

from engine.commands import Command
from engine.data.dataset import Dataset
from engine.errors import ConfigError
from engine.optimization.schedules import (
    Constant,
    Cosine,
    Exponential,
    InverseTime,
    OneCycle,
    ReduceOnPlateau,
    Schedule,
    StepDecay,
    schedules,
)
from tests.engine.training.test_trainer import blobs, collect, make

TOTAL = 50


def curve(schedule: Schedule, total: int = TOTAL) -> list[float]:
    bound = schedule.bind(total)
    return [bound.factor(step) for step in range(total)]


def test_the_curves_are_what_their_names_say() -> None:
    assert curve(Constant()) == [1.0] * TOTAL
    assert curve(StepDecay(every=20, factor=0.5)) == [1.0] * 20 + [0.5] * 20 + [0.25] * 10
    assert curve(Exponential(factor=0.9))[3] == pytest.approx(0.729)
    assert curve(InverseTime(decay=0.5))[:3] == [1.0, pytest.approx(2 / 3), 0.5]
    cosine = curve(Cosine(to=0.2))
    assert [cosine[0], cosine[25]] == pytest.approx([1.0, 0.6])
    cycle = curve(OneCycle())
    assert [cycle[0], max(cycle), cycle[14], cycle[-1]] == pytest.approx([0.04, 1, 1, 4e-6])


def test_warm_up_rises_to_where_the_schedule_begins() -> None:
    assert curve(Constant(warm_up_steps=4))[:6] == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    warm, plain = curve(Cosine(warm_up_steps=10)), curve(Cosine(), TOTAL - 10)
    assert warm[10:] == plain


@pytest.mark.parametrize("name", list(schedules))
@pytest.mark.parametrize("total", [1, 2, 3, 7])
@pytest.mark.parametrize("warm_up", [0, 5])
def test_every_schedule_stays_in_bounds_however_short_the_training(
    name: str, total: int, warm_up: int
) -> None:
    factors = curve(schedules[name](warm_up_steps=warm_up), total)
    assert all(0 <= factor <= 1 for factor in factors)
    assert max(factors) > 0


TORCH: list[tuple[Schedule, str, dict[str, Any]]] = [
    (StepDecay(every=7, factor=0.3), "StepLR", {"step_size": 7, "gamma": 0.3}),
    (Exponential(factor=0.93), "ExponentialLR", {"gamma": 0.93}),
    (InverseTime(decay=0.2), "LambdaLR", {"lr_lambda": lambda t: 1 / (1 + 0.2 * t)}),
    (Cosine(to=0.1), "CosineAnnealingLR", {"T_max": TOTAL, "eta_min": 0.05}),
    (OneCycle(), "OneCycleLR", {"max_lr": 0.5, "total_steps": TOTAL, "cycle_momentum": False}),
    (
        OneCycle(rise=0.5, start=0.1, end=0.001),
        "OneCycleLR",
        {"max_lr": 0.5, "total_steps": TOTAL, "cycle_momentum": False, "pct_start": 0.5}
        | {"div_factor": 10, "final_div_factor": 100},
    ),
    (Constant(warm_up_steps=8), "LinearLR", {"start_factor": 1 / 8, "total_iters": 7}),
]


def torch_optimizer(torch: Any) -> Any:
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)


@pytest.mark.parity
@pytest.mark.parametrize(
    ("schedule", "theirs", "settings"), TORCH, ids=lambda x: str(x).split(" at 0x")[0]
)
def test_a_schedule_equals_pytorchs(
    schedule: Schedule, theirs: str, settings: dict[str, Any]
) -> None:
    torch: Any = pytest.importorskip("torch", reason="PyTorch is not installed")
    optimizer = torch_optimizer(torch)
    twin = getattr(torch.optim.lr_scheduler, theirs)(optimizer, **settings)
    for factor in curve(schedule):
        assert abs(0.5 * factor - optimizer.param_groups[0]["lr"]) < 1e-10
        optimizer.step()
        if twin.last_epoch < TOTAL - 1:
            twin.step()


@pytest.mark.parity
@pytest.mark.parametrize("patience", [0, 2])
def test_reduce_on_plateau_equals_pytorchs(patience: int) -> None:
    torch: Any = pytest.importorskip("torch", reason="PyTorch is not installed")
    optimizer = torch_optimizer(torch)
    settings = {"factor": 0.5, "patience": patience, "threshold": 0.01}
    twin = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, **settings)
    bound = ReduceOnPlateau(factor=0.5, patience=patience, threshold=0.01).bind(TOTAL)
    factors = []
    for step, noise in enumerate(np.random.default_rng(0).normal(0, 0.1, 30)):
        loss = 2 / (1 + step) + 1 + float(noise)
        bound.validated(loss)
        twin.step(loss)
        factors.append(bound.factor(step))
        assert abs(0.5 * factors[-1] - optimizer.param_groups[0]["lr"]) < 1e-10
    assert len(set(factors)) > 2


def rates(schedule: Schedule, script: dict[int, list[Command]], data: Dataset) -> list[float]:
    from engine.optimization.optimizers import SGD

    trainer = make(data, optimizer=SGD(0.1), schedule=schedule, steps=10)
    frames, _ = collect(trainer, SimpleQueue(), script)
    assert frames[-1].hyperparameters["learning_rate"] != 0.1 or not script
    return [float(rate) for frame in frames for rate in frame.learning_rate]


def test_a_key_press_changes_the_base_and_keeps_the_schedule() -> None:
    halves = StepDecay(every=2, factor=0.5)
    expected = [0.1 * 0.5 ** (step // 2) for step in range(10)]
    assert rates(halves, {}, blobs()) == pytest.approx(expected)
    script = {
        3: [Command("scale", "learning_rate", 10)],
        6: [Command("set", "learning_rate", 0.8)],
    }
    base = [0.1] * 3 + [1.0] * 3 + [0.8] * 4
    expected = [b * 0.5 ** (step // 2) for step, b in enumerate(base)]
    assert rates(halves, script, blobs()) == pytest.approx(expected)


def test_the_rate_falls_when_the_validation_loss_no_longer_does() -> None:
    # No loss is 99 % below the best: measured at 0, 5 and 10 steps, it is worse at 5.
    never = ReduceOnPlateau(patience=0, factor=0.1, threshold=0.99)
    assert rates(never, {}, blobs()) == pytest.approx([0.1] * 5 + [0.01] * 5)


def test_a_plateau_cannot_be_seen_without_validation() -> None:
    data = blobs()
    with pytest.raises(ConfigError, match="hold out some data") as error:
        make(Dataset(data.name, data.classes, data.train, None), schedule=ReduceOnPlateau())
    assert error.value.path == "schedule"


@pytest.mark.parametrize(
    ("cls", "settings"),
    [
        (Constant, {"warm_up_steps": -1}),
        (StepDecay, {"every": 0}),
        (StepDecay, {"factor": 0.0}),
        (Exponential, {"factor": float("nan")}),
        (InverseTime, {"decay": -1.0}),
        (Cosine, {"to": 2.0}),
        (OneCycle, {"rise": 1.0}),
        (OneCycle, {"end": -1.0}),
        (ReduceOnPlateau, {"patience": -1}),
        (ReduceOnPlateau, {"threshold": 1.0}),
    ],
)
def test_settings_are_checked(cls: type[Schedule], settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as error:
        cls(**settings)
    assert error.value.path == next(iter(settings))


@pytest.mark.parametrize("schedule", [Exponential(factor=10.0), StepDecay(every=1, factor=10.0)])
def test_a_rate_that_rises_beyond_all_bounds_becomes_infinite(schedule: Schedule) -> None:
    assert schedule.bind(1000).factor(999) == np.inf
