"""Statistics on a device: on the processor as a twin of `HostSlots`, and without waiting."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import tuilab
from engine.statistics.arrays import Bounds
from engine.statistics.frames import FIELDS
from tests.tuilab.adapters.torch.test_tensors import SHAPES
from tuilab.adapters.torch import device_slots, slots, watcher
from tuilab.adapters.torch.device_slots import DeviceSlots, Fetch, fetch
from tuilab.adapters.torch.tensors import HostSlots
from tuilab.record import RunReader

CPU = torch.device("cpu")


class Asynchronous(TorchDispatchMode):
    """Fails at what would wait for a device: reading a number, or what depends on values."""

    WAITING = ("_local_scalar_dense", "nonzero", "bincount", "masked_select", "unique", "_unique2",
               "item", "is_nonzero", "equal")  # fmt: skip

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        assert name not in self.WAITING, f"{name} waits for the device"
        if name == "_to_copy":
            assert (kwargs or {}).get("device") is None, "a copy to the host waits"
        if name in ("index", "index_put_") and any(
            isinstance(at, Tensor) and at.dtype is torch.bool for at in args[1] if at is not None
        ):
            raise AssertionError("a mask as an index waits for the device")
        return func(*args, **(kwargs or {}))


def equal(ours: Any, theirs: Any, tolerance: float = 1e-5) -> None:
    """Compare statistics: numbers that are not finite need not be the same."""
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    finite = np.isfinite(theirs)
    np.testing.assert_array_equal(np.isfinite(ours), finite)
    np.testing.assert_allclose(ours[finite], theirs[finite], rtol=tolerance, atol=1e-37)


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("bounds", [(None, None), (0.0, None), (-1.0, 1.0)], ids=str)
def test_a_device_measures_what_the_host_does(name: str, bounds: Bounds) -> None:
    tensor, host, device = SHAPES[name], HostSlots(), DeviceSlots(CPU)
    if name == "double":
        tensor = tensor / 1e200  # beyond float32 there is no promise
    host.measure(1, tensor, bounds=bounds, saturation=(-0.9, 0.9))
    with Asynchronous():
        device.measure(1, tensor, bounds=bounds, saturation=(-0.9, 0.9))
        pending = device.take(3)
    ours, theirs = pending.result(), host.take(3).result()
    mean, std = (FIELDS.index(field) for field in ("mean", "std"))
    others = [at for at in range(len(FIELDS)) if at != mean]
    equal(ours.statistics[1, others], theirs.statistics[1, others])
    spread = theirs.statistics[1, std]
    if np.isfinite(spread):
        assert ours.statistics[1, mean] == pytest.approx(
            theirs.statistics[1, mean], rel=1e-5, abs=1e-6 * spread
        )
    assert ours.ranges[1].tolist() == theirs.ranges[1].tolist()
    assert ours.histograms[1].sum() == theirs.histograms[1].sum()
    assert np.abs(ours.histograms[1] - theirs.histograms[1]).sum() <= tensor.numel() // 2000
    assert np.isnan(ours.statistics[[0, 2]]).all()


@pytest.mark.parametrize("make", [HostSlots, lambda: DeviceSlots(CPU)])
def test_equal_values_that_are_infinite_have_no_std(make: Any) -> None:
    slots = make()
    slots.measure(0, torch.full((50,), float("inf")))
    slots.measure(1, torch.full((50,), 0.1))
    row, finite = slots.take(2).result().statistics
    assert np.isnan(row[FIELDS.index("std")])
    assert row[FIELDS.index("nonfinite")] == 50
    assert finite[FIELDS.index("std")] == 0


@pytest.mark.parametrize("make", [HostSlots, lambda: DeviceSlots(CPU)])
@pytest.mark.parametrize("mean", [1e4, 1e6, 1e7])
def test_a_mean_much_larger_than_the_std(make: Any, mean: float) -> None:
    values, slots = torch.randn(100_000, dtype=torch.float64).add(mean).float(), make()
    slots.measure(0, values)
    row = slots.take(1).result().statistics[0]
    assert row[FIELDS.index("std")] == pytest.approx(values.double().std().item(), rel=1e-3)


def test_everything_of_a_step_together() -> None:
    host, device = HostSlots(), DeviceSlots(CPU)
    weight, x = torch.randn(20, 30), torch.randn(50, 12).abs()
    x[::3] *= -1
    x[1, 0] = -1
    y, gradient = torch.randn(50, 20), torch.randn(50, 20)
    y[:, 4] = -1
    values = torch.randn(1001).sort().values
    for target in (host, device):
        with Asynchronous() if target is device else torch.no_grad():
            for part in values.split(300):
                target.measure(0, part, saturation=(-1, 1))
            target.measure(1, gradient * 64)
            target.divide(1, torch.tensor(64.0))
            target.copy(1, 2)
            target.measure(3, y)
            target.clear(3)
            parameter = weight.clone()
            before = target.copy_of(parameter)
            parameter += 0.26
            target.measure(4, parameter, before=before)
            target.see_units("row", y, floor=0.0, saturation=(-2, 2))
            target.see_units("channels", y.reshape(5, 4, 5, 10), channels_first=True)
            target.see_asymmetry("row", weight)
            target.see_asymmetry("same", weight[:1].expand(20, 30))
            target.see_asymmetry("zero", weight * 0)
            target.see_signs("row", target.signed_rows(x), gradient)
    ours, theirs = device.take(5).result(), host.take(5).result()
    np.testing.assert_allclose(ours.statistics, theirs.statistics, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(ours.ranges, theirs.ranges)
    assert np.abs(ours.histograms - theirs.histograms).sum() <= 4
    for row, units in theirs.units.items():
        for field in ("mean", "active", "saturated"):
            expected = getattr(units, field)
            if expected is None:
                assert getattr(ours.units[row], field) is None
            else:
                np.testing.assert_allclose(getattr(ours.units[row], field), expected, atol=1e-6)
    np.testing.assert_array_equal(ours.highest["row"] <= 0, theirs.highest["row"] <= 0)
    assert ours.asymmetry == pytest.approx(theirs.asymmetry, rel=1e-6)
    assert ours.one_signed == pytest.approx(theirs.one_signed, rel=1e-6)
    nothing = device.take(5).result()
    assert np.isnan(nothing.statistics).all() and not nothing.units


def test_what_is_taken_stays_as_it_was() -> None:
    device = DeviceSlots(CPU)
    device.measure(0, torch.ones(10))
    first = device.take(1)
    device.measure(0, torch.full((4,), 7.0))
    second = device.take(1)
    mean = FIELDS.index("mean")
    assert (first.result().statistics[0, mean], second.result().statistics[0, mean]) == (1, 7)
    assert first.result().histograms.sum() == 10


def test_a_large_tensor_is_sampled_by_a_fixed_stride(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_slots, "LARGE", 1000)
    values = torch.randn(64, 100)
    values[0, 1] = 50  # no element of the sample
    device, host = DeviceSlots(CPU), HostSlots()
    device.measure(0, values)
    host.measure(0, values.reshape(-1)[::7])  # not 8 columns only: 7 does not divide 100
    ours, theirs = device.take(1).result().statistics[0], host.take(1).result().statistics[0]
    row = dict(zip(FIELDS, ours, strict=True))
    assert row["count"] == 6400 and row["max"] == 50 and row["nonfinite"] == 0
    np.testing.assert_allclose(ours[1:3], theirs[1:3], rtol=1e-5)
    values[0, 1] = float("nan")  # is seen although it is not in the sample
    device.measure(0, values)
    assert device.take(1).result().statistics[0, FIELDS.index("nonfinite")] == 1


def test_many_slots_and_fills() -> None:
    device = DeviceSlots(CPU)
    for slot in range(200):
        device.measure(slot, torch.full((3,), float(slot)))
    taken = device.take(200).result()
    np.testing.assert_array_equal(taken.statistics[:, FIELDS.index("mean")], np.arange(200))
    assert (taken.histograms.sum(axis=1) == 3).all()


def test_tensors_of_all_types_arrive_as_they_were() -> None:
    tensors = [torch.randn(3, 2), torch.tensor(True), torch.tensor(2.5).bfloat16()]
    tensors += [torch.arange(4, dtype=torch.int16), torch.empty(0), torch.randn(2).double()]
    for sent, arrived in zip(tensors, Fetch(tensors).result(), strict=True):
        np.testing.assert_array_equal(sent.float().numpy(), arrived)


class Devicelike(Tensor):
    """A tensor in main memory that claims to be elsewhere."""

    is_cpu = False


def test_numbers_on_a_device_are_fetched_together() -> None:
    loss = torch.tensor(2.5).as_subclass(Devicelike)
    fetched = fetch([{"loss": loss, "x": 1}, {"loss": 3.0}])
    assert fetched.ready()
    assert fetched.numbers() == [{"loss": 2.5, "x": 1.0}, {"loss": 3.0}]


def test_a_watched_program_never_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The whole watcher, on the processor by way of the device's twin."""
    monkeypatch.setattr(slots, "HostSlots", lambda: DeviceSlots(CPU))
    monkeypatch.setattr(watcher, "sum_of", lambda losses: 0.0)  # on the host: a number at once
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(),
                          nn.Linear(144, 8), nn.Tanh(), nn.Linear(8, 5))  # fmt: skip
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    x, y = torch.randn(6, 3, 8, 8), torch.randint(0, 5, (6,))
    run = tuilab.watch(model, optimizer, out=str(tmp_path / "run"), every=1, quiet=True)
    with Asynchronous():
        for _ in range(3):
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
    run.close()
    assert "no longer watching" not in capfd.readouterr().err
    with RunReader(tmp_path / "run" / "run.db") as reader:
        steps = reader.snapshot_steps()
        first = reader.snapshot(0)
    assert steps == [0, 1, 2] and first is not None
    for tensor in ("activation", "activation_grad", "weight", "weight_grad", "update"):
        assert (first.field(tensor, "std") > 0).all(), tensor
