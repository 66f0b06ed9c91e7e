"""Runs that go on: after their end, after a signal, after `kill -9`; and those that cannot."""

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.backends import make_backend
from engine.commands import Command
from engine.training.checkpoint import Checkpoint
from tests.tuilab.conftest import Cli, prepare
from tests.tuilab.support import (
    FOREVER,
    carried_out,
    small,
    steps_made,
    wait_for,
    write_scenario,
)
from tuilab.claims.metrics import Record
from tuilab.process.checkpoints import KEPT
from tuilab.process.launch import Options, start
from tuilab.process.resume import go_on
from tuilab.record import RunReader
from tuilab.record.control_socket import ControlClient
from tuilab.record.run_folder import RunFolder
from tuilab.record.saved_parameters import SavedCheckpoint, saved_checkpoints
from tuilab.scenario.loading import load

# Dropout, batch normalisation, augmentation of nothing, an optimiser and a schedule with a memory.
TABLE = small(
    data={"validation": 0.2},
    network={"hidden": [8, 6], "batch_norm": True},
    optimizer={"name": "adam", "learning_rate": 0.01, "momentum": None},
    schedule={"name": "reduce_on_plateau", "patience": 0, "factor": 0.9},
    train={"steps": 200},
)
del TABLE["optimizer"]["momentum"]
SERIES = ("loss", "data_loss", "accuracy", "learning_rate")


def checkpoints(folder: Path) -> list[SavedCheckpoint]:
    with RunReader(folder / "run.db") as reader:
        return saved_checkpoints(RunFolder(folder), reader)


def recorded(folder: Path) -> dict[str, Any]:
    """Everything of a run that must not depend on whether it was cut, and when it was looked at."""
    with RunReader(folder / "run.db") as reader:
        blocks = reader.blocks()
        series = {name: [v for b in blocks for v in getattr(b, name)] for name in SERIES}
        assert [b.first_step for b in blocks[1:]] == [b.next_step for b in blocks[:-1]]
        rest = {"validations": reader.validations(), "state": reader.info().state}
    last = Checkpoint.load(checkpoints(folder)[-1].path)
    arrays = {name: array.tobytes() for name, array in last.arrays.items()}
    return series | rest | arrays | {"generators": last.generators, "step": last.step}


def run(cli: Cli, *arguments: str | Path) -> Any:
    code, out, err = cli("run", *arguments, "--headless", "--json")
    assert code == 0, err
    return json.loads(out)


def test_one_hundred_steps_and_one_hundred_more_are_two_hundred(cli: Cli, lab: Path) -> None:
    write_scenario(lab / "s.toml", TABLE)
    run(cli, "s.toml", "--out", "whole")
    run(cli, "s.toml", "--out", "cut", "--steps", "100")
    document = run(cli, "--resume", "cut", "--steps", "200")
    assert recorded(lab / "cut") == recorded(lab / "whole")
    assert (document["steps"], document["status"]) == (200, "finished")
    assert document["layers"][0]["start"]["activation"]["count"] > 0  # step 0 is still there


