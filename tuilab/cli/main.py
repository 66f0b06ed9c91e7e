"""The commands: those that train, and the way into all others. Thin, as the others are:

each parses, calls, prints, and leaves with the exit code of the contract.

0 done and as expected · 1 an expectation or check failed, or training diverged unexpectedly ·
2 bad input or usage · 130 interrupted.
"""

import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tuilab import __version__
from tuilab.cli.options import (
    PATH,
    backend,
    chosen_dress,
    complain,
    data_dir,
    named_scenario,
    need_terminal,
    on_terminal,
    say,
    seed,
    sets,
    silence,
    threads,
    variant,
    view_options,
    with_shortcuts,
)
from tuilab.cli.runs import RUNS
from tuilab.cli.search import search
from tuilab.cli.testing import test
from tuilab.cli.tools import TOOLS
from tuilab.cli.view import view
from tuilab.terminal import is_terminal

if TYPE_CHECKING:  # commands import what they need when they run, so that --help is quick
    from tuilab.process.launch import Options, Worker
    from tuilab.record import RunReader
    from tuilab.scenario.scenario import ScenarioFile


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; errors of ours become one message on stderr and their exit code."""
    try:
        code = tuilab.main(arguments, prog_name="tuilab", standalone_mode=False)
        if sys.stdout is not None:  # None: it was closed before we came
            sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        code = complain("interrupted", 130)
    except OSError as error:  # such as a full disk behind our output
        silence(sys.stdout)
        code = complain(str(error), 2)
    except Exception as error:
        from engine.errors import TuilabError

        if not isinstance(error, TuilabError):
            raise
        code = complain(str(error), error.exit_code)
    sys.exit(code)


class Commands(click.Group):
    """The commands; in a terminal, none of them means the tour."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Let an empty line be `tour` where the list can be drawn, and ask for help elsewhere."""
        return super().parse_args(ctx, args or ["tour"] * on_terminal())


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def tuilab() -> None:
    """See, live in a terminal, why a neural network does or does not learn."""


@tuilab.command()
@click.argument("scenario", type=PATH, required=False, callback=named_scenario)
@click.option("--resume", metavar="RUN", help="Go on with a run that ended or was killed.")
@click.option("--fork", metavar="RUN", help="Branch off a run, with other settings by --set.")
@click.option("--at", type=click.IntRange(min=0), help="Step to fork at [default: now].")
@click.option("--headless", is_flag=True, help="No view: a progress bar and a summary.")
@click.option("--json", "as_json", is_flag=True, help="With --headless: one JSON document.")
@click.option("--steps", type=click.IntRange(min=1), help="Train so many steps.")
@seed
@backend
@threads
@sets
@variant
@click.option("--out", type=PATH, help="The run folder [default: runs/<time>-<scenario>].")
@data_dir
@view_options
def run(
    scenario: Path | None,
    resume: str | None,
    fork: str | None,
    at: int | None,
    headless: bool,
    as_json: bool,
    steps: int | None,
    seed: int | None,
    backend: str,
    threads: int,
    sets: tuple[str, ...],
    variant: str,
    out: Path | None,
    data_dir: str,
) -> int:
    """Train the network of a SCENARIO file, and watch it.

    A file that compares variants trains all of them, each in a folder of its own below the run
    folder. The training process outlives the view: tuilab attach returns to it.

    With --resume, RUN is a run folder, its name, or a part of it; --steps is then how many it shall
    have in the end, and --set changes hyper-parameters: --set optimizer.learning_rate=0.01.

    With --fork too, but RUN stays as it is, or goes on: a new run, beside it unless --out says
    where, begins at RUN's newest checkpoint until step --at, and sees the same batches from there.
    """
    from tuilab.process.launch import Options

    if [scenario, resume, fork].count(None) != 2:
        raise click.UsageError("give a SCENARIO file, or --resume RUN, or --fork RUN")
    if resume is not None and (out is not None or seed is not None or variant):
        raise click.UsageError("a resumed run keeps its folder and its seed, and is one variant")
    if fork is not None and (seed is not None or variant):
        raise click.UsageError("a fork keeps the seed of its run, and is one variant")
    if at is not None and fork is None:
        raise click.UsageError("--at goes with --fork")
    if as_json and not headless:
        raise click.UsageError("--json goes with --headless")
    if not headless:
        need_terminal("add --headless to train without the view")
    options = Options(backend, data_dir, threads)
    if resume is not None:
        return _resume(resume, options, steps, sets, headless, as_json)
    if fork is not None:
        return _fork(fork, at, options, steps, sets, out, headless, as_json)
    assert scenario is not None
    return _start(
        scenario, variant, options, with_shortcuts(sets, seed, steps), out, headless, as_json
    )


