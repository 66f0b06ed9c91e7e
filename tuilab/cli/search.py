"""`tuilab search`: search hyper-parameters, and look at the results."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tuilab.cli.options import (
    PATH,
    check_headless,
    need_terminal,
    print_error,
    training_options,
    with_shortcuts,
)
from tuilab.terminal import say, shell_command

if TYPE_CHECKING:
    from tuilab.search.folder import StudyFolder
    from tuilab.search.launch import SearchOptions


class SearchCommands(click.Group):
    """`search SCENARIO` is short for `search start SCENARIO`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Insert `start` unless the first argument is a command."""
        named = bool(args) and args[0] in self.commands
        return super().parse_args(ctx, args if named else ["start", *args])


@click.group(cls=SearchCommands)
def search() -> None:
    """Search hyper-parameters from coarse to fine."""


@search.command(
    epilog="tuilab search show STUDY prints the results and saves the best scenario; "
    "tuilab search view STUDY opens the view again."
)
@training_options("Search", "Folder of the search [default: runs/<time>-…-search].")
@click.option("--jobs", type=click.IntRange(min=1), help="Trials at a time [default: all cores].")
@click.option("--trials", type=click.IntRange(min=1), help="Number of trials per stage.")
@click.option("--range", "ranges", multiple=True, metavar="KEY=LOW:HIGH", help="Range of a key in "
    "all later stages, instead of the narrowed one (repeatable).")  # fmt: skip
@click.option("--extend", is_flag=True, help="Extend the search where the best values are at the "
    "edge of a range.")  # fmt: skip
@click.option("--storage", default="", metavar="URL", help="Share the study on a server: "
    "postgresql://USER@HOST/DATABASE [default: a file in the folder].")  # fmt: skip
@click.option("--cluster", default="", metavar="ADDRESS", help="Run trials on a Dask cluster: "
    "tcp://HOST:PORT.")  # fmt: skip
@click.option("--resume", is_flag=True, help="Continue the newest search of SCENARIO, or of --out.")
def start(
    scenario: Path | None,
    jobs: int | None,
    trials: int | None,
    ranges: tuple[str, ...],
    extend: bool,
    storage: str,
    cluster: str,
    resume: bool,
    headless: bool,
    as_json: bool,
    seed: int | None,
    backend: str,
    sets: tuple[str, ...],
    out: Path | None,
    data_dir: str,
) -> int:
    """Search the hyper-parameters in [search] of a SCENARIO, stage after stage.

    A trial is a normal run in its own process. Ctrl-C ends the search; --resume continues it. With
    the same --storage, several machines work on one study.
    """
    from tuilab.process.launch import Options
    from tuilab.scenario.loading import load
    from tuilab.search.extras import need
    from tuilab.search.launch import SearchOptions, find_resumable, new_folder

    if scenario is None and not (resume and out):
        raise click.UsageError("give a SCENARIO file, or --resume --out DIR")
    if resume and (sets or seed is not None or storage):
        raise click.UsageError("--resume cannot be combined with --set, --seed or --storage")
    check_headless("search", headless=headless, as_json=as_json)
    need("optuna")
    if resume:
        folder = find_resumable(out, scenario)
    else:
        assert scenario is not None
        loaded = load(scenario, with_shortcuts(sets, seed))
        folder = new_folder(loaded, out, storage, Options(backend, data_dir))
    options = SearchOptions(jobs=jobs, trials=trials, ranges=ranges, extend=extend, cluster=cluster)
    return _search_headless(folder, options, as_json) if headless else _watch(folder, options)


def _search_headless(folder: "StudyFolder", options: "SearchOptions", as_json: bool) -> int:
    from tuilab.search.folder import scenario_of, search_settings
    from tuilab.search.launch import search
    from tuilab.search.report import ProgressLines, summary

    progress = ProgressLines(sys.stderr, search_settings(scenario_of(folder)))
    try:
        result = search(folder, options, progress)
    finally:
        progress.close()
    say(result.document() if as_json else summary(result))
    if result.interrupted:
        command = shell_command("search", "--resume", "--out", folder.path)
        return print_error(f"interrupted; continue with: {command}", 130)
    return 0 if result.best is not None else 1


def _watch(folder: "StudyFolder", options: "SearchOptions") -> int:
    """Search in a process that outlives the view."""
    from tuilab.search.launch import search_in_background

    search_in_background(folder, options)
    return _view(folder)


def _view(folder: "StudyFolder") -> int:
    from tuilab.viewer.search.app import view

    view(folder)
    command = shell_command("search", "view" if folder.is_alive() else "show", folder.path)
    say(f"{folder.path}   (view it again: {command})")
    return 0


@search.command()
@click.argument("study", required=False)
def view(study: str | None) -> int:
    """View a search, running or not.

    STUDY is the folder of a search, its name, or part of its name [default: the newest].
    """
    from tuilab.search.extras import need
    from tuilab.search.folder import find

    need("optuna")
    folder = find(study)
    folder.info()
    need_terminal("tuilab search show STUDY prints the results")
    return _view(folder)


@search.command()
@click.argument("study", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option("--csv", "as_csv", is_flag=True, help="Print one line per trial as CSV.")
@click.option(
    "--write", "target", type=PATH, metavar="FILE", help="Save the scenario of the best trial."
)
def show(study: str | None, as_json: bool, as_csv: bool, target: Path | None) -> int:
    """Print the results of a search, best trials first.

    STUDY is the folder of a search, its name, or part of its name [default: the newest].
    """
    from tuilab.errors import SearchError
    from tuilab.process.launch import write_atomically
    from tuilab.search.folder import find
    from tuilab.search.report import best_scenario_text, summary
    from tuilab.search.study_reader import StudyReader

    if as_json and as_csv:
        raise click.UsageError("--json cannot be combined with --csv")
    folder = find(study)
    reader = StudyReader(folder)
    try:
        result = reader.result()
    finally:
        reader.close()
    if target is not None:
        if result.best is None:
            raise SearchError(f"{folder.path} has no complete trial yet, so there is none to save")
        write_atomically(target, best_scenario_text(reader.scenario, result, result.best))
        say(f"{target}   (train it: {shell_command('run', target, '--threads', 1)})", err=True)
    if as_json:
        say(result.document())
    elif as_csv:
        say(result.csv())
    elif target is None:
        say(summary(result, limit=None))
    return 0
