"""The commands that open a view: tour, attach, replay, compare, and serve in a browser."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from tuilab.cli.open_view import open_view
from tuilab.cli.options import (
    backend,
    chosen_appearance,
    data_dir,
    need_terminal,
    threads,
    view_options,
)
from tuilab.terminal import is_terminal, say, shell_command

if TYPE_CHECKING:
    from tuilab.record.run_folder import RunFolder


@click.command()
@click.option("--list", "as_list", is_flag=True, help="Print the list of scenarios.")
@backend
@threads
@data_dir
@view_options
def tour(as_list: bool, backend: str, threads: int, data_dir: str) -> int:
    """Choose scenarios of the lecture from a list, and watch them.

    On a terminal, tuilab without a command does the same. The list has the scenarios below
    ./scenarios or, without such a folder, those that are installed with tuilab.
    """
    from tuilab.process.launch import Options
    from tuilab.scenario.catalog import entries, listing

    if as_list:
        say(listing(entries()))
        return 0
    need_terminal("tuilab tour --list prints the list")
    from tuilab.viewer.model.tour import lecture
    from tuilab.viewer.screens.scenario_picker import pick

    lecture_tour = lecture(Options(backend, data_dir, threads))
    entry = pick(lecture_tour, chosen_appearance())
    if entry is None:
        return 0
    expect = lecture_tour.expected.get(entry.path, ())
    return open_view(lecture_tour.begin(entry), expect, lecture_tour)


@click.command()
@click.argument("run", required=False)
@view_options
def attach(run: str | None) -> int:
    """View a RUN that is still training.

    RUN is a run folder, its name, or part of its name [default: the newest that is training].
    """
    from tuilab.errors import RunError
    from tuilab.record.run_folder import find_all, find_group

    need_terminal("tuilab show RUN prints a summary")
    if run is None:
        alive = [folder for folder in find_all() if folder.is_alive()]
        if not alive:
            raise RunError("no run is training under runs/; tuilab replay RUN opens a finished run")
        return _view(alive[-1:])
    folders = find_group(run)
    alive = [folder for folder in folders if folder.is_alive()]
    if not alive:
        where = folders[0].path if len(folders) == 1 else run
        raise RunError(
            f"{where} is no longer training; open it with: {shell_command('replay', run)}"
        )
    ended = [folder for folder in folders if folder not in alive]
    return _view([*alive, *ended])


@click.command()
@click.argument("run")
@click.option("--verify", is_flag=True, help="Train the run again with its events, and compare.")
@view_options
def replay(run: str, verify: bool) -> int:
    """View a finished RUN with everything that was recorded.

    RUN is a run folder, its name, or part of its name. --verify trains it again instead, and exits
    with 1 if any number differs.
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
    with click.progressbar(length=steps, label="verify", file=sys.stderr, hidden=hidden) as bar:
        result = verify(folder, lambda step: bar.update(step - bar.pos))
    say(f"{folder.path}: {result}")
    return 1 if result.difference else 0


@click.command()
@click.argument("runs", nargs=-1, required=True)
@view_options
def compare(runs: tuple[str, ...]) -> int:
    """View several RUNS side by side: their curves and layers.

    RUNS are run folders, their names, or parts of names; the folder of a comparison means all its
    runs. In the view, v switches between runs, and C between views of their layers.
    """
    from tuilab.record.run_folder import find_group

    folders = [folder for run in runs for folder in find_group(run)]
    need_terminal("tuilab show RUN prints a summary of one run")
    return _view(folders, side_by_side=True)


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("words", nargs=-1, metavar="[COMMAND …]")
@click.option("--host", default="localhost", show_default=True, help="Address to listen on.")
@click.option(
    "--port", type=click.IntRange(1, 65535), default=8000, show_default=True, help="Port to use."
)
def serve(words: tuple[str, ...], host: str, port: int) -> int:
    """Show the view in a browser.

    COMMAND is the view that every visitor gets: tour, run FILE, attach RUN, replay RUN or
    compare RUN RUN [default: tour]. The name of a SCENARIO or RUN alone works, too. With attach,
    all visitors see the same run. Visitors can press every key, so with a --host other than
    localhost, anyone on the network can train on this machine.
    """
    from tuilab.web.serve import serve

    serve(words, host, port, lambda line: say(line, err=True))
    return 0


def _view(folders: "Sequence[RunFolder]", *, side_by_side: bool = False) -> int:
    from tuilab.process.comparison import kept_expectations
    from tuilab.process.launch import Worker

    workers = [Worker(folder) for folder in folders]
    return open_view(workers, kept_expectations(folders), side_by_side=side_by_side)
