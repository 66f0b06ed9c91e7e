"""A training step on a GPU: `python -m tests.benchmarks.gpu --minutes 7 --out DIR`.

First what a device must compute (`tests.engine.cuda_graph.checks`), then how fast: this engine's
step as CUDA graphs, without statistics, with all of them at every step and ten times a second, and
operation by operation; PyTorch eager, as a captured CUDA graph, and compiled with
`mode="reduce-overhead"`; and the matrix products alone. All gather their batches from a data set on
the device and read no loss back in between; that losses are finite is asserted after each turn.

The most important comes first, and the results are written after each check and each case, so that
nothing is lost when the time is up. `--rehearse` runs the same script on the emulated device of the
tests.
"""

import argparse
import json
import platform
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from statistics import median
from time import monotonic, perf_counter
from typing import Any, Final

import numpy as np

from engine.activations import Activation, ReLU, Tanh
from engine.backends import make_backend
from engine.backends.base import Backend
from engine.cuda_graph.plan import Item, Join, Launch, Product
from engine.cuda_graph.step_plan import Switches
from engine.cuda_graph.step_queue import DEPTH, SNAPSHOTS, StepQueue
from engine.data.dataset import Dataset, Examples
from engine.errors import BackendError, DeviceLostError
from engine.initializers import Xavier
from engine.network import mlp
from engine.optimization.optimizers import SGD, Adam, Optimizer
from engine.training.trainer import Trainer
from tests.benchmarks.paired import paired
from tests.engine.cuda_graph.checks import REPEATS, checks, launcher_of

EXAMPLES: Final = 8192
CADENCE: Final = 0.1  # seconds between snapshots, as a run has them
PLAIN: Final = Switches(penalty=False, clip_norm=False, max_norm=False)
CHECKING: Final = 0.5
"""Share of the time after which no further check is begun."""
LAST: Final = 45.0  # seconds that torch.compile takes, about: with less it is left out


@dataclass(frozen=True)
class Case:
    """A network, its batch and its optimiser."""

    features: int
    hidden: tuple[int, ...]
    activation: Activation
    batch: int
    optimizer: Optimizer
    batch_norm: bool = False
    tf32: bool = False

    def __str__(self) -> str:
        name = type(self.activation).__name__.lower() + " + batch norm" * self.batch_norm
        sizes = f"{self.features}-{len(self.hidden)}×{self.hidden[0]}-10"
        optimizer = type(self.optimizer).__name__ + ", TF32" * self.tf32
        return f"{sizes}, {name}, batch {self.batch}, {optimizer}"

    @property
    def flops(self) -> int:
        """Of the products of one step: forwards, dW, and dx but for the first layer."""
        sizes = (self.features, *self.hidden, 10)
        products = [a * b for a, b in pairwise(sizes)]
        return 2 * self.batch * (3 * sum(products) - products[0])


def cases() -> list[Case]:
    """Return all cases, the most telling first."""
    sgd, adam = SGD(1e-4, momentum=0.9), Adam(1e-4)
    deep = (500,) * 10
    first = Case(784, deep, ReLU(), 128, sgd)
    norm = replace(first, batch_norm=True)
    tanh = replace(first, activation=Tanh())
    found = [
        *(first, norm, replace(first, batch=1024), replace(tanh, optimizer=adam)),
        *(Case(64, (100,), ReLU(), 128, sgd), replace(tanh, batch=32)),
        *(replace(first, tf32=True), replace(first, optimizer=adam), tanh),
    ]
    every = [
        replace(kind, batch=batch, optimizer=optimizer)
        for kind in (tanh, first, norm)
        for batch in (128, 32, 1024)
        for optimizer in (sgd, adam)
    ]
    return list(dict.fromkeys([*found, *every]))


def rehearsed() -> list[Case]:
    """Return small ones, with all that the others have."""
    sgd = SGD(1e-4, momentum=0.9)
    return [
        Case(7, (9, 9), ReLU(), 64, sgd, batch_norm=True),
        Case(7, (9,), Tanh(), 64, Adam(1e-4)),
    ]


def data(case: Case) -> Dataset:
    generator = np.random.default_rng(0)
    x = generator.normal(size=(EXAMPLES, case.features)).astype(np.float32)
    y = generator.integers(0, 10, EXAMPLES)
    return Dataset("noise", tuple("0123456789"), Examples(x, y), None)


