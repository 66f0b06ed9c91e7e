"""What `tuilab check` prints, as text and as JSON, and the code that it exits with."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from tests.tuilab.babysit.conftest import DIGITS
from tests.tuilab.conftest import Cli
from tests.tuilab.support import small, tuilab, write_scenario
from tuilab.babysit import initial_loss, sequence
from tuilab.babysit.check import Check, RateTrial, Sweep
from tuilab.babysit.report import sweep_chart

NAN, INF = math.nan, math.inf
SWEEP = Sweep(
    [
        RateTrial(1e-3, 2.3, 0.0, "too low"),
        RateTrial(1e-2, 2.0, 0.13, "slow"),
        RateTrial(1e-1, 0.5, 0.78, "good"),
        RateTrial(1.0, 0.3, 0.87, "good"),
        RateTrial(10.0, INF, NAN, "too high"),
    ],
    suggested=(0.1, 1.0),
    own=0.01,
    initial=2.3,
    steps=30,
)


def test_the_curve_of_loss_against_learning_rate() -> None:
    lines = sweep_chart(SWEEP, colour=False)
    marks, axis = lines[0], lines[-2]
    assert marks.index("◉") < marks.index("⊘")
    assert axis.split() == ["1e-3", "1e-2", "1e-1", "1e0", "1e1"]
    assert marks.index("◉") == pytest.approx(axis.index("1e-2"), abs=3)
    dots = [(line.index("★"), row) for row, line in enumerate(lines[:-1]) if "★" in line]
    assert len(dots) == 2
    assert dots[0][0] < dots[1][0]  # the better one of them lies further right, and lower
    assert all(len(line) <= 80 for line in lines)


def test_the_curve_has_colours_only_where_they_are_wanted() -> None:
    assert not any("\x1b" in line for line in sweep_chart(SWEEP, colour=False))
    assert any("\x1b[32m★" in line for line in sweep_chart(SWEEP, colour=True))


def test_a_sweep_in_which_everything_explodes_has_no_curve() -> None:
    only = Sweep([RateTrial(1.0, INF, NAN, "too high")], None, own=0.0, initial=NAN, steps=30)
    assert sweep_chart(only, colour=False) == []


def test_a_healthy_scenario(cli: Cli) -> None:
    code, out, err = cli("check", DIGITS)
    assert (code, err) == (0, "")
    assert out.count("✓") == 6
    assert "6 checks: 6 good" in out
    assert "ln 10 = 2.303" in out
    assert "★ suggested" in out
    assert "\x1b" not in out
    assert max(len(line) for line in out.splitlines()) <= 80 + len("title")
    assert not Path("runs").exists()


def test_a_broken_scenario_exits_with_one(cli: Cli, lab: Path) -> None:
    path = write_scenario(lab / "s.toml", small(network={"initializer": "zeros"}))
    code, out, _ = cli("check", path)
    assert code == 1
    assert "✕ overfit 20 examples: wrong" in out
    assert "wrong" in out.splitlines()[-1]


def test_json_is_one_document(cli: Cli, lab: Path) -> None:
    path = write_scenario(lab / "s.toml")
    code, out, err = cli("check", path, "--json", "--seed", "3", "--set", "loss=multiclass_svm")
    found = json.loads(out, parse_constant=pytest.fail)
    assert err == ""
    assert (found["scenario"], found["seed"], found["passed"]) == ("s", 3, code == 0)
    assert [check["name"] for check in found["checks"]] == [s.name for s in sequence.CHECKS]
    for check in found["checks"]:
        assert check["verdict"] in ("good", "look at it", "wrong")
        assert check["passed"] is (check["verdict"] != "wrong")
        assert check["expected"]
        assert check["meaning"]
    assert found["checks"][0]["details"]["chance"] == 2.0
    rates = [tried["rate"] for tried in found["learning_rate"]["tried"]]
    assert rates == sorted(rates)
    assert 0.05 in rates
    assert found["learning_rate"]["tried"][-1]["loss"] == "inf"
    assert len(found["learning_rate"]["suggested"]) == 2


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"data": {"batch_size": 1000}}, "data.batch_size: must be 1 … 48"),
        ({"network": {"initializer": "nonsense"}}, "unknown initializer 'nonsense'"),
        ({"schedule": {"name": "reduce_on_plateau"}, "data": {"validation": 0.0}}, "schedule"),
    ],
)
def test_bad_input(cli: Cli, lab: Path, table: dict[str, Any], message: str) -> None:
    code, out, err = cli("check", write_scenario(lab / "s.toml", small(**table)))
    assert (code, out) == (2, "")
    assert message in err


def test_a_comparison_is_checked_a_variant_at_a_time(cli: Cli, lab: Path) -> None:
    rates = {"slow": 1e-6, "quick": 0.05}
    variants = [{"name": n, "optimizer": {"learning_rate": r}} for n, r in rates.items()]
    path = write_scenario(lab / "s.toml", small(variant=variants))
    code, _, err = cli("check", path)
    assert code == 2
    assert "--variant" in err
    assert "slow" in err
    code, out, _ = cli("check", path, "--variant", "slow", "--json")
    assert code == 1
    assert json.loads(out)["learning_rate"]["own"] == 1e-6


def test_data_that_is_not_here(cli: Cli) -> None:
    code, out, err = cli("check", DIGITS.with_name("cifar10_two_layer.toml"))
    assert (code, out) == (2, "")
    assert "tuilab data fetch cifar10" in err


def test_an_interruption(cli: Cli, lab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(subject: object) -> Any:
        raise KeyboardInterrupt

    steps = (initial_loss.CHECK, Check("second", "second", interrupted))
    monkeypatch.setattr(sequence, "CHECKS", steps)
    path = write_scenario(lab / "s.toml")
    code, out, err = cli("check", path)
    assert (code, err.strip()) == (130, "tuilab: interrupted")
    assert "✓ initial loss" in out
    assert cli("check", path, "--json")[1] == ""


def test_numbers_that_overflow_are_no_warnings(lab: Path) -> None:
    path = write_scenario(
        lab / "s.toml", small(network={"initializer": {"name": "normal", "std": 1e30}})
    )
    done = tuilab("check", path, cwd=lab)
    assert (done.returncode, done.stderr) == (1, "")
    assert "overflow" in done.stdout


def test_a_loss_of_zero_has_a_place_in_the_chart() -> None:
    tried = [RateTrial(10.0**-k, loss, 0.5, "good") for k, loss in enumerate((0.0, 0.001, 1.0))][
        ::-1
    ]
    sweep = Sweep(tried, (0.1, 1.0), own=0.1, initial=1.0, steps=30)
    assert any("★" in line for line in sweep_chart(sweep, colour=False)[1:-1])
