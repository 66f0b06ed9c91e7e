"""A small real network, trained in a few lines of NumPy and recorded with RunWriter.

The statistics are those of an actual forward and backward pass, so that pictures and tests show
what a worker would write, without one.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np

from engine.states import RunState
from engine.statistics.frames import (
    BINS,
    TENSORS,
    Event,
    FirstWeights,
    Floats,
    Frame,
    LayerInfo,
    Snapshot,
    Units,
    Validation,
)
from tests.tuilab.support import describe
from tuilab.record import RunWriter
from tuilab.record import run_folder as runs
from tuilab.record.run_folder import RunFolder


class Network:
    """A deep ReLU or tanh network on Gaussian inputs with labels of a random linear teacher."""

    def __init__(
        self, *, depth: int = 10, units: int = 60, activation: str = "relu",
        gain: float = 1.0, learning_rate: float = 0.01, seed: int = 0,
    ) -> None:  # fmt: skip
        rng = np.random.default_rng(seed)
        self.activation, self.learning_rate, self.gain = activation, learning_rate, gain
        sizes = [units] * (depth + 1) + [10]
        self.weights = [
            rng.normal(0, gain / np.sqrt(a), (a, b)) for a, b in itertools.pairwise(sizes)
        ]
        self.velocity = [np.zeros_like(w) for w in self.weights]
        self.x = rng.normal(size=(256, units))
        self.labels = (self.x @ rng.normal(size=(units, 10))).argmax(axis=1)

    def step(self, *, update: bool = True) -> tuple[float, float, list[list[Floats]]]:
        """Return loss, accuracy and, per layer, the six tensors; then update the weights."""
        a, inputs, pres, acts = self.x, [], [], []
        for k, w in enumerate(self.weights):
            inputs.append(a)
            z = a @ w
            last = k == len(self.weights) - 1
            a = z if last else np.maximum(z, 0) if self.activation == "relu" else np.tanh(z)
            pres.append(z)
            acts.append(a)
        p = np.exp(a - a.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        rows = np.arange(len(p))
        loss = float(-np.log(np.maximum(p[rows, self.labels], 1e-300)).mean())
        accuracy = float((a.argmax(axis=1) == self.labels).mean())
        d = p.copy()
        d[rows, self.labels] -= 1
        d /= len(p)
        tensors: list[list[Floats]] = []
        for k in reversed(range(len(self.weights))):
            grad_a = d
            if k < len(self.weights) - 1:
                d = d * ((pres[k] > 0) if self.activation == "relu" else 1 - acts[k] ** 2)
            grad_w = inputs[k].T @ d
            d = d @ self.weights[k].T
            self.velocity[k] = 0.9 * self.velocity[k] - self.learning_rate * grad_w
            tensors.append(
                [acts[k], pres[k], grad_a, self.weights[k].copy(), grad_w, self.velocity[k].copy()]
            )
        if update:
            for w, v in zip(self.weights, self.velocity, strict=True):
                w += v
        return loss, accuracy, tensors[::-1]


def snapshot(step: int, tensors: Sequence[Sequence[Floats]], activation: str) -> Snapshot:
    """Measure every tensor, as the engine's probes do."""
    layers = len(tensors)
    statistics = np.full((layers, len(TENSORS), 8), np.nan)
    histograms = np.zeros((layers, len(TENSORS), BINS + 2), np.int64)
    ranges = np.zeros((layers, len(TENSORS), 2))
    for k, row in enumerate(tensors):
        for t, values in enumerate(row):
            finite = values[np.isfinite(values)]
            bad = values.size - finite.size
            if not finite.size:
                finite = np.zeros(1)
            high = 2.0 ** np.ceil(np.log2(max(float(np.abs(finite).max()), 1e-30)))
            low = 0.0 if t == 0 and activation == "relu" and k < layers - 1 else -high
            if t == 0 and activation == "tanh" and k < layers - 1:
                low, high = -1.0, 1.0
            counts, _ = np.histogram(finite, BINS, (low, high))
            histograms[k, t, 1:-1] = counts if bad < values.size else 0
            ranges[k, t] = low, high
            saturated = float((np.abs(finite) > 0.97).mean()) if activation == "tanh" else np.nan
            statistics[k, t] = (
                values.size, values.mean(), values.std(), values.min(), values.max(),
                (values == 0).mean(), saturated, bad,
            )  # fmt: skip
    dead = np.array([float((row[0] == 0).all(axis=0).mean()) for row in tensors])
    ratio = np.array([float(np.linalg.norm(row[5]) / np.linalg.norm(row[3])) for row in tensors])
    unknown = np.full(layers, np.nan)
    units = [
        units_of(row[0], activation if k < layers - 1 else "") for k, row in enumerate(tensors)
    ]
    return Snapshot(
        step, step / 8, statistics, histograms, ranges, dead, ratio, unknown, unknown, units
    )  # fmt: skip


def units_of(output: Floats, activation: str) -> Units:
    """Measure each unit of an activation (batch, units)."""
    relu, tanh = activation == "relu", activation == "tanh"
    return Units(
        output.mean(axis=0).astype(np.float32),
        (output > 0).mean(axis=0) if relu else None,
        (np.abs(output) >= 0.97).mean(axis=0) if tanh else None,
        (output == 0).all(axis=0) if relu else None,
    )


