"""Whole comparisons with real training processes: run, judged, listed, interrupted."""

import json
import os
import pty
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.tuilab.conftest import Cli
from tests.tuilab.support import (
    FOREVER,
    command,
    describe,
    environment,
    small,
    steps_made,
    wait_for,
    write_scenario,
)
from tuilab.process.comparison import kept_expectations
from tuilab.record import RunReader, RunWriter
from tuilab.record.run_folder import RunFolder, hold_lock
from tuilab.scenario.loading import load_file
from tuilab.terminal import StatusLine
from tuilab.viewer.model.claims import judge_folder, judge_group, judge_runs

SLOW = {"name": "slow", "optimizer": {"learning_rate": 1e-6}}
FAST = {"name": "fast"}
RATIO = {"claim": "fast is faster", "metric": "variants.slow.loss / variants.fast.loss", "above": 1}
EACH = {"claim": "each begins near ln 3", "metric": "loss", "at": "start", "between": [0.5, 5.0]}
WILD = {"name": "wild", "network": {"activation": "identity"}, "optimizer": {"learning_rate": 1e9},
        "train": {"steps": 500}}  # fmt: skip
KEYS = {"scenario", "title", "variants", "expectations"}


def compared(lab: Path, *variants: dict[str, Any], **more: Any) -> Path:
    table = small(**more) | {"variant": list(variants)}
    return write_scenario(lab / "rates.toml", table)


def test_every_variant_is_run_and_judged_and_kept(cli: Cli, lab: Path) -> None:
    compared(lab, SLOW, FAST, expect=[EACH, RATIO])
    code, out, err = cli("run", "rates.toml", "--headless", "--json", "--out", "out")
    document = json.loads(out)
    assert (code, out.count("\n"), set(document)) == (0, 1, KEYS)
    assert (document["scenario"], document["title"]) == ("rates", "A small one")
    assert list(document["variants"]) == ["slow", "fast"]
    for name, run in document["variants"].items():
        assert (run["status"], run["steps"], run["run_dir"]) == ("finished", 12, f"out/{name}")
        assert [(e["claim"], e["passed"]) for e in run["expectations"]] == [(EACH["claim"], True)]
        with RunReader(lab / run["run_dir"] / "run.db") as reader:
            assert (reader.info().scenario, reader.info().variant) == ("rates", name)
            assert reader.info().threads == 1
    (over_both,) = document["expectations"]
    losses = {name: run["loss"]["final"] for name, run in document["variants"].items()}
    assert over_both["measured"] == pytest.approx(losses["slow"] / losses["fast"])
    assert over_both["passed"] is True
    assert sorted(line.split()[0] for line in err.splitlines()) == ["fast", "slow"]


def test_a_table_for_people(cli: Cli, lab: Path) -> None:
    compared(lab, SLOW, FAST, expect=[EACH, RATIO | {"above": 1e6}])
    code, out, _ = cli("run", "rates.toml", "--headless", "--out", "out")
    assert code == 1
    assert out.startswith("rates: A small one\n")
    rows = [line.split() for line in out.splitlines()]
    assert [row[:3] for row in rows if row[:1] in (["slow"], ["fast"])] == [
        ["slow", "finished", "12"],
        ["fast", "finished", "12"],
    ]
    marks = [row[:2] for row in rows if row[:1] and row[0] in "✓✗"]
    assert marks == [["✓", "rates/slow"], ["✓", "rates/fast"], ["✗", "rates"]]
    assert "run folders: out/" in out


def test_runs_of_a_comparison_are_found_by_name(cli: Cli, lab: Path) -> None:
    compared(lab, SLOW, FAST)
    assert cli("run", "rates.toml", "--headless")[0] == 0
    (folder,) = (lab / "runs").iterdir()
    listed = cli("list")[1].splitlines()
    assert {line.split()[0] for line in listed[1:]} == {
        f"{folder.name}/{n}" for n in ("slow", "fast")
    }
    assert json.loads(cli("show", "slow", "--json")[1])["run_dir"] == f"runs/{folder.name}/slow"
    code, _, err = cli("show", folder.name)
    assert (code, f"names 2 runs: {folder.name}/" in err) == (2, True)


