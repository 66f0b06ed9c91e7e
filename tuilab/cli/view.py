"""How a command opens the view, and what is said when it was left."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tuilab.cli.options import chosen_dress, complain, say
from tuilab.terminal import to_type

if TYPE_CHECKING:  # commands import what they need when they run, so that --help is quick
    from tuilab.claims.expectations import Expectation
    from tuilab.process.launch import Worker
    from tuilab.viewer.model.tour import Tour


def view(
    runs: "Sequence[Worker]",
    expect: "Sequence[Expectation]" = (),
    tour: "Tour | None" = None,
    *,
    side_by_side: bool = False,
) -> int:
    """Show runs until the user leaves, and tell how to see each again; return the exit code."""
    from tuilab.process.launch import info_of
    from tuilab.viewer import app

    code = 0
    for worker in app.view(runs, expect, tour, chosen_dress(), side_by_side=side_by_side):
        folder = worker.folder
        if worker.process is not None and (failure := _failure(worker)):
            code = complain(failure, worker.process.poll() or 2)
            continue
        info = info_of(worker)
        going = folder.is_alive() and not (info is not None and info.ended)
        how = "attach" if going else "replay"
        say(f"{folder.path}   (look at it again: {to_type(how, folder.path)})")
    return code


def _failure(worker: "Worker") -> str:
    """Return why a run of ours could not begin or go on, or ""."""
    from tuilab.errors import RunError
    from tuilab.record import RunReader

    try:
        with RunReader(worker.folder.database) as reader:
            info = reader.info()
    except RunError as error:
        return str(error)
    refused = worker.process is not None and (worker.process.poll() or 0) > 0
    return info.message if info.state == "failed" or refused else ""
