"""`tuilab`: assembles the commands, and turns errors into messages and exit codes.

0 done and as expected · 1 an expectation or check failed, or training diverged unexpectedly ·
2 bad input or usage · 130 interrupted.
"""

import sys
from collections.abc import Sequence

import click

from tuilab import __version__
from tuilab.cli.checks import check, gradcheck
from tuilab.cli.environment import data, info
from tuilab.cli.options import on_terminal, print_error
from tuilab.cli.records import export, list_runs, show
from tuilab.cli.run import run
from tuilab.cli.scenarios import new, schema
from tuilab.cli.search import search
from tuilab.cli.testing import test
from tuilab.cli.views import attach, compare, replay, serve, tour
from tuilab.cli.watch import watch
from tuilab.terminal import silence

COMMANDS = (
    *(run, test, tour, check, gradcheck, search, new, schema),
    *(watch, attach, replay, compare, serve),
    *(list_runs, show, export, info, data),
)


class Commands(click.Group):
    """The group of all commands; on a terminal, no command means `tour`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Replace an empty command line by `tour` on a terminal; elsewhere print the help."""
        return super().parse_args(ctx, args or ["tour"] * on_terminal())


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def tuilab() -> None:
    """See, live in a terminal, why a neural network does or does not learn."""


for command in COMMANDS:
    tuilab.add_command(command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command, and exit; errors of tuilab become a message on stderr and an exit code."""
    try:
        code = tuilab.main(arguments, prog_name="tuilab", standalone_mode=False)
        if sys.stdout is not None:  # None if it was closed before the start
            sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        code = print_error("interrupted", 130)
    except OSError as error:  # such as a full disk behind stdout
        silence(sys.stdout)
        code = print_error(str(error), 2)
    except Exception as error:
        from engine.errors import TuilabError

        if not isinstance(error, TuilabError):
            raise
        code = print_error(str(error), error.exit_code)
    sys.exit(code)


if __name__ == "__main__":
    main()
