"""Two ranks that train together: one record, the right numbers, and nobody who waits for ever."""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.states import EventKind, RunState
from engine.statistics.frames import FIELDS, Snapshot
from tests.tuilab.adapters.torch import rank_programs
from tests.tuilab.adapters.torch.rank_programs import TOGETHER, examples, momentum, network, train
from tuilab.adapters.torch.ranks import Order, rebinned
from tuilab.record import RunReader

LIMIT = 300  # seconds, on a busy machine


def launched(folder: Path, *names: str) -> subprocess.CompletedProcess[str]:
    """Run programs by two ranks."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command += ["-m", rank_programs.__name__, str(folder), *names]
    return subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where all programs of TOGETHER have left what they found."""
    path = tmp_path_factory.mktemp("ranks")
    ended = launched(path, *(program.__name__ for program in TOGETHER))
    assert ended.returncode == 0, ended.stderr
    (path / "stderr").write_text(ended.stderr, encoding="utf-8")
    return path


def found(folder: Path, name: str) -> list[dict[str, Any]]:
    return [torch.load(folder / name / f"rank-{rank}.pt") for rank in (0, 1)]


def recorded(folder: Path, name: str) -> RunReader:
    return RunReader(folder / name / "run" / "run.db")


def messages(reader: RunReader) -> list[str]:
    return [str(event.detail["message"]) for _, event in reader.events()
            if event.kind == EventKind.RANKS]  # fmt: skip


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> list[Snapshot]:
    """Return the snapshots of one process that trains with the examples of both."""
    path = tmp_path_factory.mktemp("alone") / "run"
    model = network()
    optimizer = momentum(model)
    run = rank_programs.watch(model, optimizer, path)
    train(model, optimizer, *examples())
    run.close()
    with RunReader(path / "run.db") as reader:
        return [_snapshot(reader, step) for step in range(4)]


def _snapshot(reader: RunReader, step: int) -> Snapshot:
    snapshot = reader.snapshot(step)
    assert snapshot is not None and snapshot.step == step
    return snapshot


@pytest.mark.parametrize("name", ["ddp", "sharded"])
def test_the_record_is_that_of_one_process(name: str, folder: Path, alone: list[Snapshot]) -> None:
    with recorded(folder, name) as reader:
        info, snapshots = reader.info(), [_snapshot(reader, step) for step in range(4)]
    assert info.state == RunState.FINISHED
    assert [layer.path for layer in info.layers] == ["0", "2", "4"]
    assert [layer.kind for layer in info.layers] == ["Linear"] * 3
    assert all(layer.first is not None for layer in info.layers)
    for ours, theirs in zip(snapshots, alone, strict=True):
        assert ours.tensors == theirs.tensors
        for at, tensor in enumerate(ours.tensors):
            spread = theirs.statistics[:, at, FIELDS.index("std")].max()
            np.testing.assert_allclose(
                ours.statistics[:, at], theirs.statistics[:, at],
                rtol=1e-4, atol=1e-5 * spread, err_msg=tensor,
            )  # fmt: skip
        np.testing.assert_allclose(ours.update_ratio, theirs.update_ratio, rtol=1e-4)
        np.testing.assert_array_equal(ours.histograms.sum(axis=-1), theirs.histograms.sum(axis=-1))
        same = (ours.ranges == theirs.ranges).all(axis=-1)
        differences = np.abs(ours.histograms - theirs.histograms).sum(axis=-1)
        assert same.mean() > 0.7 and (differences[same] <= 4).all()
        if name == "ddp":  # units that are divided between ranks are not compared
            np.testing.assert_allclose(ours.asymmetry, theirs.asymmetry, rtol=1e-5)


def test_divided_parameters_are_not_saved(folder: Path) -> None:
    with recorded(folder, "sharded") as reader:
        refused = [event for _, event in reader.events() if event.kind == EventKind.REFUSED]
    assert "is divided between ranks" in str(refused[0].detail)


def test_watching_changes_nothing(folder: Path) -> None:
    for rank in found(folder, "ddp"):
        (losses, parameters), (watched, others) = rank["plain"], rank["watched"]
        assert losses == watched
        assert all(torch.equal(a, b) for a, b in zip(parameters, others, strict=True))


def test_each_rank_has_its_lanes(folder: Path) -> None:
    losses = [rank["watched"][0] for rank in found(folder, "ddp")]
    with recorded(folder, "ddp") as reader:
        blocks = reader.blocks()
    for rank in (0, 1):
        lane = np.concatenate([block.values(f"loss@{rank}") for block in blocks])
        np.testing.assert_allclose(lane, losses[rank], rtol=1e-6)
        for name in ("step_time", "time_to_loss"):
            assert (np.concatenate([b.values(f"{name}@{rank}") for b in blocks]) > 0).all()
        nonfinite = np.concatenate([b.values(f"nonfinite@{rank}") for b in blocks])
        np.testing.assert_array_equal(nonfinite, 0)


def test_a_rank_that_differs_is_named(folder: Path) -> None:
    with recorded(folder, "unlike") as reader:
        said = messages(reader)
        snapshot = _snapshot(reader, 23)
    assert any("rank 1 takes" in message and "to compute its loss" in message for message in said)
    assert "the loss of rank 1 is not finite" in said
    assert any("activations of rank 1 are not finite" in message for message in said)
    assert (snapshot.field("activation", "nonfinite")[0]) == 9  # one example, of 9 units