KNOWN: dict[str, Any] = {
    "relu": {"bounds": (0.0, None), "silent_at": 0.0},
    "tanh": {"bounds": (-1.0, 1.0), "saturated": (-0.97, 0.97)},
}


@dataclass
class Recording:
    """A run folder that is being written, as a worker would."""

    folder: RunFolder
    network: Network = field(default_factory=Network)
    total: int = 400
    lock: IO[bytes] | None = None
    made: int = 0
    state: str = "running"
    writer: RunWriter = field(init=False)

    def __post_init__(self) -> None:
        self.folder.path.mkdir(parents=True, exist_ok=True)
        self.writer = RunWriter(self.folder.database)
        net = self.network
        describe(self.writer, scenario="xavier_relu", title="ReLU after Xavier initialisation",
            question="Why does a rule that works for tanh starve a deep ReLU network?",
            data=f"gaussian 1000×{net.x.shape[1]}", backend="numpy", dtype="float32", threads=1,
            activation=net.activation, initializer="xavier", input_std=1.0, classes=10,
            layers=self.infos,
            total_steps=self.total, steps_per_epoch=8, batch_size=100, samples=(800, 200),
            hyperparameters=self.hyperparameters, state="running", pid=1, socket="nowhere",
        )  # fmt: skip

    @property
    def infos(self) -> tuple[LayerInfo, ...]:
        """What a worker says of the layers."""
        net, last = self.network, len(self.network.weights)
        names = [net.activation] * (last - 1) + ["identity"]
        return tuple(
            LayerInfo(
                at, f"{at} {name}" if at < last else "output", "linear", w.shape[1], name,
                first=FirstWeights(w.shape[0], w.shape[1], net.gain / w.shape[0] ** 0.5),
                sees=w.shape[:1], path=str(at), role="hidden" if at < last else "output",
                **KNOWN.get(name, {}),
            )
            for at, (w, name) in enumerate(zip(net.weights, names, strict=True), start=1)
        )  # fmt: skip

    @property
    def hyperparameters(self) -> dict[str, float]:
        return {
            "learning_rate": self.network.learning_rate,
            "momentum": 0.9,
            "weight_decay": 0.0,
        }

    def hold(self) -> "Recording":
        """Hold worker.lock, so that the run counts as alive."""
        self.lock = runs.hold_lock(self.folder)
        return self

    def drop(self) -> None:
        """Let go of worker.lock, as the kernel does when a worker dies."""
        if self.lock is not None:
            self.lock.close()
            self.lock = None

    def steps(self, number: int, *, events: Sequence[Event] = (), state: str = "running") -> None:
        """Train `number` steps and record them as one frame with a snapshot."""
        first, losses, accuracies, tensors = self.made, [], [], None
        for _ in range(number):
            loss, accuracy, tensors = self.network.step()
            losses.append(loss)
            accuracies.append(accuracy)
        self.made += number
        shot = snapshot(self.made - 1, tensors, self.network.activation) if tensors else None
        rng = np.random.default_rng(first)
        values = np.array(losses) + rng.normal(0, 0.02, number)
        validation = Validation.of(
            self.made, self.made / 8, loss=values[-1] + 0.1, accuracy=accuracies[-1] * 0.9
        )
        self.frame(
            first, values, np.array(accuracies), events=events, state=state, snapshot=shot,
            validations=[validation],
        )  # fmt: skip

    def frame(self, first: int, loss: Floats, accuracy: Floats, **more: Any) -> None:
        """Record a frame with the given series."""
        self.state = more["state"] = RunState(more.get("state", "running"))
        rate = np.full(len(loss), self.network.learning_rate)
        self.writer.write(
            Frame(
                first_step=first,
                time=(first + len(loss)) / 400,
                epoch=(first + len(loss)) / 8,
                series={"loss": loss, "accuracy": accuracy, "learning_rate": rate},
                steps_per_second=412.3,
                probe_share=0.013,
                hyperparameters=self.hyperparameters,
                **more,
            )
        )

    def scale(self, ratio: float) -> Event:
        """Change the learning rate and return the event that says so."""
        previous = self.network.learning_rate
        self.network.learning_rate *= ratio
        detail = {"key": "learning_rate", "value": previous * ratio, "previous": previous}
        return Event(self.made, self.made / 400, "set", detail)

    def end(self, state: str, message: str = "") -> None:
        """Write the worker's last word and die."""
        self.state = state
        describe(self.writer, state=RunState(state), message=message)
        self.close()

    def close(self) -> None:
        """Close what is open, without a last word."""
        self.writer.close()
        self.drop()


def record(path: Path, steps: int = 200, **network: Any) -> Recording:
    """Record a run of `steps` steps, alive, with one change of the learning rate on the way."""
    recording = Recording(RunFolder(path), Network(**network)).hold()
    recording.steps(1)
    for made in range(1, steps, 20):
        events = [recording.scale(1.25)] if made == 101 else []
        recording.steps(min(20, steps - made), events=events)
    return recording
