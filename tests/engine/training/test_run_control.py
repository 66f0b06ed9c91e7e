"""When the next step is made: to the end of an epoch, and not faster than allowed."""

import time
from queue import SimpleQueue
from threading import Timer

import pytest

from engine.commands import Command
from tests.engine.training.test_trainer import blobs, collect, make, refusal


def test_it_runs_to_the_end_of_the_epoch_and_pauses() -> None:
    trainer = make(blobs(), steps=30)  # of 5 an epoch
    script = {
        2: [Command("run_to_epoch")],
        5: [Command("run_to_epoch")],
        10: [Command("resume")],
    }
    frames, events = collect(trainer, SimpleQueue(), script)
    assert [(e.step, e.kind) for e in events] == [
        (2, "run_to_epoch"),
        (5, "pause"),
        (5, "run_to_epoch"),
        (10, "pause"),
        (10, "resume"),
    ]
    assert [e.detail for e in events if e.kind == "pause"] == [{"epoch": 1.0}, {"epoch": 2.0}]
    paused = [f for f in frames if f.state == "paused"]
    assert [f.next_step for f in paused] == [5, 10]
    assert [f.snapshot.step for f in paused if f.snapshot] == [4, 9]  # what is seen is of now
    assert [v.step for f in paused for v in f.validations] == [5, 10]
    assert frames[-1].next_step == 30


def test_a_paused_run_runs_on_to_the_epoch_and_another_batch_size_moves_its_end() -> None:
    trainer = make(blobs(), steps=30)
    script = {
        2: [Command("pause")],
        3: [Command("run_to_epoch"), Command("batch_size", value=50)],
        5: [Command("stop")],
    }
    _, events = collect(trainer, SimpleQueue(), script)
    assert [(e.step, e.kind) for e in events][-2:] == [(5, "pause"), (5, "stop")]


def test_a_speed_limit_is_observed_and_commands_are_applied_while_it_waits() -> None:
    trainer = make(blobs(), steps=1000)
    inbox: SimpleQueue[Command] = SimpleQueue()
    inbox.put(Command("speed", value=20.0))
    Timer(0.6, lambda: inbox.put(Command("speed", value=0.5))).start()
    Timer(1.0, lambda: inbox.put(Command("stop"))).start()
    begin = time.monotonic()
    frames = list(trainer.frames(inbox))
    assert time.monotonic() - begin < 2.0  # it did not wait for the step after the stop
    assert frames[-1].state == "stopped"
    assert 2 <= frames[-1].next_step <= 14  # 0.6 s at 20 a second, and one
    events = [e for f in frames for e in f.events]
    assert [e.detail for e in events if e.kind == "speed"] == [
        {"value": 20.0, "previous": 0.0},
        {"value": 0.5, "previous": 20.0},
    ]
    limits = [f.status.speed_limit for f in frames if f.status]
    assert limits[:2] == [20.0, 0.5]


def test_a_single_step_does_not_wait_for_the_limit() -> None:
    trainer = make(blobs(), steps=1000)
    inbox: SimpleQueue[Command] = SimpleQueue()
    for command in (Command("speed", value=0.01), Command("step"), Command("step")):
        inbox.put(command)
    begin = time.monotonic()
    for frame in trainer.frames(inbox):
        if frame.next_step == 2:
            break
    assert time.monotonic() - begin < 5
    assert trainer.state == "paused"


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_an_invalid_speed_limit_is_refused(value: float) -> None:
    trainer = make(blobs())
    assert "must not be negative" in refusal(trainer, Command("speed", value=value))
