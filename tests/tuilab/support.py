"""What the tests of the application share: a small scenario, made-up frames, and the command."""

import copy
import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w

from engine.commands import Command
from engine.errors import TuilabError
from engine.states import EventKind, RunState
from engine.statistics.frames import (
    BINS,
    FIELDS,
    TENSORS,
    Event,
    Frame,
    LayerInfo,
    Snapshot,
    Validation,
)
from tuilab.record import RunReader, RunWriter
from tuilab.record.run_folder import RunFolder

CONFIG = "TUILAB_CONFIG"
FOREVER = 10**9
"""Steps of a run that a test ends itself."""
SLOWLY = Command("speed", value=500.0)
"""For a run whose steps are computed again: few are made while a test waits for some."""

_TABLE: dict[str, Any] = {
    "title": "A small one",
    "seed": 1,
    "data": {"source": "gaussian", "samples": 60, "features": 8, "classes": 3, "batch_size": 12},
    "network": {"hidden": [8, 6], "activation": "relu", "initializer": "he"},
    "optimizer": {"name": "sgd", "learning_rate": 0.05, "momentum": 0.9},
    "train": {"steps": 12},
}


def small(**sections: Any) -> dict[str, Any]:
    """Return the table of a scenario that trains in milliseconds; keywords update its tables."""
    table = copy.deepcopy(_TABLE)
    for name, value in sections.items():
        if isinstance(value, dict):
            table[name] = table.get(name, {}) | value
        else:
            table[name] = value
    return table


def write_scenario(path: Path, table: dict[str, Any] | None = None) -> Path:
    path.write_text(tomli_w.dumps(small() if table is None else table), encoding="utf-8")
    return path


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "tuilab.cli.main", *map(str, arguments)]


def environment() -> dict[str, str]:
    """The environment of a user who has set nothing of ours but where choices are kept."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("TUILAB") or k == CONFIG}
    return kept | {"COLUMNS": "100"}


def tuilab(*arguments: str | Path, cwd: Path, **more: Any) -> "subprocess.CompletedProcess[str]":
    """Run a command as a user would, with its output piped."""
    return subprocess.run(
        command(*arguments),
        cwd=cwd,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **more,
    )


def wait_for(condition: Callable[[], Any], seconds: float = 60.0) -> Any:
    """Return the first true value of `condition`; fail after `seconds`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if value := condition():
                return value
        except TuilabError:
            pass  # the database is not there yet
        time.sleep(0.02)
    raise AssertionError(f"still waiting after {seconds} s")


def carried_out(reader: RunReader) -> list[Event]:
    """The events of a run that are no findings."""
    return [e for _, e in reader.events() if e.kind not in (EventKind.FINDING, EventKind.CLEARED)]


def steps_made(folder: RunFolder) -> int:
    with RunReader(folder.database) as reader:
        return reader.info().step


def kill_workers(root: Path) -> None:
    """Kill whatever training process has a run folder below `root`."""
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            words = (directory / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"tuilab.process.worker" in words and os.fsencode(root) in b"\0".join(words):
            os.kill(int(directory.name), signal.SIGKILL)
    folders = [RunFolder(lock.parent) for lock in root.rglob("worker.lock")]
    wait_for(lambda: not any(folder.is_alive() for folder in folders))


def snapshot(step: int, *, layers: int = 3, value: float | None = None) -> Snapshot:
    """A snapshot whose numbers all differ (or is `value`)."""
    shape = (layers, len(TENSORS), len(FIELDS))
    statistics = step + np.arange(np.prod(shape), dtype=np.float64).reshape(shape) / 7
    if value is not None:
        statistics[...] = value
    bins = np.arange(layers * len(TENSORS) * (BINS + 2), dtype=np.int64)
    ranges = np.linspace(-1, 1, layers * len(TENSORS) * 2).reshape(layers, len(TENSORS), 2)
    return Snapshot(
        step,
        step / 4,
        statistics,
        bins.reshape(layers, len(TENSORS), BINS + 2) + step,
        ranges,
        np.linspace(0, 1, layers),
        np.linspace(1e-3, 1e-2, layers),
        np.linspace(0.9, 0.8, layers),
        np.linspace(0.0, 0.5, layers),
    )


def frame(
    first: int,
    loss: Sequence[float] = (),
    *,
    accuracy: Sequence[float] | None = None,
    data_loss: Sequence[float] | None = None,
    shot: Snapshot | None = None,
    validation: Validation | None = None,
    events: Sequence[Event] = (),
    state: str = "running",
) -> Frame:
    values = np.array(loss, dtype=np.float64)
    return Frame(
        first_step=first,
        time=float(first),
        epoch=(first + len(values)) / 4,
        series={
            "loss": values,
            "data_loss": values if data_loss is None else np.array(data_loss),
            "accuracy": np.full(len(values), 0.5) if accuracy is None else np.array(accuracy),
            "learning_rate": np.full(len(values), 0.1),
        },
        steps_per_second=100.0,
        probe_share=0.01,
        hyperparameters={"learning_rate": 0.1},
        validations=() if validation is None else (validation,),
        snapshot=shot,
        events=events,
        state=RunState(state),
    )


def layer_infos(number: int = 3) -> list[LayerInfo]:
    hidden = [
        LayerInfo(k, "relu", "linear", 8, "relu", path=str(k), bounds=(0.0, None), silent_at=0.0)
        for k in range(1, number)
    ]
    output = LayerInfo(number, "output", "linear", 3, "identity", path=str(number), role="output")
    return [*hidden, output]


def describe(writer: RunWriter, **values: Any) -> None:
    """Record some fields of RunInfo, and leave the others as they are."""
    if "state" in values:
        values["state"] = RunState(values["state"])
    with RunReader(writer.path) as reader:
        writer.describe(dataclasses.replace(reader.info(), **values))
