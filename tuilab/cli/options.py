"""What the commands share: options, and how they speak."""

import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click
from click.core import ParameterSource

from tuilab.terminal import is_terminal

if TYPE_CHECKING:
    from tuilab.viewer.terminal.appearance import Appearance

BACKENDS = ("auto", "numpy", "cupy")
PATH = click.Path(path_type=Path)


def say(text: str, err: bool = False) -> None:
    """Print; where the reader went away (`| head`), the exit code still tells the outcome."""
    try:
        click.echo(text, err=err)
    except BrokenPipeError:
        silence(sys.stderr if err else sys.stdout)


def silence(output: TextIO) -> None:
    """Let nothing more be written to an output that has nowhere to go."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), output.fileno())


def complain(message: str, code: int) -> int:
    """Say on stderr what went wrong, and return the exit code."""
    say(f"tuilab: {message}", err=True)
    return code


def need_terminal(advice: str) -> None:
    """Raise UsageError, with `advice`, where a view could not be drawn."""
    # The view is drawn on stderr, as Textual does, and stdout is where a pipe would be.
    if not on_terminal():
        raise click.UsageError(f"the view needs a terminal; {advice}")


def on_terminal() -> bool:
    """Tell whether a view could be drawn here, and keys read: on a terminal, or in a browser."""
    if os.environ.get("TEXTUAL_DRIVER"):  # set by what serves the view to a browser
        return True
    return all(is_terminal(stream) for stream in (sys.stdin, sys.stdout, sys.stderr))


def existing_data(context: click.Context, option: click.Parameter, value: str) -> str:
    """Refuse a folder that was named on the command line and is not there."""
    # TUILAB_DATA is set once for all runs, most of which need no folder: those are not refused.
    given = context.get_parameter_source(option.name or "") is ParameterSource.COMMANDLINE
    if given and not Path(value).is_dir():
        raise click.BadParameter(f"'{value}' is not a folder", param_hint="--data-dir")
    return value


def screen_size(
    context: click.Context, option: click.Parameter, value: str | None
) -> tuple[int, int] | None:
    """Return COLUMNSxROWS as two numbers."""
    if value is None:
        return None
    found = re.fullmatch(r"(\d{1,3})[x×](\d{1,3})", value)
    columns, rows = (int(found[1]), int(found[2])) if found else (0, 0)
    if not (40 <= columns <= 500 and 10 <= rows <= 500):
        raise click.BadParameter(f"'{value}' is no size from 40x10 to 500x500, such as 160x48")
    return columns, rows


def named_scenario(
    context: click.Context, argument: click.Parameter, value: Path | None
) -> Path | None:
    """Let the bare name of a scenario stand for its file."""
    from tuilab.scenario.catalog import resolve

    return None if value is None else resolve(value)


scenario = click.argument("scenario", type=PATH, callback=named_scenario)
data_dir = click.option(
    "--data-dir",
    envvar="TUILAB_DATA",
    default="",
    callback=existing_data,
    help="Folder that holds data sets such as CIFAR-10 [env: TUILAB_DATA; default: where "
    "tuilab data fetch puts them].",
)
backend = click.option(
    "--backend",
    type=click.Choice(BACKENDS),
    default="auto",
    show_default=True,
    help="Array library; auto takes the GPU where CuPy finds one.",
)
threads = click.option(
    "--threads",
    type=click.IntRange(min=0),
    default=0,
    help="Threads that train [0: all cores but one].",
)
seed = click.option("--seed", type=click.IntRange(min=0), help="Instead of the scenario's seed.")
variant = click.option(
    "--variant", default="", metavar="NAME", help="Of a scenario that compares: this run alone."
)
sets = click.option(
    "--set",
    "sets",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change a key of the scenario: --set network.hidden.width=200 (repeatable).",
)


VIEW = "tuilab.view"  # what was said about the look of the view, in the context of a command


def view_options(command: Callable[..., int]) -> Callable[..., int]:
    """Give a command that opens a view the options of its look; `chosen_dress` returns them."""
    options = (
        click.option(
            "--theme",
            envvar="TUILAB_THEME",
            expose_value=False,
            callback=_note_theme,
            metavar="NAME",
            help="Colours: dark, light, colour-blind, or one of Textual's [env: TUILAB_THEME].",
        ),
        click.option(
            "--glyphs",
            type=click.Choice(("braille", "block", "ascii")),
            envvar="TUILAB_GLYPHS",
            expose_value=False,
            callback=_note,
            help="Characters to draw with [env: TUILAB_GLYPHS; default: what the terminal shows].",
        ),
        click.option(
            "--mouse/--no-mouse",
            default=True,
            expose_value=False,
            callback=_note,
            help="Leave the mouse to the terminal, to select text.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def _note(context: click.Context, option: click.Parameter, value: Any) -> None:
    context.meta.setdefault(VIEW, {})[option.name] = value


def known_theme(context: click.Context, option: click.Parameter, value: str | None) -> str | None:
    """Refuse a theme that is not there, before a run is started for it."""
    if value is not None:
        from engine.errors import unknown_name
        from tuilab.viewer.terminal.theme import theme_names

        if value not in (names := theme_names()):
            raise click.BadParameter(unknown_name("theme", value, names))
    return value


def _note_theme(context: click.Context, option: click.Parameter, value: str | None) -> None:
    _note(context, option, known_theme(context, option, value))


def chosen_dress() -> "Appearance":
    """Return how the view of the command that runs now shall look."""
    from tuilab.viewer.terminal.appearance import Appearance

    return Appearance(**click.get_current_context().meta.get(VIEW, {}))


def with_shortcuts(sets: Sequence[str], seed: int | None, steps: int | None = None) -> list[str]:
    """Return the assignments of --set, with those that --seed and --steps are short for."""
    chosen = [*sets]
    if seed is not None:
        chosen.append(f"seed={seed}")
    if steps is not None:
        chosen.append(f"train.steps={steps}")
    return chosen
