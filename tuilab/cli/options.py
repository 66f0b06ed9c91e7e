"""Options and callbacks that several commands share."""

import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from tuilab.terminal import is_terminal, say

if TYPE_CHECKING:
    from tuilab.viewer.terminal.appearance import Appearance

BACKENDS = ("auto", "numpy", "cupy")
PATH = click.Path(path_type=Path)
Decorator = Callable[[Callable[..., int]], Callable[..., int]]
VIEW = "tuilab.view"  # key of the view options in the context of a command


def print_error(message: str, code: int) -> int:
    """Print an error on stderr, and return the exit code."""
    say(f"tuilab: {message}", err=True)
    return code


def need_terminal(alternative: str) -> None:
    """Raise UsageError, which recommends `alternative`, if no view can be drawn."""
    # The view is drawn on stderr, as Textual does; stdout may be a pipe.
    if not on_terminal():
        raise click.UsageError(f"the view needs a terminal; {alternative}")


def on_terminal() -> bool:
    """Return whether a view can be drawn and keys can be read: in a terminal or a browser."""
    if os.environ.get("TEXTUAL_DRIVER"):  # set by textual-serve
        return True
    return all(is_terminal(stream) for stream in (sys.stdin, sys.stdout, sys.stderr))


def existing_data(context: click.Context, option: click.Parameter, value: str) -> str:
    """Reject a folder on the command line that does not exist."""
    # TUILAB_DATA is set once for all runs, most of which need no folder, so it is not checked.
    given = context.get_parameter_source(option.name or "") is ParameterSource.COMMANDLINE
    if given and not Path(value).is_dir():
        raise click.BadParameter(f"'{value}' is not a folder", param_hint="--data-dir")
    return value


def screen_size(
    context: click.Context, option: click.Parameter, value: str | None
) -> tuple[int, int] | None:
    """Return (columns, rows) of COLUMNSxROWS."""
    if value is None:
        return None
    match = re.fullmatch(r"(\d{1,3})[x×](\d{1,3})", value)
    columns, rows = (int(match[1]), int(match[2])) if match else (0, 0)
    if not (40 <= columns <= 500 and 10 <= rows <= 500):
        raise click.BadParameter(
            f"'{value}' is not a size between 40x10 and 500x500, such as 160x48"
        )
    return columns, rows


def named_scenario(
    context: click.Context, argument: click.Parameter, value: Path | None
) -> Path | None:
    """Return the file for a path or the bare name of a scenario."""
    from tuilab.scenario.catalog import resolve

    return None if value is None else resolve(value)


scenario = click.argument("scenario", type=PATH, callback=named_scenario)
data_dir = click.option(
    "--data-dir",
    envvar="TUILAB_DATA",
    default="",
    callback=existing_data,
    help="Folder with data sets such as CIFAR-10 [env: TUILAB_DATA; default: the folder of "
    "tuilab data fetch].",
)
backend = click.option(
    "--backend",
    type=click.Choice(BACKENDS),
    default="auto",
    show_default=True,
    help="Array library; auto uses the GPU if CuPy finds one.",
)
threads = click.option(
    "--threads",
    type=click.IntRange(min=0),
    default=0,
    help="Number of training threads [default: all cores but one].",
)
seed = click.option("--seed", type=click.IntRange(min=0), help="Replace the scenario's seed.")
variant = click.option(
    "--variant", default="", metavar="NAME", help="Run only this variant of a comparison."
)
sets = click.option(
    "--set",
    "sets",
    multiple=True,
    metavar="KEY=VALUE",
    help="Override a key of the scenario: --set network.hidden.width=200 (repeatable).",
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")


def with_shortcuts(sets: Sequence[str], seed: int | None, steps: int | None = None) -> list[str]:
    """Return the --set assignments, with those that --seed and --steps abbreviate."""
    assignments = [*sets]
    if seed is not None:
        assignments.append(f"seed={seed}")
    if steps is not None:
        assignments.append(f"train.steps={steps}")
    return assignments


def chosen_appearance() -> "Appearance":
    """Return the appearance that the options of the current command choose."""
    from tuilab.viewer.terminal.appearance import Appearance

    return Appearance(**click.get_current_context().meta.get(VIEW, {}))


def known_theme(context: click.Context, option: click.Parameter, value: str | None) -> str | None:
    """Reject an unknown theme before a run is started."""
    if value is not None:
        from engine.errors import unknown_name
        from tuilab.viewer.terminal.theme import theme_names

        if value not in (names := theme_names()):
            raise click.BadParameter(unknown_name("theme", value, names))
    return value


def stacked(*options: Decorator) -> Decorator:
    """Return a decorator that adds options in this order."""

    def add(command: Callable[..., int]) -> Callable[..., int]:
        for option in reversed(options):
            command = option(command)
        return command

    return add


def training_options(verb: str, out: str) -> Decorator:
    """Return what the commands that train have in common: SCENARIO, and how to `verb` with it.

    `out` is the help of --out. Call `check_headless` with the values.
    """
    return stacked(
        click.argument("scenario", type=PATH, required=False, callback=named_scenario),
        click.option("--headless", is_flag=True,
                     help=f"{verb} without the view; print the results."),
        click.option("--json", "as_json", is_flag=True,
                     help="With --headless: print one JSON document."),
        seed,
        backend,
        sets,
        click.option("--out", type=PATH, help=out),
        data_dir,
    )  # fmt: skip


def check_headless(verb: str, *, headless: bool, as_json: bool) -> None:
    """Raise UsageError if there is no view to draw, or no document to print."""
    if as_json and not headless:
        raise click.UsageError("--json requires --headless")
    if not headless:
        need_terminal(f"add --headless to {verb} without the view")


def _store(context: click.Context, option: click.Parameter, value: Any) -> None:
    context.meta.setdefault(VIEW, {})[option.name] = value


def _store_theme(context: click.Context, option: click.Parameter, value: str | None) -> None:
    _store(context, option, known_theme(context, option, value))


view_options = stacked(
    click.option(
        "--theme",
        envvar="TUILAB_THEME",
        expose_value=False,
        callback=_store_theme,
        metavar="NAME",
        help="Theme: dark, light, colour-blind, or a theme of Textual [env: TUILAB_THEME].",
    ),
    click.option(
        "--glyphs",
        type=click.Choice(("braille", "block", "ascii")),
        envvar="TUILAB_GLYPHS",
        expose_value=False,
        callback=_store,
        help="Characters to draw with [env: TUILAB_GLYPHS; default: detected].",
    ),
    click.option(
        "--mouse/--no-mouse",
        default=True,
        expose_value=False,
        callback=_store,
        help="Use the mouse in the view, or leave it to the terminal for selecting text.",
    ),
)
"""Options for the appearance of the view; read them with `chosen_appearance`."""
