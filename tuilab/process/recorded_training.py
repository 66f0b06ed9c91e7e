"""One run in the training process: from the scenario to the last frame, recorded step by step."""

import os
import sys
import time
from dataclasses import replace
from queue import SimpleQueue
from typing import Final

from threadpoolctl import threadpool_limits

from engine.backends import make_backend
from engine.commands import Command
from engine.data.dataset import Dataset
from engine.data.preprocessing import save
from engine.errors import CheckpointError
from engine.states import EventKind, RunState
from engine.statistics.frames import Frame
from engine.training.trainer import Trainer
from tuilab import __version__
from tuilab.adapters.engine.command_check import CommandCheck
from tuilab.adapters.engine.description import compute_info, data_info
from tuilab.data.folder import data_folder
from tuilab.diagnosis import Monitor
from tuilab.diagnosis.finding import active
from tuilab.errors import RunError
from tuilab.process.checkpoints import CheckpointSaver, newest
from tuilab.process.run_facts import run_facts
from tuilab.process.worker_options import WorkerOptions
from tuilab.record import (
    NetworkInfo,
    Origin,
    Plan,
    Process,
    Progress,
    RunInfo,
    RunReader,
    RunWriter,
    ScenarioInfo,
    Source,
    StartOptions,
    Status,
    part_of,
)
from tuilab.record.control_socket import ControlServer
from tuilab.record.run_folder import RunFolder
from tuilab.scenario.building import build_trainer, load_data
from tuilab.scenario.loading import load
from tuilab.scenario.scenario import Scenario

FRAME_INTERVAL: Final = 0.08  # seconds: twelve frames a second
LOADING: Final = "loading data"
BINDING: Final = "binding"
FIRST_STEP: Final = "step 0"
PREPARATION: Final = (LOADING, BINDING)
"""Phases in which a run that is being resumed is still as it ended."""
RETRY: Final = 2.0  # seconds between attempts to write to a full disk


