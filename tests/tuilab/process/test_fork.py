"""Runs that branch off others: equal where nothing was changed, else on the same batches."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.commands import Command
from engine.training.checkpoint import Checkpoint
from tests.tuilab.conftest import Cli, prepare
from tests.tuilab.process.test_resume import DIVERGING, TABLE, checkpoints, recorded, run
from tests.tuilab.support import (
    FOREVER,
    SLOWLY,
    carried_out,
    steps_made,
    wait_for,
    write_scenario,
)
from tuilab.errors import RunError
from tuilab.process.fork import fork, fork_point
from tuilab.process.launch import Options, Worker, start
from tuilab.process.verify import verify
from tuilab.record import Fork, RunInfo, RunReader
from tuilab.record.control_socket import ControlClient
from tuilab.record.run_folder import RunFolder
from tuilab.scenario.loading import load


def info_of(folder: Path) -> RunInfo:
    with RunReader(folder / "run.db") as reader:
        return reader.info()


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of 200 steps, with checkpoints after 80, 120 and all of them."""
    folder = tmp_path_factory.mktemp("parent")
    write_scenario(folder / "s.toml", TABLE)
    prepare(
        folder,
        ("run", "s.toml", "--out", "parent", "--steps", "80", "--headless", "--json"),
        ("run", "--resume", "parent", "--steps", "120", "--headless", "--json"),
        ("run", "--resume", "parent", "--steps", "200", "--headless", "--json"),
    )
    return folder


@pytest.fixture
def parent(prepared: Path, lab: Path) -> Path:
    """The folder of that run, of which each test has a copy."""
    shutil.copytree(prepared, lab, dirs_exist_ok=True)
    return lab / "parent"


@pytest.fixture
def living(lab: Path) -> Iterator[Worker]:
    """A run without end whose own checkpoints are far apart."""
    table = TABLE | {"train": {"steps": FOREVER, "checkpoint_every": FOREVER}}
    worker = start(load(write_scenario(lab / "s.toml", table)), lab / "living", Options())
    assert worker.process is not None
    wait_for(lambda: steps_made(worker.folder) > 10)
    with RunReader(worker.folder.database) as reader:
        client = ControlClient(reader.info().socket)
    client.send(SLOWLY)
    client.close()
    yield worker
    worker.process.kill()
    worker.process.wait()


def test_a_fork_without_changes_is_the_run_it_came_from(cli: Cli, parent: Path) -> None:
    before = recorded(parent)
    document = run(cli, "--fork", "parent", "--at", "150", "--out", "child")
    child = parent.with_name("child")
    assert recorded(child) == before == recorded(parent)
    assert document["steps"] == 200
    assert checkpoints(child)[0].step == 120
    assert info_of(child).fork == Fork("parent", 120)
    assert info_of(parent).fork is None


def test_a_fork_with_changes_sees_the_same_batches(cli: Cli, parent: Path) -> None:
    change = ("--set", "optimizer.learning_rate=0.02")
    run(cli, "--fork", "parent", "--at", "150", "--out", "child", *change)
    child = parent.with_name("child")
    ends = [Checkpoint.load(checkpoints(folder)[-1].path) for folder in (parent, child)]
    ours, theirs = ends
    assert ours.generators == theirs.generators
    assert ours.arrays["order"].tolist() == theirs.arrays["order"].tolist()
    assert ours.arrays["parameters"].tolist() != theirs.arrays["parameters"].tolist()
    with RunReader(child / "run.db") as reader:
        changes = [(e.kind, e.step, e.detail.get("value")) for e in carried_out(reader)]
    assert changes[-2:] == [("resumed", 120, None), ("set", 120, 0.02)]
    assert info_of(child).fork == Fork("parent", 120, {"learning_rate": 0.02})
    assert verify(RunFolder(child)).difference == ""


def test_before_the_first_checkpoint_a_fork_begins_at_the_start(cli: Cli, parent: Path) -> None:
    change = ("--set", "optimizer.beta1=0.5", "--steps", "30")
    document = run(cli, "--fork", "parent", "--at", "7", *change)
    child = parent.with_name("parent-2")
    assert (document["steps"], document["run_dir"]) == (30, "parent-2")
    assert info_of(child).fork == Fork("parent", 0, {"beta1": 0.5})
    with RunReader(child / "run.db") as reader:
        assert [(e.kind, e.step) for e in carried_out(reader)] == [("set", 0)]
    assert verify(RunFolder(child)).difference == ""


