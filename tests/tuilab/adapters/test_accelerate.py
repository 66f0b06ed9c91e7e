"""Accelerate: what it has prepared is watched like any model and optimiser."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tuilab
from engine.states import RunState
from tests.tuilab.adapters.support import recorded

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
accelerate = pytest.importorskip("accelerate", reason="Accelerate is not installed")

pytestmark = pytest.mark.filterwarnings("ignore")  # those of Accelerate are not ours


def train(tmp_path: Path, *, watched: bool, precision: str = "no") -> tuple[Any, list[float]]:
    torch.manual_seed(0)
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)
    accelerator = accelerate.Accelerator(
        cpu=True, gradient_accumulation_steps=4, mixed_precision=precision
    )
    model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    data = torch.utils.data.DataLoader(torch.randn(64, 4), batch_size=4)
    model, optimizer, data = accelerator.prepare(model, optimizer, data)
    if watched:
        run = tuilab.watch(model, optimizer, out=str(tmp_path / "run"), every=1, quiet=True)
    losses = []
    for x in data:
        with accelerator.accumulate(model):
            loss = ((model(x) - x.sum(1, keepdim=True)) ** 2).mean()
            accelerator.backward(loss)
            if accelerator.sync_gradients:
                accelerator.clip_grad_norm_(model.parameters(), 0.5)
            optimizer.step()
            optimizer.zero_grad()
            losses.append(float(loss.detach()))
    if watched:
        run.close()
    return accelerator.unwrap_model(model), losses


def test_accumulated_batches_are_one_step_with_their_mean_loss(tmp_path: Path) -> None:
    plain, _ = train(tmp_path, watched=False)
    watched, losses = train(tmp_path, watched=True)
    for ours, theirs in zip(watched.parameters(), plain.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    run = recorded(tmp_path / "run")
    assert (run.info.state, run.info.step) == (RunState.FINISHED, 4)
    assert run.layers == ["0", "output"]
    means = np.reshape(losses, (4, 4)).mean(axis=1)
    np.testing.assert_allclose(run.series["loss"], means, rtol=1e-5)
    assert len(run.snapshots) == 4
    assert run.snapshots[0].field("activation", "count")[0] == 4 * 4 * 8
    assert np.nanmax(run.snapshots[0].field("weight_grad", "norm")) <= 0.5001


def test_mixed_precision(tmp_path: Path) -> None:
    _, losses = train(tmp_path, watched=True, precision="bf16")
    run = recorded(tmp_path / "run")
    means = np.reshape(losses, (4, 4)).mean(axis=1)
    np.testing.assert_allclose(run.series["loss"], means, rtol=1e-2)
