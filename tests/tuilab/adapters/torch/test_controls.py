"""What keys change in a program that is watched, and that its own schedule goes on as before."""

import copy
import io
import os
import pickle
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from torch import nn
from torch.optim import SGD, Adam, AdamW, lr_scheduler

import tuilab
from engine.commands import Command, Kind
from engine.states import EventKind, RunState
from tuilab.record import RunReader
from tuilab.record.control_socket import ControlClient
from tuilab.record.run_folder import RunFolder


class Loop:
    """A small model with a loop around it that is watched."""

    def __init__(self, folder: Path, optimizer: Callable[..., Any] | None = None, **options: Any):
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 5))
        make = optimizer or (lambda p: SGD(p, lr=0.1))
        self.optimizer = make(self.model.parameters())
        self.x, self.y = torch.randn(16, 12), torch.randint(0, 5, (16,))
        self.run = tuilab.watch(
            self.model, self.optimizer, out=str(folder), quiet=True, **{"every": 1, **options}
        )
        self.schedule: Any = None

    def step(self, times: int = 1) -> None:
        for _ in range(times):
            self.optimizer.zero_grad()
            nn.functional.cross_entropy(self.model(self.x), self.y).backward()
            self.optimizer.step()
            if self.schedule is not None:
                self.schedule.step()

    def send(self, kind: str, *args: Any, **fields: Any) -> str:
        """Send a command as the view does; return why it is refused."""
        with RunReader(self.run.folder / "run.db") as reader:
            client = ControlClient(reader.info().socket)
        reply = client.send(Command(cast(Kind, kind), *args, **fields))
        client.close()
        return reply.error

    def events(self) -> list[Any]:
        with RunReader(self.run.folder / "run.db") as reader:
            return [event for _, event in reader.events()]


SCHEDULES = {
    "lambda": lambda o: lr_scheduler.LambdaLR(o, lambda step: 0.9**step),
    "cosine": lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=20),
    "one cycle": lambda o: lr_scheduler.OneCycleLR(o, 0.5, total_steps=20),
    "exponential": lambda o: lr_scheduler.ExponentialLR(o, 0.8),
    "warm restarts": lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, T_0=4),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_factor_on_the_learning_rate_is_exact_under_any_schedule(
    name: str, tmp_path: Path
) -> None:
    plain = Loop(tmp_path / "plain", every="never")
    plain.schedule = SCHEDULES[name](plain.optimizer)
    changed = Loop(tmp_path / "changed")
    changed.schedule = SCHEDULES[name](changed.optimizer)
    plain.step()
    changed.step()
    assert changed.send("scale", "learning_rate", 0.5) == ""
    changed.step()  # at whose end the command is applied
    plain.step()
    rates = []
    for _ in range(8):
        rates.append(plain.optimizer.param_groups[0]["lr"])
        plain.step()
        changed.step()
        assert changed.optimizer.param_groups[0]["lr"] == plain.optimizer.param_groups[0]["lr"]
    changed.run.close()
    with RunReader(tmp_path / "changed" / "run.db") as reader:
        used = np.concatenate([block.learning_rate for block in reader.blocks()])
    np.testing.assert_allclose(used[2:], 0.5 * np.array(rates), rtol=1e-12)


def test_a_changed_rate_is_what_the_step_used(tmp_path: Path) -> None:
    loop = Loop(tmp_path / "run")
    loop.step()
    assert loop.send("set", "learning_rate", 0.02) == ""
    loop.step()
    before = loop.model[0].weight.detach().clone()
    loop.step()
    moved = loop.model[0].weight.detach() - before
    torch.testing.assert_close(moved, -0.02 * loop.model[0].weight.grad)
    loop.run.close()
    (event,) = [e for e in loop.events() if e.kind == EventKind.SET]
    assert (event.detail["value"], event.detail["previous"]) == (0.02, 0.1)


@pytest.mark.parametrize("key", ["weight_decay", "beta1"])
def test_other_hyperparameters_change_as_well(key: str, tmp_path: Path) -> None:
    loop = Loop(tmp_path / "run", lambda p: AdamW(p, lr=0.01, weight_decay=0.0))
    loop.step()
    assert loop.send("set", key, 0.25) == ""
    assert loop.send("set", key, -1.0) != ""
    assert "momentum" in loop.send("set", "momentum", 0.5)
    loop.step()
    assert loop.run._controls.hyperparameters()[key] == 0.25
    loop.run.close()


@pytest.mark.parametrize("make", [SGD, Adam, AdamW], ids=lambda make: make.__name__)
def test_a_frozen_layer_stays_as_it_is(make: Any, tmp_path: Path) -> None:
    loop = Loop(tmp_path / "run", lambda p: make(p, lr=0.05))
    loop.step(2)
    assert loop.send("freeze", layer=1) == ""
    assert "no layer 9" in loop.send("freeze", layer=9)
    loop.step()
    first, second = (loop.model[at].weight.detach().clone() for at in (0, 2))
    loop.step(2)
    assert torch.equal(loop.model[0].weight, first)
    assert not torch.equal(loop.model[2].weight, second)
    assert loop.send("unfreeze", layer=1) == ""
    loop.step(2)
    assert not torch.equal(loop.model[0].weight, first)
    loop.run.close()


