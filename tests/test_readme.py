"""The README is short, and installs and starts tuilab by the two commands that it begins with."""

import subprocess
import sys

from tests.documentation import PAGES, blocks

README = PAGES["README.md"]


def test_it_is_short() -> None:
    assert len(README.splitlines()) <= 150


def test_it_begins_with_two_commands_that_do_everything() -> None:
    assert blocks("README.md", "sh")[:2] == [
        "python3 -m pip install -e . && tuilab run scenarios/xavier_relu.toml\n",
        "python3 -m pip install -e '.[test]' && pytest\n",
    ]


def test_its_example_is_that_of_the_library_page() -> None:
    (example,) = blocks("README.md", "python")
    assert example == blocks("docs/library.md", "python")[0]


def test_the_engine_loads_neither_the_view_nor_a_gpu() -> None:
    code = "import sys, engine; print({'textual', 'cupy', 'sqlite3', 'msgspec'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
