"""Runs recorded by earlier versions: read as what they were, resumed, or refused in words."""

import json
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engine.commands import KINDS
from engine.statistics.frames import PER_LAYER
from tests.tuilab.support import frame
from tuilab.errors import RunError
from tuilab.export import export
from tuilab.record import RunReader, RunWriter
from tuilab.record.run_folder import RunFolder
from tuilab.record.saved_parameters import SavedParameters
from tuilab.record.schema import FORMAT

DATA = Path(__file__).parent / "data"
RUNS = ("format_3", "format_4", "format_4_diverged")


@pytest.fixture(params=RUNS)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> RunFolder:
    shutil.copytree(DATA / request.param, tmp_path / request.param)
    return RunFolder(tmp_path / request.param)


def version(folder: RunFolder) -> int:
    with closing(sqlite3.connect(folder.database)) as db:
        return int(db.execute("PRAGMA user_version").fetchone()[0])


def assert_same(folder: RunFolder, other: RunFolder) -> None:
    with RunReader(folder.database) as ours, RunReader(other.database) as theirs:
        assert ours.info() == theirs.info()
        assert ours.validations() == theirs.validations()
        assert repr(ours.events()) == repr(theirs.events())  # some have NaN in them
        assert ours.checkpoints() == theirs.checkpoints()
        assert ours.snapshot_steps() == theirs.snapshot_steps()
        for one, other_block in zip(ours.blocks(), theirs.blocks(), strict=True):
            assert replace(one, series={}) == replace(other_block, series={})
            assert one.series.keys() == other_block.series.keys()
            for name, values in one.series.items():
                np.testing.assert_array_equal(values, other_block.series[name])
        for step in ours.snapshot_steps():
            one_shot, other_shot = ours.snapshot(step), theirs.snapshot(step)
            assert one_shot is not None
            assert other_shot is not None
            for name in ("statistics", "histograms", "ranges", *PER_LAYER):
                np.testing.assert_array_equal(getattr(one_shot, name), getattr(other_shot, name))


def test_it_is_read_as_the_version_that_wrote_it_read_it(folder: RunFolder) -> None:
    (written,) = export(folder, "json", folder.path / "now.json")
    now = json.loads(written.read_text())
    then = json.loads((folder.path / "export.json").read_text())
    for part in ("steps", "validation", "events", "snapshots"):
        assert now[part] == then[part], part
    for key, value in then["run"].items():
        if key != "layers":
            assert now["run"][key] == value, key
    assert version(folder) < FORMAT


def test_what_was_not_recorded_of_its_layers_is_known(folder: RunFolder) -> None:
    with RunReader(folder.database) as reader:
        first, _, last = reader.info().layers
        assert all(reader.info().can(kind) for kind in KINDS)
    assert (first.path, first.role, first.bounds) == ("1", "hidden", (0, None))
    assert (first.silent_at, last.silent_at, last.saturated) == (0, None, None)
    assert (last.path, last.role, last.bounds) == ("3", "output", (None, None))


def test_a_writer_brings_it_to_the_present_format(folder: RunFolder, tmp_path: Path) -> None:
    shutil.copytree(folder.path, tmp_path / "old")
    RunWriter(folder.database, resume=True).close()
    assert version(folder) == FORMAT
    assert_same(folder, RunFolder(tmp_path / "old"))
    with closing(sqlite3.connect(folder.database)) as db:
        assert db.execute("PRAGMA foreign_key_check").fetchall() == []
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_migrated_run_is_rewound_and_written_to(tmp_path: Path) -> None:
    shutil.copytree(DATA / "format_4", tmp_path / "run")
    folder = RunFolder(tmp_path / "run")
    with closing(RunWriter(folder.database, resume=True)) as writer:
        writer.rewind(5)
        writer.write(frame(5, [0.5]))
    with RunReader(folder.database) as reader:
        assert reader.info().resumed == 2
        assert [block.first_step for block in reader.blocks()] == [0, 1, 2, 3, 4, 5]
        assert reader.blocks()[-1].loss.tolist() == [0.5]
        parameters = SavedParameters(folder).read(reader, 1, 5)
    assert parameters is not None
    assert parameters.arrays["weight"].shape == (8, 8)


def test_a_run_of_a_later_format_is_not_written_to(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    RunWriter(path).close()
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA user_version = {FORMAT + 1}")
    with pytest.raises(RunError, match=f"format {FORMAT + 1}; this tuilab writes {FORMAT}"):
        RunWriter(path, resume=True)
