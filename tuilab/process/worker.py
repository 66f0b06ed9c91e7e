"""The training process: `python -m tuilab.process.worker FOLDER` (see `tuilab.process.launch`).

It holds the run's lock, writes its database, listens on its socket, and has no terminal. SIGINT and
SIGTERM stop it between two steps, with everything recorded.
"""

import argparse
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from queue import SimpleQueue
from typing import Final

import msgspec
from threadpoolctl import threadpool_limits

from engine.backends.base import make_backend
from engine.commands import Command
from engine.data.input_statistics import describe
from engine.data.preprocess import save
from engine.errors import CheckpointError, ConfigError, ShapeError, TuilabError
from engine.statistics.frames import Frame
from engine.training.trainer import Trainer
from tuilab import __version__
from tuilab.data.folder import data_folder
from tuilab.diagnosis import Monitor
from tuilab.diagnosis.finding import active
from tuilab.errors import RunError
from tuilab.process.checkpoints import Keeper, newest
from tuilab.process.run_facts import run_facts
from tuilab.record import RunInfo, RunReader, RunWriter
from tuilab.record.control_socket import ControlServer
from tuilab.record.run_folder import RunFolder, hold_lock
from tuilab.scenario.scenario import Scenario, build_trainer, load, load_data
from tuilab.toml_structs import find_line, read

FRAME_INTERVAL: Final = 0.08  # seconds: twelve frames a second
PREPARATION: Final = ("loading data", "binding")
"""Phases in which a run that goes on is still as it ended."""
PARENT_PERIOD: Final = 0.5  # seconds between two looks at whether it is there
RETRY: Final = 2.0  # seconds between attempts to write to a full disk


def main(arguments: Sequence[str] | None = None) -> int:
    """Train the run in a folder; return the exit code."""
    options = _parse(arguments)
    folder = RunFolder(Path(options.folder))
    inbox: SimpleQueue[Command] = SimpleQueue()  # its put is safe in a signal handler
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: inbox.put(Command("stop")))
    if options.parent:
        _end_with(options.parent, inbox)
    try:
        lock = hold_lock(folder)  # held until the process ends
        writer = RunWriter(folder.database, resume=options.resume)
    except TuilabError as error:
        print(f"tuilab worker: {error}", file=sys.stderr)
        return error.exit_code
    before = _ended_as(folder) if options.resume else "failed"
    try:
        _train(folder, writer, inbox, options)
    except TuilabError as error:
        state = before if _still_prepares(folder) else "failed"
        _fail(writer, _told(error, folder, options.origin), state)
        return error.exit_code
    except Exception as error:  # noqa: BLE001  (the last word of the process must be recorded)
        traceback.print_exc()
        _fail(
            writer,
            f"internal error: {type(error).__name__}: {error} (details in {folder.log})",
        )
        return 1
    finally:
        writer.close()
        lock.close()
    return 0


