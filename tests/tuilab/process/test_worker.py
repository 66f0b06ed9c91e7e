"""The training process from inside: full disks, bugs, and its last word."""

import signal
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue

import pytest

from engine.commands import Command
from engine.data.preprocessing import load
from engine.statistics.frames import Frame
from tests.tuilab.support import frame, small, write_scenario
from tuilab.errors import RunError
from tuilab.process import recorded_training, worker
from tuilab.record import RunReader, RunWriter
from tuilab.record.run_folder import RunFolder, hold_lock


class FullDisk(RunWriter):
    """A writer that fails `failures` times, and then has room."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.written: list[Frame] = []

    def write(self, frame: Frame) -> None:
        if self.failures:
            self.failures -= 1
            raise RunError("cannot write run.db: database or disk is full")
        self.written.append(frame)


@pytest.fixture(autouse=True)
def signals(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Do not wait between attempts, and give the signals back their handlers."""
    monkeypatch.setattr(recorded_training, "RETRY", 0.001)
    handlers = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    made = RunFolder(tmp_path)
    write_scenario(made.scenario)
    return made


def last_word(folder: RunFolder) -> tuple[str, str]:
    with RunReader(folder.database) as reader:
        info = reader.info()
    return info.state, info.message


class TestFullDisk:
    def test_training_waits_until_there_is_room(self, capsys: pytest.CaptureFixture[str]) -> None:
        disk, pending = FullDisk(3), frame(0, [1.0])
        recorded_training.record_frame(disk, pending, SimpleQueue())
        assert disk.written == [pending]
        err = capsys.readouterr().err
        assert err.count("training waits") == 1
        assert "disk is full" in err

    def test_commands_that_come_meanwhile_are_kept_in_order(self) -> None:
        inbox: SimpleQueue[Command] = SimpleQueue()
        commands = [Command("pause"), Command("set", "momentum", 0.5), Command("resume")]
        for command in commands:
            inbox.put(command)
        recorded_training.record_frame(FullDisk(2), frame(0, [1.0]), inbox)
        assert [inbox.get_nowait() for _ in commands] == commands

    def test_a_stop_ends_the_waiting(self) -> None:
        inbox: SimpleQueue[Command] = SimpleQueue()
        inbox.put(Command("pause"))
        inbox.put(Command("stop"))
        with pytest.raises(RunError, match="disk is full"):
            recorded_training.record_frame(FullDisk(10**9), frame(0, [1.0]), inbox)

    def test_a_last_word_that_cannot_be_written_goes_to_the_log(
        self, folder: RunFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def full(self: RunWriter, *parts: object) -> None:
            raise RunError("cannot write run.db: database or disk is full")

        monkeypatch.setattr(RunWriter, "describe", full)
        assert worker.main([str(folder.path)]) == 2
        assert "disk is full" in capsys.readouterr().err


def test_a_run_is_trained_in_this_very_process(folder: RunFolder) -> None:
    assert worker.main([str(folder.path), "--name=small", "--threads=1"]) == 0
    assert last_word(folder) == ("finished", "")
    assert not folder.is_alive()


def test_the_statistics_of_preprocessing_are_kept_beside_the_run(folder: RunFolder) -> None:
    write_scenario(folder.scenario, small(data={"preprocess": ["zero_mean", "whiten(0.1, 3)"]}))
    assert worker.main([str(folder.path)]) == 0
    steps = load(folder.preprocess)
    assert [step.name for step in steps] == ["zero_mean", "whiten"]
    assert steps[1].statistics["axes"].shape == (8, 3)


def test_nothing_is_kept_where_nothing_is_preprocessed(folder: RunFolder) -> None:
    assert worker.main([str(folder.path)]) == 0
    assert not folder.preprocess.exists()


def test_bad_input_is_the_last_word_and_exit_code_2(folder: RunFolder) -> None:
    write_scenario(folder.scenario, small(data={"batch_size": 49}))
    assert worker.main([str(folder.path), "--origin=mine.toml"]) == 2
    state, message = last_word(folder)
    assert state == "failed"
    assert message.startswith("mine.toml: data.batch_size: must be 1 … 48")
    assert f"({folder.scenario}:" in message


def test_a_bug_is_the_last_word_and_exit_code_1_with_the_trace_in_the_log(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(recorded_training, "build_trainer", broken)
    assert worker.main([str(folder.path)]) == 1
    state, message = last_word(folder)
    assert state == "failed"
    assert message == f"internal error: ZeroDivisionError: a bug (details in {folder.log})"
    assert "Traceback" in capsys.readouterr().err  # the log of a real worker


def test_a_run_that_another_process_trains_is_left_alone(
    folder: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    lock = hold_lock(folder)
    assert worker.main([str(folder.path)]) == 2
    lock.close()
    assert "is being trained by another process" in capsys.readouterr().err
    assert not folder.database.exists()