def test_a_run_tells_all_that_computed_it(
    cli: Cli, lab: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = make_backend("numpy").software
    if "formulas" in now:
        pytest.skip("nothing is compiled here")
    monkeypatch.setenv("TUILAB_KERNELS", "off")
    write_scenario(lab / "s.toml", TABLE)
    run(cli, "s.toml", "--out", "run", "--steps", "20")
    monkeypatch.delenv("TUILAB_KERNELS")
    run(cli, "--resume", "run", "--steps", "40")
    with RunReader(lab / "run" / "run.db") as reader:
        assert reader.info().software == f"{now.split(',')[0]}, formulas, then {now}"


def test_a_killed_run_goes_on_from_its_last_checkpoint(cli: Cli, lab: Path) -> None:
    endless = TABLE | {"train": {"steps": FOREVER, "checkpoint_every": 100}}
    worker = start(load(write_scenario(lab / "s.toml", endless)), lab / "cut", Options())
    assert worker.process is not None
    wait_for(lambda: len(checkpoints(lab / "cut")) > 1 and steps_made(worker.folder) > 300)
    os.kill(worker.process.pid, signal.SIGKILL)
    worker.process.wait()
    last = checkpoints(lab / "cut")[-1].step
    steps = str(last + 150)
    assert steps_made(worker.folder) >= last
    run(cli, "--resume", "cut", "--steps", steps)
    run(cli, "s.toml", "--out", "whole", "--steps", steps)
    assert recorded(lab / "cut") == recorded(lab / "whole")


def test_a_run_that_was_stopped_goes_on_and_what_was_set_stays_set(cli: Cli, lab: Path) -> None:
    endless = TABLE | {"train": {"steps": FOREVER}}
    worker = start(load(write_scenario(lab / "s.toml", endless)), lab / "cut", Options())
    assert worker.process is not None
    wait_for(lambda: steps_made(worker.folder) > 10)
    worker.process.send_signal(signal.SIGTERM)
    worker.process.wait()
    last = checkpoints(lab / "cut")[-1].step
    assert last == steps_made(worker.folder)
    run(
        *(cli, "--resume", "cut", "--steps", str(last + 20)),
        *("--set", "optimizer.learning_rate=0.5", "--set", "optimizer.beta1 = 0.5"),
    )
    with RunReader(lab / "cut" / "run.db") as reader:
        assert reader.info().hyperparameters["learning_rate"] == 0.5
        after = [(e.kind, e.step, e.detail.get("key")) for e in carried_out(reader)][-3:]
    assert after == [
        ("resumed", last, None),
        ("set", last, "learning_rate"),
        ("set", last, "beta1"),
    ]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run that ended after 20 steps."""
    folder = tmp_path_factory.mktemp("ended")
    write_scenario(folder / "s.toml", TABLE)
    prepare(folder, ("run", "s.toml", "--out", "cut", "--steps", "20", "--headless", "--json"))
    return folder


@pytest.fixture
def ended(prepared: Path, lab: Path) -> Path:
    """The folder of that run, of which each test has a copy."""
    shutil.copytree(prepared, lab, dirs_exist_ok=True)
    return lab / "cut"


REFUSED = {
    ("--resume", "cut"): "finished its 20 steps; pass --steps to train longer",
    ("--resume", "cut", "--steps", "10"): "finished its 20 steps",
    ("--resume", "none"): "no run 'none'",
    ("--resume", "cut", "s.toml"): "give a SCENARIO file, or --resume RUN",
    ("--resume", "cut", "--seed", "3"): "--resume cannot be combined with",
    ("--resume", "cut", "--variant", "a"): "--resume cannot be combined with",
    ("--resume", "cut", "--steps", "30", "--set", "network.activation=tanh"): "only a hyper-",
    ("--resume", "cut", "--steps", "30", "--set", "optimizer.beta3=1"): "did you mean 'beta",
    ("--resume", "cut", "--steps", "30", "--set", "optimizer.beta1=x"): "must be a number, is 'x'",
    ("--resume", "cut", "--steps", "30", "--set", "optimizer.beta1=3"): "must be in [0, 1), is 3",
}


@pytest.mark.parametrize("arguments", REFUSED, ids=" ".join)
def test_what_cannot_be_resumed_says_why_and_stays_as_it_is(
    cli: Cli, ended: Path, arguments: tuple[str, ...]
) -> None:
    before = recorded(ended)
    code, out, err = cli("run", *arguments, "--headless")
    assert (code, out) == (2, "")
    assert REFUSED[arguments] in err
    assert recorded(ended) == before


def test_options_that_do_not_work_are_told_and_leave_the_run_as_it_ended(
    cli: Cli, ended: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # with or without CuPy, there is no GPU
    before = recorded(ended)
    code, out, err = cli(
        *("run", "--resume", "cut", "--steps", "30", "--headless", "--backend", "cupy")
    )
    assert (code, out) == (2, "")
    assert "cupy" in err.lower()
    assert recorded(ended) == before
    with RunReader(ended / "run.db") as reader:
        assert reader.info().state == "finished"
    assert run(cli, "--resume", "cut", "--steps", "30")["steps"] == 30


def test_a_damaged_checkpoint_is_refused_and_the_one_before_can_be_used(
    cli: Cli, ended: Path
) -> None:
    run(cli, "--resume", "cut", "--steps", "40")
    newest = checkpoints(ended)[-1].path
    content = bytearray(newest.read_bytes())
    content[-1] ^= 1
    newest.write_bytes(content)
    code, _, err = cli("run", "--resume", "cut", "--steps", "60", "--headless")
    assert code == 2
    assert f"{newest.name}: damaged" in err
    assert "remove it to resume from step 20" in err
    newest.unlink()
    assert run(cli, "--resume", "cut", "--steps", "60")["steps"] == 60
    run(cli, "s.toml", "--out", "whole", "--steps", "60")
    assert recorded(ended) == recorded(ended.parent / "whole")


def test_a_checkpoint_of_another_run_is_refused(cli: Cli, ended: Path) -> None:
    run(cli, "s.toml", "--out", "other", "--steps", "20", "--set", "network.activation=tanh")
    shutil.copy(checkpoints(ended.parent / "other")[-1].path, checkpoints(ended)[-1].path)
    code, _, err = cli("run", "--resume", "cut", "--steps", "60", "--headless")
    assert code == 2
    assert "the checkpoint belongs to another run: what was trained differ in 'layer 3'" in err
    with RunReader(ended / "run.db") as reader:
        assert [block.next_step for block in reader.blocks()][-1] == 20


def test_a_run_without_a_checkpoint_says_so(cli: Cli, ended: Path) -> None:
    shutil.rmtree(ended / "checkpoints")
    code, _, err = cli("run", "--resume", "cut", "--steps", "60", "--headless")
    assert code == 2
    assert "has no checkpoint to resume from" in err


def test_a_run_that_is_alive_is_left_alone(cli: Cli, lab: Path) -> None:
    endless = TABLE | {"train": {"steps": FOREVER, "checkpoint_every": 10}}
    worker = start(load(write_scenario(lab / "s.toml", endless)), lab / "cut", Options())
    assert worker.process is not None
    wait_for(lambda: checkpoints(lab / "cut"))
    code, _, err = cli("run", "--resume", "cut", "--headless")
    assert code == 2
    assert "is still training; view it: tuilab attach cut" in err
    assert worker.process.poll() is None
    worker.process.kill()
    worker.process.wait()


def test_a_few_checkpoints_are_kept_far_apart_the_newest_always(cli: Cli, lab: Path) -> None:
    table = TABLE | {"train": {"steps": FOREVER, "checkpoint_every": 10}}
    worker = start(load(write_scenario(lab / "s.toml", table)), lab / "run", Options())
    assert worker.process is not None
    wait_for(lambda: steps_made(worker.folder) > 1500 and len(checkpoints(lab / "run")) == KEPT)
    worker.process.send_signal(signal.SIGTERM)
    worker.process.wait()
    kept = checkpoints(lab / "run")
    files = sorted(path.name for path in (lab / "run" / "checkpoints").iterdir())
    assert files == sorted(each.path.name for each in kept)
    steps = [each.step for each in kept]
    assert len(steps) == KEPT
    assert steps[-1] == steps_made(worker.folder)
    assert np.diff(steps)[1:-1].max() < steps[-1] / 2  # and not all from one end


def test_training_goes_on_where_no_checkpoint_can_be_saved(cli: Cli, lab: Path) -> None:
    write_scenario(lab / "s.toml", TABLE)
    (lab / "run").mkdir()
    (lab / "run" / "checkpoints").write_text("a file where the folder should be")
    assert run(cli, "s.toml", "--out", "run")["status"] == "finished"
    assert "no checkpoint:" in (lab / "run" / "worker.log").read_text()


def test_tuilab_test_saves_none(cli: Cli, lab: Path) -> None:
    write_scenario(lab / "s.toml", TABLE)
    worker = start(load(lab / "s.toml"), lab / "run", Options(checkpoints=False))
    assert worker.process is not None
    assert worker.process.wait() == 0
    assert not (lab / "run" / "checkpoints").exists()


DIVERGING = small(
    network={"activation": "identity"},
    optimizer={"learning_rate": 0.01},
    train={"steps": FOREVER, "checkpoint_every": 1},
)


def diverged(lab: Path, after: int) -> RunFolder:
    """Return a run that was healthy for `after` steps, and then was given too large a rate."""
    worker = start(load(write_scenario(lab / "d.toml", DIVERGING)), lab / "gone", Options())
    assert worker.process is not None
    info = wait_for(lambda: _info(worker.folder, after, worker.process))
    ControlClient(info.socket).send(Command("set", "learning_rate", 1e6))
    worker.process.wait()
    return worker.folder


def _info(folder: RunFolder, after: int, process: "subprocess.Popen[bytes] | None") -> Any:
    """Return what is known of a run once `process` has brought it so far, else None."""
    with RunReader(folder.database) as reader:
        info = reader.info()
        here = process is not None and info.pid == process.pid and info.state == "running"
        return info if here and info.step >= after and info.socket else None


def test_a_diverged_run_goes_on_from_before_at_a_lower_rate(lab: Path) -> None:
    gone = diverged(lab, after=20)
    worker = go_on(gone)
    assert worker.process is not None
    resumed = wait_for(lambda: _info(worker.folder, 100, worker.process))
    worker.process.terminate()
    worker.process.wait()
    with RunReader(gone.database) as reader:
        assert reader.info().state == "diverged"  # it is kept as it was
    assert worker.folder.path != gone.path
    assert resumed.restarted_from == "gone"
    assert resumed.hyperparameters["learning_rate"] == 0.01  # as it was before 1e6 was set
    with RunReader(worker.folder.database) as reader:
        steps = {event.kind: event.step for _, event in reader.events()}
        loss = Record(reader).loss
        assert reader.info().state == "stopped"
    assert "diverged" not in steps
    assert steps["resumed"] == steps["set"] > 0
    assert max(loss) <= 3 * loss[0]


def test_a_run_that_diverged_at_once_starts_anew_at_a_tenth_of_the_rate(
    cli: Cli, lab: Path
) -> None:
    table = DIVERGING | {"optimizer": DIVERGING["optimizer"] | {"learning_rate": 1e6}}
    write_scenario(lab / "d.toml", table)
    code, _, _ = cli("run", "d.toml", "--headless", "--out", "gone")
    assert code == 1
    code, _, err = cli("run", "--resume", "gone", "--headless")
    assert code == 2
    assert "the loss exploded before the first was saved; start it again with a lower" in err
    worker = go_on(RunFolder(lab / "gone"))
    assert worker.process is not None
    worker.process.wait()
    assert load(worker.folder.scenario).optimizer.learning_rate == pytest.approx(1e5)


def test_going_on_with_a_stopped_run_keeps_its_folder(cli: Cli, lab: Path) -> None:
    write_scenario(lab / "s.toml", TABLE | {"train": {"steps": FOREVER}})
    worker = start(load(lab / "s.toml"), lab / "cut", Options())
    assert worker.process is not None
    wait_for(lambda: steps_made(worker.folder) > 10)
    worker.process.terminate()
    worker.process.wait()
    before = steps_made(worker.folder)
    again = go_on(worker.folder)
    assert again.process is not None
    assert again.folder == worker.folder
    wait_for(lambda: steps_made(worker.folder) > before)
    again.process.terminate()
    again.process.wait()


def test_what_was_found_stands_when_a_run_goes_on_and_is_not_found_again(
    cli: Cli, lab: Path
) -> None:
    network = {"hidden": {"depth": 5, "width": 40}, "initializer": "xavier"}
    table = small(network=network, data={"features": 40, "samples": 200}, train={"steps": 20})
    first = run(cli, write_scenario(lab / "starved.toml", table), "--out", "cut")
    again = run(cli, "--resume", "cut", "--steps", "40")
    starved = first["findings"][0]
    assert starved["rule"] == "shrinking_activations"
    assert starved in again["findings"]
    with RunReader(lab / "cut" / "run.db") as reader:
        rules = [e.detail["rule"] for _, e in reader.events() if e.kind == "finding"]
    assert rules.count("shrinking_activations") == 1
