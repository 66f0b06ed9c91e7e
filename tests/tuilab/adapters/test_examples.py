"""The examples of the documentation run as they are, for a few steps, and are recorded."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from engine.states import RunState
from tests.tuilab.adapters.support import recorded

EXAMPLES = Path(__file__).parents[3] / "docs" / "examples"
NEEDS = {
    "accelerate_mlp": ("torch", "accelerate"),
    "char_gpt": ("torch",),
    "engine_trainer": (),
    "gan": ("torch",),
    "keras_mlp": ("torch", "keras"),
    "lightning_mlp": ("torch", "lightning"),
    "mlp": ("torch",),
    "transformers_gpt2": ("torch", "transformers", "accelerate"),
}
"""The packages that an example needs, by its name."""
EPOCHS = {"keras_mlp": 52}
"""The steps of an epoch, where an example counts epochs."""
STEPS = 4
LAYERS = {
    "accelerate_mlp": 3,
    "char_gpt": 12 * 7 + 4,
    "engine_trainer": 3,
    "gan": 4,
    "keras_mlp": 3,
    "lightning_mlp": 3,
    "mlp": 3,
}


PAGES = sorted((EXAMPLES.parent / "watch").glob("*.md"))
INVENTED = {"notebook", "engine"}
"""Pages with lines that no example has."""


@pytest.mark.parametrize("page", [p for p in PAGES if p.stem not in INVENTED], ids=lambda p: p.stem)
def test_the_lines_of_a_page_are_those_of_an_example(page: Path) -> None:
    lines = {
        line.strip() for path in EXAMPLES.glob("*.py") for line in path.read_text().splitlines()
    }
    shown = re.findall(r"^```py\n(.*?)^```$", page.read_text(), re.M | re.S)
    assert shown
    assert {line.strip() for text in shown for line in text.splitlines()} - {""} <= lines


def test_every_example_is_tested() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == {*NEEDS}


@pytest.mark.parametrize("name", NEEDS)
def test_an_example_runs_and_is_recorded(name: str, tmp_path: Path) -> None:
    for package in NEEDS[name]:
        if find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    environment = dict(os.environ)
    environment["PYTHONPATH"] = str(EXAMPLES.parents[1])
    environment.pop("KERAS_BACKEND", None)
    steps = 1 if name in EPOCHS else STEPS
    done = subprocess.run(
        [sys.executable, "-W", "ignore", EXAMPLES / f"{name}.py", str(steps)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "tuilab: recording to" in done.stderr
    (folder,) = (tmp_path / "runs").iterdir()
    run = recorded(folder)
    assert run.info.state is RunState.FINISHED
    assert run.info.step == EPOCHS.get(name, STEPS)
    assert len(run.info.layers) == LAYERS.get(name, len(run.info.layers))
    assert run.snapshots
    assert run.series["loss"].size == run.info.step
