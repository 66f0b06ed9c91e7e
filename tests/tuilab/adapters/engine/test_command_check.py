"""Commands judged in the socket's thread, by a description that training never changes."""

from pathlib import Path

import pytest

from engine.backends import make_backend
from engine.commands import Command
from engine.training.trainer import Trainer
from tests.tuilab.support import write_scenario
from tuilab.adapters.engine.command_check import CommandCheck
from tuilab.record import Source
from tuilab.scenario.building import build_trainer, load_data
from tuilab.scenario.loading import load


@pytest.fixture
def trainer(tmp_path: Path) -> Trainer:
    scenario = load(write_scenario(tmp_path / "small.toml"))
    return build_trainer(scenario, load_data(scenario, None), make_backend("numpy"))


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (Command("set", "learning_rate", -1.0), "must not be negative"),
        (Command("set", "learning_rat", 0.1), "learning_rate"),
        (Command("scale", "momentum", 2.0), "must be in [0, 1)"),
        (Command("speed", value=-1.0), "must not be negative"),
        (Command("batch_size", value=0.0), "batch_size"),
        (Command("activation", name="rleu"), "relu"),
    ],
)
def test_a_common_mistake_is_refused_at_once(
    trainer: Trainer, command: Command, reason: str
) -> None:
    assert reason in CommandCheck(Source(), trainer).refusal(command)


def test_what_can_be_applied_is_not_refused(trainer: Trainer) -> None:
    check = CommandCheck(Source(), trainer)
    for command in (Command("scale", "learning_rate", 0.5), Command("pause"), Command("stop")):
        assert check.refusal(command) == ""


def test_it_judges_by_what_was_published_and_never_by_the_trainer(trainer: Trainer) -> None:
    check = CommandCheck(Source(), trainer)
    trainer.hyperparameters["momentum"] = 0.1
    assert check.refusal(Command("scale", "momentum", 2.0))  # 0.9 was published
    check.publish(trainer)
    assert not check.refusal(Command("scale", "momentum", 2.0))


def test_what_the_source_does_not_take_is_refused(trainer: Trainer) -> None:
    source = Source(source="other", capabilities=("set", "stop"), settable=("learning_rate",))
    check = CommandCheck(source, trainer)
    assert check.refusal(Command("pause")) == "this run does not accept the command 'pause'"
    assert "'set momentum'" in check.refusal(Command("set", "momentum", 0.5))
    assert check.refusal(Command("set", "learning_rate", 0.5)) == ""
