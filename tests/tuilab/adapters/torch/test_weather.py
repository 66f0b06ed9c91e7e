"""Bad input and bad weather: one line each, and never an exception in the program's loop."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from torch import nn

import tuilab
from engine.commands import Command
from engine.errors import ConfigError
from engine.states import EventKind, RunState
from tests.tuilab.adapters.torch.test_controls import Loop
from tuilab.diagnosis.finding import active
from tuilab.errors import RunError
from tuilab.record import RunReader
from tuilab.record.control_socket import ControlClient

PROGRAM = """
import sys, time
import torch
from torch import nn
import tuilab

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 5))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
run = tuilab.watch(model, optimizer, out=sys.argv[1])
x, y = torch.randn(16, 12), torch.randint(0, 5, (16,))
for step in range(int(sys.argv[2])):
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
{more}
"""


def program(tmp_path: Path, more: str = "", steps: int = 50) -> list[str]:
    file = tmp_path / "train.py"
    file.write_text(PROGRAM.format(more=more))
    return [sys.executable, str(file), str(tmp_path / "run"), str(steps)]


@pytest.mark.parametrize(
    ("more", "code", "state", "message"),
    [
        ("", 0, RunState.FINISHED, ""),
        ("sys.exit(3)", 3, RunState.FINISHED, ""),  # of which a program's own end learns nothing
        ("1 / 0", 1, RunState.FAILED, "ZeroDivisionError"),
        ("raise KeyboardInterrupt", -signal.SIGINT, RunState.STOPPED, ""),
    ],
)
def test_the_record_ends_with_the_program(
    tmp_path: Path, more: str, code: int, state: RunState, message: str
) -> None:
    done = subprocess.run(
        program(tmp_path, more), capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode in (code, 130 if code == -signal.SIGINT else code)
    assert "tuilab attach" in done.stderr
    with RunReader(tmp_path / "run" / "run.db") as reader:
        info = reader.info()
        assert (info.state, info.step) == (state, 50)
        assert message in info.message
        assert len(np.concatenate([block.loss for block in reader.blocks()])) == 50


def test_a_program_that_is_stopped_from_the_view_ends_without_a_traceback(tmp_path: Path) -> None:
    process = subprocess.Popen(program(tmp_path, steps=10**9), stderr=subprocess.PIPE, text=True)
    database = tmp_path / "run" / "run.db"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not (database.exists() and _recorded(database)):
        time.sleep(0.1)
    with RunReader(database) as reader:
        assert ControlClient(reader.info().socket).send(Command("stop")).accepted
    _, error = process.communicate(timeout=60)
    assert process.returncode == 1
    assert error.splitlines()[-1].startswith("tuilab: stopped from the view after")
    assert "Traceback" not in error


def test_a_killed_program_leaves_a_readable_run(tmp_path: Path) -> None:
    process = subprocess.Popen(program(tmp_path, steps=10**9), stderr=subprocess.DEVNULL)
    database = tmp_path / "run" / "run.db"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if database.exists() and _recorded(database) > 20:
            break
        time.sleep(0.1)
    process.kill()
    process.wait()
    with RunReader(database) as reader:
        assert reader.info().step > 20
        assert reader.snapshot(0) is not None
    assert sqlite3.connect(database).execute("PRAGMA integrity_check").fetchone() == ("ok",)


def _recorded(database: Path) -> int:
    try:
        with RunReader(database) as reader:
            return reader.info().step
    except RunError:
        return 0


def test_a_folder_that_cannot_be_written_is_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    model = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(RunError, match="cannot write the run folder"):
        tuilab.watch(model, optimizer, out=str(tmp_path / "file" / "run"))
    assert not optimizer._optimizer_step_pre_hooks


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": "net"}, "must be a torch.nn.Module"),
        ({"optimizer": None}, "is needed"),
        ({"optimizer": 3}, "must be a torch.optim.Optimizer"),
        ({"every": 0}, "every"),
        ({"every": -1.5}, "every"),
        ({"every": "often"}, "every"),
        ({"compiled": "maybe"}, "compiled"),
    ],
)
def test_arguments_without_a_meaning(
    tmp_path: Path, arguments: dict[str, Any], message: str
) -> None:
    model = nn.Linear(2, 2)
    given = {"model": model, "optimizer": torch.optim.SGD(model.parameters(), lr=0.1)}
    with pytest.raises(ConfigError, match=message):
        tuilab.watch(**{**given, "out": str(tmp_path / "run"), **arguments})


def test_parameters_that_no_optimiser_has(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    optimizer = torch.optim.SGD(model[0].parameters(), lr=0.1)
    with tuilab.watch(model, optimizer, out=str(tmp_path / "run"), quiet=True):
        model(torch.randn(3, 4)).sum().backward()
        optimizer.step()
    error = capfd.readouterr().err
    assert "2 parameters that require a gradient are in no optimiser" in error
    assert "1.weight" in error


def test_a_model_without_parameters_and_one_on_meta(tmp_path: Path) -> None:
    other = nn.Parameter(torch.ones(3))
    for number, model in enumerate((nn.ReLU(), nn.Linear(3, 3, device="meta"))):
        optimizer = torch.optim.SGD([other], lr=0.1)
        with tuilab.watch(model, optimizer, out=str(tmp_path / f"{number}"), quiet=True):
            (other * 2).sum().backward()
            optimizer.step()
        with RunReader(tmp_path / f"{number}" / "run.db") as reader:
            assert (reader.info().step, reader.info().state) == (1, RunState.FINISHED)


def test_a_loss_that_is_not_finite_is_diagnosed_and_the_program_goes_on(tmp_path: Path) -> None:
    loop = Loop(tmp_path / "run")
    loop.step(3)
    with torch.no_grad():
        loop.model[2].weight[0, 0] = float("nan")
    loop.step(3)
    loop.run.close()
    with RunReader(tmp_path / "run" / "run.db") as reader:
        assert reader.info().step == 6
        events = [event for _, event in reader.events()]
    (diverged,) = [event for event in events if event.kind == EventKind.DIVERGED]
    assert diverged.step == 3
    assert diverged.detail["tensor"] == "weight"
    assert diverged.detail["layer"] == 2
    assert next(finding.rule for finding in active(events)) == "not_finite"


@pytest.mark.parametrize("where", ["hook", "snapshot", "diagnosis"])
def test_an_error_of_ours_switches_the_watcher_off(
    where: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    loop = Loop(tmp_path / "run")
    loop.step()

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("on purpose")

    target = {
        "hook": "tuilab.adapters.torch.trace.Trace._weighted",
        "snapshot": "tuilab.adapters.torch.slots.TensorSlots.take",
        "diagnosis": "tuilab.diagnosis.monitor.Monitor.see",
    }[where]
    monkeypatch.setattr(target, broken)
    loop.step(3)
    time.sleep(0.2)
    loop.step(3)
    loop.run.close()
    error = capfd.readouterr().err
    assert error.count("tuilab: no") == 1
    assert "ZeroDivisionError: on purpose" in error
    assert "Traceback" not in error
    assert not torch.nn.modules.module._global_forward_hooks
    with RunReader(tmp_path / "run" / "run.db") as reader:
        info = reader.info()
    if where == "diagnosis":  # which is not worth the record
        assert (info.state, info.step) == (RunState.FINISHED, 7)
    else:
        assert info.state == RunState.FAILED
        assert "the watcher failed" in info.message


def test_odd_values_are_logged_without_an_error(tmp_path: Path) -> None:
    loop = Loop(tmp_path / "run")
    loop.step()
    loop.run.log(a="text", b=None, c=[1, 2], d=np.float32(2), e=torch.ones(3))
    loop.run.log(f=torch.tensor(3), g=np.array([4.0]), h=True)
    loop.run.validation(loss=torch.tensor(0.5), note="none")
    loop.run.close()
    with RunReader(tmp_path / "run" / "run.db") as reader:
        (block,) = reader.blocks()
        (validation,) = reader.validations()
    numbers = {name: float(values[0]) for name, values in block.series.items()}
    assert [numbers[name] for name in "dfgh"] == [2, 3, 4, 1]
    assert all(np.isnan(numbers[name]) for name in "abce")
    assert validation.loss == 0.5


def test_nothing_of_the_program_is_kept_alive(tmp_path: Path) -> None:
    import gc
    import weakref

    loop = Loop(tmp_path / "run")
    loop.step(3)
    model = weakref.ref(loop.model)
    loop.run.close()
    del loop
    gc.collect()
    assert model() is None


def test_layers_are_chosen_by_pattern_or_function(tmp_path: Path) -> None:
    seen = {}
    selections: dict[str, Any] = {
        "glob": "0",
        "several": ["2", "x*"],
        "function": lambda path, module: isinstance(module, nn.Linear),
    }
    for name, layers in selections.items():
        loop = Loop(tmp_path / name, layers=layers)
        loop.step(2)
        loop.run.close()
        with RunReader(tmp_path / name / "run.db") as reader:
            seen[name] = [layer.path for layer in reader.info().layers]
    assert seen == {"glob": ["0"], "several": ["2"], "function": ["0", "2"]}


def test_evaluation_between_steps_is_not_measured(tmp_path: Path) -> None:
    loop = Loop(tmp_path / "run")
    other = torch.full((4, 12), 1e6)
    for _ in range(2):
        loop.model.eval()
        loop.model(other)  # with gradients, as some forget
        with torch.no_grad():
            loop.model(other)
        loop.model.train()
        loop.step()
    loop.run.close()
    with RunReader(tmp_path / "run" / "run.db") as reader:
        for step in range(2):
            snapshot = reader.snapshot(step)
            assert snapshot is not None
            assert snapshot.field("activation", "count")[0] == 16 * 8
            assert snapshot.field("activation", "max")[0] < 100


def test_a_model_that_is_trained_in_evaluation_mode_is_seen_from_its_second_step(
    tmp_path: Path,
) -> None:
    loop = Loop(tmp_path / "run")
    loop.model.eval()
    loop.step(3)
    loop.run.close()
    with RunReader(tmp_path / "run" / "run.db") as reader:
        snapshot = reader.snapshot(2)
        assert snapshot is not None
        assert snapshot.field("activation", "count")[0] == 16 * 8


def test_importing_tuilab_loads_no_torch() -> None:
    code = "import tuilab, sys; print({'torch', 'numpy', 'textual'} & {*sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ}
    )
    assert done.stdout.strip() == "set()"
