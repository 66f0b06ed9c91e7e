"""Runs in the formats of other tools, read back as those tools would."""

import csv
import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.statistics.frames import FIELDS, TENSORS
from tests.tuilab.conftest import Cli, prepare
from tests.tuilab.support import small, write_scenario
from tuilab.export import FORMATS, export
from tuilab.record import RunReader
from tuilab.record.run_folder import RunFolder


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished run of twelve steps."""
    folder = tmp_path_factory.mktemp("finished")
    write_scenario(folder / "s.toml", small(data={"validation": 0.2}))
    prepare(folder, ("run", "s.toml", "--headless", "--json", "--out", "run"))
    return folder


@pytest.fixture
def run(prepared: Path, lab: Path) -> RunFolder:
    """That run, of which each test has a copy."""
    shutil.copytree(prepared, lab, dirs_exist_ok=True)
    return RunFolder(lab / "run")


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_csv_has_every_step_and_every_field(cli: Cli, run: RunFolder) -> None:
    code, out, _ = cli("export", "run", "--to", "csv")
    assert code == 0
    paths = {Path(line).stem: Path(line) for line in out.splitlines()}
    assert set(paths) == {"steps", "validation", "tensors", "events"}
    with RunReader(run.database) as reader:
        loss = np.concatenate([block.loss for block in reader.blocks()])
        snapshot, shown = reader.snapshot(0), len(reader.snapshot_steps())
    steps = table(paths["steps"])
    assert [float(row["loss"]) for row in steps] == loss.tolist()
    assert [int(row["step"]) for row in steps] == list(range(12))
    tensors = table(paths["tensors"])
    assert len(tensors) == shown * 3 * len(TENSORS)
    assert snapshot is not None
    row = next(r for r in tensors if (r["layer"], r["tensor"], r["step"]) == ("2", "weight", "0"))
    expected = snapshot.statistics[1, TENSORS.index("weight")]
    np.testing.assert_array_equal([float(row[name]) for name in FIELDS], expected)


def test_json_is_one_document_without_a_number_that_json_cannot_hold(
    cli: Cli, run: RunFolder
) -> None:
    assert cli("export", "run", "--to", "json", "--out", "out/all.json")[0] == 0

    def refuse(name: str) -> Any:
        raise AssertionError(name)

    document = json.loads(Path("out/all.json").read_text(), parse_constant=refuse)
    assert len(document["steps"]["loss"]) == len(document["steps"]["learning_rate"]) == 12
    assert document["run"]["scenario"] == "s"
    assert document["snapshots"][0]["layers"][0]["activation"]["std"] > 0
    assert [v["step"] for v in document["validation"]] == [0, 4, 8, 12]


def test_tensorboard_reads_its_event_files(cli: Cli, run: RunFolder) -> None:
    pytest.importorskip("tensorboardX", reason="tensorboardX is not installed")
    reader = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator",
        reason="TensorBoard is not installed",
    )
    assert cli("export", "run", "--to", "tensorboard", "--out", "events")[0] == 0
    read = reader.EventAccumulator("events", {reader.SCALARS: 0, reader.HISTOGRAMS: 0})
    read.Reload()
    with RunReader(run.database) as ours:
        loss = np.concatenate([block.loss for block in ours.blocks()])
        snapshot = ours.snapshot(0)
    assert snapshot is not None
    scalars = read.Scalars("loss/train")
    assert [event.step for event in scalars] == list(range(12))
    np.testing.assert_allclose([event.value for event in scalars], loss, rtol=1e-6)
    histogram = read.Histograms("layer01_relu/weight")[0]
    std = float(snapshot.field("weight", "std")[0])
    value = histogram.histogram_value
    spread = math.sqrt(value.sum_squares / value.num - (value.sum / value.num) ** 2)
    assert histogram.step == 0
    assert spread == pytest.approx(std, rel=1e-6)
    assert sum(value.bucket) == value.num == 64


def test_svg_is_the_screen(cli: Cli, run: RunFolder) -> None:
    code, out, _ = cli("export", "run", "--to", "svg")
    assert code == 0
    picture = Path(out.strip()).read_text(encoding="utf-8")
    assert picture.startswith("<svg")
    for word in ("Layers", "Loss", "finished"):
        assert word in picture


def test_png_is_the_screen_too(cli: Cli, run: RunFolder, lab: Path) -> None:
    code, out, err = cli("export", "run", "--to", "png", "--panel", "layers", "--size", "100x30")
    assert (code, err) == (0, "")
    assert Path(out.strip()) == Path("run/export/png.png")
    assert Path(out.strip()).read_bytes().startswith(b"\x89PNG")
    code, out, _ = cli(
        "export", "run", "--to", "svg", "--at", "0", "--theme", "light", "--out", "a.svg"
    )
    assert (code, out) == (0, "a.svg\n")
    assert "#fbfbfa" in (lab / "a.svg").read_text(encoding="utf-8")


def test_what_is_wanted_of_a_picture_is_checked(cli: Cli, run: RunFolder) -> None:
    for arguments, said in (
        (("--to", "csv", "--panel", "layers"), "--panel: goes with pictures, not with csv"),
        (("--to", "svg", "--panel", "lairs"), "did you mean 'layers'?"),
        (("--to", "svg", "--size", "3x4"), "'3x4' is not a size between 40x10 and 500x500"),
        (("--to", "svg", "--theme", "drak"), "did you mean 'dark'?"),
    ):
        code, _, err = cli("export", "run", *arguments)
        assert code == 2
        assert said in err


def test_what_cannot_be_exported_says_why(cli: Cli, run: RunFolder, lab: Path) -> None:
    code, _, err = cli("export", "run", "--to", "cvs")
    assert code == 2
    assert "unknown format 'cvs'; did you mean 'csv'?" in err
    (lab / "file").write_text("")
    code, _, err = cli("export", "run", "--to", "csv", "--out", "file")
    assert code == 2
    assert "cannot write file" in err
    code, _, err = cli("export", "none", "--to", "csv")
    assert code == 2
    assert "no run 'none'" in err


def test_every_format_is_there(run: RunFolder) -> None:
    assert set(FORMATS) == {"csv", "json", "tensorboard", "svg", "png"}
    assert export(run, "csv")[0].parent == run.path / "export" / "csv"
