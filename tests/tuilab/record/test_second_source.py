"""A training loop that is none of the engine's, recorded through the public classes.

A regression in plain NumPy: no accuracy, no scenario, its own names of series and tensors.
"""

import csv
import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from engine.states import EventKind, RunState
from engine.statistics.frames import Frame, LayerInfo, TrainingStatus, Validation
from engine.statistics.measured_snapshot import measure_snapshot
from tests.tuilab.support import tuilab
from tuilab.claims.metrics import Record, parse_metric
from tuilab.claims.summary import summarize
from tuilab.diagnosis import Diagnosis, Monitor, RunFacts
from tuilab.diagnosis.finding import active
from tuilab.export import export
from tuilab.record import Process, RunReader, RunWriter, ScenarioInfo, Source, Status
from tuilab.record.run_folder import RunFolder, find, find_all
from tuilab.viewer.model.store import RunStore

LAYERS = (
    LayerInfo(1, "tanh", "dense", 8, "tanh", path="net.0", parent="net", bounds=(-1.0, 1.0),
              saturated=(-0.97, 0.97)),
    LayerInfo(2, "output", "dense", 1, "identity", path="net.2", parent="net", role="output"),
)  # fmt: skip
STEPS = 30


def train(rate: float) -> Iterator[Frame]:
    """Fit a sine by a network of one hidden layer, a frame a step."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-3, 3, (64, 1))
    w1, w2 = rng.normal(size=(1, 8)), rng.normal(size=(8, 1)) / 3
    for step in range(STEPS):
        h = np.tanh(x @ w1)
        error = h @ w2 - np.sin(x)
        g2 = h.T @ error / len(x)
        g1 = x.T @ (error @ w2.T * (1 - h**2)) / len(x)
        hidden = {"activation": h, "weight": w1, "weight_grad": g1, "update": -rate * g1}
        output = {"activation": h @ w2, "weight": w2, "weight_grad": g2, "momentum": 0 * g2}
        w1, w2 = w1 - rate * g1, w2 - rate * g2
        norm = np.sqrt((g1**2).sum() + (g2**2).sum())
        yield Frame(
            first_step=step,
            series={"loss": np.array([(error**2).mean()]), "gradient norm": np.array([norm])},
            snapshot=measure_snapshot(step, step / 10, LAYERS, [hidden, output]),
            validations=[Validation.of(step, step / 10, loss=1.0, r2=0.5)] if not step % 10 else (),
        )


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    made = RunFolder(tmp_path / "runs" / "sine")
    made.path.mkdir(parents=True)
    return made


def record(
    folder: RunFolder,
    rate: float = 0.05,
    capabilities: tuple[str, ...] = (),
    state: RunState = RunState.FINISHED,
) -> None:
    """Record a run that takes some commands, whole unless its `state` is another."""
    with closing(RunWriter(folder.database)) as writer:
        writer.describe(
            Source(source="numpy", capabilities=capabilities),
            ScenarioInfo(title="A sine"),
            TrainingStatus(layers=LAYERS),
            Process(socket="control.sock" if capabilities else ""),
            Status(state=RunState.RUNNING),
        )
        for frame in train(rate):
            writer.write(frame)
        writer.describe(Status(state=state))


def test_everything_comes_back(folder: RunFolder) -> None:
    record(folder)
    frames = [*train(0.05)]
    with RunReader(folder.database) as reader:
        info, blocks = reader.info(), reader.blocks()
        assert info.layers == LAYERS
        assert (info.source, info.title, info.state) == ("numpy", "A sine", RunState.FINISHED)
        assert not any(info.can(kind) for kind in ("set", "pause", "stop", "checkpoint"))
        assert [*blocks[0].series] == ["gradient norm", "loss"]
        for block, frame in zip(blocks, frames, strict=True):
            np.testing.assert_array_equal(block.loss, frame.loss)
            assert np.isnan(block.accuracy).all()
        snapshot, expected = reader.snapshot(7), frames[7].snapshot
        assert reader.validations()[1].values == {"loss": 1.0, "r2": 0.5}
        assert len(reader.history(1, "weight").steps) == STEPS
        at, units = reader.units(1, 7) or pytest.fail("no units")
        assert (at, len(units.mean)) == (7, 8)
        assert reader.layer_traces().gradient_norm.shape == (2, STEPS)
    assert snapshot is not None
    assert expected is not None
    assert snapshot.tensors == ("activation", "weight", "weight_grad", "update", "momentum")
    for name in ("statistics", "histograms", "ranges", "update_ratio", "asymmetry"):
        np.testing.assert_array_equal(getattr(snapshot, name), getattr(expected, name), name)
    assert np.isnan(snapshot.field("momentum", "std")[0])  # which the first layer does not have
    assert np.isnan(snapshot.field("pre_activation", "std")).all()


def test_it_is_attached_to_while_it_trains(folder: RunFolder) -> None:
    with closing(RunWriter(folder.database)) as writer:
        writer.describe(Status(state=RunState.RUNNING), TrainingStatus(layers=LAYERS))
        store = RunStore(folder)
        for frame in train(0.05):
            writer.write(frame)
            changes = store.poll()
            assert changes.series
            assert changes.snapshot
            assert store.step == frame.next_step
        assert store.series.names == ("gradient norm", "loss")
        assert len(store.series.values("gradient norm")) == STEPS
        assert np.isnan(store.series.values("accuracy")).all()
        assert store.validations[-1].values == {"loss": 1.0, "r2": 0.5}
        assert store.snapshot is not None
        assert store.snapshot.tensors[-1] == "momentum"
        store.close()


def test_it_is_diagnosed(folder: RunFolder) -> None:
    facts = RunFacts(layers=LAYERS, total_steps=STEPS, steps_per_epoch=10)
    monitor = Monitor(Diagnosis(), facts)
    events = [event for frame in train(1e-7) for event in monitor.see(frame)]
    assert {event.kind for event in events} <= {EventKind.FINDING, EventKind.CLEARED}
    assert "low_learning_rate" in {finding.rule for finding in active(events)}


def test_it_is_judged_and_summarised_without_what_it_does_not_have(folder: RunFolder) -> None:
    record(folder)
    with RunReader(folder.database) as reader:
        summary, _ = summarize(folder, reader, ())
        values = Record(reader).series(parse_metric("accuracy.train"))
        assert values.at("end") == []
    assert summary.status == "finished"
    assert summary.accuracy == {"train": None, "validation": None}
    assert summary.loss["final"] < summary.loss["initial"]


def test_it_is_exported(folder: RunFolder) -> None:
    record(folder)
    (document,) = export(folder, "json")
    steps = json.loads(document.read_text())["steps"]
    assert steps.keys() == {"loss", "data_loss", "gradient norm"}
    tables = {path.stem: path for path in export(folder, "csv")}
    with tables["validation"].open() as file:
        assert next(csv.reader(file)) == ["step", "epoch", "loss", "r2"]
    with tables["tensors"].open() as file:
        assert "momentum" in {row["tensor"] for row in csv.DictReader(file)}


def test_it_is_found_listed_and_shown_without_a_scenario(folder: RunFolder) -> None:
    record(folder)
    root = folder.path.parent
    assert [run.path for run in find_all(root)] == [folder.path]
    assert find(None, root).path == folder.path
    listed = tuilab("list", cwd=root.parent)
    assert "sine" in listed.stdout
    assert "finished" in listed.stdout
    shown = tuilab("show", "sine", cwd=root.parent)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "finished" in shown.stdout


def test_layers_are_outputs_by_their_role(folder: RunFolder) -> None:
    layers = [
        LayerInfo(k + 1, "", "dense", 4, "tanh", path=str(k), role="hidden" if k < 3 else "output")
        for k in range(5)
    ]
    signal = np.random.default_rng(0).normal(size=(32, 4))
    arrays = [{"activation": signal * std} for std in (4.0, 2.0, 1.0, 9.0, 99.0)]
    with closing(RunWriter(folder.database)) as writer:
        writer.describe(TrainingStatus(layers=layers))
        writer.write(Frame(0, snapshot=measure_snapshot(0, 0.0, layers, arrays)))
    with RunReader(folder.database) as reader:
        snapshot = reader.snapshot()
        hidden = Record(reader).series(parse_metric("layers[*].activation.std")).at("end")[0]
        assert snapshot is not None
        assert (snapshot.hidden, snapshot.outputs) == (3, 2)
        assert snapshot.gain_forward == pytest.approx(0.5)
        assert hidden == pytest.approx([std * signal.std() for std in (4, 2, 1)])
