"""The commands over runs that were recorded, or are being: look, compare, list, export."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tuilab.cli.options import PATH, known_theme, need_terminal, say, screen_size, view_options
from tuilab.cli.view import view
from tuilab.terminal import is_terminal, to_type

if TYPE_CHECKING:  # commands import what they need when they run, so that --help is quick
    from tuilab.record.run_folder import RunFolder


@click.command()
@click.argument("run", required=False)
@view_options
def attach(run: str | None) -> int:
    """Return to a running RUN.

    RUN is a run folder, its name, or a part of it; the newest that is alive, if none is named.
    """
    from tuilab.errors import RunError
    from tuilab.record.run_folder import find_all, find_group

    need_terminal("tuilab show RUN prints a summary")
    if run is None:
        alive = [folder for folder in find_all() if folder.is_alive()]
        if not alive:
            raise RunError("no run is alive under runs/; tuilab replay RUN opens a finished one")
        return _view(alive[-1:])
    folders = find_group(run)
    alive = [folder for folder in folders if folder.is_alive()]
    if not alive:
        where = folders[0].path if len(folders) == 1 else run
        raise RunError(f"{where} is not running any more; open it: {to_type('replay', run)}")
    ended = [folder for folder in folders if folder not in alive]
    return _view([*alive, *ended])


@click.command()
@click.argument("run")
@click.option("--verify", is_flag=True, help="Train it again, with its key presses, and compare.")
@view_options
def replay(run: str, verify: bool) -> int:
    """Look at a finished RUN again.

    RUN is a run folder, its name, or a part of it. Everything that was recorded is there. With
    --verify the run is computed anew, and the exit code is 1 where a single bit differs.
    """
    from tuilab.record.run_folder import find_group

    folders = find_group(run)
    if verify:
        return max(_verify(folder) for folder in folders)
    need_terminal("tuilab show RUN prints a summary")
    return _view(folders)


def _verify(folder: "RunFolder") -> int:
    from tuilab.process.verify import verify
    from tuilab.record import RunReader

    with RunReader(folder.database) as reader:
        steps = reader.info().step
    hidden = not is_terminal(sys.stderr)
    with click.progressbar(length=steps, label="again", file=sys.stderr, hidden=hidden) as bar:
        found = verify(folder, lambda step: bar.update(step - bar.pos))
    say(f"{folder.path}: {found}")
    return 1 if found.difference else 0


@click.command()
@click.argument("runs", nargs=-1, required=True)
@view_options
def compare(runs: tuple[str, ...]) -> int:
    """Look at several RUNS, curves and layers beside each other.

    In the view, v goes from one to the next, and C through what is shown of their layers. Each is a
    run folder, its name, or a part of it; the folder of a comparison stands for its runs.
    """
    from tuilab.record.run_folder import find_group

    folders = [folder for run in runs for folder in find_group(run)]
    need_terminal("tuilab show RUN prints a summary of one")
    return _view(folders, side_by_side=True)


@click.command(name="list")
@click.option(
    "--root",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("runs"),
    show_default=True,
    help="Folder of run folders.",
)
def list_runs(root: Path) -> int:
    """List the runs, oldest first."""
    from tuilab.reports.listing import run_table

    say(run_table(root))
    return 0


@click.command()
@click.argument("run", required=False)
@click.option("--json", "as_json", is_flag=True, help="The document of run --headless --json.")
def show(run: str | None, as_json: bool) -> int:
    """Print the summary of a RUN, finished or not.

    RUN is a run folder, its name, or a part of it; the newest, if none is named.
    """
    from tuilab.claims.summary import summarize
    from tuilab.process.run_expectations import run_expectations
    from tuilab.record import RunReader
    from tuilab.record.run_folder import find
    from tuilab.reports.run_report import summary_text

    folder = find(run)
    with RunReader(folder.database) as reader:
        summary, verdicts = summarize(folder, reader, run_expectations(folder))
        say(summary.to_json() if as_json else summary_text(summary, verdicts, reader))
    return 0


@click.command()
@click.argument("run", required=False)
@click.option("--to", required=True, help="csv, json, tensorboard, svg or png.")
@click.option("--out", type=PATH, help="File or folder to write [default: RUN/export/…].")
@click.option("--panel", metavar="NAME", help="Of pictures: this panel alone, such as layers.")
@click.option("--size", callback=screen_size, metavar="WxH", help="Of pictures: in cells [160x48].")
@click.option("--at", type=click.IntRange(min=0), metavar="STEP", help="Of pictures: as of then.")
@click.option("--theme", callback=known_theme, metavar="NAME", help="Of pictures: the colours.")
def export(run: str | None, to: str, out: Path | None, **wanted: Any) -> int:
    """Write a RUN in the format of another tool.

    RUN is a run folder, its name, or a part of it; the newest, if none is named. csv: four tables;
    json: one document; tensorboard: event files with all scalars and histograms; svg, png: the
    screen.
    """
    from tuilab.export import export
    from tuilab.record.run_folder import find

    given = {name: value for name, value in wanted.items() if value is not None}
    for path in export(find(run), to, out, given):
        say(str(path))
    return 0


def _view(folders: "Sequence[RunFolder]", *, side_by_side: bool = False) -> int:
    from tuilab.process.comparison import kept_expectations
    from tuilab.process.launch import Worker

    workers = [Worker(folder) for folder in folders]
    return view(workers, kept_expectations(folders), side_by_side=side_by_side)


RUNS = (attach, replay, compare, list_runs, show, export)
