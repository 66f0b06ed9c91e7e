"""The commands beside the runs: data sets, what is here, gradients, and sanity checks."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import click

from tuilab.cli.options import (
    PATH,
    backend,
    data_dir,
    say,
    scenario,
    seed,
    sets,
    threads,
    variant,
    with_shortcuts,
)
from tuilab.terminal import has_colour, is_terminal, to_type


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
    from tuilab.data import fetch
    from tuilab.data.folder import data_folder

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
    from tuilab.reports.info import collect, text

    found = collect(data_dir)
    say(json.dumps(found) if as_json else text(found))
    return 0


@click.command()
@scenario
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
    from tuilab.babysit.gradcheck import WRONG, gradcheck, table
    from tuilab.data.folder import data_folder

    checks = gradcheck(scenario, sets, variant, data_folder(data_dir), elements)
    say(table(checks))
    return int(any(not check.error <= WRONG for check in checks))


@click.command()
@scenario
@seed
@backend
@threads
@sets
@variant
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@data_dir
def check(
    scenario: Path,
    seed: int | None,
    backend: str,
    threads: int,
    sets: tuple[str, ...],
    variant: str,
    as_json: bool,
    data_dir: str,
) -> int:
    """Check that a SCENARIO is wired up right, before a long run.

    The lecture's sequence: the first loss, regularisation, overfitting 20 examples, gradients,
    learning rates, and the gap to the validation split. Exits with 1 where one is wrong.
    """
    from threadpoolctl import threadpool_limits

    from tuilab.babysit import report
    from tuilab.babysit.sequence import prepare, run
    from tuilab.data.folder import data_folder
    from tuilab.process.launch import Options
    from tuilab.scenario.loading import load

    progress = report.Progress(sys.stderr if is_terminal(sys.stderr) else None)
    colour = has_colour(sys.stdout)
    loaded = load(scenario, with_shortcuts(sets, seed), variant)
    count = Options(threads=threads).thread_count()
    with threadpool_limits(count), progress:
        progress.tell("loading data")
        subject = prepare(loaded, backend, data_folder(data_dir), count)
        lines: Callable[[str], None] = (lambda text: None) if as_json else progress.above
        lines(report.heading(subject))
        found = []
        for step, finding in run(subject, progress.tell):
            found.append((step, finding))
            lines(report.check_text(step, finding, colour=colour))
    say(report.document(subject, found) if as_json else report.closing(found))
    return int(not all(finding.passed for _, finding in found))


@click.command()
def schema() -> int:
    """Print the JSON Schema of scenario files.

    With it an editor completes and checks them: tuilab schema > scenario.schema.json, and in the
    first line of a scenario: #:schema scenario.schema.json
    """
    from tuilab.scenario.schema import schema

    say(json.dumps(schema(), indent=1, ensure_ascii=False))
    return 0


@click.command()
@click.argument("name")
def new(name: str) -> int:
    """Write NAME.toml, a scenario to begin with."""
    from tuilab.scenario.template import create

    path = create(name)
    say(f"{path}   (run it: {to_type('run', path)}; look it over: {to_type('check', path)})")
    return 0


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("words", nargs=-1, metavar="[COMMAND …]")
@click.option("--host", default="localhost", show_default=True, help="Who may come: see below.")
@click.option(
    "--port", type=click.IntRange(1, 65535), default=8000, show_default=True, help="To listen at."
)
def serve(words: tuple[str, ...], host: str, port: int) -> int:
    """Show the view in a browser.

    COMMAND is what each visitor gets: tour, if none is given, run FILE, attach RUN, replay RUN or
    compare RUN RUN; the name of a SCENARIO or RUN alone does, too. With attach, all of them look
    at one run. Visitors can press every key, so a --host other than localhost lets the whole
    network train on this machine.
    """
    from tuilab.web.serve import serve

    serve(words, host, port, lambda line: say(line, err=True))
    return 0


TOOLS = (data, info, gradcheck, check, schema, new, serve)
