"""A training step on a GPU: `python -m tests.benchmarks.gpu`.

This engine's step as CUDA graphs, without statistics, with all of them at every step and ten times
a second, and operation by operation; PyTorch eager, as a captured CUDA graph, and compiled with
`mode="reduce-overhead"`; and the matrix products alone. All gather their batches from a data set on
the device and read no loss back in between. Says so and ends where there is no GPU.
"""

import argparse
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, Final

import numpy as np

from engine.activations import Activation, ReLU, Tanh
from engine.backends.base import CuPyBackend
from engine.cuda_graph.plan import Item, Launch, Product
from engine.cuda_graph.step_plan import Switches
from engine.cuda_graph.step_queue import DEPTH, SNAPSHOTS, StepQueue
from engine.data.dataset import Dataset, Examples
from engine.errors import BackendError
from engine.initializers import Xavier
from engine.network.network import mlp
from engine.optimization.optimizers import SGD, Adam, Optimizer
from engine.training.trainer import Trainer
from tests.benchmarks.paired import paired

EXAMPLES: Final = 8192
STEPS: Final = 100  # that a contender makes when it is its turn, before it waits for the device
CADENCE: Final = 0.1  # seconds between snapshots, as a run has them
PLAIN: Final = Switches(penalty=False, clip_norm=False, max_norm=False)


@dataclass(frozen=True)
class Case:
    """A network, its batch and its optimiser."""

    features: int
    hidden: tuple[int, ...]
    activation: Activation
    batch: int
    optimizer: Optimizer
    batch_norm: bool = False

    def __str__(self) -> str:
        name = type(self.activation).__name__.lower() + " + batch norm" * self.batch_norm
        sizes = "-".join(map(str, (self.features, *self.hidden, 10)))
        shown = f"{self.features}-{len(self.hidden)}×{self.hidden[0]}-10" if self.hidden else sizes
        return f"{shown}, {name}, batch {self.batch}, {type(self.optimizer).__name__}"

    @property
    def flops(self) -> int:
        """Of the products of one step: forwards, dW, and dx but for the first layer."""
        sizes = (self.features, *self.hidden, 10)
        products = [a * b for a, b in pairwise(sizes)]
        return 2 * self.batch * (3 * sum(products) - products[0])


def cases(quick: bool) -> list[Case]:
    deep: tuple[tuple[Activation, bool], ...] = ((Tanh(), False), (ReLU(), False), (ReLU(), True))
    optimizers: list[Optimizer] = [SGD(1e-4, momentum=0.9), Adam(1e-4)]
    found = [
        Case(784, (500,) * 10, activation, batch, optimizer, norm)
        for activation, norm in deep
        for batch in ((128,) if quick else (32, 128, 1024))
        for optimizer in optimizers[: 1 if quick else 2]
    ]
    return [*found, Case(64, (100,), ReLU(), 128, optimizers[0])]


def data(case: Case) -> Dataset:
    generator = np.random.default_rng(0)
    x = generator.normal(size=(EXAMPLES, case.features)).astype(np.float32)
    y = generator.integers(0, 10, EXAMPLES)
    return Dataset("noise", tuple("0123456789"), Examples(x, y), None)


