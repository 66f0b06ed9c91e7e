"""Run folders: made, found again, and known to be alive or not."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from engine.states import RunState
from tests.tuilab.support import describe, environment, frame
from tuilab.errors import RunError
from tuilab.record import RunInfo, RunReader, RunWriter
from tuilab.record.run_folder import (
    RunFolder,
    create,
    default_path,
    find,
    find_all,
    find_group,
    free_path,
    hold_lock,
    label,
    slug,
)


def make(path: Path, when: float = 0.0) -> RunFolder:
    """A run folder as a finished run leaves it."""
    folder = create(path)
    folder.scenario.write_text("")
    RunWriter(folder.database).close()
    os.utime(folder.scenario, (when, when))
    return folder


def group(root: Path, *variants: str) -> list[RunFolder]:
    """The run folders of a comparison at `root`, as finished runs leave them."""
    made = []
    for when, name in enumerate(variants):
        made.append(make(root / name, when))
        made[-1].database.unlink()
        writer = RunWriter(made[-1].database)
        describe(writer, variant=name)
        writer.close()
    return made


class TestComparisons:
    def test_its_runs_are_found_each_and_together(self, tmp_path: Path) -> None:
        runs = group(tmp_path / "2030-rates", "low", "high")
        alone = make(tmp_path / "2031-he", 9)
        assert find_all(tmp_path) == [*runs, alone]
        assert [label(run, tmp_path) for run in find_all(tmp_path)] == [
            "2030-rates/low",
            "2030-rates/high",
            "2031-he",
        ]
        assert find("high", tmp_path) == find("2030-rates/high", tmp_path) == runs[1]
        assert find_group("2030-rates", tmp_path) == runs
        assert find_group(str(tmp_path / "2030-rates")) == runs
        assert find_group("2031", tmp_path) == [alone]
        assert find_group("low", tmp_path) == runs[:1]
        with pytest.raises(RunError, match="names 2 runs: 2030-rates/low, 2030-rates/high"):
            find("2030", tmp_path)

    def test_where_one_run_is_wanted_those_of_a_comparison_are_named(self, tmp_path: Path) -> None:
        group(tmp_path / "rates", "low", "high")
        with pytest.raises(RunError, match=r"several runs: .*/high, .*/low; name one of them"):
            find(str(tmp_path / "rates"), tmp_path / "elsewhere")

    def test_a_folder_of_other_runs_is_no_comparison(self, tmp_path: Path) -> None:
        make(tmp_path / "runs" / "a")
        make(tmp_path / "runs" / "b")
        with pytest.raises(RunError, match="no run"):
            find_group(str(tmp_path / "runs"), tmp_path / "elsewhere")


class TestCreate:
    def test_the_folder_and_those_above_are_made(self, tmp_path: Path) -> None:
        folder = create(tmp_path / "a" / "b" / "run")
        assert folder.path.is_dir()
        assert list(folder.path.iterdir()) == []

    def test_an_empty_folder_and_one_with_other_files_are_used(self, tmp_path: Path) -> None:
        (tmp_path / "notes.txt").touch()
        assert create(tmp_path).path == tmp_path

    @pytest.mark.parametrize("name", ["run.db", "scenario.toml"])
    def test_a_folder_that_holds_a_run_is_refused(self, tmp_path: Path, name: str) -> None:
        (tmp_path / name).touch()
        with pytest.raises(RunError, match=r"already holds a run; choose another .*--out"):
            create(tmp_path)

    def test_a_path_that_is_a_file_or_below_one_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        for path in (tmp_path / "file", tmp_path / "file" / "run"):
            with pytest.raises(RunError, match=r"cannot write the run folder .*--out"):
                create(path)


class TestNames:
    def test_a_default_name_has_the_time_and_the_scenario(self, tmp_path: Path) -> None:
        path = default_path("dead relu/7", tmp_path)
        assert path.parent == tmp_path
        assert path.name.endswith("-dead-relu-7")
        time.strptime(path.name[:15], "%Y%m%d-%H%M%S")

    def test_a_free_name_counts_up(self, tmp_path: Path) -> None:
        made = []
        for _ in range(3):
            path = free_path(tmp_path / "run")
            path.mkdir()
            made.append(path.name)
        assert made == ["run", "run-2", "run-3"]
        assert free_path(tmp_path / "run-2").name == "run-4"

    @pytest.mark.parametrize(
        ("text", "name"), [("a/b c", "a-b-c"), ("ä", "run"), ("..", "run"), ("x_1.5", "x_1.5")]
    )
    def test_a_slug_is_a_plain_file_name(self, text: str, name: str) -> None:
        assert slug(text) == name


class TestFind:
    def test_runs_are_listed_from_the_oldest(self, tmp_path: Path) -> None:
        make(tmp_path / "b", when=10)
        make(tmp_path / "c", when=5)
        make(tmp_path / "a", when=20)
        (tmp_path / "not-a-run").mkdir()
        assert [run.name for run in find_all(tmp_path)] == ["c", "b", "a"]
        assert find(None, tmp_path).name == "a"

    def test_no_folder_has_no_runs(self, tmp_path: Path) -> None:
        assert find_all(tmp_path / "missing") == []
        with pytest.raises(RunError, match="no runs under"):
            find(None, tmp_path / "missing")

    def test_a_run_is_found_by_path_name_and_part_of_it(self, tmp_path: Path) -> None:
        wanted = make(tmp_path / "20260101-120000-xavier")
        make(tmp_path / "20260101-130000-he")
        for name in (str(wanted.path), wanted.name, "xavier", "-12"):
            assert find(name, tmp_path).path == wanted.path

    def test_a_whole_name_wins_over_a_part(self, tmp_path: Path) -> None:
        make(tmp_path / "run")
        make(tmp_path / "run-2")
        assert find("run", tmp_path).name == "run"

    def test_an_ambiguous_part_names_the_runs(self, tmp_path: Path) -> None:
        make(tmp_path / "a-he")
        make(tmp_path / "b-he")
        with pytest.raises(RunError, match=r"'he' names 2 runs: a-he, b-he; give more"):
            find("he", tmp_path)

    def test_an_unknown_name_is_said_with_the_nearest(self, tmp_path: Path) -> None:
        make(tmp_path / "dead_relu")
        with pytest.raises(RunError, match=r"no run 'ded_relu' .*did you mean 'dead_relu'"):
            find("ded_relu", tmp_path)


class TestAlive:
    def test_a_run_is_alive_while_its_lock_is_held(self, tmp_path: Path) -> None:
        folder = RunFolder(tmp_path)
        assert not folder.is_alive()
        lock = hold_lock(folder)
        assert folder.is_alive()
        assert folder.is_alive()  # asking changes nothing
        lock.close()
        assert not folder.is_alive()

    def test_a_second_worker_is_refused(self, tmp_path: Path) -> None:
        folder = RunFolder(tmp_path)
        lock = hold_lock(folder)
        with pytest.raises(RunError, match="is being trained by another process"):
            hold_lock(folder)
        lock.close()

    def test_a_worker_can_start_while_someone_asks_whether_it_lives(self, tmp_path: Path) -> None:
        folder = RunFolder(tmp_path)
        folder.lock.touch()
        done = threading.Event()

        def ask() -> None:
            while not done.is_set():
                folder.is_alive()

        thread = threading.Thread(target=ask)
        thread.start()
        try:
            for _ in range(200):
                hold_lock(folder).close()
        finally:
            done.set()
            thread.join()

    def test_a_lock_dies_with_its_process(self, tmp_path: Path) -> None:
        folder = RunFolder(tmp_path)
        code = (
            "import sys; from pathlib import Path\n"
            "from tuilab.record.run_folder import RunFolder, hold_lock\n"
            "lock = hold_lock(RunFolder(Path(sys.argv[1]))); print('held', flush=True); input()"
        )
        with subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment(),
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"held\n"
            assert folder.is_alive()
            process.kill()
            process.wait()
            assert not folder.is_alive()

    @pytest.mark.parametrize(
        ("recorded", "held", "state"),
        [
            ("running", True, "running"),
            ("running", False, "killed"),
            ("starting", False, "killed"),
            ("finished", False, "finished"),
            ("failed", False, "failed"),
            ("finished", True, "finished"),
        ],
    )
    def test_a_run_without_worker_and_last_word_was_killed(
        self, tmp_path: Path, recorded: str, held: bool, state: str
    ) -> None:
        folder = RunFolder(tmp_path)
        lock = hold_lock(folder) if held else None
        assert folder.state(RunInfo(state=RunState(recorded))) == state
        if lock:
            lock.close()


def test_the_end_of_the_log_is_kept_short(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert folder.log_tail() == ""
    folder.log.write_bytes(b"\xff\n" + b"\n".join(b"%d" % n for n in range(100)))
    assert folder.log_tail(3) == "97\n98\n99"


def test_a_folder_name_with_every_odd_character_can_be_written_and_read(tmp_path: Path) -> None:
    folder = create(tmp_path / "a %20?#&'\"ü\n")
    writer = RunWriter(folder.database)
    writer.write(frame(0, [1.0]))
    writer.close()
    with RunReader(folder.database) as reader:
        assert reader.info().step == 1


def test_a_run_that_never_began_gives_its_folder_to_the_next(tmp_path: Path) -> None:
    folder = create(tmp_path / "run")
    folder.scenario.write_text("")
    writer = RunWriter(folder.database)
    describe(writer, state="failed", message="no CIFAR-10")
    writer.close()
    create(tmp_path / "run")
    assert not folder.database.exists()
    assert not folder.scenario.exists()


def test_a_run_that_failed_later_keeps_its_folder(tmp_path: Path) -> None:
    folder = create(tmp_path / "run")
    writer = RunWriter(folder.database)
    describe(writer, state="failed", step=7)
    writer.close()
    with pytest.raises(RunError, match="already holds a run"):
        create(tmp_path / "run")
