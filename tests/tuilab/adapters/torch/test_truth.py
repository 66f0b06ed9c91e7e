"""Watching changes nothing, sees every layer, and every number is the right one."""

from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from torch import Tensor, nn

import tuilab
from engine.backends import NumPyBackend
from engine.statistics.frames import Snapshot
from tests.tuilab.adapters.torch import programs
from tests.tuilab.adapters.torch.programs import PROGRAMS, STEPS, Program
from tests.tuilab.support import small, write_scenario
from tuilab.record import RunReader
from tuilab.scenario.building import build_trainer, load_data
from tuilab.scenario.loading import load


def trained(
    make: Callable[[], Program], folder: Path | None
) -> tuple[list[float], list[Tensor], Program]:
    """Return the losses and the parameters of a program, watched at every step or not at all."""
    torch.manual_seed(0)
    program = make()
    torch.manual_seed(1)
    run = None
    if folder is not None:
        run = tuilab.watch(program.models, program.optimizers, out=str(folder), every=1, quiet=True)
    losses = [*program.steps()]
    if run is not None:
        run.close()
    return losses, [p.detach().clone() for m in program.models for p in m.parameters()], program


@pytest.mark.parametrize("make", PROGRAMS, ids=lambda make: make.__name__)
def test_watching_changes_nothing_and_sees_every_layer(
    make: Callable[[], Program], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    losses, parameters, _ = trained(make, None)
    watched, other, program = trained(make, tmp_path / "run")
    assert "no longer watching" not in capfd.readouterr().err
    assert losses == watched
    for ours, theirs in zip(parameters, other, strict=True):
        assert torch.equal(ours, theirs)
    with RunReader(tmp_path / "run" / "run.db") as reader:
        info = reader.info()
        recorded = np.concatenate([block.loss for block in reader.blocks()])
        assert {*program.layers} <= {layer.path for layer in info.layers}
        assert info.state == "finished", info.message
        assert info.step == STEPS
        np.testing.assert_allclose(recorded, losses, rtol=1e-5)
        for step in range(STEPS):
            snapshot = reader.snapshot(step)
            assert snapshot is not None
            assert snapshot.step == step
            seen = snapshot.field("weight", "std")
            assert np.isfinite(seen[~np.isnan(seen)]).all()


def measured(model: nn.Module, folder: Path, step: Callable[[], object], **options: Any) -> Any:
    """Return what a run of one step on a model has recorded: its layers, and the snapshot."""
    optimizer = options.pop("optimizer", None) or torch.optim.SGD(model.parameters(), lr=0.1)
    with tuilab.watch(model, optimizer, out=str(folder), quiet=True, **options):
        step()
        optimizer.step()
    with RunReader(folder / "run.db") as reader:
        return reader.info().layers, reader.snapshot(0), reader.units(1, 0)


def check(snapshot: Snapshot, layer: int, tensor: str, values: Tensor) -> None:
    """Compare recorded statistics of a tensor with those computed from its values."""
    v = values.detach().double().numpy()
    expected = {
        "count": v.size, "mean": v.mean(), "std": v.std(), "min": v.min(), "max": v.max(),
        "zero_fraction": (v == 0).mean(), "nonfinite": 0,
    }  # fmt: skip
    for name, value in expected.items():
        recorded = snapshot.field(tensor, name)[layer]
        np.testing.assert_allclose(
            recorded, value, rtol=1e-5, atol=1e-9, err_msg=f"{tensor} {name}"
        )
    counts = snapshot.histograms[layer, snapshot.tensors.index(tensor)]
    low, high = snapshot.ranges[layer, snapshot.tensors.index(tensor)]
    inside, _ = np.histogram(v, 64, (low, high))
    assert counts.sum() == v.size
    assert abs(counts[1:-1] - inside).sum() <= 2  # a value on a border


def test_every_number_is_that_of_the_tensor(tmp_path: Path) -> None:
    torch.manual_seed(0)
    first, second = torch.nn.Linear(12, 8), torch.nn.Linear(8, 5)
    model = torch.nn.Sequential(first, torch.nn.ReLU(), second)
    x, y = torch.randn(16, 12), torch.randint(0, 5, (16,))
    tensors: dict[str, Tensor] = {}

    def step() -> None:
        z = first(x).detach().requires_grad_()
        a = torch.relu(z)
        a.retain_grad()
        scores = second(a)
        scores.retain_grad()
        torch.nn.functional.cross_entropy(scores, y).backward()
        tensors.update(z=z, a=a, scores=scores, da=a.grad, ds=scores.grad, w=second.weight.clone())
        model.zero_grad()
        torch.nn.functional.cross_entropy(model(x), y).backward()
        tensors.update(dw=second.weight.grad.clone())

    with torch.no_grad():
        before = second.weight.clone()
    layers, snapshot, _ = measured(model, tmp_path / "run", step)
    # `step` called the layers themselves, too: those calls count as passes of their own.
    assert [layer.path for layer in layers] == ["0", "2"]
    t = tensors
    check(snapshot, 1, "weight", t["w"])
    check(snapshot, 1, "weight_grad", t["dw"])
    check(snapshot, 1, "update", second.weight - before)
    ratio = float((second.weight.detach() - before).norm() / before.norm())
    np.testing.assert_allclose(snapshot.update_ratio[1], ratio, rtol=1e-5)


def test_activations_and_their_gradients(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Linear(12, 8), torch.nn.ReLU(inplace=True), torch.nn.Linear(8, 5)
    )
    x, y = torch.randn(16, 12), torch.randint(0, 5, (16,))
    z = model[0](x).detach().requires_grad_()
    a = torch.relu(z)
    a.retain_grad()
    scores = model[2](a)
    scores.retain_grad()
    torch.nn.functional.cross_entropy(scores, y).backward()
    model.zero_grad()

    def step() -> None:
        torch.nn.functional.cross_entropy(model(x), y).backward()

    _, snapshot, units = measured(model, tmp_path / "run", step)
    check(snapshot, 0, "pre_activation", z)
    check(snapshot, 0, "activation", a)
    check(snapshot, 0, "activation_grad", a.grad)
    check(snapshot, 1, "activation", scores)
    check(snapshot, 1, "activation_grad", scores.grad)
    _, of_units = units
    np.testing.assert_allclose(of_units.mean, a.detach().mean(0), rtol=1e-5)
    np.testing.assert_allclose(of_units.active, (a > 0).double().mean(0), atol=1e-3)  # float16


def test_accumulated_batches_count_as_one(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(12, 8), torch.nn.Tanh(), torch.nn.Linear(8, 5))
    x, y = torch.randn(32, 12), torch.randint(0, 5, (32,))

    def step() -> None:
        for rows in (slice(0, 8), slice(8, 32)):
            part = torch.nn.functional.cross_entropy(model(x[rows]), y[rows], reduction="sum") / 32
            part.backward()

    with torch.no_grad():
        a = torch.tanh(model[0](x))
    _, snapshot, _ = measured(model, tmp_path / "run", step)
    check(snapshot, 0, "activation", a)


@pytest.mark.parametrize("fused", [False, True])
def test_gradients_are_those_of_the_loss_under_a_grad_scaler(tmp_path: Path, fused: bool) -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(12, 8), torch.nn.ReLU(), torch.nn.Linear(8, 5))
    x, y = torch.randn(16, 12), torch.randint(0, 5, (16,))
    torch.nn.functional.cross_entropy(model(x), y).backward()
    expected = [p.grad.clone() for p in (model[0].weight, model[2].weight)]
    model.zero_grad()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, fused=fused)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    with tuilab.watch(model, optimizer, out=str(tmp_path / "run"), quiet=True):
        loss = torch.nn.functional.cross_entropy(model(x), y)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
    with RunReader(tmp_path / "run" / "run.db") as reader:
        snapshot, blocks = reader.snapshot(0), reader.blocks()
    assert snapshot is not None
    for layer in (0, 1):
        check(snapshot, layer, "weight_grad", expected[layer])
    np.testing.assert_allclose(blocks[0].loss, loss.item(), rtol=1e-6)
    scores = model[2](torch.relu(model[0](x)))
    assert snapshot.field("activation_grad", "std")[1] < 0.05  # and not 1024 times as much
    del scores


