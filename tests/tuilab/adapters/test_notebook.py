"""A run in a notebook: a picture at the end of a cell, and cells that are run again."""

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from engine.states import RunState
from tests.tuilab.adapters.support import recorded

pytest.importorskip("torch", reason="PyTorch is not installed")
pytest.importorskip("IPython", reason="IPython is not installed")

from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

CELL = """
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
run = tuilab.watch(model, optimizer)
for _ in range(5):
    optimizer.zero_grad()
    model(torch.ones(2, 4)).sum().backward()
    optimizer.step()
"""


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)
    InteractiveShell.clear_instance()
    shell = InteractiveShell.instance()
    shell.display_formatter.active_types = ["text/plain", "image/svg+xml"]
    shell.run_cell("import torch, tuilab", silent=True)
    yield shell
    if "run" in shell.user_ns:
        shell.user_ns["run"].close()
    InteractiveShell.clear_instance()


def run_cell(shell: Any, cell: str) -> Any:
    with capture_output() as captured:
        result = shell.run_cell(cell)
    result.raise_error()
    return result, captured


def test_a_run_at_the_end_of_a_cell_is_a_picture_of_its_screen(shell: Any) -> None:
    result, _ = run_cell(shell, CELL + "run")
    bundle, _ = shell.display_formatter.format(result.result)
    svg = bundle["image/svg+xml"]
    assert svg.startswith("<svg")
    assert "step" in svg
    assert "live view" in bundle["text/plain"]


def test_show_redraws_the_same_picture(shell: Any) -> None:
    run_cell(shell, CELL)
    _, first = run_cell(shell, "run.show()")
    _, second = run_cell(shell, "optimizer.step(); run.show()")
    (shown,), (updated,) = first.outputs, second.outputs
    assert shown.data["image/svg+xml"] != updated.data["image/svg+xml"]
    assert not shown.update
    assert updated.update


def test_a_cell_that_is_run_again_ends_the_old_run_and_begins_a_new_one(shell: Any) -> None:
    folders = []
    for _ in range(3):
        run_cell(shell, CELL)
        folders.append(shell.user_ns["run"].folder)
    assert len({*folders}) == 3
    states = [recorded(folder).info.state for folder in folders]
    assert states == [RunState.FINISHED, RunState.FINISHED, RunState.RUNNING]
    assert [recorded(folder).info.step for folder in folders[:2]] == [5, 5]


def test_the_live_view_is_named_where_the_program_runs(
    shell: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, captured = run_cell(shell, CELL)
    assert "tuilab attach" in captured.stderr
    monkeypatch.setattr(shell, "kernel", object(), raising=False)
    _, captured = run_cell(shell, CELL)
    assert "tuilab serve attach" in captured.stderr


def test_what_cannot_be_drawn_disturbs_nobody(shell: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    result, _ = run_cell(shell, CELL + "run")

    def broken(*_: object, **__: object) -> str:
        raise OSError("no room")

    monkeypatch.setattr("tuilab.notebook.picture", broken)
    with capture_output() as captured:
        bundle, _ = shell.display_formatter.format(result.result)
    assert "image/svg+xml" not in bundle
    assert "no picture: no room" in captured.stderr


def test_importing_tuilab_loads_no_framework() -> None:
    import subprocess

    loaded = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, tuilab; tuilab.watch; print(*sys.modules)",
        ],
        env=dict(os.environ),
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    frameworks = {"torch", "keras", "lightning", "transformers", "accelerate", "IPython", "textual"}
    assert not frameworks & {*loaded}
