"""The commands about this machine: info, and data fetch."""

import json
import sys
from pathlib import Path

import click

from tuilab.cli.options import PATH, as_json, data_dir
from tuilab.terminal import is_terminal, say


@click.command()
@as_json
@data_dir
def info(as_json: bool, data_dir: str) -> int:
    """Show versions, available back-ends and data sets."""
    from tuilab.reports.info import collect, text

    values = collect(data_dir)
    say(json.dumps(values) if as_json else text(values))
    return 0


@click.group()
def data() -> None:
    """Download data sets that are not part of the package."""


@data.command()
@click.argument("name")
@click.option(
    "--to",
    "folder",
    type=PATH,
    envvar="TUILAB_DATA",
    help="Folder for data sets [env: TUILAB_DATA; default: the user data folder].",
)
def fetch(name: str, folder: Path | None) -> int:
    """Download the data set NAME: cifar10, mnist or fashion_mnist.

    Files that are already complete are not downloaded again. All files are checked by SHA-256.
    """
    from tuilab.data import fetch
    from tuilab.data.folder import data_folder

    folder = folder or data_folder()
    bar = (lambda: fetch.Bar(sys.stderr)) if is_terminal(sys.stderr) else None
    fetch.fetch(name, folder, lambda line: say(line, err=True), bar)
    say(f"{name} is in {folder}")
    return 0