def test_the_engine_and_its_twin_in_pytorch_are_recorded_alike(tmp_path: Path) -> None:
    """One network, from equal weights on equal batches, by both sources."""
    table = small(
        data={"batch_size": 48, "validation": 0.2},
        network={"activation": "tanh", "initializer": "xavier"},
        optimizer={"momentum": 0.0},
        train={"dtype": "float64", "steps": 4},
    )
    loaded = load(write_scenario(tmp_path / "twin.toml", table))
    trainer = build_trainer(loaded, load_data(loaded, tmp_path), NumPyBackend("float64"))
    examples = trainer.data.train
    linear = [torch.nn.Linear(a, b, dtype=torch.float64) for a, b in ((8, 8), (8, 6), (6, 3))]
    views = [by_name for by_name in trainer.network.store.value_views if "weight" in by_name]
    for layer, by_name in zip(linear, views, strict=True):
        layer.weight.data = torch.tensor(by_name["weight"].T.copy())
        layer.bias.data = torch.tensor(by_name["bias"].copy())
    theirs = [frame.snapshot for frame in trainer.frames(SimpleQueue(), 0.0) if frame.snapshot]
    model = torch.nn.Sequential(linear[0], torch.nn.Tanh(), linear[1], torch.nn.Tanh(), linear[2])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    x, y = torch.tensor(examples.x.astype(np.float64)), torch.tensor(examples.y.astype(np.int64))
    folder = tmp_path / "run"
    with tuilab.watch(model, optimizer, out=str(folder), every=1, steps_per_epoch=1, quiet=True):
        for _ in range(4):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
    with RunReader(folder / "run.db") as reader:
        layers = reader.info().layers
        for expected in theirs:
            snapshot = reader.snapshot(expected.step)
            assert snapshot is not None
            assert snapshot.step == expected.step
            assert snapshot.tensors == expected.tensors
            np.testing.assert_allclose(
                snapshot.statistics, expected.statistics, rtol=1e-9, atol=1e-12
            )
            np.testing.assert_array_equal(snapshot.ranges, expected.ranges)
            assert abs(snapshot.histograms - expected.histograms).sum() <= 4
            for name in ("update_ratio", "asymmetry", "one_signed"):
                np.testing.assert_allclose(
                    getattr(snapshot, name), getattr(expected, name), rtol=1e-9
                )
            for layer, other in enumerate(expected.units, 1):
                _, units = reader.units(layer, expected.step) or pytest.fail("no units")
                assert units is not None
                assert other is not None
                np.testing.assert_allclose(units.mean, other.mean, rtol=1e-5)
    assert len(theirs) >= 1
    for ours, engines in zip(layers, trainer.layers, strict=True):
        for name in (
            "units",
            "activation",
            "normalization",
            "parameters",
            "role",
            "bounds",
            "saturated",
        ):
            assert getattr(ours, name) == getattr(engines, name), name


