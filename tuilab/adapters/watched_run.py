"""A run that is watched: its folder, its record, its commands; the same for every framework."""

import atexit
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import IO, Any, Final, Protocol

from engine.commands import Command
from engine.errors import TuilabError
from engine.states import EventKind, RunState
from engine.statistics.frames import Event, Snapshot, TrainingStatus
from engine.training.run_control import RunControl
from tuilab import __version__
from tuilab.adapters import launched
from tuilab.adapters.cadence import SHARE, Cadence, Every
from tuilab.adapters.notebook import Picture, display, in_notebook, picture
from tuilab.adapters.recorder import Packet, Recorder
from tuilab.adapters.scalars import Fetched, Scalars, StepScalars, now
from tuilab.diagnosis import RunFacts
from tuilab.diagnosis.dialects import dialect_of
from tuilab.record import (
    Compute,
    DataInfo,
    NetworkInfo,
    Origin,
    Part,
    Plan,
    Process,
    RunWriter,
    ScenarioInfo,
    Source,
    Status,
)
from tuilab.record.control_socket import ControlServer
from tuilab.record.run_folder import create, default_path, hold_lock
from tuilab.terminal import shell_command

FRAME_INTERVAL: Final = 0.1  # seconds
ADAPTERS: Final = Path(__file__).parent
PATIENCE: Final = 0.2  # seconds between two looks for a signal while the run is paused
PACE: Final = ("pause", "resume", "step", "speed", "stop", "arm")
"""Commands that any loop takes that asks between its steps."""


class Stopped(Exception):  # noqa: N818  (it is not an error)
    """Raised by the step at which a watched program was stopped from the view."""


@dataclass(frozen=True, kw_only=True)
class WatchOptions:
    """What is recorded of a program, and where."""

    out: str | os.PathLike[str] | None = None  # the run folder; None: below runs/
    title: str = ""
    every: Every = SHARE
    classes: int = 0  # 0: not known
    total_steps: int = 0
    steps_per_epoch: int = 0
    quiet: bool = False  # whether the folder is not printed
    stop: Callable[[], None] | None = None
    """Ends the training, where a framework has a way for it; None: `Stopped` is raised."""


class Controls(Protocol):
    """What a framework lets the view change; called by the program's thread, between two steps."""

    def hyperparameters(self) -> Mapping[str, float]:
        """Return the numbers that can be changed, as they are now."""

    def refusal(self, command: Command) -> str:
        """Return why a command cannot be applied, or ""; called by other threads."""

    def apply(self, command: Command) -> Mapping[str, object]:
        """Apply a command; return the detail of its event. Raises ConfigError."""

    def fetch(self, rows: Sequence[Scalars]) -> Fetched:
        """Begin to fetch the numbers of some steps from where they are; called at a frame."""

    def save(self, path: Path) -> None:
        """Save the parameters to a file."""

    def detach(self) -> None:
        """Take all hooks away."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a watcher measured in one step; `snapshot` builds it once `ready`."""

    snapshot: Callable[[], Snapshot]
    status: Callable[[], TrainingStatus] | None = None  # where the layers are new
    ready: Callable[[], bool] = lambda: True
    shared: Any = None  # what other ranks need of it