def test_one_variant_is_an_ordinary_run(cli: Cli, lab: Path) -> None:
    compared(lab, SLOW, FAST, expect=[EACH, RATIO])
    arguments = ("run", "rates.toml", "--headless", "--json", "--variant", "slow")
    code, out, _ = cli(*arguments, "--out", "out")
    document = json.loads(out)
    assert (code, document["run_dir"], document["scenario"]) == (0, "out", "rates")
    assert [e["metric"] for e in document["expectations"]] == ["loss"]
    with RunReader(lab / "out" / "run.db") as reader:
        assert reader.info().variant == "slow"
    assert cli(*arguments)[0] == 0
    (folder,) = (lab / "runs").iterdir()
    assert folder.name.endswith("-rates-slow")


@pytest.mark.parametrize("command", ["run", "gradcheck"])
def test_a_variant_that_is_not_there_is_named(cli: Cli, lab: Path, command: str) -> None:
    compared(lab, SLOW, FAST)
    more = ["--headless"] if command == "run" else []
    code, out, err = cli(command, "rates.toml", "--variant", "fats", *more)
    assert (code, out) == (2, "")
    assert "unknown variant 'fats'; did you mean 'fast'? (allowed: fast, slow)" in err
    write_scenario(lab / "plain.toml")
    code, _, err = cli(command, "plain.toml", "--variant", "fast", *more)
    assert (code, "plain.toml has no variants" in err) == (2, True)
    assert not (lab / "runs").exists()


def test_the_gradients_of_one_variant_can_be_checked(cli: Cli, lab: Path) -> None:
    compared(lab, SLOW, FAST)
    assert cli("gradcheck", "rates.toml", "--variant", "fast")[0] == 0
    code, _, err = cli("gradcheck", "rates.toml")
    assert (code, "--variant NAME (slow, fast)" in err) == (2, True)


@pytest.mark.parametrize("taken", [".", "slow", "fast"])
def test_a_folder_that_holds_a_run_is_refused_before_anything_runs(
    cli: Cli, lab: Path, taken: str
) -> None:
    compared(lab, SLOW, FAST)
    held = lab / "out" / taken / "run.db"
    held.parent.mkdir(parents=True)
    held.touch()
    code, out, err = cli("run", "rates.toml", "--headless", "--out", "out")
    assert (code, out) == (2, "")
    assert "already holds a run" in err
    assert [path for path in (lab / "out").rglob("*") if path.is_file()] == [held]


def test_what_is_wrong_with_a_variant_is_said_with_its_name(cli: Cli, lab: Path) -> None:
    compared(lab, FAST, SLOW | {"data": {"batch_size": 49}})
    code, out, err = cli("run", "rates.toml", "--headless", "--out", "out")
    assert (code, out) == (2, "")
    assert "tuilab: variant slow: rates.toml: data.batch_size: must be 1 … 48" in err


def test_inputs_batches_and_parameters_are_measured_in_a_run(cli: Cli, lab: Path) -> None:
    norm = {"network": {"batch_norm": True}}
    expect = [
        {"metric": "variants.white.data.train.mean", "between": [-1e-5, 1e-5]},
        {"metric": "variants.white.data.train.std", "between": [0.99, 1.01]},
        {"metric": "variants.white.data.train.correlation", "below": 1e-4},
        {"metric": "variants.white.data.validation.mean@start", "between": [-0.9, 0.9]},
        # Statistics of the training split, applied to the validation split, do not fit exactly.
        {"metric": "variants.white.data.validation.correlation", "above": 0.05},
        {"metric": "variants.plain.data.train.correlation", "above": 0.05},
        {"metric": "variants.plain.batch_dependence.training", "equals": 0},
        {"metric": "variants.norm.batch_dependence.training", "at": "start", "above": 0.05},
        {"metric": "variants.norm.batch_dependence.training", "at": "end", "above": 0.05},
        {"metric": "variants.norm.batch_dependence.evaluation", "at": "always", "below": 1e-6},
        # γ and β of 14 units come, 14 biases go.
        {"metric": "variants.norm.parameters - variants.plain.parameters", "equals": 14},
        {"metric": "variants.undone.loss - variants.plain.loss", "at": "start",
         "between": [-1e-5, 1e-5]},
        {"metric": "variants.undone.gain.forward / variants.plain.gain.forward", "at": "start",
         "between": [0.9999, 1.0001]},
    ]  # fmt: skip
    white = {"data": {"preprocess": [{"name": "whiten", "epsilon": 1e-9}]}}
    undone = {"network": {"batch_norm": {"start": "identity"}}}
    changes: dict[str, Any] = {"plain": {}, "white": white, "norm": norm, "undone": undone}
    compared(lab, *({"name": name} | change for name, change in changes.items()), expect=expect)
    code, out, _ = cli("run", "rates.toml", "--headless", "--json", "--out", "out")
    failed = [e for e in json.loads(out)["expectations"] if not e["passed"]]
    assert (code, failed) == (0, [])


