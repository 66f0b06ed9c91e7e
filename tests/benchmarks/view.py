"""What watching costs: `python -m tests.benchmarks.view [--seconds N] [--soak SECONDS]`.

A run of ten hidden layers in a pseudo-terminal of 160×48, as a user has it. Printed are the view's
share of a core, what it writes to the terminal, the steps a second that training keeps beside it,
the time from a key press to the change in the run's database, and, with --soak, the memory of both
processes over time.
"""

import argparse
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory

from tests.benchmarks.paired import table
from tests.tuilab.support import command
from tests.tuilab.terminal import Terminal
from tuilab.errors import RunError
from tuilab.record import RunReader

SIZE = (160, 48)
TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
SCENARIO = """
title = "ten hidden layers"
[data]
source = "gaussian"
samples = 4000
features = 500
classes = 10
batch_size = 100
[network]
hidden = {{ depth = 10, width = {width} }}
activation = "tanh"
initializer = "xavier"
[optimizer]
name = "sgd"
learning_rate = 1e-5
[train]
steps = 100000000
"""


def seconds_used(pid: int) -> float:
    """Return the processor time of a process, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def megabytes(pid: int) -> float:
    """Return the memory that a process holds, in megabytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE / 1e6


class Run:
    """A run that was started by the command, and its processes."""

    def __init__(self, terminal: Terminal, folder: Path) -> None:
        self.terminal, self.view = terminal, terminal.process.pid
        deadline = time.monotonic() + 60
        while not (reader := _begun(folder / "run.db")):
            if time.monotonic() > deadline:
                raise SystemExit("the run did not begin")
            time.sleep(0.1)
        self.reader, self.worker = reader, reader.info().pid

    def step(self) -> int:
        return self.reader.info().step

    def close(self) -> None:
        self.reader.close()
        self.terminal.close()
        os.kill(self.worker, 15)


def _begun(database: Path) -> RunReader | None:
    """Return the reader of a run that has made a step."""
    if not database.is_file():
        return None
    try:
        reader = RunReader(database)
    except RunError:  # it is still being made
        return None
    if reader.blocks(0, 1):
        return reader
    reader.close()
    return None


@contextmanager
def begun(folder: Path, width: int, *options: str) -> Iterator[Run]:
    """Start the scenario in `folder` in a terminal, headless or not."""
    folder.mkdir()
    scenario = folder / "ten_layers.toml"
    scenario.write_text(SCENARIO.format(width=width), encoding="utf-8")
    arguments = command("run", str(scenario), "--out", str(folder / "run"), *options)
    terminal = Terminal(arguments, folder, SIZE)
    run = Run(terminal, folder / "run")
    try:
        yield run
    finally:
        run.close()


def rate(run: Run, seconds: float) -> float:
    """Return the steps a second that the run makes for so long."""
    first, begin = run.step(), time.monotonic()
    time.sleep(seconds)
    return (run.step() - first) / (time.monotonic() - begin)


def speeds(
    folder: Path, width: int, rounds: int, seconds: float
) -> tuple[list[float], list[float]]:
    """Return steps a second beside a view and headless, in turns."""
    beside: list[float] = []
    alone: list[float] = []
    for turn in range(rounds):
        for found, options in ((beside, []), (alone, ["--headless"])):
            with begun(folder / f"{turn}{len(options)}", width, *options) as run:
                time.sleep(3)
                found.append(rate(run, seconds))
    return beside, alone


def latencies(run: Run, presses: int) -> list[float]:
    """Return the seconds from pressing the key for the learning rate to its recorded event."""
    found = []
    for turn in range(presses):
        last = max((key for key, _ in run.reader.events(0)), default=0)
        begin = time.monotonic()
        run.terminal.press("]" if turn % 2 else "[")
        while not any(event.kind == "set" for _, event in run.reader.events(last)):
            time.sleep(0.001)
            if time.monotonic() - begin > 5:
                raise SystemExit("a key press was never recorded")
        found.append(time.monotonic() - begin)
        time.sleep(0.13)
    return found


def watch(run: Run, seconds: float, presses: int) -> None:
    """Print what the view costs and how soon a key acts."""
    time.sleep(3)
    used, sent, begin = seconds_used(run.view), run.terminal.received, time.monotonic()
    time.sleep(seconds)
    passed = time.monotonic() - begin
    print(f"view: {100 * (seconds_used(run.view) - used) / passed:.1f} % of a core")
    print(f"view: {(run.terminal.received - sent) / passed / 1e3:.1f} kB/s to the terminal")
    spent = sorted(latencies(run, presses))
    p95 = quantiles(spent, n=20)[-1]
    print(f"key press to recorded change: median {1e3 * median(spent):.0f} ms, "
          f"95 % within {1e3 * p95:.0f} ms, longest {1e3 * spent[-1]:.0f} ms")  # fmt: skip


def soak(run: Run, seconds: float) -> None:
    """Print the memory of both processes over time."""
    print(f"{'seconds':>9} {'steps':>9} {'view MB':>9} {'worker MB':>9} {'run.db MB':>9}")
    begin = time.monotonic()
    while (passed := time.monotonic() - begin) < seconds:
        size = run.reader.path.stat().st_size / 1e6
        row = megabytes(run.view), megabytes(run.worker), size
        print(f"{passed:9.0f} {run.step():9,} " + " ".join(f"{value:9.1f}" for value in row))
        time.sleep(min(seconds / 10, 60))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0, help="length of one measurement")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--width", type=int, default=200, help="units of a hidden layer")
    parser.add_argument("--presses", type=int, default=60)
    parser.add_argument("--soak", type=float, default=0.0, help="seconds to watch the memory for")
    options = parser.parse_args(arguments)
    with TemporaryDirectory() as name:
        folder = Path(name)
        with begun(folder / "watched", options.width) as run:
            watch(run, options.seconds, options.presses)
            if options.soak:
                soak(run, options.soak)
        beside, alone = speeds(folder, options.width, options.rounds, options.seconds / 4)
    table({"beside a view": beside, "headless": alone}, "steps/s")
    print(f"training keeps {100 * median(beside) / median(alone):.1f} % beside a view")


if __name__ == "__main__":
    main()
