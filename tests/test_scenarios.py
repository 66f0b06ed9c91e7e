"""The scenario files: each loads, is listed, holds at the start for any seed, and can fail."""

import re
from pathlib import Path
from queue import SimpleQueue

import pytest

from engine.backend import make_backend
from engine.trainer import Command, Trainer
from tuilab.expectations import Verdict, judge
from tuilab.recording import RunReader, RunWriter
from tuilab.scenario import build_trainer, load, load_data, load_file

FOLDER = Path(__file__).parents[1] / "scenarios"
FILES = sorted(FOLDER.rglob("*.toml"))
TOO_SMALL = 'network.initializer={ name = "normal", std = 0.01 }'
TOO_LARGE = 'network.initializer={ name = "normal", std = 1.0 }'
XAVIER, HE = 'network.initializer="xavier"', 'network.initializer="he"'
RELU, SIGMOID = 'network.activation="relu"', 'network.activation="sigmoid"'
PLAIN = "network.batch_norm=false"
WRONG = {
    "std001_tanh": [[XAVIER]],
    "std1_tanh": [[XAVIER], [RELU]],
    "xavier_tanh": [[TOO_SMALL], [TOO_LARGE]],
    "xavier_relu": [[HE]],
    "he_relu": [[XAVIER]],
    "batchnorm_tanh": [[PLAIN], [PLAIN, SIGMOID, TOO_LARGE]],
    "batchnorm_relu": [[PLAIN], [PLAIN, "network.hidden.width=50"]],
}
"""Networks of which a scenario's claims are not true; each claim must fail on one of them."""
SEVEN = [FOLDER / f"{name}.toml" for name in WRONG]


def at_start(path: Path, folder: Path, *sets: str) -> list[Verdict]:
    """Make one step of a scenario, record it, and judge what it expects at the start."""
    scenario = load(path, [*sets])
    trainer: Trainer = build_trainer(scenario, load_data(scenario, None), make_backend("numpy"))
    inbox: SimpleQueue[Command] = SimpleQueue()
    writer = RunWriter(folder / "run.db")
    for frame in trainer.frames(inbox, interval=0):
        writer.write(frame)
        inbox.put(Command("stop"))
    writer.close()
    with RunReader(folder / "run.db") as reader:
        return [v for v in judge(scenario.expect, reader) if v.at == "start"]


def ids(path: Path) -> str:
    return path.relative_to(FOLDER).with_suffix("").as_posix()


@pytest.mark.parametrize("path", FILES, ids=ids)
def test_a_scenario_says_what_it_shows_and_expects_something(path: Path) -> None:
    file = load_file(path)
    assert file.header.title
    assert file.header.question.endswith("?")
    expected = [*file.expect, *(each for run in file.runs.values() for each in run.expect)]
    assert any(expectation.claim for expectation in expected)


def test_the_list_of_scenarios_is_complete_and_asks_the_same_questions() -> None:
    listed = dict(
        re.findall(r"\| \[\w+\]\(([\w/]+)\.toml\) \| (.+\?)", (FOLDER / "README.md").read_text())
    )
    assert listed == {ids(path): load_file(path).header.question for path in FILES}


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("path", SEVEN, ids=ids)
def test_statistics_at_the_start_lie_in_their_bands(path: Path, seed: int, tmp_path: Path) -> None:
    verdicts = at_start(path, tmp_path, f"seed={seed}")
    assert verdicts
    assert [v for v in verdicts if not v.passed] == []


@pytest.mark.parametrize("path", SEVEN, ids=ids)
def test_every_claim_about_the_start_fails_on_a_wrong_network(path: Path, tmp_path: Path) -> None:
    held: set[str] = {f"{v.claim}: {v.metric}" for v in at_start(path, tmp_path)}
    for number, sets in enumerate(WRONG[path.stem]):
        folder = tmp_path / str(number)
        folder.mkdir()
        held &= {f"{v.claim}: {v.metric}" for v in at_start(path, folder, *sets) if v.passed}
    assert not held
