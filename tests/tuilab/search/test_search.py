"""`tuilab search` as a user runs it: real trials, real processes, a real study."""

import csv
import io
import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import optuna
import pytest

from tests.tuilab.conftest import Cli
from tests.tuilab.search.support import LR, searching
from tests.tuilab.support import FOREVER, command, environment, small, wait_for, write_scenario
from tuilab.claims.expressions import parse_expression
from tuilab.errors import SearchError
from tuilab.process.launch import Options, Worker
from tuilab.record import RunReader
from tuilab.record.run_folder import RunFolder
from tuilab.scenario.loading import load
from tuilab.search.folder import StudyFolder, StudyInfo, create, find
from tuilab.search.trial import LocalTrial, TrialJob


def document(cli: Cli, *arguments: Any) -> tuple[int, dict[str, Any]]:
    code, out, err = cli("search", *arguments, "--headless", "--json", "--jobs", 2)
    assert out, err
    found: dict[str, Any] = json.loads(out)
    return code, found


def trials(found: dict[str, Any]) -> list[dict[str, Any]]:
    return [trial for stage in found["stages"] for trial in stage["trials"]]


def alive(folder: Path) -> list[RunFolder]:
    runs = [RunFolder(lock.parent) for lock in folder.glob("trials/*/worker.lock")]
    return [run for run in runs if run.is_alive()]