class Ours:
    """A trainer's step on the device, driven without the trainer around it."""

    def __init__(self, case: Case, *, tf32: bool) -> None:
        self.backend = CuPyBackend("float32")
        self.backend.cupy_launcher.tf32 = tf32
        network = mlp(
            case.hidden,
            10,
            activation=case.activation,
            initializer=Xavier(),
            batch_norm=case.batch_norm,
        )
        trainer = Trainer(
            network,
            data(case),
            optimizer=case.optimizer,
            batch_size=case.batch,
            steps=1 << 30,
            backend=self.backend,
        )
        self.step = trainer.training_step
        found = trainer.step_runners.choose(self.step)
        if not isinstance(found, StepQueue):
            raise SystemExit(f"the step was not captured: {trainer.step_runners.reason}")
        self.queue: StepQueue = found
        self._rows = np.random.default_rng(1).permutation(EXAMPLES).reshape(-1, case.batch)
        self._made = self.dropped = self.measured = 0
        self._last = 0.0

    def steps(self, measure: Callable[[], bool], at_most: int = DEPTH - 1) -> None:
        for _ in range(STEPS):
            wanted = measure()
            rows = self._rows[self._made % len(self._rows)]
            got = self.queue.submit(self._made, 0.0, rows, measure=wanted)
            self.measured += got
            self.dropped += wanted and not got
            self._made += 1
            for _ in self.queue.down_to(at_most):
                pass
        for _ in self.queue.completed(wait=True):
            pass

    def due(self) -> bool:
        now = perf_counter()
        if now - self._last < CADENCE:
            return False
        self._last = now
        return True

    def eager(self) -> None:
        for k in range(STEPS):
            self.step.take(self._rows[k % len(self._rows)])
            self.step.gradients()
            self.step.update()

    def products(self) -> Callable[[], None]:
        """Return the products of STEPS steps as one launch each, and nothing else."""
        plan = [each for each in self.queue.plan(PLAIN, measure=False) if isinstance(each, Product)]
        launcher = self.backend.cupy_launcher
        graph = launcher.capture(plan)

        def run() -> None:
            for _ in range(STEPS):
                graph()
            launcher.mark().wait()

        return run

    def shares(self) -> list[tuple[str, int, float]]:
        """Return each kind of item in the measured step: how many, and µs of one alone."""
        launcher, kinds = self.backend.cupy_launcher, Counter[str]()
        spent: dict[str, float] = {}
        for item in self.queue.plan(PLAIN, measure=True):
            kind = _kind(item)
            kinds[kind] += 1
            graph = launcher.capture([item] * STEPS)
            graph()
            before = launcher.mark()
            graph()
            after = launcher.mark()
            after.wait()
            spent[kind] = spent.get(kind, 0.0) + after.seconds_since(before) / STEPS
        return [
            (kind, kinds[kind], 1e6 * spent[kind]) for kind in sorted(spent, key=spent.__getitem__)
        ]


def _kind(item: Item) -> str:
    return item.kernel if isinstance(item, Launch) else type(item).__name__.lower()


class Peer:
    """The same step in PyTorch, with its fused optimiser."""

    def __init__(self, torch: Any, case: Case, *, tf32: bool) -> None:
        torch.backends.cuda.matmul.allow_tf32 = tf32
        self._torch, made = torch, data(case)
        self._x = torch.from_numpy(made.train.x).cuda()
        self._y = torch.from_numpy(made.train.y).cuda()
        self._order = torch.randperm(EXAMPLES, device="cuda").reshape(-1, case.batch)
        self._rows = self._order[0].clone()
        self._model = self._network(case).cuda()
        self._loss = torch.zeros((), device="cuda")
        parameters = self._model.parameters()
        if isinstance(case.optimizer, Adam):
            chosen = torch.optim.Adam(parameters, 1e-4, fused=True, capturable=True)
        else:
            chosen = torch.optim.SGD(parameters, 1e-4, momentum=0.9, fused=True)
        self._optimizer = chosen

    def _network(self, case: Case) -> Any:
        nn, row = self._torch.nn, []
        sizes = (case.features, *case.hidden)
        for inputs, units in pairwise(sizes):
            row.append(nn.Linear(inputs, units, bias=not case.batch_norm))
            row += [nn.BatchNorm1d(units)] * case.batch_norm
            row.append(nn.Tanh() if isinstance(case.activation, Tanh) else nn.ReLU())
        return nn.Sequential(*row, nn.Linear(sizes[-1], 10))

    def _step(self, model: Any) -> None:
        x, y = self._x.index_select(0, self._rows), self._y.index_select(0, self._rows)
        loss = self._torch.nn.functional.cross_entropy(model(x), y)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self._optimizer.step()
        self._loss += loss.detach()

    def _steps(self, step: Callable[[], None]) -> None:
        for k in range(STEPS):
            self._rows.copy_(self._order[k % len(self._order)])
            step()
        self._torch.cuda.synchronize()

    def eager(self) -> Callable[[], None]:
        return lambda: self._steps(lambda: self._step(self._model))

    def graph(self) -> Callable[[], None]:
        torch, side = self._torch, self._torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):  # PyTorch wants its warm-up on another stream
            for _ in range(3):
                self._step(self._model)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._step(self._model)
        return lambda: self._steps(graph.replay)

    def compiled(self) -> Callable[[], None]:
        model = self._torch.compile(self._model, mode="reduce-overhead")
        return lambda: self._steps(lambda: self._step(model))


