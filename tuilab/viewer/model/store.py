"""RunStore: what the screen shows of a run, followed in its database. Knows no Textual."""

import math
import sys
import time
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Final

from engine.errors import TuilabError
from engine.states import EventKind, RunState
from engine.statistics.frames import Event, LayerInfo, Snapshot, Units, Validation
from tuilab.charts.series import LayerSeries, Series
from tuilab.diagnosis.finding import Finding, active
from tuilab.record import Block, History, RunInfo, RunReader
from tuilab.record.run_folder import RunFolder
from tuilab.record.run_info import parse_layer
from tuilab.record.saved_parameters import Parameters, SavedParameters

BLOCKS_A_POLL: Final = 1000  # about 25 ms: a long finished run opens over a few polls
LIFE_CHECK: Final = 1.0  # seconds between two looks at the worker's lock
GRACE: Final = 3.0  # seconds that a database may stay unreadable while its worker starts


@dataclass(frozen=True, slots=True)
class Changes:
    """What is new since the last poll."""

    state: bool = False
    info: bool = False
    series: bool = False
    validations: bool = False
    events: bool = False
    snapshot: bool = False

    def __bool__(self) -> bool:
        return any(getattr(self, field.name) for field in fields(self))


class RunStore:
    """Follows one run folder: `poll` reads what is new, the attributes hold what is known.

    `exit_code` returns how the worker process ended, None while it runs or where it is not ours.
    """

    def __init__(
        self,
        folder: RunFolder,
        exit_code: Callable[[], int | None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
        *,
        series_only: bool = False,
        program: str = "",
    ) -> None:
        """Follow `folder`; `series_only` leaves the snapshots unread, which is most of the work.

        `program` is what the process runs, if it is not a worker of ours.
        """
        self.folder, self.program = folder, program
        self._series_only = series_only
        # What a program offers is known once it trains.
        self._info = RunInfo(source="program", capabilities=()) if program else RunInfo()
        self._layers: tuple[LayerInfo, ...] | None = None  # where they were others then
        self.series = Series()
        self._layer_series = LayerSeries()
        self.validations: list[Validation] = []
        self.events: list[Event] = []
        self.findings: list[Finding] = []  # open at the step that is shown, most severe first
        self.snapshot: Snapshot | None = None
        self.first_snapshot: Snapshot | None = None  # of step 0
        self.at: int | None = None  # the step of an older snapshot that is looked at
        self.last_block: Block | None = None
        self.state = RunState.STARTING
        self.message = ""  # why the run cannot be read, or ended
        self._near: Snapshot | None = None  # what `nearest` returned last
        self._parameters = SavedParameters(folder)
        self._exit_code, self._clock = exit_code, clock
        self._reader: RunReader | None = None
        self._version = -1
        self._last_event = 0
        self._read_to = 0  # id of the last block in `series`
        self._catching_up = False
        self._opened = clock()
        self._next_check = 0.0
        self._silent_checks = 0

    @property
    def live(self) -> bool:
        """Whether a worker is there to take commands."""
        return self.state.live

    @property
    def exit_code(self) -> int | None:
        """How the process ended; None while it runs, or where it is not ours."""
        return self._exit_code()

    @property
    def step(self) -> int:
        """Number of updates made."""
        return self.last_block.next_step if self.last_block else 0

    @property
    def epoch(self) -> float:
        """Epochs completed, with fraction."""
        return self.last_block.epoch if self.last_block else 0.0

    @property
    def divergence(self) -> Event | None:
        """The event that records where the run diverged, if it did."""
        return next((e for e in reversed(self.events) if e.kind == EventKind.DIVERGED), None)

    @property
    def name(self) -> str:
        """What the run is called among several: its variant, or where it branched off."""
        if (fork := self.info.fork) is not None:
            return f"{self.info.variant} {fork.label}".strip()
        return self.info.variant or self.folder.name

    def nearest(self, step: int) -> Snapshot | None:
        """Return the recorded snapshot nearest to `step`; read only where it is another one."""
        if self._reader is None:
            return None
        nearest = self._reader.nearest_snapshot_step(step)
        if nearest is not None and (self._near is None or self._near.step != nearest):
            self._near = self._reader.snapshot(nearest)
        return self._near

    def look(self, by: int) -> bool:
        """Go `by` snapshots back (negative) or forward; beyond the newest the view is live again.

        Returns whether anything changed. New records continue to be read meanwhile.
        """
        if self._reader is None or self.snapshot is None:
            return False
        steps = self._reader.snapshot_steps()
        here = bisect_left(steps, self.snapshot.step)
        target = max(here + by, 0)
        live = target >= len(steps) - 1
        snapshot = self._reader.snapshot(None if live else steps[target])
        at = None if live or snapshot is None else snapshot.step
        if snapshot is None or (at, snapshot.step) == (self.at, self.snapshot.step):
            return False
        self.at, self.snapshot = at, snapshot
        self._take_findings()
        return True

    def look_at(self, step: int) -> bool:
        """Go to the first snapshot from `step` on, or live where it is the newest; as `look`."""
        if self._reader is None or self.snapshot is None:
            return False
        steps = self._reader.snapshot_steps()
        return self.look(bisect_left(steps, step) - bisect_left(steps, self.snapshot.step))

    def _take_findings(self) -> None:
        """Update to the findings that are open now, or were at the step that is shown."""
        self._layers = self._layers_then()
        self.findings = active(e for e in self.events if self.at is None or e.step <= self.at)

    def _layers_then(self) -> tuple[LayerInfo, ...] | None:
        """Return what the layers were at the step that is looked at, where they are others now."""
        after = (e.detail for e in self.events if self.at is not None and e.step > self.at)
        layers = next((d["layers_before"] for d in after if "layers_before" in d), None)
        return None if layers is None else tuple(map(parse_layer, layers))

    @property
    def info(self) -> RunInfo:
        """What is known of the run now; its layers as they were at the step that is looked at."""
        if self._layers is None:
            return self._info
        return replace(self._info, layers=self._layers)

    def history(self, layer: int, tensor: str) -> History | None:
        """Return a tensor of a layer (from 1) over time; None while there is no database."""
        return self._reader.history(layer, tensor) if self._reader is not None else None

    def units(self, layer: int) -> tuple[int, Units] | None:
        """Return what the units of a layer (from 1) did at what is shown, and their step."""
        if self._reader is None or self.snapshot is None:
            return None
        return self._reader.units(layer, self.snapshot.step)

    def parameters(self, layer: int) -> Parameters | None:
        """Return what a layer (from 1) had learned, as saved last before what is shown.

        None while nothing is saved. Raises CheckpointError.
        """
        if self._reader is None:
            return None
        step = sys.maxsize if self.at is None else self.at
        return self._parameters.read(self._reader, layer, step)

    def layer_series(self) -> LayerSeries:
        """Return the layers' numbers over the snapshots; reads only those that are new."""
        newest = self.snapshot.step if self.snapshot and self.at is None else math.inf
        if self._reader is not None and newest > self._layer_series.last_step:
            self._layer_series.append(self._reader.layer_traces(self._layer_series.last_step))
        return self._layer_series

    def close(self) -> None:
        """Close the database."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def poll(self) -> Changes:
        """Read what the worker has committed since the last poll; costs almost nothing if none."""
        before = self.state, self.message
        changes = Changes()
        try:
            if self._reader is None and self.folder.database.is_file():
                self._reader = RunReader(self.folder.database)
            if self._reader is not None:
                changes = self._read(self._reader)
        except TuilabError as error:
            self._unreadable(error)
        self._judge_life()
        changed = before != (self.state, self.message)
        return Changes(changed, *(getattr(changes, field.name) for field in fields(changes)[1:]))

    def _read(self, reader: RunReader) -> Changes:
        version = reader.data_version()
        if version == self._version and not self._catching_up:
            return Changes()
        self._version = version
        info = reader.info()
        # The step changes with every frame; nothing is arranged by it.
        changed = info != replace(self._info, step=info.step)
        resumed, self._info = info.resumed != self._info.resumed, info
        if resumed:
            self._forget()
        if self.state is not RunState.KILLED or info.ended:
            self.state, self.message = info.state, info.message
        return Changes(
            info=changed,
            series=self._read_blocks(reader) or resumed,
            validations=self._read_validations(reader) or resumed,
            events=self._read_events(reader) or resumed,
            snapshot=self._read_snapshot(reader) or resumed,
        )

    def _forget(self) -> None:
        """Read again from the start: the run was resumed, which discards what came after."""
        self.series, self.last_block, self._read_to, self._last_event = Series(), None, 0, 0
        self._layer_series = LayerSeries()
        self.validations, self.events, self.findings = [], [], []
        self.snapshot = self.first_snapshot = self._near = self.at = self._layers = None

    def _read_blocks(self, reader: RunReader) -> bool:
        blocks = reader.blocks(self._read_to, BLOCKS_A_POLL)
        self._catching_up = len(blocks) == BLOCKS_A_POLL
        for block in blocks:
            self.series.append(block)
        if blocks:
            self._read_to = blocks[-1].id
            # How far the run is does not wait for its curves.
            self.last_block = reader.last_block() if self._catching_up else blocks[-1]
        return bool(blocks)

    def _read_validations(self, reader: RunReader) -> bool:
        after = self.validations[-1].step if self.validations else -1
        new = reader.validations(after)
        self.validations.extend(new)
        return bool(new)

    def _read_events(self, reader: RunReader) -> bool:
        new = reader.events(self._last_event)
        for key, event in new:
            self.events.append(event)
            self._last_event = key
        if new:
            self._take_findings()
        return bool(new)

    def _read_snapshot(self, reader: RunReader) -> bool:
        if self._series_only or self.at is not None:  # the past does not change
            return False
        step = reader.newest_snapshot_step()
        if step is None or (self.snapshot and step == self.snapshot.step):
            return False
        newest = reader.snapshot(step)
        if newest is None:
            return False
        if self.first_snapshot is None:
            self.first_snapshot = newest if newest.step == 0 else reader.snapshot(0)
        self.snapshot = newest
        return True

    def _unreadable(self, error: TuilabError) -> None:
        """Assume at first that the database is being created; report the error later."""
        self.close()
        if self._clock() - self._opened > GRACE or self._exit_code() is not None:
            self.state, self.message = RunState.UNREADABLE, str(error)

    def _judge_life(self) -> None:
        """Find out whether the worker of a run that has not ended is gone.

        Two checks in a row, with the database read in between: a worker records how it ended just
        before it exits. The lock is checked only once there is a database, so that the check does
        not keep the worker from taking it.
        """
        now = self._clock()
        if self.info.ended or self.state is RunState.UNREADABLE or now < self._next_check:
            return
        self._next_check = now + LIFE_CHECK
        if self._reader is None:
            code = self._exit_code()
            if code is not None and not self.folder.database.is_file():
                self.state = RunState.FAILED
                self.message = (
                    f"the training process ended with exit code {code} before training began"
                )
            return
        if self.folder.is_alive():
            self._silent_checks = 0
            if self.state is RunState.KILLED:  # somebody resumed it
                self.state, self.message = self.info.state, self.info.message
            return
        self._silent_checks += 1
        if self._silent_checks > 1 and not self._catching_up:
            self.state = RunState.KILLED
            self.message = "the training process was killed; its last state was not recorded"