def test_coarse_then_fine_and_the_best_runs_again_to_the_same_number(lab: Path, cli: Cli) -> None:
    table = searching(stage=[{"name": "coarse"}, {"name": "fine", "epochs": 3}])
    path = write_scenario(lab / "x.toml", table)
    code, found = document(cli, path, "--out", "s")
    assert code == 0
    coarse, fine = found["stages"]
    assert [stage["name"] for stage in (coarse, fine)] == ["coarse", "fine"]
    assert len(trials(found)) == 6
    assert {trial["state"] for trial in trials(found)} == {"complete"}
    low, high = fine["space"][LR]["log"]
    good = [trial["parameters"][LR] for trial in coarse["trials"]]
    assert low <= min(good)
    assert max(good) <= high
    best = found["best"]
    assert best["value"] == max(trial["value"] for trial in trials(found))

    code, out, _ = cli("search", "show", "s")
    assert code == 0
    assert "rank  val_acc  lr" in out
    code, out, _ = cli("search", "show", "s", "--csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert len(rows) == 6
    assert float(next(r for r in rows if r["rank"] == "1")[LR]) > 0

    code, _, err = cli("search", "show", "s", "--write", "best.toml")
    assert (code, "tuilab run best.toml" in err) == (0, True)
    code, out, _ = cli("run", "best.toml", "--headless", "--json", "--threads", 1)
    assert json.loads(out)["accuracy"]["validation"] == best["value"]
    code, out, _ = cli("show", f"s/{best['run']}", "--json")  # a trial is a run like any other
    assert json.loads(out)["accuracy"]["validation"] == best["value"]


def test_a_seed_draws_the_same_points_whatever_the_jobs(lab: Path, cli: Cli) -> None:
    path = write_scenario(lab / "x.toml", searching())
    _, two = document(cli, path, "--out", "two")
    _, out, _ = cli("search", path, "--headless", "--json", "--jobs", 1, "--out", "one")
    _, other = document(cli, path, "--out", "other", "--seed", 7, "--trials", 1)
    points = [[trial["parameters"][LR] for trial in trials(found)]
              for found in (two, json.loads(out), other)]  # fmt: skip
    assert points[0] == points[1]
    assert points[0][0] != points[2][0]


def test_a_grid_is_every_combination_once(lab: Path, cli: Cli) -> None:
    space = {LR: {"log": [1e-3, 1e-1]}, "optimizer.momentum": {"choice": [0.0, 0.9]}}
    table = searching(space=space, trials=100, sampler={"name": "grid", "points": 2}, epochs=1)
    _, found = document(cli, write_scenario(lab / "x.toml", table), "--out", "s")
    points = [tuple(trial["parameters"].values()) for trial in trials(found)]
    assert sorted(points) == [(1e-3, 0.0), (1e-3, 0.9), (1e-1, 0.0), (1e-1, 0.9)]


def test_hopeless_trials_are_given_up_and_the_search_goes_on(lab: Path, cli: Cli) -> None:
    rates = {"choice": [0.05, 100.0, 1e30]}
    table = searching(space={LR: rates}, sampler="grid", epochs=None, steps=400)
    table["search"].pop("epochs")
    code, found = document(cli, write_scenario(lab / "x.toml", table), "--out", "s")
    by_rate = {trial["parameters"][LR]: trial for trial in trials(found)}
    assert code == 0
    assert by_rate[0.05]["state"] == "complete"
    assert (by_rate[100.0]["state"], by_rate[100.0]["reason"]) == ("pruned", "loss > 3 × first")
    assert (by_rate[1e30]["state"], by_rate[1e30]["reason"]) == ("pruned", "loss not finite")
    assert by_rate[1e30]["steps"] < 400


def test_a_finding_of_the_diagnosis_ends_a_trial_if_asked(lab: Path, cli: Cli) -> None:
    table = searching(trials=1, stop=["finding"], space={"seed": [1, 2]}, objective="loss")
    table["network"] = {"hidden": [10] * 10, "activation": "sigmoid", "initializer": "zeros"}
    code, found = document(cli, write_scenario(lab / "x.toml", table), "--out", "s")
    (trial,) = trials(found)
    assert (code, trial["state"]) == (1, "pruned")
    assert trial["reason"] == "shrinking activations"


def test_a_killed_trial_is_marked_and_the_search_goes_on(lab: Path) -> None:
    table = searching(trials=2, objective="loss.data")
    table["search"].pop("epochs")
    path = write_scenario(lab / "x.toml", table | {"train": {"steps": FOREVER}})
    process = subprocess.Popen(
        command("search", path, "--headless", "--json", "--jobs", "1", "--out", "s"),
        cwd=lab, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    for number in range(2):
        run = RunFolder(lab / f"s/trials/search-{number:04d}")
        os.kill(pid_of(run), signal.SIGKILL)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 1  # none has come to its end
    found = trials(json.loads(out))
    assert [trial["state"] for trial in found] == ["failed", "failed"]
    assert {trial["reason"] for trial in found} == {"killed by signal 9"}


def pid_of(run: RunFolder) -> int:
    def stepping() -> int:
        with RunReader(run.database) as reader:
            info = reader.info()
        return info.pid if info.step else 0

    return int(wait_for(stepping))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_search_that_was_ended_goes_on_where_it_stopped(
    number: signal.Signals, lab: Path, cli: Cli
) -> None:
    """Interrupted, it leaves no training process; killed, it takes up what it has left."""
    table = searching(trials=3, objective="loss.data")
    table["search"].pop("epochs")
    path = write_scenario(lab / "x.toml", table | {"train": {"steps": FOREVER}})
    process = subprocess.Popen(
        command("search", path, "--headless", "--jobs", "1", "--out", "s"),
        cwd=lab, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    orphan = RunFolder(lab / "s/trials/search-0000")
    pid_of(orphan)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert "Traceback" not in err
    if number == signal.SIGINT:
        assert process.returncode == 130
        assert "tuilab search --resume --out s" in err
        assert alive(lab / "s") == []
    (lab / "s/scenario.toml").write_text(
        (lab / "s/scenario.toml").read_text().replace(f"steps = {FOREVER}", "steps = 12")
    )
    code, found = document(cli, "--resume", "--out", "s")
    assert code == 0
    first, *rest = trials(found)
    assert (first["state"], first["number"]) == ("lost", 0)
    assert [trial["state"] for trial in rest] == ["complete"] * 3
    again = next(trial for trial in rest if trial["retry_of"] == 0)
    assert again["parameters"] == first["parameters"]
    assert alive(lab / "s") == []


def test_trials_worse_than_others_are_pruned(lab: Path, cli: Cli) -> None:
    rates = {"choice": [0.1, 0.09, 0.08, 1e-7]}
    pruner = {"name": "median", "trials": 2, "epochs": 1}
    table = searching(space={LR: rates}, sampler="grid", objective="loss.data", pruner=pruner)
    table["search"]["epochs"] = 3000
    _, out, _ = cli("search", write_scenario(lab / "x.toml", table), "--headless", "--json",
                    "--jobs", 1, "--out", "s")  # fmt: skip
    *good, bad = trials(json.loads(out))
    assert good[0]["state"] == "complete"
    assert bad["state"] == "pruned"
    assert bad["reason"].startswith("worse than others at epoch")
    assert bad["steps"] < good[0]["steps"]


def test_extend_goes_beyond_the_edge(lab: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tuilab.search.search_loop.EXTENSIONS", 1)
    table = searching(trials=3, space={LR: {"log": [1e-7, 1e-4]}}, objective="loss.data",
                      sampler={"name": "grid", "points": 3}, epochs=1, best=1)  # fmt: skip
    path = write_scenario(lab / "x.toml", table)
    _, plain = document(cli, path, "--out", "plain")
    assert len(plain["stages"]) == 1
    assert "upper edge" in plain["stages"][0]["edges"][0]
    _, found = document(cli, path, "--out", "s", "--extend")
    assert [stage["name"] for stage in found["stages"]] == ["search", "search+"]
    assert found["stages"][1]["space"][LR]["log"][1] == pytest.approx(1e-3)


def test_a_range_by_hand_takes_the_place_of_the_narrowed_one(lab: Path, cli: Cli) -> None:
    table = searching(trials=1, stage=[{"name": "a"}, {"name": "b"}])
    path = write_scenario(lab / "x.toml", table)
    _, found = document(cli, path, "--out", "s", "--range", f"{LR}=0.2:0.3")
    assert found["stages"][1]["space"][LR] == {"log": [0.2, 0.3]}


def test_the_study_is_one_of_optuna(lab: Path, cli: Cli) -> None:
    document(cli, write_scenario(lab / "x.toml", searching(trials=2)), "--out", "s")
    url = f"sqlite:///{lab / 's/study.db'}"
    (name,) = optuna.get_all_study_names(storage=url)
    study = optuna.load_study(study_name=name, storage=url)
    assert len(study.trials) == 2
    assert set(study.best_params) == {LR}
    assert study.trials[0].intermediate_values


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nothing.toml", "--headless"], "no such scenario file"),
        (["x.toml", "--json"], "--json requires --headless"),
        (["x.toml"], "add --headless"),
        (["--resume", "--headless"], "give a SCENARIO file"),
        (["x.toml", "--headless", "--resume"], "leave out --resume"),
        (["x.toml", "--headless", "--range", "a=1:2"], "'a' is not a searched range"),
        (["x.toml", "--headless", "--range", f"{LR}=2:1"], "LOW must be below HIGH"),
        (["x.toml", "--headless", "--storage", "sqlite:////no/such/place/x.db"], "cannot open"),
        (["x.toml", "--headless", "--storage", "nonsense"], "cannot open the study"),
        (["x.toml", "--headless", "--cluster", "foo"], "write the tcp://HOST:PORT"),
        (["plain.toml", "--headless"], r"has no [search]"),
        (["x.toml", "--headless", "--out", "taken"], "already exists"),
        (["show", "nowhere"], "no search 'nowhere'"),
        (["show", "--json", "--csv"], "--json cannot be combined with --csv"),
    ],
)
def test_what_cannot_be_done_is_said(arguments: list[str], words: str, lab: Path, cli: Cli) -> None:
    write_scenario(lab / "x.toml", searching())
    write_scenario(lab / "plain.toml", small())
    (lab / "taken").mkdir()
    (lab / "taken/something").touch()
    code, out, err = cli("search", *arguments)
    assert (code, out) == (2, "")
    assert words in err
    assert not [*lab.glob("runs/*")]  # no folder of a search that did not begin


def test_a_failed_start_leaves_what_else_is_in_the_folder(lab: Path, cli: Cli) -> None:
    path = write_scenario(lab / "x.toml", searching(trials=1, epochs=1))
    bad = ("--range", "a=1:2", "--out", "s")
    assert cli("search", path, "--headless", *bad)[0] == 2
    assert not (lab / "s").exists()
    document(cli, path, "--out", "s")
    assert cli("search", "--resume", "--headless", *bad)[0] == 2
    assert cli("search", "show", "s")[0] == 0


def test_what_the_command_line_asked_for_is_kept(lab: Path, cli: Cli) -> None:
    path = write_scenario(lab / "x.toml", searching(trials=20, epochs=1))
    asked = ("--trials", 2, "--range", f"{LR}=0.2:0.3")
    document(cli, path, *asked, "--out", "s")
    assert "2 of 2 trials complete" in cli("search", "show", "s")[1]
    assert StudyFolder(lab / "s").info().ranges == (f"{LR}=0.2:0.3",)
    _, found = document(cli, "--resume", "--out", "s")
    assert len(trials(found)) == 2
    _, found = document(cli, "--resume", "--out", "s", "--trials", 3)
    assert len(trials(found)) == 3
    assert "3 of 3 trials complete" in cli("search", "show", "s")[1]


def test_an_exact_name_is_not_ambiguous(lab: Path) -> None:
    info = StudyInfo(scenario="x", study="x", storage="")
    for name in ("a", "a-2", "b-a"):
        create(lab / "runs" / name, info, "")
    assert find("a").path.name == "a"
    with pytest.raises(SearchError, match="matches 2 searches"):
        find("-")


def test_a_trial_that_is_stopped_before_it_has_a_database_was_interrupted(lab: Path) -> None:
    path = write_scenario(lab / "x.toml", searching())
    expression = parse_expression("loss")
    for stop, kind in ((True, "stopped"), (False, "failed")):
        (lab / kind).mkdir()
        process = subprocess.Popen(["true"])
        attempt = LocalTrial(
            TrialJob(load(path), lab / kind, Options(), expression, ()),
            Worker(RunFolder(lab / kind), process),
        )
        process.wait()
        if stop:
            attempt.stop()
        assert attempt.outcome().kind == kind


def test_a_run_that_was_complete_when_it_was_stopped_keeps_its_result(lab: Path) -> None:
    scenario = load(write_scenario(lab / "x.toml", small()))
    job = TrialJob(scenario, lab / "r", Options(threads=1), parse_expression("loss"), ())
    attempt = LocalTrial.begin(job)
    wait_for(attempt.has_ended)
    attempt.stop()
    assert attempt.outcome().kind == "complete"


def test_without_optuna_the_extra_is_named(
    lab: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tuilab.search.extras.find_spec", lambda name: None)
    code, _, err = cli("search", write_scenario(lab / "x.toml", searching()), "--headless")
    assert code == 2
    assert "-m pip install 'optuna" in err


def test_help_needs_neither_optuna_nor_the_engine(lab: Path) -> None:
    look = (
        "import sys, tuilab.cli.main; print([m for m in ('optuna', 'numpy') if m in sys.modules])"
    )
    output = subprocess.run(
        [*command()[:1], "-c", look], capture_output=True, text=True, check=True
    )
    assert output.stdout.strip() == "[]"
