"""Opens the view for a command, and prints how to return to it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from engine.states import RunState
from tuilab.cli.options import chosen_appearance, print_error
from tuilab.terminal import say, shell_command

if TYPE_CHECKING:
    from tuilab.claims.expectations import Expectation
    from tuilab.process.launch import Worker
    from tuilab.viewer.model.tour import Tour


def open_view(
    runs: "Sequence[Worker]",
    expect: "Sequence[Expectation]" = (),
    tour: "Tour | None" = None,
    *,
    side_by_side: bool = False,
) -> int:
    """Show runs until the user quits, print how to view them again, and return the exit code."""
    from tuilab.process.launch import info_of
    from tuilab.viewer import app

    code = 0
    for worker in app.view(runs, expect, tour, chosen_appearance(), side_by_side=side_by_side):
        folder = worker.folder
        if worker.process is not None and (failure := _failure(worker)):
            code = print_error(failure, worker.process.poll() or 2)
            continue
        info = info_of(worker)
        training = folder.is_alive() and not (info is not None and info.ended)
        command = shell_command("attach" if training else "replay", folder.path)
        say(f"{folder.path}   (view it again: {command})")
    return code


def _failure(worker: "Worker") -> str:
    """Return why a run that this command started failed, or ""."""
    from tuilab.errors import RunError
    from tuilab.record import RunReader

    try:
        with RunReader(worker.folder.database) as reader:
            info = reader.info()
    except RunError as error:
        return str(error)
    refused = worker.process is not None and (worker.process.poll() or 0) > 0
    return info.message if info.state == RunState.FAILED or refused else ""
