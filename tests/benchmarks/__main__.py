"""Speed against PyTorch and against the limits of the machine: `python -m tests.benchmarks`.

Contenders take turns in one process with the same number of threads. What is printed can be saved
as JSON. Of the sections (steps, watched, parts, convnet, sweep, memory, start), any can be named.
Two take long and must be named: compiled is steps with torch.compile beside the others, and watch
is what `tuilab.watch` costs PyTorch programs.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import geometric_mean, median
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from tests.benchmarks import convnet
from tests.benchmarks.paired import Times, paired, table
from tests.benchmarks.parts import PARTS
from tests.benchmarks.sweep import sweep
from tests.benchmarks.training import Work, ours, peer, products, watched
from tests.benchmarks.watch import watch

TEN = (500,) * 10
KINDS = (("tanh", False), ("relu", False), ("relu", True))
DEEP = [
    Work(784, TEN, 10, activation, batch, optimizer, norm)
    for activation, norm in KINDS
    for batch in (32, 128, 1024)
    for optimizer in ("sgd", "adam")
]
SMALL = [Work(3072, (50,), 10, "relu", 100), Work(64, (100,), 10, "relu", 100)]
WATCHED = [Work(784, TEN, 10, activation, 128, "sgd", norm) for activation, norm in KINDS]
Found = list[dict[str, Any]]


def compare(name: str, contenders: dict[str, Callable[[], object]], rounds: int) -> dict[str, Any]:
    """Time contenders in turns, print them, and return their numbers."""
    times: Times = paired(contenders, rounds)
    print(name)
    table(times, "ms", 1e3)
    return {"name": name, "seconds": times, "medians": {k: median(v) for k, v in times.items()}}


def speed(row: dict[str, Any], peer: str) -> float:
    """Return how many times as fast as `peer` ours is."""
    return float(row["medians"][peer] / row["medians"]["ours"])


def steps(rounds: int, *, compiled: bool = False) -> Found:
    """Whole training steps against PyTorch, eager and as fast as it can be, and the products."""
    found = []
    for work in (*DEEP, *SMALL):
        contenders = {
            "ours": ours(work),
            "PyTorch eager": peer(work),
            "PyTorch fused": peer(work, fused=True),
            "products alone": products(work),
        }
        if compiled:
            contenders["PyTorch compiled"] = peer(work, compiled=True, fused=True)
        found.append(row := compare(work.name, contenders, rounds))
        others = {name: speed(row, name) for name in contenders if name.startswith("PyTorch")}
        print("    ", ", ".join(f"{value:.2f} × {name}" for name, value in others.items()))
        print(f"     {1 / speed(row, 'products alone'):.2f} × the time of the products alone")
    deep = [speed(row, "PyTorch eager") for row in found[: len(DEEP)]]
    print(f"deep networks: {geometric_mean(deep):.2f} × PyTorch eager, at least {min(deep):.2f} ×")
    return found


def statistics(rounds: int) -> Found:
    """Every statistic of all tensors at every step, against PyTorch with hooks."""
    found = []
    for work in WATCHED:
        contenders = {
            "ours": ours(work, measure=True),
            "ours without": ours(work),
            "PyTorch with hooks": watched(work),
        }
        found.append(row := compare(f"{work.name}, statistics at every step", contenders, rounds))
        print(f"     {speed(row, 'PyTorch with hooks'):.2f} × PyTorch with hooks")
    return found


def parts(rounds: int) -> Found:
    """Single parts against streaming their bytes once."""
    found = []
    for name, make in PARTS.items():
        found.append(row := compare(name, make(), rounds))
        print(f"     {1 / speed(row, 'streaming'):.2f} × the time to stream its bytes")
    return found


def images(rounds: int) -> Found:
    """The small convolutional network."""
    contenders = {
        "ours": convnet.ours(),
        "PyTorch": convnet.peer(),
        "PyTorch, channels last": convnet.peer(channels_last=True),
    }
    row = compare("conv 3×3 16-32-32 with pooling, 32×32×3, batch 64", contenders, rounds)
    for name in list(contenders)[1:]:
        print(f"     {speed(row, name):.2f} × {name}")
    return [row]


def memory(_: int) -> Found:
    """What a step holds beyond the interpreter, in a process of its own, against its budget."""
    found = []
    for work in (DEEP[0], DEEP[4], DEEP[5]):
        child = [sys.executable, "-m", "tests.benchmarks", "--held", str(DEEP.index(work))]
        held = float(subprocess.run(child, capture_output=True, text=True, check=True).stdout)
        parameters = sum(
            (inputs + 1) * units
            for inputs, units in zip(work.widths[:-1], work.widths[1:], strict=True)
        )
        slots = 1 if work.optimizer == "sgd" else 2
        activations = work.batch * sum(work.widths)
        budget = 4 * (parameters * (2 + slots) + 2 * activations) / 1e6 + 50
        print(f"{work.name}\n    holds {held:.0f} MB, budget {budget:.0f} MB")
        found.append({"name": work.name, "megabytes": held, "budget": budget})
    return found


def resident() -> float:
    """Return the megabytes that this process holds."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def held(number: int) -> None:
    """Print the megabytes that a network and its steps take, beyond the imports and the data."""
    ours(SMALL[1])()  # what is loaded at first use is not part of a step
    data = DEEP[number].examples()
    before = resident()
    run = ours(DEEP[number])
    for _ in range(5):
        run()
    print(resident() - before - 2 * data.x.nbytes / 1e6)  # its own examples, and those of the step


def start(rounds: int) -> Found:
    """Time to start, each in a fresh process."""
    programs = {
        "import numpy": ["-c", "import numpy"],
        "import engine": ["-c", "import engine"],
        "from engine import Trainer": ["-c", "from engine import Trainer"],
        "tuilab --help": ["-m", "tuilab.cli.main", "--help"],
    }

    def started(arguments: list[str]) -> Callable[[], object]:
        return lambda: subprocess.run([sys.executable, *arguments], capture_output=True, check=True)

    times = paired({name: started(each) for name, each in programs.items()}, max(rounds, 10), 0.0)
    print("start")
    table(times, "s")
    return [{"name": name, "seconds": found} for name, found in times.items()]


SECTIONS: dict[str, Callable[[int], Found]] = {
    "steps": steps,
    "compiled": partial(steps, compiled=True),
    "watched": statistics,
    "parts": parts,
    "convnet": images,
    "sweep": sweep,
    "memory": memory,
    "start": start,
    "watch": watch,
}
MUST_BE_NAMED = ("compiled", "watch")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sections", nargs="*", choices=[*SECTIONS, []], help="all, unless named")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--json", type=Path, help="file to save all numbers in")
    parser.add_argument("--held", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.held is not None:
        held(options.held)
        return
    results: dict[str, Any] = {
        "numpy": np.__version__,
        "torch": torch.__version__,
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
    }
    for threads in options.threads:
        torch.set_num_threads(threads)
        with threadpool_limits(threads):
            for name in options.sections or [s for s in SECTIONS if s not in MUST_BE_NAMED]:
                print(f"── {name}, threads: {threads}")
                results[f"{name}, {threads} threads"] = SECTIONS[name](options.rounds)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
