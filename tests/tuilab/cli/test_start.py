"""The command line itself: quick to start, and help that can be read."""

import subprocess
import sys

import pytest

from tests.tuilab.conftest import Cli
from tuilab import __version__
from tuilab.cli import main as commands

NAMES = sorted(commands.tuilab.commands)


def test_the_command_line_starts_without_numpy_and_textual() -> None:
    code = (
        "import sys, tuilab.cli.main; print([m for m in ('numpy', 'textual') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_names_every_command_in_a_whole_sentence(cli: Cli, option: str) -> None:
    code, out, err = cli(option)
    assert (code, err) == (0, "")
    assert "..." not in out.partition("Commands:")[2]  # nothing is cut off
    for name in NAMES:
        assert f"\n  {name} " in out


@pytest.mark.parametrize("name", NAMES)
def test_every_command_and_each_of_its_options_says_what_it_is_for(cli: Cli, name: str) -> None:
    code, out, err = cli(name, "--help")
    assert (code, err) == (0, "")
    assert f"Usage: tuilab {name}" in out
    for parameter in commands.tuilab.commands[name].params:
        if parameter.param_type_name == "option":
            assert getattr(parameter, "help", None), parameter.name


def test_the_version_is_that_of_the_package(cli: Cli) -> None:
    assert cli("--version") == (0, f"tuilab, version {__version__}\n", "")


def test_an_unknown_command_and_option_get_the_nearest_name(cli: Cli) -> None:
    assert "Did you mean 'run'?" in cli("rnu")[2].replace(
        "Did you mean run?", "Did you mean 'run'?"
    )
    assert "--headless" in cli("run", "x.toml", "--hedless")[2]
