"""The whole sequence on networks and data of every kind, and on what is broken on purpose."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.tuilab.babysit.conftest import Make
from tests.tuilab.support import small
from tuilab.babysit.check import CheckResult
from tuilab.babysit.sequence import prepare, run
from tuilab.babysit.subject import Subject
from tuilab.scenario.loading import load
from tuilab.scenario.parsing import parse

Checks = dict[str, CheckResult]
CIFAR10 = Path(__file__).parents[3] / "scenarios" / "cifar10_two_layer.toml"


def checks(subject: Subject) -> Checks:
    return {step.name: found for step, found in run(subject, lambda text: None)}


def verdicts(found: Checks) -> dict[str, str]:
    return {name: check.verdict for name, check in found.items()}


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_healthy_network_is_good_in_all(digits: Make, seed: int) -> None:
    found = checks(digits(f"seed={seed}"))
    assert set(verdicts(found).values()) == {"good"}
    assert len(found) == 6


@pytest.mark.parametrize(
    "broken",
    [
        ['network.initializer={name="normal",std=1.0}', "optimizer.learning_rate=1e3"],
        ["optimizer.weight_decay=1e3"],
        ["network.initializer=zeros"],
    ],
)
def test_a_broken_one_is_found_out(digits: Make, broken: list[str]) -> None:
    found = checks(digits(*broken))
    wrong = {name for name, check in found.items() if not check.passed}
    expected = {
        "1.0": {"initial_loss", "learning_rate", "generalization"},
        "1e3": {"regularization"},
        "zeros": {"overfit"},
    }
    assert wrong >= next(names for word, names in expected.items() if word in broken[0])
    assert found["gradients"].passed  # for the code is right all the same


def test_the_svm_loss(digits: Make) -> None:
    found = checks(digits("loss=multiclass_svm"))
    assert found["initial_loss"].details["chance"] == 9.0
    assert all(check.passed for check in found.values()), verdicts(found)
    assert found["overfit"].verdict == "good"


def test_a_convolutional_network_with_batch_norm_and_augmentation(digits: Make) -> None:
    table = dict(digits().scenario.table)
    table["network"] = {"initializer": "xavier"}
    table["data"] = table["data"] | {
        "preprocess": ["per_channel_mean", "per_channel_normalize"],
        "augment": ["random_crop(1)"],
    }
    table["layer"] = [
        {"name": "conv2d", "filters": 6, "padding": 1, "initializer": "he", "bias": False},
        {"name": "batch_norm"},
        {"name": "relu"},
        {"name": "max_pool2d"},
    ]
    found = checks(prepare(parse(table, "convnet"), "numpy", None))
    assert all(check.passed for check in found.values()), verdicts(found)
    assert found["overfit"].verdict == found["gradients"].verdict == "good"


def test_a_table_with_two_classes_sorted_by_label(lab: Path) -> None:
    x = np.random.default_rng(0).normal(size=(120, 3))
    labels = np.where(x[:, 0] + 0.5 * x[:, 1] > 0, "yes", "no")
    order = np.argsort(labels)
    rows = [",".join([*map(str, x[row]), labels[row]]) for row in order]
    (lab / "table.csv").write_text("\n".join(rows))
    table: dict[str, Any] = small() | {
        "data": {"source": "csv", "path": str(lab / "table.csv"), "batch_size": 8}
    }
    found = checks(prepare(parse(table, "table"), "numpy", None))
    assert all(check.passed for check in found.values()), verdicts(found)
    assert found["initial_loss"].expected.startswith("ln 2 = 0.6931, accuracy about 50.0%")


def test_cifar10(cifar10: Path) -> None:
    found = checks(prepare(load(CIFAR10), "numpy", cifar10))
    assert all(check.passed for check in found.values()), verdicts(found)
    assert found["initial_loss"].measured == pytest.approx(np.log(10), rel=1e-3)
    sweep = found["learning_rate"].sweep
    assert sweep is not None
    assert sweep.suggested is not None
    # The lecture's own: 1e-6 is too low, 1e6 too high, and 3e-3 explodes on pixels up to 255.
    tried = {t.rate: t.verdict for t in sweep.trials}
    assert tried[1e-6] == "too low"
    assert {v for rate, v in tried.items() if rate >= 3e-3} == {"too high"}