class Ours:
    """A trainer's step on the device, driven without the trainer around it."""

    def __init__(self, case: Case, backend: Backend, count: int, *, branches: bool = True) -> None:
        self.backend, self._count, self.launcher = backend, count, launcher_of(backend)
        launcher: Any = self.launcher
        launcher.tf32, launcher.branches = case.tf32, branches
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
            raise RuntimeError(f"the step was not captured: {trainer.step_runners.reason}")
        self.queue: StepQueue = found
        self._rows = np.random.default_rng(1).permutation(EXAMPLES).reshape(-1, case.batch)
        self._made = self.dropped = self.measured = 0
        self._last = 0.0

    def steps(self, measure: Callable[[], bool], at_most: int = DEPTH - 1) -> None:
        arrived = []
        for _ in range(self._count):
            wanted = measure()
            rows = self._rows[self._made % len(self._rows)]
            got = self.queue.submit(self._made, 0.0, rows, measure=wanted)
            self.measured += got
            self.dropped += wanted and not got
            self._made += 1
            arrived += [completed.result.loss for completed in self.queue.down_to(at_most)]
        arrived += [completed.result.loss for completed in self.queue.completed(wait=True)]
        assert len(arrived) == self._count
        assert np.isfinite(arrived).all(), "a loss was not finite"

    def due(self) -> bool:
        now = perf_counter()
        if now - self._last < CADENCE:
            return False
        self._last = now
        return True

    def eager(self) -> None:
        for k in range(self._count):
            self.step.take(self._rows[k % len(self._rows)])
            result = self.step.gradients()
            self.step.update()
        assert np.isfinite(result.loss)

    def assert_alive(self) -> None:
        """Assert that the steps changed something: a step that does not is faster."""
        (alive,) = self.backend.to_host(self.queue._memory.alive)
        assert alive == 1, "the steps changed nothing, because a loss was not finite"

    def products(self) -> Callable[[], None]:
        """Return the products of as many steps as one launch each, and nothing else."""
        plan = [each for each in self.queue.plan(PLAIN, measure=False) if isinstance(each, Product)]
        graph = self.launcher.capture(plan)

        def run() -> None:
            for _ in range(self._count):
                graph()
            self.launcher.fence().wait()

        return run

    def shares(self) -> list[tuple[str, int, float]]:
        """Return each kind of item in the measured step: how many, and µs of one alone."""
        kinds, spent = Counter[str](), Counter[str]()
        for item in self.queue.plan(PLAIN, measure=True):
            if isinstance(item, Join):
                continue
            kind = _kind(item)
            kinds[kind] += 1
            graph = self.launcher.capture([item] * self._count)
            graph()
            before = self.launcher.fence()
            graph()
            after = self.launcher.fence()
            after.wait()
            spent[kind] += after.seconds_since(before) / self._count  # type: ignore[assignment]
        return [(kind, kinds[kind], 1e6 * seconds) for kind, seconds in spent.most_common()]


def _kind(item: Item) -> str:
    return item.kernel if isinstance(item, Launch) else type(item).__name__.lower()


class Peer:
    """The same step in PyTorch, with its fused optimiser."""

    def __init__(self, torch: Any, case: Case, count: int) -> None:
        self._torch, self._count, made = torch, count, data(case)
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        torch.backends.cuda.matmul.allow_tf32 = case.tf32
        self._x = torch.from_numpy(made.train.x).to(self._device)
        self._y = torch.from_numpy(made.train.y).to(self._device)
        self._order = torch.randperm(EXAMPLES, device=self._device).reshape(-1, case.batch)
        self._rows = self._order[0].clone()
        self._model = self._network(case).to(self._device)
        self._loss = torch.zeros((), device=self._device)
        parameters = self._model.parameters()
        if isinstance(case.optimizer, Adam):
            on_gpu = self._device == "cuda"
            chosen = torch.optim.Adam(parameters, 1e-4, fused=True, capturable=on_gpu)
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
        for k in range(self._count):
            self._rows.copy_(self._order[k % len(self._order)])
            step()
        assert np.isfinite(self._loss.item())  # which waits for all of them

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

        def run() -> None:
            self._steps(lambda: self._step(model))

        run()
        return run


Contender = Callable[[], Any]


