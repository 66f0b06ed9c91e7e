"""`tuilab info` and `tuilab gradcheck`."""

import json
from pathlib import Path

import pytest

from engine.activations import Tanh
from engine.backends.base import Array, Backend
from engine.backends.cpu_kernels.library import missing
from tests.tuilab.conftest import Cli
from tests.tuilab.support import small, write_scenario
from tuilab.babysit.gradcheck import verdict


def test_info_tells_what_is_here_and_why_something_is_not(cli: Cli) -> None:
    code, out, _ = cli("info", "--json")
    found = json.loads(out)
    assert code == 0
    backends = {backend["name"]: backend for backend in found["backends"]}
    assert backends["numpy"]["ready"]
    assert backends["cupy"]["ready"] or backends["cupy"]["problem"]
    assert 1 <= found["threads"] <= found["cores"]
    assert found["data"]["cifar10"] is False
    assert "tuilab data fetch mnist" in cli("info")[1]


def test_info_tells_whether_kernels_are_compiled_and_why_not(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = json.loads(cli("info", "--json")[1])["kernels"]
    assert here == missing("float32")
    monkeypatch.setattr("tuilab.reports.info.missing", lambda dtype: "there is no C compiler")
    assert json.loads(cli("info", "--json")[1])["kernels"] == "there is no C compiler"
    assert "which is slower: there is no C compiler" in cli("info")[1]


def test_gradients_of_a_scenario_are_checked(cli: Cli, lab: Path) -> None:
    network = {"hidden": [8, 6], "activation": "tanh", "initializer": "xavier", "batch_norm": True}
    path = write_scenario(lab / "s.toml", small(network=network))
    code, out, _ = cli("gradcheck", path, "--elements", "5", "--set", "optimizer.weight_decay=0.1")
    assert code == 0
    rows = [line for line in out.splitlines() if line.endswith("happy")]
    assert len(rows) == 3 + 2 * 2 + 1 + 1  # weights, γ and β, the output's bias, the worst


def test_dropout_draws_the_same_masks_at_each_evaluation(cli: Cli, lab: Path) -> None:
    table = small() | {"network": {}}
    table["layer"] = [{"name": "linear", "units": 8}, {"name": "dropout", "rate": 0.5}]
    code, out, _ = cli("gradcheck", write_scenario(lab / "s.toml", table))
    assert code == 0
    assert "worst" in out


def test_a_wrong_gradient_is_found(cli: Cli, lab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(
        self: Tanh, backend: Backend, x: Array, y: Array, dy: Array, dx: Array, *_: Array
    ) -> None:
        backend.xp.multiply(dy, 1 - y, out=dx)

    monkeypatch.setattr(Tanh, "backward", wrong)
    # Kernels would not use the wrong formula.
    monkeypatch.setattr("engine.backends.selection.kernels", lambda dtype: None)
    network = {"hidden": [8], "activation": "tanh", "initializer": "xavier"}
    code, out, _ = cli("gradcheck", write_scenario(lab / "s.toml", small(network=network)))
    assert code == 1
    assert "wrong" in out


def test_elements_at_kinks_are_left_out_and_counted(cli: Cli, lab: Path) -> None:
    network = {"hidden": [10, 10, 10], "initializer": {"name": "normal", "std": 1e-4}}
    path = write_scenario(lab / "s.toml", small(network=network | {"activation": "relu"}))
    code, out, _ = cli("gradcheck", path, "--elements", "4")
    assert code == 0
    assert "0, 4 left out" in out
    assert "not checked" in out
    assert "kink of its non-linearity" in out


def test_verdicts_are_those_of_the_course_notes() -> None:
    assert verdict(1e-8) == "happy"
    assert "kinks" in verdict(5e-5)
    assert verdict(5e-3) == "uncomfortable"
    assert verdict(0.1) == verdict(float("nan")) == "wrong"