def _end_with(parent: int, inbox: SimpleQueue[Command]) -> None:
    """Stop training when the process that began it is gone, which may have been killed."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(PARENT_PERIOD)
        inbox.put(Command("stop"))

    threading.Thread(target=watch, daemon=True, name="parent").start()


def _ended_as(folder: RunFolder) -> str:
    """Return the state in which a run ended; for one that was killed, "failed"."""
    info = _info(folder)
    return info.state if info.ended else "failed"


def _still_prepares(folder: RunFolder) -> bool:
    """Tell whether nothing has changed yet in a run that was to go on."""
    info = _info(folder)
    return info.state == "starting" and info.phase in PREPARATION


def _info(folder: RunFolder) -> RunInfo:
    with RunReader(folder.database) as reader:
        return reader.info()


def _fail(writer: RunWriter, message: str, state: str = "failed") -> None:
    print(f"tuilab worker: {message}", file=sys.stderr)
    with suppress(RunError):  # the disk may be full, which is why it failed
        writer.describe(state=state, message=message)


def _told(error: TuilabError, folder: RunFolder, origin: str) -> str:
    """Add the scenario file, as the user knows it and as resolved, where it is to blame."""
    if not isinstance(error, ConfigError | ShapeError):
        return str(error)
    key = error.path if isinstance(error, ConfigError) else ""
    line = find_line(read(folder.scenario), key) if key else None
    resolved = f" ({folder.scenario}:{line})" if line else ""
    return f"{origin or folder.scenario}: {error}{resolved}"


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tuilab.process.worker")
    parser.add_argument("folder")
    parser.add_argument("--name", default="")
    parser.add_argument("--variant", default="")
    parser.add_argument("--origin", default="")  # the scenario file, as the user named it
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--data-dir", default="")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--restarted-from", default="")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--set", action="append", default=[])  # hyper-parameters, first of all
    parser.add_argument("--fork", default="")  # where it branched off, as JSON
    parser.add_argument("--no-checkpoints", action="store_true")
    parser.add_argument("--parent", type=int, default=0)  # with which to end
    return parser.parse_args(arguments)


def _train(
    folder: RunFolder,
    writer: RunWriter,
    inbox: SimpleQueue[Command],
    options: argparse.Namespace,
) -> None:
    scenario = load(folder.scenario)
    if not options.resume:
        writer.describe(created=time.time(), **_chosen(options))
    if options.restarted_from:
        writer.describe(restarted_from=options.restarted_from)
    if options.fork:
        writer.describe(fork=msgspec.json.decode(options.fork))
    writer.describe(**_what(scenario, options), phase=PREPARATION[0])
    data = load_data(scenario, data_folder(options.data_dir))
    inputs = {
        split: describe(examples.x)
        for split, examples in (("train", data.train), ("validation", data.validation))
        if examples is not None
    }
    writer.describe(
        data=data.name,
        classes=len(data.classes),
        pixels=data.pixels,
        samples=(len(data.train), 0 if data.validation is None else len(data.validation)),
        input_std=inputs["train"].spread,
        inputs=inputs,
        phase=PREPARATION[1],
    )
    if data.preprocess:
        save(folder.preprocess, data.preprocess)
    with threadpool_limits(options.threads):
        backend = make_backend(options.backend, scenario.train.dtype, options.threads)
        trainer = build_trainer(scenario, data, backend)
        if options.resume:
            _go_back(folder, writer, trainer)
        for key, value in (assignment.split("=") for assignment in options.set):
            inbox.put(Command("set", key, float(value)))
        keeper = Keeper(folder, writer, scenario.train.checkpoint_every)
        server = ControlServer(folder.path, inbox, trainer.refusal)
        try:
            writer.describe(
                **_how(trainer),
                **_chosen(options),
                software=_software(trainer, folder),
                socket=server.address,
                phase="step 0",
            )
            monitor = Monitor(scenario.diagnosis, run_facts(scenario, data, trainer))
            if options.resume:
                _recall(folder, monitor)
            for frame in trainer.frames(inbox, FRAME_INTERVAL):
                events = (*frame.events, *monitor.see(frame))
                _record(writer, replace(frame, events=events), inbox)
                if not options.no_checkpoints:
                    wanted = any(event.kind == "checkpoint" for event in frame.events)
                    keeper.frame_recorded(trainer, wanted=wanted)
        finally:
            server.close()


def _go_back(folder: RunFolder, writer: RunWriter, trainer: Trainer) -> None:
    """Set the trainer, and what is recorded, to the newest checkpoint. Raises CheckpointError."""
    last, checkpoint = newest(folder)
    try:
        trainer.restore(checkpoint)
    except CheckpointError as error:
        raise CheckpointError(f"{last.path}: {error}") from None
    writer.rewind(last.step)


def _recall(folder: RunFolder, monitor: Monitor) -> None:
    """Tell the diagnosis what is recorded of a run that goes on."""
    with RunReader(folder.database) as reader:
        standing = active(event for _, event in reader.events())
        for block in reader.blocks(limit=1):
            monitor.recall(standing, block.loss[0], block.data_loss[0], reader.snapshot(0))


def _what(scenario: Scenario, options: argparse.Namespace) -> dict[str, object]:
    return {
        "scenario": options.name or scenario.name,
        "variant": options.variant,
        "title": scenario.header.title,
        "question": scenario.header.question,
        "lecture": scenario.header.lecture,
        "look_at": scenario.header.look_at,
        "seed": scenario.seed,
        "activation": scenario.activation_name,
        "initializer": scenario.initializer_text,
        "batch_norm": scenario.normalized,
        "own_layers": bool(scenario.layers),
        "state": "starting",
        "pid": os.getpid(),
        "version": __version__,
    }


def _chosen(options: argparse.Namespace) -> dict[str, object]:
    """Return the options that a run takes up again; of one that goes on, once they have worked."""
    return {
        "options": {
            "backend": options.backend,
            "data_dir": options.data_dir,
            "threads": str(options.threads),
        },
        "threads": options.threads,
    }


def _how(trainer: Trainer) -> dict[str, object]:
    return {
        "backend": trainer.backend.name,
        "device": trainer.backend.device,
        "dtype": str(trainer.backend.dtype),
        "total_steps": trainer.total_steps,
        "hyperparameters": trainer.hyperparameters,
        **asdict(trainer.standing),
    }


def _software(trainer: Trainer, folder: RunFolder) -> str:
    """Return what computes the run, after what computed it before it was resumed."""
    before, now = _info(folder).software, trainer.backend.software
    return now if before in ("", now) else f"{before}, then {now}"


def _record(writer: RunWriter, frame: Frame, inbox: SimpleQueue[Command]) -> None:
    """Write a frame; where the disk is full, hold training until there is room or it is stopped."""
    heard: list[Command] = []  # meanwhile; the trainer gets them afterwards
    told = False
    while True:
        try:
            writer.write(frame)
        except RunError as error:
            if not told:
                print(f"tuilab worker: {error}; training waits", file=sys.stderr, flush=True)
                told = True
            while not inbox.empty():
                heard.append(inbox.get())
            if any(command.kind == "stop" for command in heard):
                raise
            time.sleep(RETRY)
        else:
            break
    for command in heard:
        inbox.put(command)


if __name__ == "__main__":
    sys.exit(main())