def _resume(
    name: str,
    options: "Options",
    steps: int | None,
    sets: Sequence[str],
    headless: bool,
    as_json: bool,
) -> int:
    from tuilab.process.resume import resume
    from tuilab.record.run_folder import find

    begin = partial(resume, find(name), options, steps=steps, sets=sets)
    return _run_headless(begin, as_json) if headless else view([begin()])


def _fork(
    name: str,
    at: int | None,
    options: "Options",
    steps: int | None,
    sets: Sequence[str],
    out: Path | None,
    headless: bool,
    as_json: bool,
) -> int:
    from tuilab.process.fork import fork
    from tuilab.process.launch import Worker
    from tuilab.record.run_folder import find

    parent = find(name)
    begin = partial(fork, parent, options, at=at, steps=steps, sets=sets, out=out)
    return _run_headless(begin, as_json) if headless else view([begin(), Worker(parent)])


def _start(
    scenario: Path,
    variant: str,
    options: "Options",
    sets: Sequence[str],
    out: Path | None,
    headless: bool,
    as_json: bool,
) -> int:
    from tuilab.process.comparison import begin_all
    from tuilab.record.run_folder import default_path
    from tuilab.scenario.scenario import load_file

    file = load_file(scenario, sets)
    if variant:
        file = file.only(variant)
    path = out or default_path("-".join([file.name, variant] if variant else [file.name]))
    if headless and "" not in file.runs:
        return _run_compared(file, path, options.for_several(), as_json)
    begin = partial(begin_all, file, path, options)
    return _run_headless(lambda: begin()[0], as_json) if headless else view(begin(), file.expect)


def _run_headless(begin: "Callable[[], Worker]", as_json: bool) -> int:
    from engine.errors import TuilabError
    from tuilab.claims.summary import exit_code
    from tuilab.process.headless import outcome, train
    from tuilab.record import RunReader
    from tuilab.reports.run_report import summary_text

    worker, interrupted = train(begin, progress=is_terminal(sys.stderr))
    try:
        summary, verdicts = outcome(worker)
    except TuilabError as error:
        if interrupted:  # it may have come before there was anything to tell
            return complain(f"interrupted: {error}", 130)
        raise
    with RunReader(worker.folder.database) as reader:
        if as_json:
            _warn_of_divergence(reader)
            say(summary.to_json())
        else:
            say(summary_text(summary, verdicts, reader))
    return 130 if interrupted else exit_code(summary, verdicts)


def _run_compared(file: "ScenarioFile", out: Path, options: "Options", as_json: bool) -> int:
    from engine.backends.base import usable_cores
    from tuilab.cli.status_line import StatusLine
    from tuilab.process.comparison import begin, folders, keep_expectations, result
    from tuilab.process.headless import held_signals
    from tuilab.process.run_pool import Job, run_all
    from tuilab.reports.run_report import comparison_text

    places = folders(out, file)
    keep_expectations(out, file)
    status = StatusLine(sys.stderr, len(places))
    todo = [Job(n, partial(begin, file.runs[n], place, options)) for n, place in places.items()]
    workers: dict[str, Worker] = {}
    with held_signals() as stop:
        for done in run_all(todo, limit=usable_cores(), stop=stop, report=status.show):
            name = todo[done.place].label
            workers[name] = done.started()
            status.count()
            status.say(f"{name}  {done.seconds:.1f} s")
        status.close()
    outcome = result(file, {name: workers[name] for name in places if name in workers})
    say(outcome.document.to_json() if as_json else comparison_text(file, outcome, out))
    return 130 if stop else int(bool(outcome.problem))


def _warn_of_divergence(reader: "RunReader") -> None:
    for _, event in reader.events():
        if event.kind == "diverged":
            say(f"tuilab: {event.detail.get('message', 'training diverged')}", err=True)


@tuilab.command()
@click.option("--list", "as_list", is_flag=True, help="Print the list of scenarios.")
@backend
@threads
@data_dir
@view_options
def tour(as_list: bool, backend: str, threads: int, data_dir: str) -> int:
    """Go through the lecture: choose a scenario, and watch it.

    In a terminal, tuilab alone does so too. Scenarios are those below ./scenarios or, where there
    is no such folder, those that came with tuilab.
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
    entry = pick(lecture_tour, chosen_dress())
    if entry is None:
        return 0
    expect = lecture_tour.expected.get(entry.path, ())
    return view(lecture_tour.begin(entry), expect, lecture_tour)


for command in (*RUNS, *TOOLS, test, search):
    tuilab.add_command(command)


if __name__ == "__main__":
    main()