def contenders(case: Case, ours: Ours, torch: Any, *, tf32: bool) -> dict[str, Callable[[], Any]]:
    found: dict[str, Callable[[], Any]] = {
        "ours": lambda: ours.steps(lambda: False),
        "ours, all statistics": lambda: ours.steps(lambda: True, SNAPSHOTS - 1),
        "ours, 10 a second": lambda: ours.steps(ours.due),
        "ours, eager": ours.eager,
        "products alone": ours.products(),
    }
    if torch is not None:
        found |= {
            "PyTorch eager": Peer(torch, case, tf32=tf32).eager(),
            "PyTorch graph": Peer(torch, case, tf32=tf32).graph(),
            "PyTorch compiled": Peer(torch, case, tf32=tf32).compiled(),
        }
    return found


def peak(ours: Ours) -> float:
    """Return the FLOP/s of one large product on this device, which is taken as its peak."""
    size, launcher = 8192, ours.backend.cupy_launcher
    a, b, out = (ours.backend.full((size, size), 0.5) for _ in range(3))
    graph = launcher.capture([Product(a, b, out)] * 10)
    graph()
    before = launcher.mark()
    graph()
    after = launcher.mark()
    after.wait()
    return 10 * 2 * float(size) ** 3 / after.seconds_since(before)


def report(case: Case, times: dict[str, float], ours: Ours, most: float) -> dict[str, Any]:
    each = {name: seconds / STEPS for name, seconds in times.items()}
    mine = each["ours"]
    print(f"    {1e6 * mine:.1f} µs a step, {case.flops / mine / 1e9:.0f} GFLOP/s, ", end="")
    print(f"{case.flops / mine / most:.1%} of {most / 1e12:.1f} TFLOP/s (one large product)")
    for name, seconds in each.items():
        print(f"    {name:<22} {1e6 * seconds:9.1f} µs   {seconds / mine:6.3f} × ours")
    print(f"    statistics: {ours.measured} measured, {ours.dropped} dropped")
    shares = ours.shares()
    for kind, count, micros in reversed(shares):
        print(f"    {kind:<22} {count:3} × {micros / count:6.2f} µs = {micros:7.1f} µs")
    return {
        "case": str(case),
        "microseconds": {name: 1e6 * seconds for name, seconds in each.items()},
        "gflops": case.flops / mine / 1e9,
        "share_of_peak": case.flops / mine / most,
        "dropped": ours.dropped,
        "items": [{"kind": kind, "count": count, "microseconds": us} for kind, count, us in shares],
    }


def peer() -> Any:
    """Return PyTorch where it is here and sees the GPU; else None, and say so."""
    try:
        import torch
    except ImportError:
        print("PyTorch is not installed: its columns are left out")
        return None
    if not torch.cuda.is_available():
        print("this PyTorch has no CUDA: its columns are left out")
        return None
    return torch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--quick", action="store_true", help="batch 128 and SGD alone")
    parser.add_argument("--tf32", action="store_true", help="products with tensor cores")
    parser.add_argument("--json", type=Path, help="also write what is found into this file")
    options = parser.parse_args()
    try:
        device = CuPyBackend("float32").device
    except BackendError as error:
        print(f"not run, for there is no GPU here: {error}")
        return
    torch, found = peer(), []
    print(f"{device}, {'TF32' if options.tf32 else 'float32'}; medians of {options.rounds}")
    for case in cases(options.quick):
        print(case)
        ours = Ours(case, tf32=options.tf32)
        most = peak(ours)
        times = paired(contenders(case, ours, torch, tf32=options.tf32), options.rounds)
        medians = {name: median(turns) for name, turns in times.items()}
        found.append(report(case, medians, ours, most))
    if options.json:
        told = {"device": device, "tf32": options.tf32, "cases": found}
        options.json.write_text(json.dumps(told, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
