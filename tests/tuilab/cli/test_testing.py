"""`tuilab test`: scenarios as a test suite, with its table, its reports and its exit code."""

import json
import re
import signal
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.tuilab.conftest import Cli
from tests.tuilab.support import (
    FOREVER,
    command,
    environment,
    kill_workers,
    small,
    steps_made,
    wait_for,
    write_scenario,
)
from tuilab.errors import ScenarioError
from tuilab.process.testing import ScenarioResult, SeedRun, collect
from tuilab.record.run_folder import RunFolder
from tuilab.reports.suite_report import junit

TRUE = {"claim": "it learns", "metric": "loss", "at": "end", "below": 5.0}
FALSE = {"claim": "it learns at once", "metric": "loss", "at": "start", "below": 0.0}
WILD = {"network": {"activation": "identity"}, "optimizer": {"learning_rate": 1e6}}


@pytest.fixture
def suite(lab: Path) -> Path:
    """A folder of three scenarios: one holds, one does not, one has no data here."""
    folder = lab / "suite"
    folder.mkdir()
    write_scenario(folder / "good.toml", small(expect=[TRUE]))
    write_scenario(folder / "bad.toml", small(expect=[TRUE, FALSE]))
    cifar = small(expect=[TRUE]) | {"data": {"source": "cifar10"}}
    write_scenario(folder / "skipped.toml", cifar)
    return folder


def test_a_folder_is_run_and_judged(cli: Cli, suite: Path, lab: Path) -> None:
    code, out, err = cli("test", suite, "--junit", "report.xml")
    assert code == 1
    lines = out.splitlines()
    assert lines[0].split() == ["scenario", "claim", "at", "measured", "band"]
    marks = [(line[0], *line.split()[1:2]) for line in lines if line.startswith(("✓", "✗"))]
    assert marks == [("✓", "bad"), ("✗", "bad"), ("✓", "good")]
    assert "< 0" in next(line for line in lines if line.startswith("✗"))
    tail = r"2 of 3 claims hold in 2 scenarios, 1 skipped, in \d+\.\d s"
    assert re.fullmatch(tail, lines[-1])
    progress = [re.sub(r"[\d.]+ s", "… s", line) for line in err.splitlines()]
    assert progress == [
        "✗ bad  … s  1 failed",
        "✓ good  … s  as claimed",
        "· skipped  skipped: no CIFAR-10 (tuilab data fetch cifar10)",
    ]
    assert not (lab / "runs").exists()
    root = ElementTree.parse(lab / "report.xml").getroot()
    counts = [
        [suite.get(key) for key in ("name", "tests", "failures", "errors", "skipped")]
        for suite in root
    ]
    assert counts == [
        ["bad", "2", "1", "0", "0"],
        ["good", "1", "0", "0", "0"],
        ["skipped", "1", "0", "0", "1"],
    ]
    failure = root.find("./testsuite/testcase/failure")
    assert failure is not None
    assert re.match(r"measured .*, expected < 0", failure.get("message", ""))


def test_what_holds_is_exit_code_0(cli: Cli, suite: Path) -> None:
    code, out, _ = cli("test", suite / "good.toml", suite / "skipped.toml")
    assert code == 0
    tail = out.splitlines()[-1]
    assert tail.startswith("1 of 1 claims hold in 1 scenario, 1 skipped, in ")


def test_json_is_one_document(cli: Cli, suite: Path) -> None:
    code, out, err = cli("test", suite, "--json")
    bad, good, skipped = json.loads(out)
    assert (code, err, out.count("\n")) == (1, "", 1)
    assert (bad["scenario"], bad["passed"]) == ("bad", False)
    assert [e["passed"] for e in bad["run"]["expectations"]] == [True, False]
    assert (good["passed"], good["error"], good["run"]["status"]) == (True, "", "finished")
    assert (skipped["passed"], skipped["run"]) == (True, None)
    assert "cifar10" in skipped["skipped"]


def test_a_scenario_that_cannot_be_read_stops_it_before_anything_runs(
    cli: Cli, suite: Path, lab: Path
) -> None:
    write_scenario(suite / "wrong.toml", small(network={"activation": "rlu"}))
    code, out, err = cli("test", suite, "--junit", "report.xml")
    assert (code, out) == (2, "")
    assert "wrong.toml:" in err
    assert "did you mean 'relu'?" in err
    assert not (lab / "report.xml").exists()


