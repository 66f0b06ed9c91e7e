"""Statistics of tensors in main memory against the engine's formulas, computed apart."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from engine.statistics.arrays import Bounds
from engine.statistics.frames import FIELDS
from engine.statistics.symmetry import asymmetry, one_signed
from engine.statistics.tensor_statistics import measure_tensor
from engine.statistics.units import measure_units
from tuilab.adapters.torch.tensors import HostSlots, merge

SHAPES: dict[str, Tensor] = {
    "vector": torch.randn(77),
    "number": torch.tensor(3.0),
    "matrix": torch.randn(33, 57),
    "transposed": torch.randn(33, 57).t(),
    "strided": torch.randn(33, 57)[::2, ::3],
    "channels last": torch.randn(2, 3, 8, 8).to(memory_format=torch.channels_last),
    "double": torch.randn(40, 5, dtype=torch.float64) * 1e200,
    "half": torch.randn(50, 9, dtype=torch.float16),
    "bfloat16": torch.zeros(10_000, dtype=torch.bfloat16),
    "large": torch.randn(300, 400),
    "far from 0": 1e4 + torch.randn(1000),
    "tiny": torch.randn(1000) * 1e-30,
    "huge": torch.randn(1000) * 1e30,
    "zeros": torch.zeros(5, 5),
    "NaN": torch.tensor([1.0, float("nan"), 2.0, -3.0]),
    "infinite": torch.tensor([1.0, float("inf"), 2.0, -3.0]),
    "empty": torch.empty(0, 4),
}


def plain(tensor: Tensor) -> Any:
    return tensor.float().numpy() if tensor.dtype.itemsize == 2 else tensor.numpy()


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("bounds", [(None, None), (0.0, None), (-1.0, 1.0)], ids=str)
def test_a_slot_is_what_the_formulas_give(name: str, bounds: Bounds) -> None:
    tensor, slots = SHAPES[name], HostSlots()
    slots.measure(3, tensor, bounds=bounds, saturation=(-0.9, 0.9))
    taken = slots.take(5).result()
    expected = measure_tensor(plain(tensor), bounds=bounds, saturation=(-0.9, 0.9))
    scale = 0 if name in ("NaN", "infinite") else np.abs(plain(tensor)).max(initial=0)
    np.testing.assert_allclose(
        taken.statistics[3], expected.row, rtol=1e-5, atol=1e-6 * scale, equal_nan=True
    )
    assert taken.ranges[3].tolist() == list(expected.range)
    difference = np.abs(taken.histograms[3] - expected.histogram)
    assert taken.histograms[3].sum() == expected.histogram.sum()
    assert difference.sum() <= (0 if tensor.numel() < 10_000 else 8)  # at edges of bins
    assert np.isnan(taken.statistics[[0, 1, 2, 4]]).all()


def test_ten_thousand_zeros_in_half_precision_are_ten_thousand() -> None:
    slots = HostSlots()
    slots.measure(0, SHAPES["bfloat16"])
    taken = slots.take(1).result()
    assert taken.histograms.sum() == 10_000
    assert taken.statistics[0, FIELDS.index("zero_fraction")] == 1


def test_an_update_is_the_difference() -> None:
    for parameter in (torch.randn(30, 20), torch.randn(20, 30).t(), torch.randn(4).half()):
        slots = HostSlots()
        before = slots.copy_of(parameter)
        old = plain(parameter.clone())
        parameter += 0.5
        slots.measure(0, parameter, before=before)
        expected = measure_tensor(plain(parameter) - old)
        np.testing.assert_allclose(
            slots.take(1).result().statistics[0], expected.row, rtol=1e-6, atol=1e-6
        )


def test_copies_are_made_in_the_same_memory_again() -> None:
    slots, parameter = HostSlots(), torch.randn(100)
    first = slots.copy_of(parameter).data_ptr()
    slots.take(0)
    parameter += 1
    again = slots.copy_of(parameter)
    assert again.data_ptr() == first and torch.equal(again, parameter)
    slots.take(0)
    slots.take(0)  # a step without the parameter
    assert not slots._copies


def test_a_slot_that_is_filled_again_has_all_values() -> None:
    values = torch.cat([torch.randn(1000), torch.randn(500) * 2 + 1, torch.zeros(10)])
    slots = HostSlots()
    for part in values.split(377):
        slots.measure(0, part, saturation=(-1, 1))
    row = slots.take(1).result().statistics[0]
    expected = measure_tensor(values.numpy(), saturation=(-1, 1))
    np.testing.assert_allclose(row, expected.row, rtol=1e-5, atol=1e-7)


def test_what_lies_above_the_first_range_is_above_it() -> None:
    slots = HostSlots()
    slots.measure(0, torch.full((10,), 0.1))
    slots.measure(0, torch.tensor([9.0, -9.0, 0.1, float("inf")]))
    counts = slots.take(1).result().histograms[0]
    assert (counts[0], counts[-1], counts[1:-1].sum()) == (1, 1, 11)


def test_statistics_of_nothing_merge_with_those_of_something() -> None:
    some, none = measure_tensor(np.arange(4.0)).row, measure_tensor(np.empty(0)).row
    left, right = some.copy(), none.copy()
    merge(left, none)
    merge(right, some)
    np.testing.assert_array_equal(left, some)
    np.testing.assert_array_equal(right, some)


def test_division_copying_and_clearing() -> None:
    slots, values = HostSlots(), torch.randn(200)
    slots.measure(0, values * 8)
    slots.copy(0, 70)
    slots.divide(70, torch.tensor(8.0))
    slots.measure(2, values)
    slots.clear(2)
    assert slots.filled(0) and slots.filled(70) and not slots.filled(2) and not slots.filled(99)
    taken = slots.take(71).result()
    expected = measure_tensor(values.numpy())
    np.testing.assert_allclose(taken.statistics[70], expected.row, rtol=1e-6)
    np.testing.assert_array_equal(taken.histograms[70], expected.histogram)
    np.testing.assert_array_equal(taken.ranges[70], expected.range)
    assert np.isnan(taken.statistics[2]).all()


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize(
    "output", [torch.randn(64, 30), torch.randn(9, 7, 30), torch.randn(64, 30).half()]
)
def test_units(output: Tensor, compiled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not compiled:
        monkeypatch.setattr("tuilab.adapters.torch.tensors.kernels", lambda _: None)
    output = output.clone()
    output[..., 3] = -1
    slots = HostSlots()
    slots.see_units("row", output, floor=0.0, saturation=(-2, 2))
    taken = slots.take(0).result()
    expected = measure_units(plain(output), floor=0.0, saturation=(-2, 2))
    units = taken.units["row"]
    np.testing.assert_allclose(units.mean, expected.mean, atol=1e-6)
    for field in ("active", "saturated"):
        np.testing.assert_allclose(getattr(units, field), getattr(expected, field), atol=1e-6)
    highest = plain(output).reshape(-1, 30).max(axis=0)
    np.testing.assert_array_equal(taken.highest["row"] <= 0, highest <= 0)


def test_units_of_channels() -> None:
    output = torch.randn(8, 5, 6, 6)
    output[:, 2] = -0.5
    slots = HostSlots()
    slots.see_units("row", output, channels_first=True, floor=0.0)
    slots.see_units("row", -output.abs(), channels_first=True, floor=0.0)
    taken = slots.take(0).result()
    np.testing.assert_array_equal(taken.highest["row"] > 0, [True, True, False, True, True])
    expected = -np.abs(output.numpy()).transpose(0, 2, 3, 1).reshape(-1, 5).mean(axis=0)
    np.testing.assert_allclose(taken.units["row"].mean, expected, atol=1e-6)


@pytest.mark.parametrize("compiled", [True, False])
def test_asymmetry_and_signs(compiled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not compiled:
        monkeypatch.setattr("tuilab.adapters.torch.tensors.kernels", lambda _: None)
    slots, weight = HostSlots(), torch.randn(20, 30)
    same = torch.randn(30).expand(20, 30).contiguous()
    for name, values in {"W": weight, "same": same, "0": torch.zeros(3, 4)}.items():
        slots.see_asymmetry(name, values)
    x, gradient = torch.randn(50, 12), torch.randn(50, 7)
    x[::2] = x[::2].abs()
    gradient[:, 1] = 0
    slots.see_signs("W", slots.signed_rows(x), gradient)
    taken = slots.take(0).result()
    assert taken.asymmetry["W"] == pytest.approx(asymmetry(weight.numpy().T), rel=1e-6)
    assert taken.asymmetry["same"] == taken.asymmetry["0"] == 0
    assert taken.one_signed["W"] == pytest.approx(one_signed(x.numpy(), gradient.numpy()))


def test_sparse_and_complex_tensors_are_measured_by_what_they_store() -> None:
    slots = HostSlots()
    slots.measure(0, torch.tensor([[0.0, 2.0], [0.0, 3.0]]).to_sparse())
    slots.measure(1, torch.tensor([1 + 2j, 3 + 4j]))
    rows = slots.take(2).result().statistics
    assert rows[:, FIELDS.index("count")].tolist() == [2, 4]
    assert rows[:, FIELDS.index("mean")].tolist() == [2.5, 2.5]