def test_a_fork_of_a_living_run_begins_now_and_leaves_it_as_it_is(
    cli: Cli, lab: Path, living: Worker
) -> None:
    assert living.process is not None
    seen = steps_made(living.folder)
    assert checkpoints(living.folder.path) == []
    child = fork(living.folder, Options(), steps=FOREVER + 1)
    assert child.process is not None
    wait_for(lambda: steps_made(child.folder) > checkpoints(living.folder.path)[0].step)
    branched = info_of(child.folder.path).fork
    assert branched is not None
    assert branched.step == checkpoints(living.folder.path)[0].step >= seen
    after = steps_made(living.folder)
    wait_for(lambda: steps_made(living.folder) > after)  # it goes on
    for worker in (child, living):
        assert worker.process is not None
        worker.process.terminate()
        worker.process.wait()
    run(cli, "s.toml", "--out", "whole", "--steps", str(steps_made(living.folder)))
    ours, alone = recorded(living.folder.path), recorded(lab / "whole")
    for outcome in (ours, alone):
        outcome.pop("state")
        outcome.pop("validations")  # that of the last step is made only where it ends an epoch
    assert ours == alone


def test_a_paused_run_can_be_forked_too(living: Worker) -> None:
    with RunReader(living.folder.database) as reader:
        socket = reader.info().socket
        ControlClient(socket).send(Command("pause"))
        wait_for(lambda: reader.info().state == "paused")
        step = wait_for(lambda: reader.info().step)
        child = fork(living.folder, Options())
        assert child.process is not None
        wait_for(lambda: steps_made(child.folder) > step)
        child.process.kill()
        child.process.wait()
        assert (reader.info().state, reader.info().step) == ("paused", step)
        assert info_of(child.folder.path).fork == Fork("living", step)


def test_no_command_to_a_fork_reaches_its_parent(
    living: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tuilab.process.resume.launch", lambda folder, *_: Worker(folder))
    child = info_of(fork(living.folder, Options()).folder.path)
    assert (child.state, child.socket, child.pid) == ("starting", "", 0)


def test_a_checkpoint_that_is_thinned_out_meanwhile_is_replaced_by_another(
    parent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = RunFolder(parent)
    first, second = checkpoints(parent)[-2], checkpoints(parent)[-3]
    found = iter([first, second])
    monkeypatch.setattr("tuilab.process.fork.fork_point", lambda *_: next(found))
    first.path.unlink()
    child = fork(folder, Options())
    assert child.process is not None
    assert child.process.wait() == 0
    assert info_of(child.folder.path).fork == Fork("parent", second.step)
    assert child.folder.name == "parent-2"


def test_a_fork_of_a_diverged_run_begins_before_its_loss_exploded(cli: Cli, lab: Path) -> None:
    table = DIVERGING | {"train": {"steps": 60, "checkpoint_every": 1}}
    worker = start(load(write_scenario(lab / "d.toml", table)), lab / "gone", Options())
    assert worker.process is not None
    worker.process.wait()
    fine = fork_point(worker.folder)
    assert fine is not None
    code, _, _ = cli(
        *("run", "--fork", "gone", "--at", "40", "--out", "worse", "--headless"),
        *("--set", "optimizer.learning_rate=1e6"),
    )
    assert code == 1  # it diverged
    again = fork_point(RunFolder(lab / "worse"))
    assert again is not None
    assert again.step <= 40


REFUSED = {
    ("--fork", "parent", "s.toml"): "give a SCENARIO file, or --resume RUN, or --fork RUN",
    ("--fork", "parent", "--resume", "parent"): "or --fork RUN",
    ("--fork", "none"): "no run 'none'",
    ("--fork", "parent", "--seed", "3"): "--fork cannot be combined with",
    ("s.toml", "--at", "3"): "--at requires --fork",
    ("--fork", "parent", "--out", "parent"): "already holds a run",
    ("--fork", "parent", "--set", "network.activation=tanh"): "only a hyper-parameter of [opt",
    ("--fork", "parent", "--set", "optimizer.beta3=1"): "did you mean 'beta",
    ("--fork", "parent", "--at", "3", "--set", "optimizer.beta1=x"): "must be a number, is 'x'",
}


def test_what_cannot_be_forked_says_why_and_leaves_nothing(cli: Cli, parent: Path) -> None:
    before = recorded(parent)
    for arguments, why in REFUSED.items():
        code, out, err = cli("run", *arguments, "--headless")
        assert (code, out) == (2, ""), arguments
        assert why in " ".join(err.split())
    assert recorded(parent) == before
    assert [path.name for path in parent.parent.iterdir() if path.is_dir()] == ["parent"]


def test_list_and_show_say_where_a_run_branched_off(cli: Cli, parent: Path) -> None:
    runs = parent.parent / "runs"
    change = ("--set", "optimizer.learning_rate=0.5")
    run(cli, "--fork", "parent", "--at", "150", "--out", str(runs / "child"), *change)
    said = "forked from parent at step 120 with learning_rate 0.5"
    assert said in cli("show", str(runs / "child"))[1]
    assert said in cli("list")[1]


def test_a_run_that_was_never_recorded_cannot_be_forked(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="does not exist"):
        fork(RunFolder(tmp_path), Options())
