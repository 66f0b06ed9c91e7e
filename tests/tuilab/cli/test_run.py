"""Whole runs with real training processes: what they leave, how they end, how they fail."""

import json
import os
import pty
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

import pytest

from engine.commands import Command
from tests.tuilab.conftest import Cli
from tests.tuilab.support import (
    FOREVER,
    carried_out,
    command,
    environment,
    kill_workers,
    small,
    steps_made,
    tuilab,
    wait_for,
    write_scenario,
)
from tuilab.process.launch import Options, Worker, restart, start
from tuilab.record import RunReader
from tuilab.record.control_socket import ControlClient
from tuilab.record.run_folder import RunFolder
from tuilab.scenario.loading import load

DOCUMENT = {
    *("scenario", "title", "seed", "backend", "device", "run_dir", "status", "steps", "epochs"),
    *("loss", "accuracy", "layers", "gain", "findings", "expectations", "throughput"),
}
STATISTICS = {
    *("count", "mean", "std", "min", "max", "zero_fraction", "saturated_fraction", "nonfinite"),
}
CLAIM = {"claim": "it begins near ln 3", "metric": "loss.data", "at": "start"}
STARVED = {
    "network": {"hidden": {"depth": 5, "width": 40}, "initializer": "xavier"},
    "data": {"features": 40, "samples": 200},
    "train": {"steps": 20},
}
# A linear network, for nothing in it can die or saturate.
DIVERGING = {
    "network": {"activation": "identity"},
    "optimizer": {"learning_rate": 1e6},
    "train": {"steps": 500},
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Any, Any]]:
    """One run in folder `run`: (where, the finished process, its document)."""
    where = tmp_path_factory.mktemp("finished")
    table = small(expect=[CLAIM | {"between": [0.5, 5.0]}])
    write_scenario(where / "small.toml", table)
    done = tuilab("run", "small.toml", "--headless", "--json", "--out", "run", cwd=where)
    yield where, done, json.loads(done.stdout)
    kill_workers(where)


