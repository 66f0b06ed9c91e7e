"""A run that is computed again, with its changes by key, equals the recorded run."""

import os
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from engine.backends import NumPyBackend, make_backend
from engine.commands import Command
from tests.tuilab.conftest import Cli
from tests.tuilab.support import (
    FOREVER,
    SLOWLY,
    carried_out,
    small,
    steps_made,
    wait_for,
    write_scenario,
)
from tuilab.process.launch import Options, start
from tuilab.record import RunReader
from tuilab.record.control_socket import ControlClient
from tuilab.record.run_folder import RunFolder
from tuilab.record.saved_parameters import saved_checkpoints
from tuilab.scenario.loading import load


def played(lab: Path) -> None:
    """Train a run in folder `run`, and change it by key while it goes."""
    table = small(
        data={"validation": 0.2},
        network={"batch_norm": True},
        train={"steps": FOREVER, "checkpoint_every": 50},
    )
    worker = start(load(write_scenario(lab / "s.toml", table)), lab / "run", Options())
    assert worker.process is not None
    wait_for(lambda: steps_made(worker.folder) > 100)
    with RunReader(worker.folder.database) as reader:
        client = ControlClient(reader.info().socket)
    for command in (
        SLOWLY,
        Command("scale", "learning_rate", 0.5),
        Command("set", "momentum", 0.5),
        Command("pause"),
        Command("set", "weight_decay", 0.01),
        Command("step"),
        Command("resume"),
    ):
        assert client.send(command).accepted
    before = steps_made(worker.folder)
    wait_for(lambda: steps_made(worker.folder) > before + 100)
    client.send(Command("stop"))
    worker.process.wait()
    client.close()