class WatchedRun:
    """A training program that is recorded while it runs; `tuilab.watch` returns one.

    run.log(loss=loss, accuracy=accuracy)    # any names; numbers, arrays or tensors
    run.validation(loss=…, accuracy=…)
    run.arm(5)                               # measure the next five steps
    run.close()                              # or at the end of the program, or of a `with` block
    """

    def __init__(
        self,
        options: WatchOptions,
        controls: Controls,
        source: Source,
        compute: Compute,
        *,
        facts: RunFacts | None = None,
        inbox: SimpleQueue[Command] | None = None,
    ) -> None:
        """Create the run folder and start to record. Raises ConfigError, RunError.

        `facts` are what is known beyond the options; commands come through `inbox`.
        """
        self._options, self._controls = options, controls
        self.cadence = Cadence(options.every)
        program = Path(sys.argv[0]).stem if sys.argv and sys.argv[0] not in ("", "-c") else "watch"
        launch = launched.current  # by `tuilab watch`
        path = None if options.out is None else Path(options.out)
        if path is None and launch is not None:
            path = launch.next_folder()
        path = path or default_path(program)
        title = options.title or (launch.title if launch is not None else "")
        self._folder = create(path)
        self._lock: IO[bytes] | None = hold_lock(self._folder)
        self._inbox: SimpleQueue[Command] = SimpleQueue() if inbox is None else inbox
        self._source = source
        writer = RunWriter(self._folder.database)
        self._server = ControlServer(self._folder.path, self._inbox, self._refusal)
        if launch is not None:
            launch.begun(path)
        self._began = time.perf_counter()
        self._control = RunControl(lambda: 0)
        self._events: list[Event] = []
        self._validations: list[tuple[int, float, Scalars]] = []
        self._scalars = StepScalars()
        self._written = 0  # steps handed to the recorder
        self._recording = 0.0  # seconds that the recorder has taken
        self._last_frame = 0.0
        self._speed = float("nan")
        self._at_speed = (0.0, 0)
        self._closed = False
        self._picture: Any = None  # that `show` has displayed in a notebook
        self.classes = options.classes
        facts = facts or RunFacts(
            layers=(),
            classes=options.classes,
            total_steps=options.total_steps,
            steps_per_epoch=options.steps_per_epoch or 1,
            own_layers=True,
            dialect=dialect_of(source.source),
        )
        writer.describe(
            source,
            Origin(created=time.time()),
            ScenarioInfo(title=title or program, version=__version__),
            NetworkInfo(own_layers=True),
            DataInfo(classes=options.classes),
            compute,
            Plan(total_steps=options.total_steps),
            Process(pid=os.getpid(), socket=self._server.address),
            Status(state=RunState.RUNNING),
        )
        self._sending = threading.Lock()  # between the program's thread and the recorder's
        self._recorder = Recorder(writer, facts, self._fail, self._idle)
        self._previous_hook = sys.excepthook
        self._error = ""
        sys.excepthook = self._uncaught
        atexit.register(self.close)
        os.register_at_fork(after_in_child=_weak(self._forked))
        if not options.quiet:
            print(
                f"tuilab: recording to {path}; watch it with: {shell_command(*self._live())}",
                file=sys.stderr,
                flush=True,
            )

    # What the program calls.

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self._folder.path

    @property
    def controls(self) -> Controls:
        """What follows the framework."""
        return self._controls

    @property
    def step(self) -> int:
        """Number of updates made."""
        return self._scalars.steps

    @property
    def steps_per_epoch(self) -> int:
        """Number of updates in an epoch; 0: not known."""
        return self._options.steps_per_epoch

    @property
    def epoch(self) -> float:
        """Epochs completed, with fraction; 0 where their length is not known."""
        return self.step / self.steps_per_epoch if self.steps_per_epoch else 0.0

    @property
    def closed(self) -> bool:
        """Whether nothing is recorded any more."""
        return self._closed

    def log(self, **values: Any) -> None:
        """Record values of a step by name: numbers, arrays with one element, or tensors.

        "loss" and "accuracy" have charts of their own. Tensors on a device are not waited for.
        Called after the gradient was computed, the values belong to the step under way; otherwise
        to the step that has just ended, unless the first call came before the first step.
        """
        if not self._closed:
            self._scalars.log({name: now(value) for name, value in values.items()})

    def validation(self, **values: Any) -> None:
        """Record values that were measured on other data, after the steps made so far."""
        if not self._closed:
            kept = {name: now(value) for name, value in values.items()}
            self._validations.append((self.step, self.epoch, kept))

    def arm(self, steps: int = 1) -> None:
        """Measure the next `steps` steps, whatever the cadence."""
        self.cadence.arm(steps)

    def close(self) -> None:
        """End the record; the program goes on without being watched. Does nothing twice."""
        state = RunState.FAILED if self._error else self._control.state
        self._end(state if state.ended else RunState.FINISHED, self._error)

    def __enter__(self) -> "WatchedRun":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            self._note_error(error)
        self.close()

    def __repr__(self) -> str:
        if self._closed:
            return f"<tuilab run {self.folder}: closed, {self.step} steps>"
        live = shell_command(*self._live())
        return f"<tuilab run {self.folder}: recording, {self.step} steps; live view: {live}>"

    def _live(self) -> tuple[str, ...]:
        """Return the command that shows the run live, where the program runs."""
        attach = "attach", str(self.folder)
        return ("serve", *attach) if in_notebook() else attach

    def flush(self) -> None:
        """Wait until everything is recorded that has happened so far."""
        if not self._closed:
            self._send(time.perf_counter(), flushed=True)
            self._recorder.flush()

    def show(self, panel: str | None = None) -> None:
        """Display the screen, or one panel of it, in a notebook; again, in the same place.

        A new cell has a picture of its own: there, put the run at the end of the cell.
        """
        try:
            self.flush()
            self._picture = display(Picture(picture(self.folder, panel), repr(self)), self._picture)
        except Exception as error:  # noqa: BLE001  (never into the program)
            print(f"tuilab: no picture: {error}", file=sys.stderr)

    def _repr_svg_(self) -> str | None:
        """Return the screen as it is now, for a notebook; None where it cannot be drawn."""
        try:
            self.flush()
            return picture(self.folder)
        except Exception as error:  # noqa: BLE001  (never into the program)
            print(f"tuilab: no picture: {error}", file=sys.stderr)
            return None

    # What a watcher calls.

    def gradient_known(self) -> None:
        """Remember that the gradient of the step under way was computed."""
        self._scalars.gradient_known()

    def skip_step(self) -> None:
        """Record that a step was not made, because its gradient was not finite."""
        self._scalars.skip_step()
        self._event("skipped", {"message": "the step was skipped: its gradient was not finite"})

    def end_step(self, values: Mapping[str, Any], measured: Measured | None, spent: float) -> bool:
        """End a step; return whether the next is measured. Waits while the run is paused.

        `values` are numbers that the watcher knows by name; `spent` is the time in seconds that it
        used. Raises Stopped.
        """
        armed = self._count_step(values, measured, spent)
        now = time.perf_counter()
        if measured is not None or now - self._last_frame >= FRAME_INTERVAL:
            self._send(now, measured)
        self._obey()
        return armed or self.cadence.asked or self._control.may_pause

    def _count_step(
        self, values: Mapping[str, Any], measured: Measured | None, spent: float
    ) -> bool:
        """Count a step; return whether the next is to be measured."""
        step = self._scalars.steps
        self._scalars.end_step(values)
        self._control.count_step(epoch_ended=False)
        seconds = self._recorder.seconds
        self.cadence.recorded(seconds - self._recording)
        self._recording = seconds
        return self.cadence.after(step, measured is not None, spent)

    def pass_step(self) -> None:
        """Do nothing at a step of a program that is not recorded any more."""

    def _obey(self) -> None:
        """Apply the commands that have come; wait while the run is paused. Raises Stopped."""
        self._drain()
        if self._control.waiting:
            self._send(time.perf_counter(), state=RunState.PAUSED)
            while self._control.waiting and not self._closed:
                try:
                    self._apply(self._inbox.get(timeout=PATIENCE))
                except Empty:
                    continue
            self._send(time.perf_counter())
            self.cadence.pass_over()
        while (command := self._control.wait(self._inbox)) is not None:
            self._apply(command)
        if self._control.state is RunState.STOPPED:
            self._end_training()

    def _end_training(self) -> None:
        """End the run and the training, as the view has asked for. Raises Stopped."""
        self.close()
        if self._options.stop is None:
            raise Stopped(f"stopped from the view after {self.step:,} steps")
        self._options.stop()

    def _drain(self) -> None:
        while not self._inbox.empty():
            self._apply(self._inbox.get())

    def _apply(self, command: Command) -> None:
        try:
            if command.kind == "arm":
                self.cadence.arm(max(1, int(command.value)))
                detail: Mapping[str, object] = {"value": max(1.0, command.value)}
            elif command.kind in PACE:
                detail = self._control.apply(command)
            elif command.kind == "checkpoint":
                detail = self._save()
            else:
                detail = self._controls.apply(command)
        except (TuilabError, OSError) as error:
            self._event(EventKind.REFUSED, {"command": command.kind, "reason": str(error)})
        else:
            self._event(command.kind, dict(detail))

    def _save(self) -> Mapping[str, object]:
        path = self._folder.checkpoints / f"step-{self.step:09}.safetensors"
        path.parent.mkdir(exist_ok=True)
        self._controls.save(path)
        return {"file": path.name}

    def _refusal(self, command: Command) -> str:
        if not self._source.can(command.kind, command.key):
            return f"this run does not accept the command '{command.kind} {command.key}'".rstrip()
        return RunControl.refusal(command) or self._controls.refusal(command)

    def _event(self, kind: str, detail: Mapping[str, object]) -> None:
        self._events.append(Event(self.step, self._elapsed(), kind, dict(detail)))

    def _elapsed(self) -> float:
        return time.perf_counter() - self._began

    def describe(self, *parts: Part) -> None:
        """Record parts of what is known of the run."""
        self._recorder.describe(*parts)

    def _send(
        self,
        now: float,
        measured: Measured | None = None,
        *,
        state: RunState | None = None,
        last: bool = False,
        flushed: bool = False,
    ) -> None:
        """Hand what has happened since the last frame to the recorder."""
        with self._sending:
            self._send_alone(now, measured, state, last=last, flushed=flushed)

    def _idle(self) -> None:
        """Record what the last steps have left, while the program does something else."""
        if not self._closed:
            self._send(time.perf_counter())

    def _send_alone(
        self,
        now: float,
        measured: Measured | None,
        state: RunState | None,
        *,
        last: bool,
        flushed: bool,
    ) -> None:
        steps = self._scalars.take(all_of_them=last or flushed or state is RunState.PAUSED)
        if not (steps or self._events or self._validations or measured or state):
            return
        since, at = self._at_speed
        if self.step > at and now > since:
            self._speed = (self.step - at) / (now - since) if since else float("nan")
            self._at_speed = now, self.step
        self._recorder.put(
            Packet(
                first_step=self._written,
                steps=len(steps),
                numbers=self._controls.fetch(
                    [*steps, *(values for _, _, values in self._validations)]
                ),
                time=now - self._began,
                epoch=self.epoch,
                steps_per_second=self._speed,
                probe_share=self.cadence.cost_share,
                hyperparameters=dict(self._controls.hyperparameters()),
                validations=[(step, epoch) for step, epoch, _ in self._validations],
                events=self._events,
                snapshot=None if measured is None else measured.snapshot,
                status=None if measured is None else measured.status,
                ready=(lambda: True) if measured is None else measured.ready,
                state=state
                or (RunState.RUNNING if self._control.state.ended else self._control.state),
            )
        )
        self._written += len(steps)
        self._events, self._validations = [], []
        self._last_frame = now

    # How it ends.

    def _end(self, state: RunState, message: str = "") -> None:
        if self._closed:
            return
        self._closed = True
        self._controls.detach()
        self._send(time.perf_counter(), state=RunState.RUNNING, last=True)
        self._recorder.close(Status(state=state, message=message))
        self._server.close()
        if self._lock is not None:
            self._lock.close()
        atexit.unregister(self.close)
        # One that was stopped is about to end by `Stopped`, which is not an error.
        if sys.excepthook == self._uncaught and state is not RunState.STOPPED:
            sys.excepthook = self._previous_hook

    def _uncaught(
        self, kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        """Note the error that ends the program, then let it be reported as usual."""
        if isinstance(error, Stopped):
            print(f"tuilab: {error}", file=sys.stderr)
            return
        self._note_error(error)
        error.__traceback__ = frames_of_program(trace)
        self._previous_hook(kind, error, error.__traceback__)

    def _note_error(self, error: BaseException) -> None:
        if isinstance(error, KeyboardInterrupt | Stopped):
            self._control.end(RunState.STOPPED)
        elif not isinstance(error, SystemExit) or error.code not in (None, 0):
            self._error = f"the program ended with {type(error).__name__}: {error}"

    def _fail(self, error: BaseException) -> None:
        """Switch the watcher off, with one line: the program goes on."""
        if self._closed:
            return
        print(
            f"tuilab: no longer watching, because of {type(error).__name__}: {error}",
            file=sys.stderr,
            flush=True,
        )
        self._end(RunState.FAILED, f"the watcher failed: {type(error).__name__}: {error}")

    failed = _fail

    def _forked(self) -> None:
        """Do nothing in a process that was forked off, such as a loader of data."""
        if not self._closed:
            self._closed = True
            self._controls.detach()
            if self._lock is not None:
                self._lock.close()  # the lock itself stays with the parent
            atexit.unregister(self.close)


def frames_of_program(trace: TracebackType | None) -> TracebackType | None:
    """Return a traceback without the frames of hooks and of functions that are watched."""
    if trace is None:
        return None
    rest = frames_of_program(trace.tb_next)
    if Path(trace.tb_frame.f_code.co_filename).is_relative_to(ADAPTERS):
        return rest
    return TracebackType(rest, trace.tb_frame, trace.tb_lasti, trace.tb_lineno)


def _weak(method: Callable[[], None]) -> Callable[[], None]:
    """Return a function that calls a bound method as long as its object exists."""
    reference = weakref.WeakMethod(method)

    def call() -> None:
        if (target := reference()) is not None:
            target()

    return call
