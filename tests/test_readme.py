"""The README is short, and installs and starts tuilab by the two commands that it begins with."""

import subprocess
import sys
from pathlib import Path

from tests.documentation import PAGES, blocks

README = PAGES["README.md"]
ROOT = Path(__file__).parents[1]


def test_it_is_short() -> None:
    assert len(README.splitlines()) <= 150


def test_it_begins_with_two_commands_that_do_everything() -> None:
    assert blocks("README.md", "sh")[:2] == [
        "python3 -m pip install -e . && tuilab run scenarios/xavier_relu.toml\n",
        "python3 -m pip install -e '.[test]' && pytest\n",
    ]


def test_its_line_is_in_an_example_that_a_test_runs() -> None:
    (line,) = blocks("README.md", "py")
    assert line.strip() in (ROOT / "docs" / "examples" / "mlp.py").read_text()


def test_the_engine_loads_neither_the_view_nor_a_gpu() -> None:
    code = "import sys, engine; print({'textual', 'cupy', 'sqlite3', 'msgspec'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