def test_what_a_run_was_computed_with_is_told_where_that_is_another_now(
    cli: Cli, lab: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli("run", write_scenario(lab / "s.toml", small()), "--headless", "--out", "run")[0] == 0
    with RunReader(lab / "run" / "run.db") as reader:
        then = reader.info().software
    assert then == make_backend("numpy").software
    monkeypatch.setattr("tuilab.process.verify.make_backend", lambda *_: NumPyBackend("float32"))
    code, out, err = cli("replay", "run", "--verify")
    if "formulas" in then:
        pytest.skip("nothing is compiled here")
    assert code == 1
    assert f"(recorded with {then}, replayed with numpy" in out + err


def test_a_run_with_key_presses_replays_bit_for_bit(cli: Cli, lab: Path) -> None:
    played(lab)
    code, out, err = cli("replay", "run", "--verify")
    assert code == 0, err
    assert "equal to the last bit" in out
    assert "3 changes by key" in out
    assert "the parameters of 0" not in out


CHANGES = (
    SLOWLY,
    Command("batch_size", value=7),
    Command("freeze", layer=1),
    Command("reinitialize", layer=2, name="normal", settings={"std": 0.3}),
    Command("activation", layer=0, name="tanh"),
    Command("schedule", name="inverse_time", settings={"decay": 0.01}),
    Command("batch_norm", layer=0, name="remove"),
    Command("unfreeze", layer=1),
    Command("scale", "learning_rate", 0.5),
    Command("batch_norm", layer=2, name="insert"),
)


def changed_live(lab: Path, path: str) -> RunFolder:
    """Train a run in folder `path`, change what is trained while it goes, and `kill -9` it."""
    table = small(
        data={"validation": 0.2},
        network={"batch_norm": True},
        train={"steps": FOREVER, "checkpoint_every": 25},
    )
    worker = start(load(write_scenario(lab / "s.toml", table)), lab / path, Options())
    assert worker.process is not None
    wait_for(lambda: steps_made(worker.folder) > 10)
    with RunReader(worker.folder.database) as reader:
        client = ControlClient(reader.info().socket)
    for command in CHANGES:
        reply = client.send(command)
        assert reply.accepted, reply.error
        before = steps_made(worker.folder)
        wait_for(lambda before=before: steps_made(worker.folder) > before + 40)  # type: ignore[misc]
    client.close()
    os.kill(worker.process.pid, signal.SIGKILL)
    worker.process.wait()
    return worker.folder


def test_a_run_that_was_changed_live_and_killed_goes_on_and_replays(cli: Cli, lab: Path) -> None:
    folder = changed_live(lab, "run")
    with RunReader(folder.database) as reader:
        steps, info = saved_checkpoints(folder, reader)[-1].step + 30, reader.info()
        kinds = [event.kind for event in carried_out(reader)]
    assert kinds == [{"scale": "set"}.get(c.kind, c.kind) for c in CHANGES]
    assert (info.batch_size, info.schedule, info.speed_limit) == (7, "inverse_time", 500)
    assert [layer.activation for layer in info.layers] == ["tanh", "tanh", "identity"]
    assert [layer.normalization for layer in info.layers] == ["", "batch_norm", ""]
    code, _, err = cli("run", "--resume", "run", "--steps", str(steps), "--headless")
    assert code == 0, err
    with RunReader(folder.database) as reader:
        now = reader.info()
    assert (now.layers, now.batch_size, now.schedule) == (info.layers, 7, "inverse_time")
    assert (now.state, now.step, now.speed_limit) == ("finished", steps, 0)
    code, out, err = cli("replay", "run", "--verify")
    assert code == 0, out + err
    assert "equal to the last bit" in out
    assert "9 changes by key" in out  # the speed is none


def test_a_checkpoint_that_was_saved_right_after_a_change_is_no_difference(
    cli: Cli, lab: Path
) -> None:
    scenario = load(write_scenario(lab / "s.toml", small(train={"steps": FOREVER})))
    worker = start(scenario, lab / "run", Options())
    assert worker.process is not None
    wait_for(lambda: steps_made(worker.folder) > 10)
    with RunReader(worker.folder.database) as reader:
        client = ControlClient(reader.info().socket)
    drawn = Command("reinitialize", layer=2, name="normal", settings={"std": 0.3})
    for command in (SLOWLY, Command("pause"), drawn, Command("stop")):
        assert client.send(command).accepted
    worker.process.wait()
    client.close()
    with RunReader(worker.folder.database) as reader:
        last = saved_checkpoints(worker.folder, reader)[-1].step
        assert [e.step for e in carried_out(reader) if e.kind == "reinitialize"] == [last]
    code, out, err = cli("replay", "run", "--verify")
    assert code == 0, out + err


def test_a_change_that_is_forgotten_is_told_as_a_difference(cli: Cli, lab: Path) -> None:
    changed_live(lab, "run")
    with closing(sqlite3.connect(lab / "run" / "run.db")) as db:
        db.execute("DELETE FROM event WHERE kind = 'reinitialize'")
        db.commit()
    code, out, _ = cli("replay", "run", "--verify")
    assert code == 1
    assert "differ" in out


def test_what_differs_is_reported_with_its_step(cli: Cli, lab: Path) -> None:
    write_scenario(lab / "s.toml")
    cli("run", "s.toml", "--headless", "--out", "run")
    with closing(sqlite3.connect(lab / "run" / "run.db")) as db:
        block, form, blob = db.execute(
            "SELECT block, type, data FROM series WHERE name = 'loss' ORDER BY block DESC"
        ).fetchone()
        loss = np.frombuffer(blob, f"<{form}").copy()
        loss[-1] = np.nextafter(loss[-1], loss.dtype.type(9))
        row = (loss.tobytes(), block)
        db.execute("UPDATE series SET data = ? WHERE block = ? AND name = 'loss'", row)
        db.commit()
    code, out, _ = cli("replay", "run", "--verify")
    assert code == 1
    assert "loss differs first at step 11" in out


def test_another_network_is_detected_by_its_parameters(cli: Cli, lab: Path) -> None:
    write_scenario(lab / "s.toml")
    cli("run", "s.toml", "--headless", "--out", "run")
    file = lab / "run" / "scenario.toml"
    file.write_text(file.read_text().replace("seed = 1", "seed = 2"))
    code, out, _ = cli("replay", "run", "--verify")
    assert code == 1
    assert "the parameters differ from those of the checkpoint at 12" in out


def test_a_run_that_was_given_more_steps_had_another_schedule_before(cli: Cli, lab: Path) -> None:
    write_scenario(lab / "s.toml", small(schedule={"name": "cosine"}))
    assert cli("run", "s.toml", "--headless", "--out", "run", "--steps", "20")[0] == 0
    for steps in (40, 50):
        assert cli("run", "--resume", "run", "--steps", str(steps), "--headless")[0] == 0
    code, out, err = cli("replay", "run", "--verify")
    assert code == 0, out + err
    assert "50 steps with 0 changes by key" in out
