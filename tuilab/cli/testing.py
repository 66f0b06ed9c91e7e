"""`tuilab test`: run scenarios and check their claims."""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tuilab.cli.options import PATH, backend, data_dir, seed, sets
from tuilab.terminal import StatusLine, has_colour, say

if TYPE_CHECKING:
    from tuilab.process.testing import ScenarioResult


@click.command()
@click.argument("paths", nargs=-1, type=PATH)
@click.option("-k", "pattern", default="", metavar="PATTERN", help="Only scenarios whose name "
    "(chapter/name) contains PATTERN, or matches it if it has * or ?.")  # fmt: skip
@seed
@click.option(
    "--seeds",
    type=click.IntRange(min=1),
    default=1,
    help="Number of seeds to try, counting up from --seed or the scenario's seed; a claim must "
    "hold for all of them.",
)
@backend
@sets
@click.option("--jobs", type=click.IntRange(min=1), help="Runs at a time [default: all cores].")
@click.option("--junit", "junit_file", type=PATH, help="Write JUnit XML to this file.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON document instead of the table."
)
@data_dir
def test(
    paths: tuple[Path, ...],
    pattern: str,
    seed: int | None,
    seeds: int,
    backend: str,
    sets: tuple[str, ...],
    jobs: int | None,
    junit_file: Path | None,
    as_json: bool,
    data_dir: str,
) -> int:
    """Run scenarios and check their claims.

    PATHS are scenario files, or folders that contain them [default: scenarios/, or else the
    scenarios that are installed with tuilab]. Exits with 1 if a claim does not hold.
    """
    from engine.backends.threads import usable_cores
    from tuilab.errors import RunError
    from tuilab.process.launch import Options, write_atomically
    from tuilab.process.testing import TestPlan, collect, run_suite
    from tuilab.reports.suite_report import junit, progress_line, results_json, results_table
    from tuilab.scenario.catalog import folder, resolve

    if junit_file is not None and not junit_file.parent.is_dir():
        raise RunError(f"cannot write {junit_file}: the folder {junit_file.parent} does not exist")
    begin = time.monotonic()
    named = [path if path.is_dir() else resolve(path) for path in paths]
    scenarios = collect(named or [folder()], pattern)
    options = Options(backend, data_dir, threads=1, checkpoints=False)
    plan = TestPlan(options, jobs or usable_cores(), sets, seed, seeds)
    status = StatusLine(sys.stderr, len(scenarios))
    results: list[ScenarioResult] = []
    try:
        for result in run_suite(scenarios, plan, status.show):
            results.append(result)
            status.count()
            if not as_json:
                status.print(progress_line(result))
    finally:
        status.close()
    seconds = time.monotonic() - begin
    colour = has_colour(sys.stdout)
    say(results_json(results) if as_json else results_table(results, seconds, colour=colour))
    if junit_file is not None:
        write_atomically(junit_file, junit(results))
    return 0 if all(result.passed for result in results) else 1
