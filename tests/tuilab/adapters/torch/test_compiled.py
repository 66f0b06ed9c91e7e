"""Compiled models: measured steps run eagerly, all others as compiled; nothing compiles twice."""

import shutil
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
if shutil.which("g++") is None:
    pytest.skip("there is no C++ compiler", allow_module_level=True)

from torch import Tensor, nn
from torch._dynamo.testing import CompileCounterWithBackend

import tuilab
from tuilab.record import RunReader

STEPS = 8


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.act, self.head = nn.Linear(12, 8), nn.ReLU(inplace=True), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(nn.functional.gelu(self.act(self.first(x))))


@pytest.fixture(autouse=True)
def _fresh() -> None:
    torch._dynamo.reset()


@pytest.mark.parametrize("how", ["wrapped", "in place", "a block", "function"])
def test_armed_steps_see_everything_and_compile_nothing(how: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    counter = CompileCounterWithBackend("aot_eager")
    net = Net()
    model = net
    call = net
    if how == "wrapped":
        model = call = torch.compile(net, backend=counter)
    elif how == "in place":
        net.compile(backend=counter)
    elif how == "a block":
        net.first = torch.compile(net.first, backend=counter)
    else:
        call = torch.compile(lambda x: net(x), backend=counter)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    x, y = torch.randn(16, 12), torch.randint(0, 5, (16,))
    compiled = []
    with tuilab.watch(model, optimizer, out=str(tmp_path / "run"), every=3, quiet=True):
        for _ in range(STEPS):
            optimizer.zero_grad()
            nn.functional.cross_entropy(call(x), y).backward()
            optimizer.step()
            compiled.append(counter.frame_count)
    assert compiled == [0] + [compiled[1]] * (STEPS - 1)
    assert compiled[1] >= 1
    with RunReader(tmp_path / "run" / "run.db") as reader:
        assert [layer.path for layer in reader.info().layers] == ["first", "gelu", "head"]
        for step in (0, 3, 6):
            snapshot = reader.snapshot(step)
            assert snapshot is not None
            for tensor in ("activation", "activation_grad"):
                assert np.isfinite(snapshot.field(tensor, "std")).all(), (step, tensor)
        assert reader.snapshot(1) is None


def test_off_measures_weights_only_and_stays_compiled(tmp_path: Path) -> None:
    torch.manual_seed(0)
    counter = CompileCounterWithBackend("aot_eager")
    net = torch.compile(Net(), backend=counter)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    x = torch.randn(16, 12)
    with tuilab.watch(
        net, optimizer, out=str(tmp_path / "run"), every=1, compiled="off", quiet=True
    ):
        for _ in range(3):
            optimizer.zero_grad()
            net(x).square().mean().backward()
            optimizer.step()
    assert counter.frame_count == 1
    assert not torch.nn.modules.module._has_any_global_hook()
    with RunReader(tmp_path / "run" / "run.db") as reader:
        snapshot = reader.snapshot(1)
        assert snapshot is not None
        assert (
            "activation" not in snapshot.tensors
            or np.isnan(snapshot.field("activation", "std")).all()
        )
        assert np.isfinite(snapshot.field("weight_grad", "std")).all()
        assert (snapshot.update_ratio > 0).all()
