"""`tuilab search`: searching, and looking at what was found."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tuilab.cli.options import (
    PATH,
    backend,
    complain,
    data_dir,
    named_scenario,
    need_terminal,
    say,
    seed,
    sets,
    with_shortcuts,
)
from tuilab.terminal import to_type

if TYPE_CHECKING:  # what it needs is imported when it runs, so that --help is quick
    from tuilab.search.begin import SearchOptions
    from tuilab.search.folder import StudyFolder


class SearchCommands(click.Group):
    """`search SCENARIO` is short for `search start SCENARIO`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take what is no command for the arguments of a search."""
        named = bool(args) and args[0] in self.commands
        return super().parse_args(ctx, args if named else ["start", *args])


@click.group(cls=SearchCommands)
def search() -> None:
    """Search hyper-parameters, coarse to fine."""


@search.command(
    epilog="tuilab search show STUDY prints the table of a search, and writes its best scenario; "
    "tuilab search view STUDY opens its view again."
)
@click.argument("scenario", type=PATH, required=False, callback=named_scenario)
@click.option("--jobs", type=click.IntRange(min=1), help="Trials at a time [default: cores].")
@click.option("--trials", type=click.IntRange(min=1), help="Of each stage, instead of the file's.")
@click.option("--range", "ranges", multiple=True, metavar="KEY=LOW:HIGH", help="Instead of the "
    "narrowed range of later stages (repeatable).")  # fmt: skip
@click.option("--extend", is_flag=True, help="Go on beyond the edge where the best values lie.")
@click.option("--storage", default="", metavar="URL", help="Join the study on a server: "
    "postgresql://USER@HOST/DATABASE [default: a file in the folder].")  # fmt: skip
@click.option("--cluster", default="", metavar="ADDRESS", help="Run trials on a Dask cluster: "
    "tcp://HOST:PORT.")  # fmt: skip
@click.option("--resume", is_flag=True, help="Go on with the newest search of SCENARIO, or --out.")
@click.option("--headless", is_flag=True, help="No view: a line a trial, and the tables.")
@click.option("--json", "as_json", is_flag=True, help="With --headless: one JSON document.")
@seed
@backend
@sets
@click.option("--out", type=PATH, help="Folder of the search [default: runs/<time>-…-search].")
@data_dir
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
    """Search the hyper-parameters that [search] of a SCENARIO names, stage after stage.

    A trial is a run of its own, in a process of its own. Ctrl-C ends the search, and --resume goes
    on with it. With the same --storage on several machines, all of them work on one study.
    """
    from tuilab.process.launch import Options
    from tuilab.scenario.loading import load
    from tuilab.search.begin import SearchOptions, new_folder, to_go_on_with
    from tuilab.search.extras import need

    if scenario is None and not (resume and out):
        raise click.UsageError("give a SCENARIO file, or --resume --out DIR")
    if resume and (sets or seed is not None or storage):
        raise click.UsageError("a search that goes on keeps its scenario, its seed and its storage")
    if as_json and not headless:
        raise click.UsageError("--json goes with --headless")
    if not headless:
        need_terminal("add --headless to search without the view")
    need("optuna")
    if resume:
        folder = to_go_on_with(out, scenario)
    else:
        assert scenario is not None
        read = load(scenario, with_shortcuts(sets, seed))
        folder = new_folder(read, out, storage, Options(backend, data_dir))
    wishes = SearchOptions(jobs=jobs, trials=trials, ranges=ranges, extend=extend, cluster=cluster)
    return _search(folder, wishes, as_json) if headless else _watched(folder, wishes)


def _search(folder: "StudyFolder", wishes: "SearchOptions", as_json: bool) -> int:
    from tuilab.search.begin import scenario_of, search, searched
    from tuilab.search.progress import Progress
    from tuilab.search.tables import summary

    progress = Progress(sys.stderr, searched(scenario_of(folder)))
    try:
        result = search(folder, wishes, progress)
    finally:
        progress.close()
    say(result.document() if as_json else summary(result))
    if result.interrupted:
        return complain(f"interrupted; go on with it: tuilab search --resume --out {folder.path}",
                        130)  # fmt: skip
    return 0 if result.best is not None else 1


def _watched(folder: "StudyFolder", wishes: "SearchOptions") -> int:
    """Search in a process of its own, which outlives the view."""
    from tuilab.search.background import begin

    begin(folder, wishes)
    return _view(folder)


def _view(folder: "StudyFolder") -> int:
    from tuilab.viewer.search.app import view

    view(folder)
    again = to_type("search", "view" if folder.is_alive() else "show", folder.path)
    say(f"{folder.path}   (look at it again: {again})")
    return 0


@search.command()
@click.argument("study", required=False)
def view(study: str | None) -> int:
    """Look at a search, running or not.

    STUDY is its folder, its name, or a part of it; the newest, if none is named.
    """
    from tuilab.search.extras import need
    from tuilab.search.folder import find

    need("optuna")
    folder = find(study)
    folder.info()
    need_terminal("tuilab search show STUDY prints the table")
    return _view(folder)


@search.command()
@click.argument("study", required=False)
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@click.option("--csv", "as_csv", is_flag=True, help="One line a trial.")
@click.option(
    "--write", "target", type=PATH, metavar="FILE", help="Write the best trial's scenario."
)
def show(study: str | None, as_json: bool, as_csv: bool, target: Path | None) -> int:
    """Print what a search has found, best first.

    STUDY is its folder, its name, or a part of it; the newest, if none is named.
    """
    from tuilab.errors import SearchError
    from tuilab.process.launch import write_atomically
    from tuilab.search.best import scenario_text
    from tuilab.search.folder import find
    from tuilab.search.reading import StudyReader
    from tuilab.search.tables import summary

    if as_json and as_csv:
        raise click.UsageError("choose one of --json and --csv")
    folder = find(study)
    reader = StudyReader(folder)
    try:
        result = reader.result()
    finally:
        reader.close()
    if target is not None:
        if result.best is None:
            raise SearchError(f"{folder.path} has no complete trial to write out")
        write_atomically(target, scenario_text(reader.scenario, result, result.best))
        say(f"{target}   (train it: {to_type('run', target, '--threads', 1)})", err=True)
    if as_json:
        say(result.document())
    elif as_csv:
        say(result.csv())
    elif target is None:
        say(summary(result, limit=None))
    return 0
