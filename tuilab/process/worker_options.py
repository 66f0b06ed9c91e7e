"""The command line of the training process; `tuilab.process.launch` writes it."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from tuilab.record import Fork


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """What the training process was asked to do."""

    folder: Path
    name: str  # of the scenario
    variant: str
    origin: str  # the scenario file, as the user named it
    backend: str
    data_dir: str
    threads: int
    restarted_from: str
    resume: bool
    set: Sequence[str]  # hyper-parameters to set before the first step: "learning_rate=0.1"
    fork: Fork | None  # where it branched off
    checkpoints: bool
    parent: int  # the process with which this one ends; 0: none

    @classmethod
    def parse(cls, arguments: Sequence[str] | None) -> "WorkerOptions":
        """Return the options of a command line; None: of this process."""
        values = vars(_parser().parse_args(arguments))
        fork = values.pop("fork")
        return cls(
            fork=msgspec.json.decode(fork, type=Fork) if fork else None,
            checkpoints=not values.pop("no_checkpoints"),
            **values,
        )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tuilab.process.worker")
    parser.add_argument("folder", type=Path)
    for name in ("name", "variant", "origin", "data-dir", "restarted-from", "fork"):
        parser.add_argument(f"--{name}", default="")
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--no-checkpoints", action="store_true")
    parser.add_argument("--parent", type=int, default=0)
    return parser