@contextmanager
def running(lab: Path, *arguments: str, **sections: Any) -> Iterator["subprocess.Popen[str]"]:
    """A headless command that trains for ever in folder `run`, once it has made a few steps."""
    write_scenario(lab / "long.toml", small(train={"steps": FOREVER}, **sections))
    with subprocess.Popen(
        command("run", "long.toml", "--headless", "--out", "run", *arguments),
        cwd=lab,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            wait_for(lambda: steps_made(RunFolder(lab / "run")) > 10)
            yield process
        finally:
            process.kill()
            kill_workers(lab)


def ended(process: "subprocess.Popen[str]") -> tuple[int, str, str]:
    out, err = process.communicate(timeout=30)
    assert "Traceback" not in err
    return process.returncode, out, err


class TestHeadless:
    def test_json_is_one_document_with_the_agreed_keys_and_nothing_else(
        self, finished: tuple[Path, Any, Any]
    ) -> None:
        _, done, document = finished
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.count("\n") == 1
        assert set(document) == DOCUMENT
        assert document["status"] == "finished"
        assert (document["scenario"], document["run_dir"]) == ("small", "run")
        assert (document["steps"], document["epochs"]) == (12, 3.0)
        assert set(document["loss"]) == {"initial", "final", "best"}
        assert set(document["accuracy"]) == {"train", "validation"}
        assert set(document["gain"]["start"]) == {"forward", "backward"}
        assert set(document["throughput"]) == {"steps_per_second", "probe_share"}

    def test_json_describes_each_layer_at_start_and_end(
        self, finished: tuple[Path, Any, Any]
    ) -> None:
        layers = finished[2]["layers"]
        assert [(layer["index"], layer["units"]) for layer in layers] == [(1, 8), (2, 6), (3, 3)]
        for layer in layers:
            assert set(layer) == {"index", "name", "kind", "units", "start", "end"}
            for when in ("start", "end"):
                tensors = {"activation", "activation_grad", "weight", "weight_grad"}
                assert set(layer[when]) == {*tensors, "update_ratio", "dead_fraction"}
                assert all(set(layer[when][tensor]) == STATISTICS for tensor in tensors)

    def test_json_has_the_verdicts(self, finished: tuple[Path, Any, Any]) -> None:
        (verdict,) = finished[2]["expectations"]
        assert verdict == {
            **CLAIM,
            "measured": finished[2]["loss"]["initial"],
            "between": [0.5, 5.0],
            "passed": True,
        }

    def test_the_run_folder_holds_everything(self, finished: tuple[Path, Any, Any]) -> None:
        run = RunFolder(finished[0] / "run")
        assert not run.is_alive()
        assert {p.name for p in run.path.iterdir()} == {
            *("checkpoints", "run.db", "scenario.toml", "worker.lock", "worker.log")
        }
        assert run.log.read_text() == ""
        assert load(run.scenario).hidden == (8, 6)
        with RunReader(run.database) as reader:
            assert reader.info().state == "finished"
            assert sum(len(block.loss) for block in reader.blocks()) == 12
            assert reader.snapshot_steps()[0] == 0
            assert reader.snapshot_steps()[-1] == 11
            assert [v.step for v in reader.validations()] == [0, 4, 8, 12]

    def test_the_summary_is_text_with_the_loss_curve_on_stdout(self, cli: Cli, lab: Path) -> None:
        write_scenario(lab / "small.toml", small(expect=[CLAIM | {"between": [0.5, 5.0]}]))
        code, out, err = cli("run", "small.toml", "--headless", "--out", "run")
        assert (code, err) == (0, "")
        assert "finished after 12 steps (3 epochs)" in out
        assert "loss: line training, dots validation" in out
        assert "└" in out  # the axes of the curve
        assert "✓  small     it begins near ln 3" in out
        assert "tuilab replay run" in out
        assert max(map(len, out.splitlines())) < 120

    def test_what_is_to_type_is_quoted_for_a_shell(self, cli: Cli, lab: Path) -> None:
        write_scenario(lab / "small.toml")
        _, out, _ = cli("run", "small.toml", "--headless", "--out", "my $run")
        assert "(view it: tuilab replay 'my $run')" in out

    def test_a_terminal_on_stderr_gets_a_progress_bar_and_stdout_stays_clean(
        self, lab: Path
    ) -> None:
        write_scenario(lab / "small.toml")
        master, slave = pty.openpty()
        with subprocess.Popen(
            command("run", "small.toml", "--headless", "--json"),
            cwd=lab,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=slave,
            text=True,
        ) as process:
            os.close(slave)
            out, _ = process.communicate(timeout=30)
        shown = os.read(master, 100_000).decode()
        os.close(master)
        assert json.loads(out)["status"] == "finished"
        assert "12/12" in shown
        assert "small" in shown

    def test_a_claim_that_fails_is_exit_code_1(self, cli: Cli, lab: Path) -> None:
        write_scenario(lab / "small.toml", small(expect=[CLAIM | {"below": 0.0}]))
        code, out, _ = cli("run", "small.toml", "--headless", "--json")
        assert code == 1
        assert json.loads(out)["expectations"][0]["passed"] is False

    def test_steps_shorten_the_run_and_change_nothing_else(self, cli: Cli, lab: Path) -> None:
        table = small() | {"train": {"epochs": 50, "dtype": "float64"}}
        write_scenario(lab / "small.toml", table)
        code, out, _ = cli("run", "small.toml", "--headless", "--json", "--steps", 3)
        assert (code, json.loads(out)["steps"]) == (0, 3)
        (run,) = (lab / "runs").iterdir()
        with RunReader(run / "run.db") as reader:
            assert reader.info().dtype == "float64"

    def test_the_seed_decides_every_number(self, cli: Cli, lab: Path) -> None:
        # Statistics are taken by the clock, and with them what needs several of them to be found.
        write_scenario(lab / "small.toml", small(diagnosis={"enabled": False}))
        seeds: list[list[str]] = [["--seed", "1"], [], ["--seed", "2"]]
        runs = [cli("run", "small.toml", "--headless", "--json", *seed)[1] for seed in seeds]
        first, second, other = ({**json.loads(run), "run_dir": ""} for run in runs)
        for document in (first, second, other):
            del document["throughput"]
        assert first == second
        assert other["seed"] == 2
        assert other["loss"]["initial"] != first["loss"]["initial"]


class TestDiagnosis:
    def test_findings_are_in_the_document_the_summary_and_the_database(
        self, cli: Cli, lab: Path
    ) -> None:
        claim = {"metric": "findings", "contains": "shrinking_activations"}
        write_scenario(lab / "starved.toml", small(**STARVED, expect=[claim]))
        code, out, _ = cli("run", "starved.toml", "--headless", "--json", "--out", "run")
        document = json.loads(out)
        assert code == 0
        assert document["expectations"][0]["measured"] == [f["rule"] for f in document["findings"]]
        finding = document["findings"][0]
        assert list(finding) == [
            *("rule", "severity", "layers", "first_step", "measured", "threshold"),
            *("cause", "advice"),
        ]
        assert finding["rule"] == "shrinking_activations"
        assert (finding["severity"], finding["layers"]) == ("warning", [1, 2, 3, 4, 5])
        assert finding["measured"] == document["gain"]["start"]["forward"] < finding["threshold"]
        with RunReader(lab / "run" / "run.db") as reader:
            (event,) = (e for _, e in reader.events() if e.detail.get("rule") == finding["rule"])
        assert (event.kind, event.step) == ("finding", 0)
        _, shown, _ = cli("show", "run")
        assert "▲ warning: shrinking activations · layers 1–5" in shown
        assert "diagnosis.shrinking_activations.warning = 0.8" in " ".join(shown.split())
        assert '→ network.initializer = "he"' in shown

    def test_it_can_be_switched_off(self, cli: Cli, lab: Path) -> None:
        write_scenario(lab / "starved.toml", small(**STARVED))
        off = ["--set", "diagnosis.enabled=false"]
        _, out, _ = cli("run", "starved.toml", "--headless", "--json", "--out", "run", *off)
        assert json.loads(out)["findings"] == []
        assert "enabled = false" in (lab / "run" / "scenario.toml").read_text()
        assert "diagnosis:" not in cli("show", "run")[1]

    def test_where_training_broke_is_a_finding(self, cli: Cli, lab: Path) -> None:
        write_scenario(lab / "wild.toml", small(**DIVERGING))
        _, out, _ = cli("run", "wild.toml", "--headless", "--json")
        finding = json.loads(out)["findings"][0]
        assert (finding["rule"], finding["severity"]) == ("not_finite", "error")
        assert finding["measured"] in ("nan", "inf")
        assert f"at step {finding['first_step']}; first not finite" in finding["cause"]
        assert "learning_rate" in finding["advice"]


class TestInterruption:
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_a_signal_ends_the_run_with_its_data_and_code_130(
        self, lab: Path, number: signal.Signals
    ) -> None:
        with running(lab, "--json") as process:
            process.send_signal(number)
            code, out, err = ended(process)
        document = json.loads(out)
        assert (code, document["status"], err) == (130, "stopped", "")
        run = RunFolder(lab / "run")
        assert not run.is_alive()
        with RunReader(run.database) as reader:
            assert sum(len(b.loss) for b in reader.blocks()) == document["steps"] > 10
            assert [e.kind for e in carried_out(reader)] == ["stop"]
            assert reader.info().state == "stopped"

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_a_signal_before_the_first_step_ends_it_too(
        self, lab: Path, number: signal.Signals
    ) -> None:
        write_scenario(lab / "long.toml", small(train={"steps": FOREVER}))
        with subprocess.Popen(
            command("run", "long.toml", "--headless", "--out", "run"),
            cwd=lab,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            wait_for((lab / "run" / "worker.log").exists)
            process.send_signal(number)
            code, _, _ = ended(process)
        assert code == 130
        assert not RunFolder(lab / "run").is_alive()


class TestKilled:
    def test_the_worker_killed_leaves_its_data_and_a_message_with_the_log(
        self, lab: Path, cli: Cli
    ) -> None:
        with running(lab) as process:
            with RunReader(lab / "run" / "run.db") as reader:
                os.kill(reader.info().pid, signal.SIGKILL)
            code, out, err = ended(process)
        assert (code, out) == (1, "")
        assert "was killed by signal 9" in err
        assert "tuilab replay run" in err
        assert "run/worker.log" in err
        with RunReader(lab / "run" / "run.db") as reader:
            info = reader.info()
            assert sum(len(b.loss) for b in reader.blocks()) == info.step > 10
            assert info.state == "running"  # its last word
        with closing(sqlite3.connect(lab / "run" / "run.db")) as db:
            assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert f"killed after {info.step:,} steps" in cli("show", "run")[1]
        table = cli("list", "--root", ".")[1].splitlines()
        assert table[1].split()[:2] == ["run", "killed"]

    def test_the_worker_survives_the_one_who_started_it(self, lab: Path, cli: Cli) -> None:
        run = RunFolder(lab / "run")
        with running(lab) as process:
            process.kill()
            process.wait()
            made = steps_made(run)
            wait_for(lambda: steps_made(run) > made + 10)
            assert run.is_alive()
            assert "running after" in cli("show", "run")[1]
            with RunReader(run.database) as reader:
                client = ControlClient(reader.info().socket)
            assert client.send(Command("stop")).accepted
            client.close()
            wait_for(lambda: not run.is_alive())
        assert "stopped after" in cli("show", "run")[1]


class Live:
    """A training process of this one, and what a view would do with it."""

    def __init__(self, worker: Worker) -> None:
        self.worker, self.folder = worker, worker.folder
        wait_for(lambda: steps_made(self.folder) > 0)
        self.reader = RunReader(self.folder.database)
        self.client = ControlClient(self.reader.info().socket)

    def send(self, kind: Any, key: str = "", value: float = 0.0) -> str:
        return self.client.send(Command(kind, key, value)).error

    def events(self, number: int) -> list[tuple[str, int]]:
        """The first `number` commands that were carried out, once there are that many."""
        wait_for(lambda: len(carried_out(self.reader)) >= number)
        return [(event.kind, event.step) for event in carried_out(self.reader)]

    def close(self) -> None:
        self.client.close()
        self.reader.close()
        assert self.worker.process is not None
        self.worker.process.kill()
        self.worker.process.wait()


@pytest.fixture
def live(lab: Path) -> Iterator[Live]:
    scenario = load(write_scenario(lab / "long.toml", small(train={"steps": FOREVER})))
    made = Live(start(scenario, lab / "run", Options(threads=1)))
    yield made
    made.close()


class TestCommands:
    def test_a_change_is_an_event_and_holds_from_its_step_on(self, live: Live) -> None:
        assert live.send("set", "learning_rate", 0.25) == ""
        assert live.send("scale", "learning_rate", 0.5) == ""
        assert [kind for kind, _ in live.events(2)] == ["set", "set"]
        first, second = carried_out(live.reader)
        assert first.detail == {"key": "learning_rate", "value": 0.25, "previous": 0.05}
        assert second.detail == {"key": "learning_rate", "value": 0.125, "previous": 0.25}
        wait_for(lambda: steps_made(live.folder) > second.step)
        rates = {
            block.first_step + n: float(rate)
            for block in live.reader.blocks()
            for n, rate in enumerate(block.learning_rate)
        }
        assert rates[first.step - 1] == 0.05
        assert rates[second.step] == 0.125
        assert live.reader.info().hyperparameters["learning_rate"] == 0.125
        assert first.step in live.reader.snapshot_steps()

    @pytest.mark.parametrize(
        ("kind", "key", "value", "words"),
        [
            ("set", "learning_rate", -1.0, "must not be negative"),
            ("set", "learning_rat", 1.0, "did you mean 'learning_rate'?"),
            ("scale", "momentum", 10.0, "must be in [0, 1)"),
        ],
    )
    def test_a_change_that_is_not_allowed_is_refused_and_leaves_no_event(
        self, live: Live, kind: str, key: str, value: float, words: str
    ) -> None:
        assert words in live.send(kind, key, value)
        live.send("pause")
        assert [kind for kind, _ in live.events(1)] == ["pause"]

    def test_pause_step_resume_and_stop_do_what_they_say(self, live: Live) -> None:
        live.send("pause")
        ((_, at),) = live.events(1)
        wait_for(lambda: live.reader.info().state == "paused")
        assert steps_made(live.folder) == at + 1
        newest = live.reader.snapshot()
        assert newest is not None
        assert newest.step == at  # what is seen while it rests is of now
        live.send("step")
        live.events(2)
        wait_for(lambda: steps_made(live.folder) == at + 2)
        live.send("step")
        live.events(3)
        wait_for(lambda: steps_made(live.folder) == at + 3)
        assert live.reader.info().state == "paused"
        live.send("resume")
        wait_for(lambda: steps_made(live.folder) > at + 11)
        live.send("stop")
        assert live.worker.process is not None
        assert live.worker.process.wait(timeout=30) == 0
        *begin, (last, _) = live.events(5)
        assert begin == [("pause", at), ("step", at + 1), ("step", at + 2), ("resume", at + 3)]
        assert last == "stop"
        assert live.reader.info().state == "stopped"

    def test_a_paused_run_can_be_interrupted(self, live: Live) -> None:
        live.send("pause")
        live.events(1)
        assert live.worker.process is not None
        live.worker.process.terminate()
        assert live.worker.process.wait(timeout=30) == 0
        assert live.reader.info().state == "stopped"

    def test_a_run_that_has_ended_does_not_listen(self, live: Live) -> None:
        live.send("stop")
        assert live.worker.process is not None
        live.worker.process.wait(timeout=30)
        assert not Path(live.reader.info().socket).exists()


class TestDivergence:
    def test_it_says_where_the_first_value_went_wrong(self, cli: Cli, lab: Path) -> None:
        write_scenario(lab / "wild.toml", small(**DIVERGING))
        code, out, err = cli("run", "wild.toml", "--headless", "--out", "run")
        assert (code, err) == (1, "")
        assert "diverged after" in out
        assert "the loss became" in out
        assert "first not finite: " in out
        with RunReader(lab / "run" / "run.db") as reader:
            (event,) = (e for _, e in reader.events() if e.kind == "diverged")
        assert f"{event.detail['tensor']} of layer {event.detail['layer']}" in out

    def test_json_has_words_for_what_is_no_number(self, cli: Cli, lab: Path) -> None:
        claim = {"metric": "loss", "at": "start", "between": [0.0, float("inf")]}
        write_scenario(lab / "wild.toml", small(**DIVERGING, expect=[claim]))
        code, out, err = cli("run", "wild.toml", "--headless", "--json")
        document = json.loads(out, parse_constant=lambda word: pytest.fail(f"{word} in JSON"))
        assert (code, document["status"]) == (1, "diverged")
        assert document["loss"]["final"] in ("nan", "inf")
        assert document["expectations"][0]["between"] == [0.0, "inf"]
        assert err.startswith("tuilab: the loss became")

    def test_it_can_be_what_is_claimed(self, cli: Cli, lab: Path) -> None:
        claim = {"metric": "status", "equals": "diverged"}
        write_scenario(lab / "wild.toml", small(**DIVERGING, expect=[claim]))
        assert cli("run", "wild.toml", "--headless")[0] == 0


class TestRestart:
    def test_a_run_is_repeated_in_a_new_folder_beside_it(
        self, lab: Path, finished: tuple[Path, Any, Any]
    ) -> None:
        old = RunFolder(finished[0] / "run")
        worker = restart(old, new_seed=False)
        assert worker.process is not None
        assert worker.process.wait(timeout=30) == 0
        assert worker.folder.path == finished[0] / "run-2"
        with RunReader(old.database) as a, RunReader(worker.folder.database) as b:
            first = [loss for block in a.blocks() for loss in block.loss]
            assert first == [loss for block in b.blocks() for loss in block.loss]
            assert (b.info().restarted_from, b.info().scenario) == ("run", "small")

    def test_a_new_seed_gives_other_numbers(
        self, lab: Path, finished: tuple[Path, Any, Any]
    ) -> None:
        old = RunFolder(finished[0] / "run")
        worker = restart(old, new_seed=True)
        assert worker.process is not None
        assert worker.process.wait(timeout=30) == 0
        with RunReader(old.database) as a, RunReader(worker.folder.database) as b:
            assert a.info().seed != b.info().seed
            assert a.blocks()[0].loss[0] != b.blocks()[0].loss[0]


class TestLookingBack:
    def test_show_prints_the_document_that_the_run_printed(
        self, finished: tuple[Path, Any, Any], cli: Cli, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(finished[0])
        code, out, _ = cli("show", "run", "--json")
        assert (code, json.loads(out)) == (0, finished[2])

    def test_list_has_a_line_for_each_run_and_for_what_cannot_be_read(
        self, cli: Cli, lab: Path
    ) -> None:
        write_scenario(lab / "small.toml")
        cli("run", "small.toml", "--headless")
        (lab / "runs" / "broken").mkdir()
        (lab / "runs" / "broken" / "run.db").write_text("nonsense" * 1000)
        code, out, err = cli("list")
        header, *rows = out.splitlines()
        assert (code, err) == (0, "")
        assert header.split()[:3] == ["run", "state", "step"]
        assert [row.split()[1] for row in rows] == ["unreadable", "finished"]
        assert "12/12" in rows[1]

    def test_list_of_nothing_says_so(self, cli: Cli) -> None:
        assert cli("list") == (0, "no runs under runs/\n", "")

    @pytest.mark.parametrize("name", ["show", "attach", "replay"])
    def test_a_run_that_is_not_there_is_exit_code_2(
        self, cli: Cli, name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("tuilab.cli.views.need_terminal", lambda advice: None)
        code, out, err = cli(name, "nothing")
        assert (code, out) == (2, "")
        assert err.startswith("tuilab: no run 'nothing' under runs/")


def write_cifar(folder: Path, content: bytes) -> Path:
    batches = folder / "cifar-10-batches-bin"
    batches.mkdir(parents=True)
    (batches / "data_batch_1.bin").write_bytes(content)
    return folder


class TestBadInput:
    @pytest.mark.parametrize(
        ("sets", "words"),
        [
            ("network.activation=rlu", "did you mean 'relu'?"),
            ("network.hidden=[-1]", "network.hidden[0]: expected 'int' >= 1, got -1"),
            ("data.batch_size=500", "data.batch_size: must be 1 … 48"),
            ("data.validation=0.001", "data.validation: a share of 0.001 of 60"),
            ("network.hidden=[10000000,10000000]", "network: does not fit into memory"),
        ],
    )
    def test_it_is_said_with_file_and_key_and_is_exit_code_2(
        self, cli: Cli, lab: Path, sets: str, words: str
    ) -> None:
        write_scenario(lab / "small.toml")
        code, out, err = cli("run", "small.toml", "--headless", "--out", "run", "--set", sets)
        assert (code, out) == (2, "")
        assert err.startswith("tuilab: small.toml")
        assert words in err

    def test_what_shows_only_while_loading_names_the_line_of_the_resolved_file(
        self, cli: Cli, lab: Path
    ) -> None:
        write_scenario(lab / "small.toml", small(data={"batch_size": 49}))
        err = cli("run", "small.toml", "--headless", "--out", "run")[2]
        number = int(err.rpartition("scenario.toml:")[2].rstrip(")\n"))
        assert (
            (lab / "run/scenario.toml")
            .read_text()
            .splitlines()[number - 1]
            .startswith("batch_size = 49")
        )
        code, out, _ = cli("show", "run")
        assert code == 0
        assert "failed after 0 steps" in out
        assert "batch_size: must be 1 … 48" in out

    def test_a_missing_scenario_is_said_with_the_nearest(self, cli: Cli, lab: Path) -> None:
        write_scenario(lab / "small.toml")
        code, _, err = cli("run", "smal.toml", "--headless")
        assert code == 2
        assert "smal.toml: no such scenario file; did you mean small.toml?" in err

    @pytest.mark.parametrize(
        "arguments",
        [
            ["rnu"],
            ["run"],
            ["run", "small.toml", "--json"],
            ["run", "small.toml", "--headless", "--steps", "0"],
            ["run", "small.toml", "--headless", "--seed", "-1"],
            ["run", "small.toml", "--headless", "--backend", "torch"],
            ["run", "small.toml", "--headless", "--data-dir", "nowhere"],
            ["run", "small.toml", "--headless", "--set", "seed"],
            ["run", "small.toml", "--headless", "--hedless"],
        ],
    )
    def test_wrong_usage_is_exit_code_2_and_leaves_no_run(
        self, cli: Cli, lab: Path, arguments: list[str]
    ) -> None:
        write_scenario(lab / "small.toml")
        code, out, err = cli(*arguments)
        assert (code, out) == (2, "")
        assert err
        assert not (lab / "runs").exists()

    def test_a_view_without_a_terminal_is_refused_with_the_way_out(self, lab: Path) -> None:
        write_scenario(lab / "small.toml")
        done = tuilab("run", "small.toml", cwd=lab)
        assert (done.returncode, done.stdout) == (2, "")
        assert "the view needs a terminal; add --headless" in done.stderr
        assert not (lab / "runs").exists()

    @pytest.mark.skipif(find_spec("cupy") is not None, reason="CuPy is here")
    def test_cupy_that_is_missing_is_said_with_how_to_install_it(self, cli: Cli, lab: Path) -> None:
        write_scenario(lab / "small.toml")
        code, _, err = cli("run", "small.toml", "--headless", "--backend", "cupy")
        assert code == 2
        assert "needs CuPy, which is not here" in err
        assert "pip install 'cupy-cuda12x[ctk]'" in err

    def test_a_run_folder_that_is_taken_is_refused_and_untouched(
        self, finished: tuple[Path, Any, Any], cli: Cli, lab: Path
    ) -> None:
        taken = finished[0] / "run"
        before = {p.name: p.stat().st_mtime_ns for p in taken.iterdir()}
        write_scenario(lab / "small.toml")
        code, _, err = cli("run", "small.toml", "--headless", "--out", taken)
        assert code == 2
        assert "already holds a run; choose another folder with --out" in err
        assert {p.name: p.stat().st_mtime_ns for p in taken.iterdir()} == before

    def test_a_run_folder_that_cannot_be_made_is_said(self, cli: Cli, lab: Path) -> None:
        write_scenario(lab / "small.toml")
        code, _, err = cli("run", "small.toml", "--headless", "--out", "small.toml/run")
        assert code == 2
        assert "cannot write the run folder small.toml/run: Not a directory" in err

    @pytest.mark.parametrize("name", ["-run", "a b'\"%#?ü"])
    def test_a_run_folder_may_have_an_odd_name(self, cli: Cli, lab: Path, name: str) -> None:
        write_scenario(lab / "small.toml")
        code, _, err = cli("run", "small.toml", "--headless", f"--out={name}")
        assert (code, err) == (0, "")
        assert (lab / name / "run.db").is_file()

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (bytes(3073 * 2 - 1), "truncated or not a CIFAR-10 batch"),
            (b"", "truncated or not a CIFAR-10 batch"),
            (bytes(3073) + b"\x0b" + bytes(3072), "record 1 has label 11, allowed are 0 … 9"),
        ],
    )
    def test_a_damaged_cifar10_batch_is_said_with_its_path(
        self, cli: Cli, lab: Path, content: bytes, words: str
    ) -> None:
        write_cifar(lab / "data", content)
        write_scenario(lab / "c.toml", small() | {"data": {"source": "cifar10"}})
        code, _, err = cli("run", "c.toml", "--headless", "--data-dir", "data")
        assert code == 2
        assert "data/cifar-10-batches-bin/data_batch_1.bin" in err
        assert words in err

    @pytest.mark.parametrize("given", [True, False])
    def test_cifar10_that_is_not_there_is_said(self, cli: Cli, lab: Path, given: bool) -> None:
        (lab / "data").mkdir()
        write_scenario(lab / "c.toml", small() | {"data": {"source": "cifar10"}})
        where = ["--data-dir", "data"] if given else []
        code, _, err = cli("run", "c.toml", "--headless", *where)
        assert code == 2
        assert (
            "no cifar10 in data; expected cifar-10-batches-bin/"
            if given
            else "--data-dir or TUILAB_DATA"
        ) in err


class TestOutputThatGoesNowhere:
    def call(self, lab: Path, *arguments: str, stdout: int | IO[bytes]) -> tuple[int, str]:
        with subprocess.Popen(
            command(*arguments),
            cwd=lab,
            env=environment(),
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            _, err = process.communicate(timeout=30)
        return process.returncode, err

    def test_a_reader_that_has_gone_is_no_failure(self, lab: Path) -> None:
        write_scenario(lab / "small.toml")
        read, write = os.pipe()
        os.close(read)
        code, err = self.call(lab, "run", "small.toml", "--headless", "--out", "run", stdout=write)
        os.close(write)
        assert (code, err) == (0, "")
        with RunReader(lab / "run" / "run.db") as reader:
            assert reader.info().state == "finished"

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
    def test_a_full_disk_behind_it_is_said(self, lab: Path) -> None:
        with Path("/dev/full").open("wb") as full:
            code, err = self.call(lab, "list", stdout=full)
        assert code == 2
        assert err == "tuilab: [Errno 28] No space left on device\n"

    def test_an_output_that_is_closed_is_no_failure(self, lab: Path) -> None:
        line = " ".join(command("list")) + " >&-"
        done = subprocess.run(
            ["sh", "-c", line], cwd=lab, env=environment(), capture_output=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, b"")