def test_pause_one_step_and_go_on(tmp_path: Path) -> None:
    loop = Loop(tmp_path / "run", every="never")
    thread = threading.Thread(target=lambda: loop.step(10**9), daemon=True)
    stopped: list[BaseException] = []
    thread = threading.Thread(target=lambda: _until(stopped, loop), daemon=True)
    thread.start()
    assert loop.send("pause") == ""
    at = _settled(loop)
    with RunReader(loop.run.folder / "run.db") as reader:
        info, newest = reader.info(), reader.snapshot()
        assert info.state == RunState.PAUSED
        assert info.step == at
        assert newest is not None  # although no step is measured otherwise
        assert newest.step == at - 1
    assert loop.send("step") == ""
    assert _settled(loop, above=at) == at + 1
    assert loop.send("resume") == ""
    assert loop.send("speed", value=50.0) == ""
    time.sleep(0.3)
    assert loop.send("stop") == ""
    thread.join(10)
    (error,) = stopped
    assert isinstance(error, tuilab.Stopped)
    with RunReader(loop.run.folder / "run.db") as reader:
        assert reader.info().state == RunState.STOPPED
    assert not RunFolder(loop.run.folder).is_alive()
    loop.step()  # the program may go on; nothing watches


def _until(stopped: list[BaseException], loop: Loop) -> None:
    try:
        loop.step(10**9)
    except tuilab.Stopped as error:
        stopped.append(error)


def _settled(loop: Loop, above: int = 0) -> int:
    """Wait until the loop is paused after more than `above` steps; return how many."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with RunReader(loop.run.folder / "run.db") as reader:
            info = reader.info()
        if info.state == RunState.PAUSED and info.step == loop.run.step > above:
            return info.step
        time.sleep(0.02)
    raise AssertionError("not paused")


def test_snapshots_on_request_only(tmp_path: Path) -> None:
    loop = Loop(tmp_path / "run", every="never")
    loop.step(3)
    assert loop.send("arm", value=2.0) == ""
    loop.step(5)
    loop.run.close()
    with RunReader(tmp_path / "run" / "run.db") as reader:
        steps = {snapshot.step for n in range(8) if (snapshot := reader.snapshot(n))}
    assert steps == {4, 5}


def test_the_parameters_are_saved_by_key(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    loop = Loop(tmp_path / "run")
    loop.step(2)
    assert loop.send("checkpoint") == ""
    loop.step()
    (file,) = (tmp_path / "run" / "checkpoints").iterdir()
    state = load_file(file)
    assert torch.equal(state["2.weight"], loop.model[2].weight)
    loop.run.close()


def test_what_the_source_cannot_do_is_refused(tmp_path: Path) -> None:
    loop = Loop(tmp_path / "run")
    for kind in ("batch_size", "batch_norm", "reinitialize", "activation", "schedule"):
        assert "does not accept" in loop.send(kind)
    loop.run.close()


def test_a_second_watch_keeps_the_run_or_begins_another(tmp_path: Path) -> None:
    loop = Loop(tmp_path / "first")
    loop.step()
    again = tuilab.watch(loop.model, loop.optimizer, out=str(tmp_path / "second"), quiet=True)
    assert again is loop.run
    assert not (tmp_path / "second").exists()
    other = SGD(loop.model.parameters(), lr=0.1)  # as when a cell is run again
    run = tuilab.watch(loop.model, other, out=str(tmp_path / "third"), quiet=True)
    assert run is not loop.run
    assert loop.run.closed
    run.close()


@pytest.mark.parametrize("when", ["armed", "between", "after"])
def test_models_are_copied_and_saved_as_ever(when: str, tmp_path: Path) -> None:
    loop = Loop(tmp_path / "run", every=1 if when == "armed" else 1000)
    if when != "armed":
        loop.step()
    if when == "after":
        loop.run.close()
    other = copy.deepcopy(loop.model)
    buffer = io.BytesIO()
    torch.save(loop.model, buffer)
    assert b"tuilab" not in buffer.getvalue()
    assert b"tuilab" not in pickle.dumps(loop.model)
    assert [*other.state_dict()] == [*loop.model.state_dict()]
    assert not loop.model[0]._forward_hooks
    copy.deepcopy(loop.optimizer)
    loop.optimizer.load_state_dict(loop.optimizer.state_dict())
    loop.step()
    loop.run.close()


def test_a_forked_process_leaves_the_record_alone(tmp_path: Path) -> None:
    loop = Loop(tmp_path / "run")
    loop.step()
    child = os.fork()
    if not child:  # as a worker of a data loader
        code = 1
        try:
            loop.step(3)
            loop.run.close()
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    loop.step()
    loop.run.close()
    with RunReader(tmp_path / "run" / "run.db") as reader:
        assert (reader.info().step, reader.info().state) == (2, RunState.FINISHED)


def test_a_step_that_a_scaler_skips_is_no_step(tmp_path: Path) -> None:
    loop = Loop(tmp_path / "run")
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    for step in range(3):
        loop.optimizer.zero_grad()
        loss = nn.functional.cross_entropy(loop.model(loop.x), loop.y)
        if step == 1:
            loss = loss * float("inf")
        scaler.scale(loss).backward()
        scaler.step(loop.optimizer)
        scaler.update()
    loop.run.close()
    with RunReader(tmp_path / "run" / "run.db") as reader:
        assert reader.info().step == 2
        assert np.isfinite(np.concatenate([block.loss for block in reader.blocks()])).all()
    kinds = [event.kind for event in loop.events()]
    assert kinds.count(EventKind.SKIPPED) == 1
    assert EventKind.DIVERGED not in kinds