def test_inputs_are_recorded_where_layers_are_not_a_chain(tmp_path: Path) -> None:
    seen = {}
    for make in (programs.mlp, programs.convolutions, programs.residual, programs.gpt):
        _, _, program = trained(make, tmp_path / make.__name__)
        del program
        with RunReader(tmp_path / make.__name__ / "run.db") as reader:
            snapshot, layers = reader.snapshot(0), reader.info().layers
        assert snapshot is not None
        seen[make.__name__] = "input" in snapshot.tensors
        if make is programs.gpt:
            given = dict(zip((layer.path for layer in layers), snapshot.field("input", "std"),
                             strict=True))  # fmt: skip
            returned = dict(zip((layer.path for layer in layers),
                                snapshot.field("activation", "std"), strict=True))  # fmt: skip
            assert given["h.0.qkv"] == returned["h.0.ln_1"]
            assert given["head"] == returned["ln_f"]
            assert np.isfinite(given["h.1.ln_1"])  # a sum that no layer returned
            assert given["h.1.ln_1"] not in returned.values()
            assert np.isnan(snapshot.gain_forward)  # which has a meaning in a chain only
            assert np.isnan(snapshot.gain_backward)
    assert seen == {"mlp": False, "convolutions": False, "residual": True, "gpt": True}
