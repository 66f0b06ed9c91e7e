"""`tuilab watch`: run a PyTorch program, and watch what it trains."""

import os
import shutil
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tuilab.cli.options import (
    PATH,
    chosen_appearance,
    need_terminal,
    print_error,
    view_options,
)
from tuilab.terminal import how_it_ended, say, shell_code, shell_command

if TYPE_CHECKING:
    from tuilab.adapters.cadence import Every
    from tuilab.adapters.program import Program, ProgramOptions

TAIL = 20  # lines of the output that are printed once the view is closed
NOT_FOUND = 127  # exit code of a shell for a command that does not exist
NOT_EXECUTABLE = 126


class EndOfOptions(click.Command):
    """A command whose options end at -m MODULE or PROGRAM, as those of Python do."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take everything after -m MODULE for arguments of the module."""
        takes_value = {
            name
            for option in self.params
            if isinstance(option, click.Option) and not option.is_flag
            for name in option.opts
        }
        at = 0
        while at < len(args) and args[at].startswith("-") and args[at] not in ("-", "--"):
            if args[at] in ("-m", "--module"):
                args = [*args[: at + 2], "--", *args[at + 2 :]]
                break
            at += 1 + (args[at] in takes_value)
        return super().parse_args(ctx, args)


def cadence(context: click.Context, option: click.Parameter, value: str | None) -> Any:
    """Return a share of the time, a number of steps, or "never"."""
    from engine.errors import ConfigError
    from tuilab.adapters.cadence import SHARE, checked

    if value is None:
        return SHARE
    try:
        if value == "never":
            return value
        number = float(value)
        return checked(number if number < 1 else int(number))
    except (ConfigError, ValueError, OverflowError) as error:
        raise click.BadParameter(
            f"'{value}' is not a share of the time such as 0.03, a number of steps such as 100,"
            " or never"
        ) from error


@click.command(
    cls=EndOfOptions,
    context_settings={"allow_interspersed_args": False},
    options_metavar="[OPTIONS]",
)
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="PROGRAM [ARGS]...")
@click.option("-m", "--module", metavar="MODULE", help="Run a module instead of a file.")
@click.option("--headless", is_flag=True, help="Leave the terminal to the program; no view.")
@click.option("--out", type=PATH, help="Run folder [default: runs/<time>-<program>].")
@click.option("--title", default="", help="Title of the run [default: the program's name].")
@click.option(
    "--every",
    metavar="WHEN",
    callback=cadence,
    help="When to measure: a share of the time, a number of steps, or never [default: 0.03].",
)
@click.option(
    "--layers",
    multiple=True,
    metavar="PATTERN",
    help="Only layers whose path matches: --layers '*.mlp.*' (repeatable) [default: all].",
)
@click.option(
    "--python",
    metavar="PATH",
    help="Interpreter [default: that of the active virtual environment, otherwise tuilab's own].",
)
@view_options
def watch(
    words: tuple[str, ...],
    module: str | None,
    headless: bool,
    out: Path | None,
    title: str,
    every: "Every",
    layers: tuple[str, ...],
    python: str | None,
) -> int:
    """Run a PyTorch PROGRAM as python does, and watch what it trains.

    The program needs no change. Its models and optimisers are found when it makes its first
    training step. If it calls tuilab.watch itself, the run of that call is shown.

    Options come before PROGRAM; everything after it belongs to the program. The exit code is that
    of the program.
    """
    from tuilab.adapters.program import Program, ProgramOptions, interpreter
    from tuilab.record.run_folder import RunFolder, default_path, refuse_taken

    if not headless:
        need_terminal("add --headless to leave the terminal to the program")
    program = Program(_checked(words, module), python or interpreter())
    if out is None:
        out = default_path(program.name)
    else:
        refuse_taken(RunFolder(out))
    options = ProgramOptions(out=out, title=title, every=every, layers=layers)
    if headless:
        return _replace_by(program, options)
    return _watch_beside(program, options)


def _checked(words: tuple[str, ...], module: str | None) -> tuple[str, ...]:
    """Return the words after `python`. Raises UsageError."""
    if module is not None:
        return ("-m", module, *words)
    if not words:
        raise click.UsageError("give a PROGRAM, or -m MODULE")
    if not Path(words[0]).exists():
        raise click.UsageError(f"there is no program '{words[0]}'")
    return words


def _watch_beside(program: "Program", options: "ProgramOptions") -> int:
    """Show the view while the program runs; print its output if that was all there was to see."""
    from tuilab.process.program import start_program, tidy
    from tuilab.record.output_log import tail
    from tuilab.viewer import app

    started = start_program(program, options)
    *_, worker = app.view([started], appearance=chosen_appearance())
    code = None if worker.process is None else worker.process.poll()
    folder = worker.folder
    shown = os.path.relpath(folder.path) if folder.path.is_relative_to(Path.cwd()) else folder.path
    if code is None:
        command = shell_command("attach", shown)
        say(f"{worker.program} continues in {shown}   (view it again: {command})")
        return 0
    if folder.database.exists():
        say("\n".join(tail(folder.log, TAIL)))
        ended = f"{worker.program} has ended: {how_it_ended(code)}"
        say(f"{ended}   (view it again: {shell_command('replay', shown)})", err=True)
    else:
        _print_whole(folder.log)
    tidy(started.folder)
    return shell_code(code)


def _print_whole(log: Path) -> None:
    """Print what a program has printed."""
    with suppress(OSError, BrokenPipeError), log.open(errors="replace") as file:
        shutil.copyfileobj(file, sys.stdout)
        sys.stdout.flush()


def _replace_by(program: "Program", options: "ProgramOptions") -> int:
    """Become the program: terminal, process, signals and exit code are its own."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    command = program.command
    try:
        os.execvpe(command[0], command, program.environment(options))
    except OSError as error:
        code = NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE
        return print_error(f"cannot run {command[0]}: {error.strerror}", code)