def test_a_scenario_that_cannot_start_fails_and_the_others_run(
    cli: Cli, suite: Path, lab: Path
) -> None:
    write_scenario(suite / "bad.toml", small(data={"batch_size": 49}))
    code, out, _ = cli("test", suite, "--junit", "report.xml")
    assert code == 1
    assert re.search(r"^bad: .*bad\.toml: data\.batch_size: must be 1 … 48", out, re.MULTILINE)
    assert "1 of 1 claims hold" in out
    error = ElementTree.parse(lab / "report.xml").find("./testsuite[@name='bad']/testcase/error")
    assert error is not None
    assert "data.batch_size" in error.get("message", "")


def test_divergence_that_nobody_claims_fails_whatever_else_holds(cli: Cli, lab: Path) -> None:
    claim = TRUE | {"at": "start"}
    write_scenario(lab / "wild.toml", small(**WILD, train={"steps": 500}, expect=[claim]))
    code, out, err = cli("test", "wild.toml", "--junit", "report.xml")
    assert code == 1
    assert "wild: training diverged, but no expectation allows it" in out
    assert "✗ wild" in err
    suite = ElementTree.parse(lab / "report.xml").getroot()[0]
    assert (suite.get("tests"), suite.get("errors"), len(suite)) == ("2", "1", 2)


def test_scenarios_of_the_same_name_in_two_folders_are_two(cli: Cli, lab: Path) -> None:
    for name in ("a", "b"):
        (lab / name).mkdir()
        write_scenario(lab / name / "same.toml", small(expect=[TRUE]))
    code, out, _ = cli("test", "a", "b")
    assert code == 0
    assert "2 of 2 claims hold in 2 scenarios" in out


def test_seed_and_settings_from_outside_hold_for_all(cli: Cli, suite: Path) -> None:
    arguments = ["--seed", "7", "--set", "train.steps=3", "--json", "--jobs", "1"]
    out = cli("test", suite / "good.toml", suite / "bad.toml", *arguments)[1]
    runs = [result["run"] for result in json.loads(out)]
    assert [(run["seed"], run["steps"]) for run in runs] == [(7, 3), (7, 3)]


@pytest.mark.parametrize("arguments", [["missing.toml"], ["empty"], ["-k", "no_such_scenario"]])
def test_nothing_to_run_is_exit_code_2(cli: Cli, lab: Path, arguments: list[str]) -> None:
    (lab / "empty").mkdir()
    code, out, err = cli("test", *arguments)
    assert (code, out) == (2, "")
    assert arguments[-1] in err


def test_outside_of_the_source_folder_the_installed_scenarios_run(cli: Cli) -> None:
    code, out, _ = cli("test", "-k", "zero_init", "--set", "train.steps=2", "--json")
    names = {result["scenario"] for result in json.loads(out)}
    assert names, code


def test_a_report_that_cannot_be_written_does_not_cost_the_table(cli: Cli, suite: Path) -> None:
    (suite / "report.xml").mkdir()
    code, out, err = cli("test", suite / "good.toml", "--junit", suite / "report.xml")
    assert code == 2
    assert "1 of 1 claims hold" in out
    assert f"cannot write {suite / 'report.xml'}: Is a directory" in err


def test_a_report_for_no_folder_is_refused_before_anything_runs(cli: Cli, suite: Path) -> None:
    code, out, err = cli("test", suite / "good.toml", "--junit", "missing/report.xml")
    assert (code, out) == (2, "")
    assert "cannot write missing/report.xml: the folder missing does not exist" in err