STATUS = {"metric": "variants.wild.status", "equals": "diverged"}
STEP = {"metric": "variants.wild.diverged_at", "below": 400}


@pytest.mark.parametrize(
    ("expect", "code"),
    [
        ([EACH], 1),
        ([EACH, STATUS], 0),
        ([EACH, STEP], 0),
        ([EACH, STEP | {"below": 0.5}], 1),
        ([STATUS | {"metric": "variants.fast.status", "equals": "finished"}], 1),  # of the other
        ([{"metric": "variants.wild.status@end", "equals": "diverged"}], 0),
    ],
)
def test_a_variant_may_diverge_where_that_is_what_is_claimed(
    cli: Cli, lab: Path, expect: list[Any], code: int
) -> None:
    compared(lab, WILD, FAST, expect=expect)
    found, out, _ = cli("run", "rates.toml", "--headless", "--json", "--out", "out")
    assert found == code
    assert json.loads(out)["variants"]["wild"]["status"] == "diverged"
    tested, out, _ = cli("test", "rates.toml")
    assert tested == code
    unclaimed = "rates: training diverged (wild), but no expectation allows it"
    assert (unclaimed in out) == (code == 1 and "< 0.5" not in out)


def test_a_loss_that_was_not_reached_is_a_number_in_json(cli: Cli, lab: Path) -> None:
    ratio = "variants.slow.steps_to_loss(0.001) / variants.fast.steps_to_loss({})"
    expect = [{"metric": ratio.format(at), "above": 1.2} for at in (1.1, 0.001)]
    compared(lab, SLOW, FAST, expect=expect)
    code, out, _ = cli("run", "rates.toml", "--headless", "--json", "--out", "out")
    found = [(e["measured"], e["passed"]) for e in json.loads(out)["expectations"]]
    assert (code, found) == (1, [("inf", True), ("nan", False)])


def test_seed_steps_and_settings_hold_for_all(cli: Cli, lab: Path) -> None:
    compared(lab, SLOW, FAST)
    more = ("--seed", "5", "--steps", "3", "--set", "network.hidden=[4]", "--threads", "2")
    out = cli("run", "rates.toml", "--headless", "--json", "--out", "out", *more)[1]
    for run in json.loads(out)["variants"].values():
        assert (run["seed"], run["steps"], len(run["layers"])) == (5, 3, 2)
    with RunReader(lab / "out" / "slow" / "run.db") as reader:
        assert reader.info().threads == 2


def test_the_view_judges_what_is_expected_over_several(cli: Cli, lab: Path) -> None:
    path = compared(lab, SLOW, FAST, expect=[EACH, RATIO])
    assert cli("run", path, "--headless", "--out", "out")[0] == 0
    folders = [RunFolder(lab / "out" / name) for name in ("slow", "fast")]
    own, expect = judge_folder(folders[1]), load_file(path).expect
    found = judge_group(own, expect, folders).verdicts
    assert [(v.claim, v.passed) for v in found] == [(EACH["claim"], True), (RATIO["claim"], True)]
    waiting = judge_group(own, expect, [folders[0], RunFolder(lab / "not" / "there")]).verdicts
    assert [v.passed for v in waiting] == [True, None]
    assert judge_group(own, (), folders) is own


