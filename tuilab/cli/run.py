"""`tuilab run`: train a scenario, resume a run, or fork one; with the view or without."""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine.states import EventKind
from tuilab.cli.open_view import open_view
from tuilab.cli.options import (
    check_headless,
    print_error,
    threads,
    training_options,
    variant,
    view_options,
    with_shortcuts,
)
from tuilab.terminal import StatusLine, is_terminal, say

if TYPE_CHECKING:
    from tuilab.process.launch import Options, Worker
    from tuilab.record import RunReader
    from tuilab.scenario.scenario import ScenarioFile


@click.command()
@training_options("Train", "Run folder [default: runs/<time>-<scenario>].")
@click.option("--resume", metavar="RUN", help="Continue a run that ended or was killed.")
@click.option("--fork", metavar="RUN", help="Branch off from a run, with other settings by --set.")
@click.option("--at", type=click.IntRange(min=0), help="Step to fork at [default: the newest].")
@click.option("--steps", type=click.IntRange(min=1), help="Total number of training steps.")
@threads
@variant
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

    A file with several variants trains all of them, each in its own folder below the run folder.
    Training continues when the view is closed; tuilab attach opens it again.

    RUN is a run folder, its name, or part of its name. --resume continues the run up to --steps in
    total; --set may change hyper-parameters: --set optimizer.learning_rate=0.01.

    --fork leaves RUN unchanged, and starts a new run at its newest checkpoint not after --at. The
    new run sees the same batches from there on. Its folder is next to RUN, unless --out is given.
    """
    from tuilab.process.launch import Options

    if [scenario, resume, fork].count(None) != 2:
        raise click.UsageError("give a SCENARIO file, or --resume RUN, or --fork RUN")
    if resume is not None and (out is not None or seed is not None or variant):
        raise click.UsageError("--resume cannot be combined with --out, --seed or --variant")
    if fork is not None and (seed is not None or variant):
        raise click.UsageError("--fork cannot be combined with --seed or --variant")
    if at is not None and fork is None:
        raise click.UsageError("--at requires --fork")
    check_headless("train", headless=headless, as_json=as_json)
    options = Options(backend, data_dir, threads)
    if scenario is not None:
        assignments = with_shortcuts(sets, seed, steps)
        return _start(scenario, variant, options, assignments, out, headless, as_json)
    if resume is not None:
        begin = _resumed(resume, options, steps, sets)
        return _run_headless(begin, as_json) if headless else open_view([begin()])
    begin, parent = _forked(fork or "", at, options, steps, sets, out)
    return _run_headless(begin, as_json) if headless else open_view([begin(), parent])


def _resumed(
    name: str, options: "Options", steps: int | None, sets: tuple[str, ...]
) -> "Callable[[], Worker]":
    from tuilab.process.resume import resume
    from tuilab.record.run_folder import find

    return partial(resume, find(name), options, steps=steps, sets=sets)


def _forked(
    name: str,
    at: int | None,
    options: "Options",
    steps: int | None,
    sets: tuple[str, ...],
    out: Path | None,
) -> "tuple[Callable[[], Worker], Worker]":
    """Return what starts the fork, and its parent."""
    from tuilab.process.fork import fork
    from tuilab.process.launch import Worker
    from tuilab.record.run_folder import find

    parent = find(name)
    return partial(fork, parent, options, at=at, steps=steps, sets=sets, out=out), Worker(parent)


def _start(
    scenario: Path,
    variant: str,
    options: "Options",
    sets: list[str],
    out: Path | None,
    headless: bool,
    as_json: bool,
) -> int:
    from tuilab.process.comparison import begin_all
    from tuilab.record.run_folder import default_path
    from tuilab.scenario.loading import load_file

    file = load_file(scenario, sets)
    if variant:
        file = file.only(variant)
    path = out or default_path("-".join([file.name, variant] if variant else [file.name]))
    if headless and "" not in file.runs:
        return _compare_headless(file, path, options.for_several(), as_json)
    begin = partial(begin_all, file, path, options)
    return (
        _run_headless(lambda: begin()[0], as_json) if headless else open_view(begin(), file.expect)
    )


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
        if interrupted:  # perhaps before anything was recorded
            return print_error(f"interrupted: {error}", 130)
        raise
    with RunReader(worker.folder.database) as reader:
        if as_json:
            _warn_of_divergence(reader)
            say(summary.to_json())
        else:
            say(summary_text(summary, verdicts, reader))
    return 130 if interrupted else exit_code(summary, verdicts)


def _compare_headless(file: "ScenarioFile", out: Path, options: "Options", as_json: bool) -> int:
    from engine.backends.threads import usable_cores
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
            status.print(f"{name}  {done.seconds:.1f} s")
        status.close()
    outcome = result(file, {name: workers[name] for name in places if name in workers})
    say(outcome.document.to_json() if as_json else comparison_text(file, outcome, out))
    return 130 if stop else int(bool(outcome.problem))


def _warn_of_divergence(reader: "RunReader") -> None:
    for _, event in reader.events():
        if event.kind == EventKind.DIVERGED:
            say(f"tuilab: {event.detail.get('message', 'training diverged')}", err=True)
