"""`run.db`: what goes in comes out, whatever happens to the writer, and history is bounded."""

import signal
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from engine.statistics.frames import PER_LAYER, BatchDependence, Event, Snapshot, Units, Validation
from tests.tuilab.support import describe, environment, frame, layer_infos, snapshot, wait_for
from tuilab.errors import RunError
from tuilab.record import KEPT_FIRST, SPREAD, RunReader, RunWriter
from tuilab.record.schema import FORMAT
from tuilab.record.writer import UNITS_APART


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.db"


def assert_equal(found: Snapshot | None, expected: Snapshot) -> None:
    assert found is not None
    assert (found.step, found.epoch) == (expected.step, expected.epoch)
    for name in ("statistics", "histograms", "ranges", *PER_LAYER):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), name)


class TestRoundTrip:
    def test_series_come_back_bit_for_bit(self, path: Path) -> None:
        loss = [1 / 3, np.nan, np.inf, -np.inf, 5e-324]
        writer = RunWriter(path)
        writer.write(frame(7, loss, accuracy=[0.25] * 5, data_loss=[1.0, 2.0, 3.0, 4.0, np.nan]))
        writer.close()
        with RunReader(path) as reader:
            (block,) = reader.blocks()
        assert (block.first_step, block.next_step, block.time, block.epoch) == (7, 12, 7.0, 3.0)
        np.testing.assert_array_equal(block.loss, loss)
        np.testing.assert_array_equal(block.data_loss, [1.0, 2.0, 3.0, 4.0, np.nan])
        np.testing.assert_array_equal(block.accuracy, [0.25] * 5)
        np.testing.assert_array_equal(block.learning_rate, [0.1] * 5)

    def test_a_data_loss_that_is_the_loss_is_stored_once(self, path: Path) -> None:
        writer = RunWriter(path)
        writer.write(frame(0, [1.0, np.nan]))
        writer.close()
        with RunReader(path) as reader:
            np.testing.assert_array_equal(reader.blocks()[0].data_loss, [1.0, np.nan])
        with closing(sqlite3.connect(path)) as db:
            names = db.execute("SELECT name FROM series ORDER BY name").fetchall()
        assert names == [("accuracy",), ("learning_rate",), ("loss",)]

    def test_batch_dependence_comes_back_with_the_run(self, path: Path) -> None:
        writer = RunWriter(path)
        for each in (BatchDependence(0, 0.5, 0.0), BatchDependence(1, np.nan, 1e-9)):
            writer.write(replace(frame(each.step, [1.0]), batch_dependence=each))
        writer.write(frame(2, [1.0]))
        writer.close()
        with RunReader(path) as reader:
            read = reader.info().batch_dependence
        assert read == (
            {"step": 0, "training": 0.5, "evaluation": 0.0},
            {"step": 1, "training": None, "evaluation": 1e-9},  # as JSON has it
        )

    def test_batch_dependence_after_a_checkpoint_is_forgotten_with_the_rest(
        self, path: Path
    ) -> None:
        writer = RunWriter(path)
        for step in (0, 4, 9):
            found = BatchDependence(step, 0.5, 0.0)
            writer.write(replace(frame(step, [1.0]), batch_dependence=found))
        writer.close()
        again = RunWriter(path, resume=True)
        again.rewind(4)
        again.write(replace(frame(5, [1.0]), batch_dependence=BatchDependence(6, 0.5, 0.0)))
        again.close()
        with RunReader(path) as reader:
            assert [each["step"] for each in reader.info().batch_dependence] == [0, 4, 6]

    def test_snapshots_come_back(self, path: Path) -> None:
        writer = RunWriter(path)
        writer.write(frame(0, [1.0], shot=snapshot(0)))
        writer.write(frame(1, [1.0], shot=snapshot(1, layers=3)))
        writer.close()
        with RunReader(path) as reader:
            assert_equal(reader.snapshot(0), snapshot(0))
            assert_equal(reader.snapshot(), snapshot(1))
            assert reader.snapshot(2) is None
            assert reader.snapshot_steps() == [0, 1]

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e308, 5e-324])
    def test_statistics_that_are_not_finite_come_back(self, path: Path, value: float) -> None:
        writer = RunWriter(path)
        with np.errstate(all="ignore"):
            writer.write(frame(0, [1.0], shot=snapshot(0, value=value)))
        writer.close()
        with RunReader(path) as reader:
            assert_equal(reader.snapshot(), snapshot(0, value=value))

    def test_units_come_back_as_of_the_step_or_before(self, path: Path) -> None:
        relu = Units(
            np.array([0.1, 1e-12, np.inf], np.float32),
            np.array([0.25, 0.0, 1.0]),
            None,
            np.array([False, True, False]),
        )
        scores = Units(np.array([1.0, -2.0], np.float32), None, np.array([0.5, 0.125]), None)
        writer = RunWriter(path)
        writer.write(frame(0, [1.0], shot=replace(snapshot(0), units=(relu, None, scores))))
        writer.write(frame(1, [1.0], shot=snapshot(1)))
        later = replace(scores, mean=scores.mean + 1)
        writer.write(frame(2, [1.0], shot=replace(snapshot(2), units=(relu, None, later))))
        writer.close()
        with RunReader(path) as reader:
            for layer, step, expected in ((1, 0, relu), (3, 0, scores), (3, 1, scores)):
                at, found = reader.units(layer, step) or pytest.fail("nothing found")
                assert at == 0
                for field in fields(Units):
                    wanted = getattr(expected, field.name)
                    np.testing.assert_array_equal(getattr(found, field.name), wanted, field.name)
            at, found = reader.units(3, 99) or pytest.fail("nothing found")
            assert (at, found.mean.tolist()) == (2, [2.0, -1.0])
            assert reader.units(2, 99) is None

    def test_validations_and_events_come_back_in_order(self, path: Path) -> None:
        first = Event(1, 0.5, "set", {"key": "learning_rate", "value": 0.2, "previous": 0.1})
        second = Event(3, 0.75, "pause")
        writer = RunWriter(path)
        writer.write(frame(0, [1.0], validation=Validation.of(0, 0.0, loss=2.0, accuracy=np.nan)))
        writer.write(
            frame(
                1,
                [1.0],
                events=[first, second],
                validation=Validation.of(2, 1, loss=1.5, accuracy=1),
            )
        )
        writer.close()
        with RunReader(path) as reader:
            assert reader.events() == [(1, first), (2, second)]
            assert reader.events(after=1) == [(2, second)]
            assert [(v.step, v.loss) for v in reader.validations()] == [(0, 2.0), (2, 1.5)]
            assert np.isnan(reader.validations()[0].accuracy)
            assert [v.step for v in reader.validations(after_step=0)] == [2]

    def test_what_is_described_comes_back_and_the_rest_has_defaults(self, path: Path) -> None:
        writer = RunWriter(path)
        layers = tuple(layer_infos())
        describe(writer, title="„T“", layers=layers, samples=(48, 12), options={"backend": "auto"})
        writer.write(frame(0, [1.0, 2.0], state="paused"))
        writer.close()
        with RunReader(path) as reader:
            info = reader.info()
        assert (info.title, info.layers, info.samples) == ("„T“", layers, (48, 12))
        assert (info.state, info.step, info.lecture, info.ended) == ("paused", 2, "", False)
        assert info.hyperparameters == {"learning_rate": 0.1}

    def test_a_frame_without_steps_leaves_no_block(self, path: Path) -> None:
        writer = RunWriter(path)
        writer.write(frame(4, events=[Event(4, 1.0, "pause")], state="paused"))
        writer.close()
        with RunReader(path) as reader:
            assert reader.blocks() == []
            assert reader.last_block() is None
            assert reader.info().step == 4


