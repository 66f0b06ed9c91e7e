"""The commands that print or convert recorded runs: list, show, export."""

from pathlib import Path

import click

from tuilab.cli.options import PATH, known_theme, screen_size
from tuilab.terminal import say


@click.command(name="list")
@click.option(
    "--root",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("runs"),
    show_default=True,
    help="Folder that contains the run folders.",
)
def list_runs(root: Path) -> int:
    """List the recorded runs, oldest first."""
    from tuilab.reports.listing import run_table

    say(run_table(root))
    return 0


@click.command()
@click.argument("run", required=False)
@click.option(
    "--json", "as_json", is_flag=True, help="Print the JSON document of run --headless --json."
)
def show(run: str | None, as_json: bool) -> int:
    """Print the summary of a RUN, finished or not.

    RUN is a run folder, its name, or part of its name [default: the newest run].
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
@click.option("--to", required=True, help="Format: csv, json, tensorboard, svg or png.")
@click.option("--out", type=PATH, help="File or folder to write [default: RUN/export/…].")
@click.option("--panel", metavar="NAME", help="Pictures: only this panel, such as layers.")
@click.option(
    "--size", callback=screen_size, metavar="WxH", help="Pictures: size in cells [default: 160x48]."
)
@click.option("--at", type=click.IntRange(min=0), metavar="STEP", help="Pictures: view at a step.")
@click.option("--theme", callback=known_theme, metavar="NAME", help="Pictures: theme.")
def export(
    run: str | None,
    to: str,
    out: Path | None,
    panel: str | None,
    size: tuple[int, int] | None,
    at: int | None,
    theme: str | None,
) -> int:
    """Export a RUN to the format of another tool.

    RUN is a run folder, its name, or part of its name [default: the newest run]. csv writes four
    tables; json one document; tensorboard event files with all scalars and histograms; svg and png
    a picture of the view.
    """
    from tuilab.export import PictureOptions, export
    from tuilab.record.run_folder import find

    for path in export(find(run), to, out, PictureOptions(panel, size, at, theme)):
        say(str(path))
    return 0