class RecordedTraining:
    """Trains the scenario of a run folder; `run` returns when it has ended.

    Commands come from `inbox`; its socket puts them there, and so may a signal handler.
    """

    def __init__(
        self,
        folder: RunFolder,
        writer: RunWriter,
        inbox: SimpleQueue[Command],
        options: WorkerOptions,
    ) -> None:
        self._folder, self._writer, self._inbox = folder, writer, inbox
        self._options = options
        self._source = Source()
        self._start = StartOptions(
            options={
                "backend": options.backend,
                "data_dir": options.data_dir,
                "threads": str(options.threads),
            },
            threads=options.threads,
        )

    def run(self) -> None:
        """Train to the end. Raises TuilabError where that cannot begin."""
        scenario = load(self._folder.scenario)
        self._describe_start(scenario)
        data = self._load_data(scenario)
        with threadpool_limits(self._options.threads):
            trainer = self._build_trainer(scenario, data)
            check = CommandCheck(self._source, trainer)
            server = ControlServer(self._folder.path, self._inbox, check.refusal)
            try:
                self._describe_training(trainer, server)
                monitor = Monitor(scenario.diagnosis, run_facts(scenario, trainer))
                self._train(trainer, monitor, check, scenario.train.checkpoint_every)
            finally:
                server.close()

    def _describe_start(self, scenario: Scenario) -> None:
        """Record what is known before the data are loaded.

        The options of a run that is resumed are recorded once they have worked.
        """
        options, header = self._options, scenario.header
        if options.resume:
            origin = part_of(run_info(self._folder), Origin)
        else:
            origin = Origin(created=time.time())
            self._writer.describe(self._start)
        if options.restarted_from:
            origin = replace(origin, restarted_from=options.restarted_from)
        if options.fork is not None:
            origin = replace(origin, fork=options.fork)
        self._writer.describe(
            self._source,
            origin,
            ScenarioInfo(
                scenario=options.name or scenario.name,
                variant=options.variant,
                title=header.title,
                question=header.question,
                lecture=header.lecture,
                look_at=header.look_at,
                seed=scenario.seed,
                version=__version__,
            ),
            NetworkInfo(
                activation=scenario.activation_name,
                initializer=scenario.initializer_text,
                batch_norm=scenario.normalized,
                own_layers=bool(scenario.layers),
            ),
            Process(pid=os.getpid()),
            Status(state=RunState.STARTING, phase=LOADING),
        )

    def _load_data(self, scenario: Scenario) -> Dataset:
        data = load_data(scenario, data_folder(self._options.data_dir))
        self._writer.describe(
            data_info(data),
            Status(state=RunState.STARTING, phase=BINDING),
        )
        if data.preprocess:
            save(self._folder.preprocess, data.preprocess)
        return data

    def _build_trainer(self, scenario: Scenario, data: Dataset) -> Trainer:
        options = self._options
        backend = make_backend(options.backend, scenario.train.dtype, options.threads)
        trainer = build_trainer(scenario, data, backend)
        if options.resume:
            self._restore(trainer)
        for key, value in (assignment.split("=") for assignment in options.set):
            self._inbox.put(Command("set", key, float(value)))
        return trainer

    def _restore(self, trainer: Trainer) -> None:
        """Set the trainer and the record back to the newest checkpoint. Raises CheckpointError."""
        saved, checkpoint = newest(self._folder)
        try:
            trainer.restore(checkpoint)
        except CheckpointError as error:
            raise CheckpointError(f"{saved.path}: {error}") from None
        self._writer.rewind(saved.step)

    def _describe_training(self, trainer: Trainer, server: ControlServer) -> None:
        info, backend = run_info(self._folder), trainer.backend
        before, now = info.software, backend.software
        self._writer.describe(
            replace(
                compute_info(backend),
                software=now if before in ("", now) else f"{before}, then {now}",
            ),
            Plan(total_steps=trainer.total_steps),
            replace(part_of(info, Progress), hyperparameters=dict(trainer.hyperparameters)),
            trainer.status,
            self._start,
            Process(pid=os.getpid(), socket=server.address),
            replace(part_of(info, Status), phase=FIRST_STEP),
        )

    def _train(
        self, trainer: Trainer, monitor: Monitor, check: CommandCheck, checkpoint_every: int | None
    ) -> None:
        if self._options.resume:
            _recall(self._folder, monitor)
        saver = CheckpointSaver(self._folder, self._writer, checkpoint_every)
        for frame in trainer.frames(self._inbox, FRAME_INTERVAL):
            check.publish(trainer)
            events = (*frame.events, *monitor.see(frame))
            record_frame(self._writer, replace(frame, events=events), self._inbox)
            if self._options.checkpoints:
                requested = any(event.kind == EventKind.CHECKPOINT for event in frame.events)
                saver.frame_recorded(trainer, requested=requested)


def record_frame(writer: RunWriter, frame: Frame, inbox: SimpleQueue[Command]) -> None:
    """Write a frame; while the disk is full, hold training until there is room or a stop."""
    commands: list[Command] = []  # that came meanwhile; the trainer gets them afterwards
    reported = False
    while True:
        try:
            writer.write(frame)
        except RunError as error:
            if not reported:
                print(f"tuilab worker: {error}; training waits", file=sys.stderr, flush=True)
                reported = True
            while not inbox.empty():
                commands.append(inbox.get())
            if any(command.kind == "stop" for command in commands):
                raise
            time.sleep(RETRY)
        else:
            break
    for command in commands:
        inbox.put(command)


def run_info(folder: RunFolder) -> RunInfo:
    """Return what is recorded of a run now. Raises RunError."""
    with RunReader(folder.database) as reader:
        return reader.info()


def _recall(folder: RunFolder, monitor: Monitor) -> None:
    """Give the diagnosis what is recorded of a run that is resumed."""
    with RunReader(folder.database) as reader:
        findings = active(event for _, event in reader.events())
        for block in reader.blocks(limit=1):
            first = float(block.loss[0]), float(block.data_loss[0])
            monitor.recall(findings, *first, reader.snapshot(0))