@dataclass
class Report:
    """The results so far, written to DIR/gpu.json and DIR/gpu.md after each addition."""

    folder: Path
    machine: dict[str, str]
    checks: list[dict[str, Any]] = field(default_factory=list)
    cases: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        print(text, flush=True)
        self.notes.append(text)
        self.write()

    def write(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        results = {
            "machine": self.machine,
            "notes": self.notes,
            "cases": self.cases,
            "checks": self.checks,
        }
        text = json.dumps(results, indent=1, ensure_ascii=False)
        (self.folder / "gpu.json").write_text(text, encoding="utf-8")
        (self.folder / "gpu.md").write_text("\n".join(self.lines()) + "\n", encoding="utf-8")

    def lines(self) -> Iterator[str]:
        """Yield the Markdown."""
        yield ", ".join(f"{key} {value}" for key, value in self.machine.items())
        yield ""
        failed = [each for each in self.checks if each["error"]]
        yield f"{len(self.checks)} checks, {len(failed)} failed."
        yield ""
        for each in failed:
            yield f"- {each['dtype']} {each['name']}: {each['error'].splitlines()[0]}"
        names = list(dict.fromkeys(name for case in self.cases for name in case["microseconds"]))
        yield (
            "| µs a step, median (half of the turns) | share of peak | " + " | ".join(names) + " |"
        )
        yield "|---" * (2 + len(names)) + "|"
        for case in self.cases:
            cells = [_cell(case["microseconds"].get(name)) for name in names]
            share = f"{case['share_of_peak']:.0%}" if case.get("share_of_peak") else ""
            yield f"| {case['case']} | {share} | " + " | ".join(cells) + " |"
        yield ""
        for text in self.notes:
            yield f"- {text}"


def _cell(turns: list[float] | None) -> str:
    if not turns:
        return ""
    low, middle, high = np.quantile(turns, [0.25, 0.5, 0.75])
    return f"{middle:.1f} ({low:.1f}–{high:.1f})"


class Session:
    """One run of the script: checks and cases in order, until the time is up."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._begin, self._allowed = monotonic(), 60.0 * float(options.minutes)
        self._rehearse = options.rehearse
        self._count = 6 if options.rehearse else 100
        self._rounds: int = 2 if options.rehearse else options.rounds
        self._least = 0.0 if options.rehearse else 0.03
        self._cases = rehearsed() if options.rehearse else cases()[: options.cases]
        self._torch = None if options.no_torch else peer()
        machine = {
            "device": self._backend("float32").device,
            "software": self._backend("float32").software,
            "Python": platform.python_version(),
            "PyTorch": str(getattr(self._torch, "__version__", "none")),
        }
        self.report = Report(options.out, machine)

    def _backend(self, dtype: str) -> Backend:
        if not self._rehearse:
            return make_backend("cupy", dtype)
        from tests.engine.cuda_graph.emulator import EmulatedBackend

        return EmulatedBackend(dtype)

    @property
    def left(self) -> float:
        """Seconds."""
        return self._allowed - (monotonic() - self._begin)

    def check(self) -> None:
        """Make the checks that the time allows; what fails is recorded and the next is made."""
        for dtype in ("float32", "float64"):
            backend = self._backend(dtype)
            for check in checks(backend, 1 if self._rehearse else REPEATS):
                if self.left < (1 - CHECKING) * self._allowed:
                    self.report.note(f"the time for checks was over before {dtype} {check.name}")
                    return
                begin, far, error = monotonic(), None, ""
                try:
                    far = check.run()
                except DeviceLostError:
                    raise
                except Exception as failure:  # noqa: BLE001  (whatever it is, it is reported)
                    launcher_of(backend).check()
                    error = "".join(traceback.format_exception(failure, limit=-4))
                    error = f"{failure}".strip().replace("\n", " ") + "\n" + error
                    print(f"FAILED {dtype} {check.name}: {error.splitlines()[0]}", flush=True)
                seconds = monotonic() - begin
                row = {"dtype": dtype, "name": check.name, "deviation": far, "seconds": seconds}
                self.report.checks.append(row | {"error": error})
            self.report.write()
            failed = sum(bool(each["error"]) for each in self.report.checks)
            self.report.note(f"{dtype}: {failed} failed until then; {self.left:.0f} s left")

    def measure(self) -> None:
        """Time the cases, those that the time allows, and torch.compile in what is left."""
        longest = 0.0
        for case in self._cases:
            if self.left < 1.2 * longest:
                self.report.note(f"the time was over before: {case}")
                return
            begin = monotonic()
            self._attempt(str(case), lambda case=case: self._time(case))  # type: ignore[misc]
            longest = max(longest, monotonic() - begin)
        for case in self._cases[:2] if self._torch is not None else []:
            if self.left < LAST:
                self.report.note(f"the time was over before torch.compile of: {case}")
                return
            self._attempt(f"{case}, compiled", lambda case=case: self._compiled(case))  # type: ignore[misc]

    def _attempt(self, name: str, run: Callable[[], Any]) -> Any:
        """Run it; record why it failed, and go on unless the device is lost."""
        try:
            return run()
        except DeviceLostError:
            raise
        except Exception as error:  # noqa: BLE001  (as above)
            self.report.note(f"{name} failed: {type(error).__name__}: {error}")
            traceback.print_exc()
            launcher_of(self._backend("float32")).check()
            return None

    def _time(self, case: Case) -> None:
        ours = Ours(case, self._backend("float32"), self._count)
        made: dict[str, Contender] = {
            "ours": lambda: ours.steps(lambda: False),
            "ours, all statistics": lambda: ours.steps(lambda: True, SNAPSHOTS - 1),
            "ours, 10 a second": lambda: ours.steps(ours.due),
            "ours, eager": ours.eager,
        }
        if not self._rehearse:
            alone = Ours(case, self._backend("float32"), self._count, branches=False)
            made["ours, one branch"] = lambda: alone.steps(lambda: False)
        others: dict[str, Callable[[], Contender]] = {"products alone": ours.products}
        if self._torch is not None:
            others["PyTorch eager"] = Peer(self._torch, case, self._count).eager
            others["PyTorch graph"] = Peer(self._torch, case, self._count).graph
        for name, make in others.items():
            if (run := self._attempt(f"{case}, {name}", make)) is not None:
                made[name] = run
        most = self._attempt("peak", lambda: peak(ours, 64 if self._rehearse else 8192))
        times = paired(made, self._rounds, self._least)
        ours.assert_alive()
        row = self._row(case, times)
        row |= {"dropped": ours.dropped, "measured": ours.measured, "peak": most}
        if most:
            row["share_of_peak"] = case.flops / (1e-6 * median(row["microseconds"]["ours"])) / most
        self.report.write()
        shares = self._attempt(f"{case}, shares", ours.shares) or []
        row["items"] = [dict(zip(("kind", "count", "µs"), each, strict=True)) for each in shares]
        self.report.write()
        self._print(row)

    def _row(self, case: Case, times: dict[str, list[float]]) -> dict[str, Any]:
        each = {n: [1e6 * s / self._count for s in turns] for n, turns in times.items()}
        row: dict[str, Any] = {"case": str(case), "flops": case.flops, "microseconds": each}
        self.report.cases.append(row)
        return row

    def _compiled(self, case: Case) -> None:
        ours = Ours(case, self._backend("float32"), self._count)
        compiled = Peer(self._torch, case, self._count).compiled()
        made = {"ours": lambda: ours.steps(lambda: False), "PyTorch compiled": compiled}
        row = self._row(case, paired(made, self._rounds, self._least))
        ours.assert_alive()
        self.report.write()
        self._print(row)

    def _print(self, row: dict[str, Any]) -> None:
        mine = median(row["microseconds"]["ours"])
        print(row["case"])
        if row.get("peak"):
            print(f"    {row['share_of_peak']:.1%} of {row['peak'] / 1e12:.1f} TFLOP/s", end="; ")
            print(f"statistics: {row['measured']} measured, {row['dropped']} dropped")
        for name, turns in row["microseconds"].items():
            print(f"    {name:<22} {_cell(turns):>26} µs   {median(turns) / mine:6.3f} × ours")
        for item in row.get("items", []):
            each = item["µs"] / item["count"]
            print(
                f"    {item['kind']:<22} {item['count']:3} × {each:6.2f} µs = {item['µs']:7.1f} µs"
            )
        print(f"    {self.left:.0f} s left", flush=True)


def peak(ours: Ours, size: int) -> float:
    """Return the FLOP/s of one large product on this device, taken as its peak."""
    launcher = ours.launcher
    a, b, out = (ours.backend.full((size, size), 0.0) for _ in range(3))
    values = np.random.default_rng(0).normal(size=(1, size))
    for each in (a, b):  # zeros are multiplied faster than other numbers
        each[...] = ours.backend.to_device(values, ours.backend.dtype)
    launcher.run([Product(a, b, out)])
    graph = launcher.capture([Product(a, b, out)] * 5)
    graph()
    before = launcher.fence()
    graph()
    after = launcher.fence()
    after.wait()
    return 5 * 2 * float(size) ** 3 / after.seconds_since(before)


def peer() -> Any:
    """Return PyTorch, or None with a message if it is not installed."""
    try:
        import torch
    except ImportError:
        print("PyTorch is not installed: its columns are left out")
        return None
    return torch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=7.0)
    parser.add_argument("--out", type=Path, default=Path("gpu-results"), metavar="DIR")
    parser.add_argument("--rounds", type=int, default=8, help="turns of each contender")
    parser.add_argument("--cases", type=int, help="only the first N cases", metavar="N")
    parser.add_argument("--no-checks", action="store_true")
    parser.add_argument("--no-torch", action="store_true")
    parser.add_argument(
        "--rehearse", action="store_true", help="on the emulated device of the tests"
    )
    options = parser.parse_args()
    try:
        session = Session(options)
    except BackendError as error:
        sys.exit(f"not run, because there is no GPU here: {error}")
    try:
        if not options.no_checks:
            session.check()
        session.measure()
    except DeviceLostError as error:
        session.report.note(f"ended early: {error}")
        traceback.print_exc()
    session.report.write()
    print((options.out / "gpu.md").read_text(encoding="utf-8"))
    sys.exit(any(each["error"] for each in session.report.checks))


if __name__ == "__main__":
    main()
