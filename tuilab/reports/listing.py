"""`tuilab list`: one line per run."""

import time
from math import isfinite, nan
from pathlib import Path

from engine.errors import TuilabError
from engine.states import RunState
from tuilab.record import RunReader
from tuilab.record.run_folder import RunFolder, find_all, label
from tuilab.reports.run_report import aligned


def run_table(root: Path) -> str:
    """Return a table of the runs under `root`, oldest first."""
    rows: list[tuple[str, ...]] = [
        ("run", "state", "step", "epoch", "loss", "validation", "started", "")
    ]
    rows += [_row(folder, label(folder, root)) for folder in find_all(root)]
    return aligned(rows) if len(rows) > 1 else f"no runs under {root}/"


def _row(folder: RunFolder, name: str) -> tuple[str, ...]:
    try:
        with RunReader(folder.database) as reader:
            info, last = reader.info(), reader.last_block()
            validations = reader.validations()
            accuracy = validations[-1].accuracy if validations else nan
            state = folder.state(info)
    except TuilabError:
        return (name, RunState.UNREADABLE, *[""] * 6)
    return (
        name,
        state,
        f"{info.step:,}/{info.total_steps:,}" if info.total_steps else f"{info.step:,}",
        f"{last.epoch:.1f}" if last else "—",
        f"{last.loss[-1]:.4g}" if last else "—",
        f"{accuracy:.1%}" if isfinite(accuracy) else "—",
        time.strftime("%Y-%m-%d %H:%M", time.localtime(info.created)),
        str(info.fork or ""),
    )