def two_training(scratch: Path) -> list[Path]:
    """The two run folders below `scratch`, when both have made a step."""
    found = [path.parent for path in scratch.glob("*/*/run.db")]
    return found if len(found) == 2 and all(steps_made(RunFolder(f)) for f in found) else []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_every_training_process(lab: Path, number: signal.Signals) -> None:
    scratch = lab / "tmp"
    scratch.mkdir()
    for name in ("a", "b", "c"):
        write_scenario(lab / f"{name}.toml", small(train={"steps": FOREVER}, expect=[TRUE]))
    with subprocess.Popen(
        command("test", "a.toml", "b.toml", "c.toml", "--jobs", "2"),
        cwd=lab,
        env=environment() | {"TMPDIR": str(scratch)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            folders = [RunFolder(path) for path in wait_for(lambda: two_training(scratch))]
            assert all(folder.is_alive() for folder in folders)
            process.send_signal(number)
            _, err = process.communicate(timeout=30)
        finally:
            process.kill()
            kill_workers(lab)
    assert (process.returncode, err.strip()) == (130, "tuilab: interrupted")
    assert list(scratch.iterdir()) == []


class TestCollect:
    def test_folders_are_searched_in_order(self, tmp_path: Path) -> None:
        for name in ("b.toml", "a.toml", "deep/c.toml", "note.txt"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).touch()
        names = [found.name for found in collect([tmp_path, tmp_path / "a.toml"])]
        assert names == ["a", "b", "deep/c", "a"]

    def test_a_folder_without_scenarios_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ScenarioError, match="has no scenario files"):
            collect([tmp_path])


def test_a_report_is_xml_whatever_the_message() -> None:
    message = "\x1b[31m<bad> & 'worse'\x00 \x08"
    text = junit([ScenarioResult("x", [SeedRun(0, 1.0, error=message)])])
    error = ElementTree.fromstring(text.encode()).find("./testsuite/testcase/error")
    assert error is not None
    assert "<bad> & 'worse'" in error.get("message", "")


VARIANTS = [{"name": "a"}, {"name": "b", "optimizer": {"learning_rate": 1e-6}}]
RATIO = {"claim": "a learns faster", "metric": "variants.b.loss / variants.a.loss", "above": 1}


class TestComparisons:
    @pytest.fixture
    def compared(self, lab: Path) -> Path:
        table = small(expect=[TRUE, RATIO]) | {"variant": VARIANTS}
        return write_scenario(lab / "rates.toml", table)

    def test_claims_of_each_variant_and_over_several_are_told(
        self, cli: Cli, lab: Path, compared: Path
    ) -> None:
        code, out, _ = cli("test", compared, "--junit", "report.xml")
        marks = [line.split()[:2] for line in out.splitlines() if line.startswith("✓")]
        assert (code, marks) == (0, [["✓", "rates/a"], ["✓", "rates/b"], ["✓", "rates"]])
        assert "3 of 3 claims hold in 1 scenario, in " in out
        suite = ElementTree.parse(lab / "report.xml").getroot()[0]
        assert [case.get("classname") for case in suite] == ["rates/a", "rates/b", "rates"]
        (document,) = json.loads(cli("test", compared, "--json")[1])
        assert list(document["run"]["variants"]) == ["a", "b"]
        assert document["run"]["expectations"][0]["passed"] is True

    def test_one_that_does_not_hold_fails(self, cli: Cli, compared: Path) -> None:
        code, out, err = cli("test", compared, "--set", "expect[1].above=9")
        assert code == 1
        assert "rates: 1 failed" in out
        assert err.startswith("✗ rates ")

    def test_a_variant_that_cannot_start_is_named(self, cli: Cli, lab: Path) -> None:
        table = small(expect=[TRUE]) | {
            "variant": [*VARIANTS, {"name": "c", "data": {"batch_size": 49}}]
        }
        code, out, _ = cli("test", write_scenario(lab / "rates.toml", table))
        assert code == 1
        assert re.search(r"^rates: variant c: .*: data\.batch_size: must be 1 … 48", out, re.M)

    def test_data_that_one_variant_lacks_skip_all(self, cli: Cli, lab: Path) -> None:
        table = small(expect=[TRUE]) | {
            "variant": [*VARIANTS, {"name": "c", "data": {"source": "mnist"}}]
        }
        code, out, _ = cli("test", write_scenario(lab / "rates.toml", table))
        assert code == 0
        assert "rates: skipped: no MNIST (tuilab data fetch mnist)" in out


class TestSeeds:
    def test_every_claim_is_tried_with_each_and_its_range_shown(self, cli: Cli, lab: Path) -> None:
        path = write_scenario(lab / "seeds.toml", small(expect=[TRUE]))
        code, out, err = cli("test", path, "--seeds", "2", "--json")
        (result,) = json.loads(out)
        (claim,) = result["expectations"]
        losses = [each["run"]["expectations"][0]["measured"] for each in result["runs"]]
        assert (code, err) == (0, "")
        assert [each["seed"] for each in result["runs"]] == [1, 2]  # the file's is 1
        assert [each["run"]["seed"] for each in result["runs"]] == [1, 2]
        assert (claim["passes"], claim["seeds"], claim["measured"]) == (2, 2, losses)
        assert len(set(losses)) == 2
        table = cli("test", path, "--seeds", "2")[1]
        row = next(line for line in table.splitlines() if line.startswith("✓"))
        assert f"{min(losses):.4g} … {max(losses):.4g}" in row
        assert row.endswith("2/2")
        assert "1 of 1 claims hold in 1 scenario with 2 seeds" in table

    def test_it_fails_unless_all_of_them_pass(self, cli: Cli, lab: Path) -> None:
        seeds = ("--seed", "5", "--seeds", "3")
        path = write_scenario(lab / "seeds.toml", small(expect=[TRUE]))
        (result,) = json.loads(cli("test", path, *seeds, "--json")[1])
        losses = sorted(result["expectations"][0]["measured"])
        assert [each["seed"] for each in result["runs"]] == [5, 6, 7]
        between = sum(losses[-2:]) / 2
        write_scenario(path, small(expect=[TRUE | {"below": between}]))
        code, out, _ = cli("test", path, *seeds, "--junit", "report.xml")
        row = next(line for line in out.splitlines() if line.startswith("✗"))
        assert (code, row.endswith("2/3")) == (1, True)
        failure = ElementTree.parse(lab / "report.xml").find(".//failure")
        assert failure is not None
        assert failure.get("message", "").endswith("held with 2/3 seeds")

    def test_all_variants_have_each(self, cli: Cli, lab: Path) -> None:
        table = small(expect=[RATIO]) | {"variant": VARIANTS}
        path = write_scenario(lab / "rates.toml", table)
        (result,) = json.loads(cli("test", path, "--seeds", "2", "--json")[1])
        runs = [each["run"]["variants"] for each in result["runs"]]
        assert [{run["seed"] for run in each.values()} for each in runs] == [{1}, {2}]
        assert len(result["expectations"][0]["measured"]) == 2

    def test_divergence_with_one_of_them_is_told_with_its_seed(self, cli: Cli, lab: Path) -> None:
        claim = TRUE | {"at": "start"}
        path = lab / "wild.toml"
        write_scenario(path, small(**WILD, train={"steps": 500}, expect=[claim]))
        code, out, _ = cli("test", path, "--seeds", "2")
        assert code == 1
        assert "wild: seed 1: training diverged, but no expectation allows it" in out


class TestPattern:
    @pytest.fixture
    def chapters(self, lab: Path) -> Path:
        for name in ("data/pca", "data/whiten", "activations/relu", "activations/dead_relu"):
            (lab / "suite" / name).parent.mkdir(parents=True, exist_ok=True)
            write_scenario(lab / "suite" / f"{name}.toml", small(expect=[TRUE]))
        return lab / "suite"

    @pytest.mark.parametrize(
        ("pattern", "names"),
        [
            ("", ["activations/dead_relu", "activations/relu", "data/pca", "data/whiten"]),
            ("relu", ["activations/dead_relu", "activations/relu"]),
            ("data/", ["data/pca", "data/whiten"]),
            ("relu*", ["activations/relu"]),
            ("*/*relu", ["activations/dead_relu", "activations/relu"]),
            ("p?a", ["data/pca"]),
        ],
    )
    def test_it_is_a_part_of_the_name_or_all_of_it(
        self, chapters: Path, pattern: str, names: list[str]
    ) -> None:
        assert [found.name for found in collect([chapters], pattern)] == names

    def test_the_others_are_not_run(self, cli: Cli, chapters: Path) -> None:
        code, out, err = cli("test", chapters, "-k", "pca")
        assert (code, "in 1 scenario" in out) == (0, True)
        assert err.startswith("✓ data/pca ")

    def test_one_that_fits_nothing_says_what_there_is(self, cli: Cli, chapters: Path) -> None:
        code, out, err = cli("test", chapters, "-k", "softplus")
        assert (code, out) == (2, "")
        assert "'softplus'" in err
        assert "data/whiten" in err


def test_results_come_in_the_order_of_the_files_whatever_ends_first(cli: Cli, lab: Path) -> None:
    for name, steps in (("a", 3000), ("b", 1), ("c", 1)):
        write_scenario(lab / f"{name}.toml", small(train={"steps": steps}, expect=[TRUE]))
    _, _, err = cli("test", lab, "--jobs", "3")
    assert [line.split()[1] for line in err.splitlines()] == ["a", "b", "c"]


def test_runs_of_a_trial_are_cleared_away_when_it_is_judged(lab: Path, cli: Cli) -> None:
    scratch = lab / "tmp"
    scratch.mkdir()
    write_scenario(lab / "good.toml", small(expect=[TRUE]))
    subprocess.run(
        command("test", "good.toml"),
        cwd=lab,
        env=environment() | {"TMPDIR": str(scratch)},
        check=True,
        capture_output=True,
    )
    assert list(scratch.iterdir()) == []