def test_what_is_expected_over_several_is_kept_beside_them(
    cli: Cli, lab: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = compared(lab, SLOW, FAST, expect=[EACH, RATIO])
    assert cli("run", path, "--headless", "--out", "out")[0] == 0
    assert cli("run", path, "--headless", "--out", "alone", "--variant", "fast")[0] == 0
    expected = load_file(path).expect
    slow, fast = (RunFolder(lab / "out" / name) for name in ("slow", "fast"))
    assert kept_expectations([slow, fast]) == kept_expectations([fast]) == expected
    assert kept_expectations([slow, RunFolder(lab / "alone")]) == ()
    assert kept_expectations([RunFolder(lab / "alone")]) == ()
    seen: list[tuple[list[str], Any, bool]] = []

    def view(runs: Any, expect: Any, tour: Any, dress: Any, *, side_by_side: bool) -> Any:
        seen.append(([run.folder.name for run in runs], expect, side_by_side))
        return runs

    monkeypatch.setattr("tuilab.viewer.app.view", view)
    monkeypatch.setattr("tuilab.cli.views.need_terminal", lambda advice: None)
    code, out, _ = cli("replay", "out")
    assert (code, out.count("tuilab replay ")) == (0, 2)
    assert cli("compare", "out/fast", "out/slow")[0] == 0
    lock = hold_lock(slow)
    with RunReader(slow.database) as reader:
        assert reader.info().ended  # its process only has not gone yet
    code, out, _ = cli("attach", "out")
    lock.close()
    assert (code, out.count("tuilab replay "), out.count("tuilab attach ")) == (0, 2, 0)
    assert seen == [
        (["slow", "fast"], expected, False),
        (["fast", "slow"], expected, True),
        (["slow", "fast"], expected, False),
    ]
    (lab / "out" / "comparison.toml").write_text("[[expect]]\nmetric = 3\nabove = 1\n")
    code, _, err = cli("replay", "out")
    assert (code, "comparison.toml:2" in err) == (2, True)


def test_the_whole_is_judged_once_all_have_ended_and_without_forks(cli: Cli, lab: Path) -> None:
    path = compared(lab, SLOW, FAST, expect=[EACH, RATIO])
    assert cli("run", path, "--headless", "--out", "out")[0] == 0
    fork = ("--fork", "out/fast", "--at", "5", "--set", "optimizer.learning_rate=1e-9")
    assert cli("run", *fork, "--headless", "--out", "out/fork")[0] == 0
    folders = [RunFolder(lab / "out" / name) for name in ("slow", "fast", "fork")]
    expect = load_file(path).expect
    for shown in folders:
        claims = judge_runs(shown, judge_folder, expect, folders)
        assert [(v.claim, v.passed) for v in claims.verdicts] == [
            *((EACH["claim"], True), (RATIO["claim"], True))
        ]
        assert [v.claim for v in claims.whole] == [EACH["claim"], EACH["claim"], RATIO["claim"]]
        assert all(v.passed for v in claims.whole)
    with closing(RunWriter(folders[0].database, resume=True)) as writer:
        describe(writer, state="running")
    assert judge_runs(folders[1], judge_folder, expect, folders).whole == ()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_all_and_what_there_is_is_told(lab: Path, number: signal.Signals) -> None:
    compared(lab, SLOW, FAST, train={"steps": FOREVER}, expect=[EACH, RATIO])
    folders = [RunFolder(lab / "out" / name) for name in ("slow", "fast")]
    with subprocess.Popen(
        command("run", "rates.toml", "--headless", "--json", "--out", "out"),
        cwd=lab,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        wait_for(lambda: all(steps_made(folder) > 5 for folder in folders))
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    document = json.loads(out)
    assert {run["status"] for run in document["variants"].values()} == {"stopped"}
    assert [e["passed"] for e in document["expectations"]] == [None]
    assert not any(folder.is_alive() for folder in folders)


def test_on_a_terminal_it_shows_what_is_running() -> None:
    ours, theirs = pty.openpty()
    code = (
        "import sys; from tuilab.terminal import StatusLine;"
        "line = StatusLine(sys.stderr, 2); line.show(['a', 'b']); line.count();"
        "line.print('a is done'); line.show(['b']); line.show(['b']); line.close()"
    )
    subprocess.run([sys.executable, "-c", code], stderr=theirs, check=True, timeout=30)
    os.close(theirs)
    shown = os.read(ours, 4096).decode()
    os.close(ours)
    clear = "\r\x1b[K"
    assert shown == f"{clear}0/2 · a, b{clear}a is done\r\n{clear}1/2 · b{clear}"


def test_elsewhere_it_says_what_stays_and_no_more(capsys: pytest.CaptureFixture[str]) -> None:
    line = StatusLine(sys.stderr, 2)
    line.show(["a"])
    line.print("a is done")
    line.close()
    assert capsys.readouterr().err == "a is done\n"
