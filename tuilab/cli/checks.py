"""The commands that check a scenario before a long run: check, gradcheck."""

import sys
from pathlib import Path

import click

from tuilab.cli.options import (
    as_json,
    backend,
    data_dir,
    scenario,
    seed,
    sets,
    threads,
    variant,
    with_shortcuts,
)
from tuilab.terminal import StatusLine, has_colour, say


@click.command()
@scenario
@sets
@variant
@click.option(
    "--elements",
    type=click.IntRange(min=1),
    default=20,
    show_default=True,
    help="Number of elements to check per parameter array.",
)
@data_dir
def gradcheck(
    scenario: Path, sets: tuple[str, ...], variant: str, elements: int, data_dir: str
) -> int:
    """Check a SCENARIO's gradients against centred differences.

    Uses float64, 20 training examples and the initial weights. Exits with 1 if a gradient is wrong.
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
@as_json
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
    """Check the set-up of a SCENARIO before a long run.

    Follows the lecture: initial loss, regularisation, overfitting 20 examples, gradients, learning
    rate, and the gap between training and validation. Exits with 1 if a check fails.
    """
    from threadpoolctl import threadpool_limits

    from tuilab.babysit import report
    from tuilab.babysit.sequence import prepare, run
    from tuilab.data.folder import data_folder
    from tuilab.process.launch import Options
    from tuilab.scenario.loading import load

    colour = has_colour(sys.stdout)
    loaded = load(scenario, with_shortcuts(sets, seed), variant)
    count = Options(threads=threads).thread_count()
    status = StatusLine(sys.stderr)

    def print_line(text: str) -> None:
        if not as_json:
            status.print(text, err=False)

    def progress(text: str) -> None:
        status.set(f"{text} …")

    results = []
    with threadpool_limits(count):
        try:
            progress("loading data")
            subject = prepare(loaded, backend, data_folder(data_dir), count)
            print_line(report.heading(subject))
            for step, result in run(subject, progress):
                results.append((step, result))
                print_line(report.check_text(step, result, colour=colour))
        finally:
            status.close()
    say(report.document(subject, results) if as_json else report.closing(results))
    return int(not all(result.passed for _, result in results))