def test_commands_reach_all_ranks_at_the_same_step(folder: Path) -> None:
    ours, theirs = found(folder, "commands")
    assert ours["stopped"] and theirs["stopped"] and ours["closed"] and theirs["closed"]
    assert len(ours["weights"]) == len(theirs["weights"]) < 40
    for a, b in zip(ours["weights"], theirs["weights"], strict=True):
        assert torch.equal(a, b)
    with recorded(folder, "commands") as reader:
        events = {event.kind: event for _, event in reader.events()}
        steps, info = reader.snapshot_steps(), reader.info()
    assert info.state == RunState.STOPPED
    frozen = events["freeze"].step
    assert torch.equal(ours["weights"][frozen], ours["weights"][-1])
    assert not torch.equal(ours["weights"][frozen - 1], ours["weights"][frozen])
    assert {"set", "pause", "resume", "arm", "stop"} <= events.keys()
    assert events["resume"].time - events["pause"].time > 0.5
    assert events["resume"].step == events["pause"].step + 1  # one more, to be seen
    armed = events["arm"].step
    assert {armed, armed + 1} <= {*steps}


def test_where_only_rank_0_is_watched_it_records_alone(folder: Path) -> None:
    with recorded(folder, "alone") as reader:
        assert reader.snapshot_steps() == [0, 1, 2, 3]
        assert reader.info().state == RunState.FINISHED
        assert "only rank 0 is watched" in messages(reader)[0]
    assert [rank["losses"] for rank in found(folder, "alone")] == [
        rank["plain"][0] for rank in found(folder, "ddp")
    ]


def test_where_rank_0_is_not_watched_nothing_is_recorded(folder: Path) -> None:
    assert not (folder / "others_alone" / "run").exists()
    assert all(rank["closed"] for rank in found(folder, "others_alone"))


def test_ranks_may_close_their_runs_at_different_steps(folder: Path) -> None:
    with recorded(folder, "closed") as reader:
        assert reader.snapshot_steps() == [0, 1, 2, 3, 4, 5]
        assert "rank 1 is not watched any more" in messages(reader)
    assert all(len(rank["losses"]) == 10 for rank in found(folder, "closed"))


def test_a_watcher_that_fails_in_one_rank_leaves_the_others(folder: Path) -> None:
    stderr = (folder / "stderr").read_text(encoding="utf-8")
    assert "rank 1 is no longer watched, because of RuntimeError: on purpose" in stderr
    with recorded(folder, "broken") as reader:
        assert "rank 1 is not watched any more" in messages(reader)
        assert reader.snapshot_steps() == [0, 1, 2, 3, 4]
        assert reader.info().state == RunState.FAILED
    assert all(len(rank["losses"]) == 9 for rank in found(folder, "broken"))


def test_ranks_with_uneven_numbers_of_steps_do_not_meet(folder: Path) -> None:
    assert [len(rank["losses"]) for rank in found(folder, "uneven")] == [6, 3]
    with recorded(folder, "uneven") as reader:
        assert reader.snapshot_steps() == [0, 1, 2, 3, 4, 5]
        assert "uneven" in messages(reader)[0]


def test_a_share_of_the_time_is_kept_by_the_number_of_steps(folder: Path) -> None:
    with recorded(folder, "by_time") as reader:
        steps = reader.snapshot_steps()
        blocks = reader.blocks()
    assert steps[0] == 0 and len(steps) < 100
    assert sum(block.steps for block in blocks) == 200
    lane = np.concatenate([block.values("loss@1") for block in blocks])
    assert np.isfinite(lane[: steps[-1] + 1]).all()


def test_a_rank_that_dies_leaves_a_readable_record(tmp_path: Path) -> None:
    begin = time.monotonic()
    ended = launched(tmp_path, "dies")
    assert ended.returncode and time.monotonic() - begin < LIMIT
    with recorded(tmp_path, "dies") as reader:
        assert {0, 1} <= {*reader.snapshot_steps()}
        assert reader.info().state in (RunState.FAILED, RunState.KILLED, RunState.RUNNING)


def test_histograms_merge_exactly_where_their_ranges_nest() -> None:
    values = np.random.default_rng(0).normal(size=1000)
    narrow, wide = np.array([-4.0, 4.0]), np.array([-8.0, 8.0])
    counts = [
        np.concatenate([[0], np.histogram(values, 64, tuple(edges))[0], [0]])
        for edges in (narrow, wide)
    ]
    np.testing.assert_array_equal(rebinned(counts[0], narrow, wide), counts[1])
    outside = counts[0].copy()
    outside[[0, -1]] = 3, 5
    merged = rebinned(outside, narrow, wide)
    assert (merged[0], merged[-1], merged.sum()) == (3, 5, outside.sum())


def test_an_order_is_what_it_was() -> None:
    order = Order(7, True, "paused", [{"kind": "set", "key": "learning_rate", "value": 0.1}], 12)
    assert Order.decoded(order.encoded()) == order