class TestThinning:
    TOTAL = 3000

    @pytest.fixture
    def steps(self, path: Path) -> list[int]:
        """Steps that are left of 3,000 snapshots, 10 steps apart, with an event at two of them."""
        writer = RunWriter(path)
        db = writer._db
        db.execute("PRAGMA synchronous = OFF")
        most = 0
        for n in range(self.TOTAL):
            events = [Event(n * 10, 0.0, "set")] if n in (777, 2001) else []
            state = "finished" if n == self.TOTAL - 1 else "running"
            units = Units(np.full(4, n, np.float32), None, None, None)
            shot = replace(snapshot(n * 10, layers=1), units=(units,))
            writer.write(frame(n * 10, [1.0], shot=shot, events=events, state=state))
            most = max(most, db.execute("SELECT count(*) FROM snapshot").fetchone()[0])
        writer.close()
        assert most <= KEPT_FIRST + 2 * SPREAD + 3
        with RunReader(path) as reader:
            return reader.snapshot_steps()

    def test_history_is_bounded_and_keeps_what_matters(self, steps: list[int], path: Path) -> None:
        numbers = [step // 10 for step in steps]
        assert numbers[:KEPT_FIRST] == list(range(KEPT_FIRST))
        assert numbers[-1] == self.TOTAL - 1
        assert {777, 2001} <= set(numbers)
        assert SPREAD // 2 <= len(numbers) <= KEPT_FIRST + 2 * SPREAD + 3
        spread = [n for n in numbers[KEPT_FIRST:] if n not in (777, 2001)]
        gaps = np.diff(spread)
        assert gaps.max() <= 2 * self.TOTAL / SPREAD  # nowhere a hole
        halves = np.histogram(spread, 4, (0, self.TOTAL))[0]
        assert halves.min() > SPREAD / 8  # early history is there as well as late
        with closing(sqlite3.connect(path)) as db:  # the statistics go with their snapshot
            (orphans,) = db.execute(
                "SELECT count(*) FROM tensor WHERE snapshot NOT IN (SELECT id FROM snapshot)"
            ).fetchone()
        assert orphans == 0

    def test_units_are_kept_of_fewer_snapshots(self, steps: list[int], path: Path) -> None:
        with closing(sqlite3.connect(path)) as db:
            found = db.execute(
                "SELECT step FROM snapshot JOIN units ON snapshot.id = units.snapshot ORDER BY step"
            ).fetchall()
        numbers = [step // 10 for (step,) in found]
        assert numbers[:KEPT_FIRST] == list(range(KEPT_FIRST))
        assert {777, 2001, self.TOTAL - 1} <= set(numbers)
        assert len(numbers) <= KEPT_FIRST + 3 + 2 * SPREAD / UNITS_APART
        assert np.diff(numbers).max() <= 2 * UNITS_APART * self.TOTAL / SPREAD
        assert {n * 10 for n in numbers} <= set(steps)

    def test_a_snapshot_that_goes_while_it_is_read_is_none(self, path: Path) -> None:
        writer = RunWriter(path)
        writer.write(frame(0, [1.0], shot=snapshot(0)))
        with RunReader(path) as reader:
            writer._db.execute("DELETE FROM tensor")  # between the reader's two queries
            assert reader.snapshot(0) is None
        writer.close()


class TestReadingWhileWriting:
    def test_a_reader_sees_each_frame_as_soon_as_it_is_written(self, path: Path) -> None:
        writer = RunWriter(path)
        describe(writer, state="running")
        with RunReader(path) as reader:
            assert reader.blocks() == []
            before = reader.data_version()
            assert reader.data_version() == before
            last = 0
            for first in range(0, 30, 3):
                writer.write(frame(first, [1.0, 2.0, 3.0]))
                assert reader.data_version() != before
                before = reader.data_version()
                (block,) = reader.blocks(after=last)
                assert block.first_step == first
                last = block.id
            found = reader.last_block()
            assert found is not None and found.first_step == 27
        writer.close()

    def test_a_reader_in_the_middle_of_reading_does_not_hold_up_the_writer(
        self, path: Path
    ) -> None:
        writer = RunWriter(path)
        for first in range(50):
            writer.write(frame(first, [1.0]))
        with closing(sqlite3.connect(path)) as other:
            cursor = other.execute("SELECT * FROM block")
            cursor.fetchone()
            writer.write(frame(50, [1.0]))
            assert len(cursor.fetchall()) == 49
        writer.close()

    def test_a_reader_cannot_write(self, path: Path) -> None:
        RunWriter(path).close()
        with RunReader(path) as reader, pytest.raises(RunError, match="readonly"):
            reader._rows("DELETE FROM run")


class TestWhatIsNoRun:
    def refusal(self, path: Path) -> str:
        with pytest.raises(RunError) as caught, RunReader(path) as reader:
            reader.info()
        assert str(path) in str(caught.value)
        return str(caught.value)

    def test_a_missing_file(self, path: Path) -> None:
        assert "does not exist; tuilab list" in self.refusal(path)

    def test_a_folder(self, tmp_path: Path) -> None:
        assert "does not exist" in self.refusal(tmp_path)

    def test_an_empty_file(self, path: Path) -> None:
        path.touch()
        assert "not a run that this tuilab can read (format 0," in self.refusal(path)

    def test_a_file_that_is_no_database(self, path: Path) -> None:
        path.write_bytes(b"not a database, but long enough to be looked at" * 100)
        assert "file is not a database" in self.refusal(path)

    def test_a_run_of_another_format(self, path: Path) -> None:
        RunWriter(path).close()
        with closing(sqlite3.connect(path)) as db:
            db.execute("PRAGMA user_version = 99")
        assert "format 99" in self.refusal(path)

    def test_a_database_of_someone_else(self, path: Path) -> None:
        with closing(sqlite3.connect(path)) as db:
            db.executescript(f"CREATE TABLE cats (name); PRAGMA user_version = {FORMAT}")
        assert "no such table: run" in self.refusal(path)

    def test_a_run_with_a_value_of_the_wrong_type(self, path: Path) -> None:
        writer = RunWriter(path)
        describe(writer, seed="seven")
        writer.close()
        assert "damaged" in self.refusal(path)

    def test_a_run_with_a_page_overwritten(self, path: Path) -> None:
        writer = RunWriter(path)
        for first in range(200):
            writer.write(frame(first, [1.0], shot=snapshot(first)))
        writer.close()
        content = bytearray(path.read_bytes())
        content[4096:] = b"\xaa" * (len(content) - 4096)
        path.write_bytes(content)
        with pytest.raises(RunError, match="damaged"), RunReader(path) as reader:
            reader.info()
            reader.blocks()

    def test_a_second_writer_is_refused(self, path: Path) -> None:
        writer = RunWriter(path)
        with pytest.raises(RunError, match=r"cannot create .*run\.db"):
            RunWriter(path)
        writer.close()

    def test_a_writer_in_no_folder_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(RunError, match="cannot create"):
            RunWriter(tmp_path / "missing" / "run.db")


def test_a_frame_that_cannot_be_written_whole_leaves_nothing(path: Path) -> None:
    writer = RunWriter(path)
    writer.write(frame(0, [1.0], shot=snapshot(0)))
    with pytest.raises(RunError, match="cannot write"):  # a step has one snapshot
        writer.write(frame(1, [2.0], events=[Event(1, 0.0, "pause")], shot=snapshot(0)))
    writer.write(frame(1, [3.0]))
    writer.close()
    with RunReader(path) as reader:
        assert [block.loss[0] for block in reader.blocks()] == [1.0, 3.0]
        assert reader.events() == []


WRITES_FOR_EVER = """
import sys
from pathlib import Path
from tests.tuilab.support import frame, snapshot
from tuilab.record import RunWriter
writer = RunWriter(Path(sys.argv[1]))
for first in range(10**9):
    writer.write(frame(first * 2, [1.0, 2.0], shot=snapshot(first * 2)))
"""


def test_what_was_committed_survives_the_kill_of_the_writer(path: Path) -> None:
    root = str(Path(__file__).parents[3])
    with subprocess.Popen(
        [sys.executable, "-c", WRITES_FOR_EVER, str(path)],
        env=environment() | {"PYTHONPATH": root},
    ) as process:
        try:

            def blocks() -> int:
                with RunReader(path) as reader:
                    return len(reader.blocks())

            before = wait_for(lambda: blocks() > 20 and blocks())
        finally:
            process.send_signal(signal.SIGKILL)
    with RunReader(path) as reader:
        found = reader.blocks()
        assert len(found) >= before
        assert [b.first_step for b in found] == [2 * n for n in range(len(found))]
        assert reader.info().step == 2 * len(found)
        assert_equal(reader.snapshot(), snapshot(2 * len(found) - 2))
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)


READS_AS_SOMEBODY_ELSE = """
import os, sys
from pathlib import Path
from tuilab.record import RunReader
if os.geteuid() == 0:  # root may write anywhere
    os.setgid(65534)
    os.setuid(65534)
with RunReader(Path(sys.argv[1])) as reader:
    print(reader.info().title, len(reader.blocks()), reader.snapshot().step)
"""


def test_a_finished_run_on_a_read_only_medium_opens() -> None:
    # Not in tmp_path, whose parents are closed to others.
    with tempfile.TemporaryDirectory(prefix="tuilab-test-") as scratch:
        folder = Path(scratch)
        writer = RunWriter(folder / "run.db")
        describe(writer, title="old")
        writer.write(frame(0, [1.0], shot=snapshot(0)))
        writer.close()
        (folder / "run.db").chmod(0o444)
        folder.chmod(0o555)
        done = subprocess.run(
            [sys.executable, "-c", READS_AS_SOMEBODY_ELSE, str(folder / "run.db")],
            capture_output=True,
            text=True,
            check=False,
        )
        left = sorted(p.name for p in folder.iterdir())
        folder.chmod(0o755)
    assert (done.stdout, done.stderr) == ("old 1 0\n", "")
    assert left == ["run.db"]
