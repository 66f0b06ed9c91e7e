"""The commands beside the runs: data sets, what is here, and gradients."""

import json
import sys
from pathlib import Path

import click

from tuilab.cli_options import PATH, data_dir, say, sets, variant
from tuilab.terminal import is_terminal


@click.group()
def data() -> None:
    """Get the data sets that are not part of the package."""


@data.command()
@click.argument("name")
@click.option(
    "--to",
    "folder",
    type=PATH,
    envvar="TUILAB_DATA",
    help="Folder that holds data sets [env: TUILAB_DATA; default: your own, which is printed].",
)
def fetch(name: str, folder: Path | None) -> int:
    """Download the data set NAME: cifar10, mnist or fashion_mnist.

    What is there and complete is kept; every file is checked by its SHA-256.
    """
    from tuilab import fetch
    from tuilab.data_folder import data_folder

    folder = folder or data_folder()
    bar = (lambda: fetch.Bar(sys.stderr)) if is_terminal(sys.stderr) else None
    fetch.fetch(name, folder, lambda line: say(line, err=True), bar)
    say(f"{name} is in {folder}")
    return 0


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@data_dir
def info(as_json: bool, data_dir: str) -> int:
    """Tell what is here, and why something is not."""
    from tuilab.info import collect, text

    found = collect(data_dir)
    say(json.dumps(found) if as_json else text(found))
    return 0


@click.command()
@click.argument("scenario", type=PATH)
@sets
@variant
@click.option(
    "--elements",
    type=click.IntRange(min=1),
    default=20,
    show_default=True,
    help="Elements of each array of parameters to look at.",
)
@data_dir
def gradcheck(
    scenario: Path, sets: tuple[str, ...], variant: str, elements: int, data_dir: str
) -> int:
    """Hold the gradients of a SCENARIO against centred differences.

    In float64, on 20 training examples, at the first weights. Exits with 1 where one is wrong.
    """
    from tuilab.data_folder import data_folder
    from tuilab.gradcheck import WRONG, gradcheck, table

    checks = gradcheck(scenario, sets, variant, data_folder(data_dir), elements)
    say(table(checks))
    return int(any(not check.error <= WRONG for check in checks))


TOOLS = (data, info, gradcheck)
