"""Runs of module trees as a watched program records them: a GPT, a ResNet-20, an MLP, 1,000 layers.

Tensors are drawn with the spreads that such networks have, and measured by the public functions.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from engine.states import RunState
from engine.statistics.frames import FirstWeights, Floats, Frame, LayerInfo, TrainingStatus
from engine.statistics.measured_snapshot import measure_snapshot
from tuilab.record import RunWriter, ScenarioInfo, Source, Status
from tuilab.record.run_folder import RunFolder
from tuilab.record.run_info import Progress

EXAMPLES = 40
KEYS = ("pause", "resume", "step", "scale", "set", "stop", "checkpoint", "freeze", "unfreeze")
"""Commands that a watched program takes."""
ACTIVATIONS = {"relu": {"bounds": (0.0, None), "silent_at": 0.0}}


@dataclass(frozen=True)
class Module:
    """A row: its path, kind and units, and the spread of what it gets, returns and sends back."""

    path: str
    kind: str
    units: int
    activation: str = "identity"
    input: float = 1.0
    output: float = 1.0
    gradient: float = 1e-4
    fan_in: int = 0  # of its weights; 0: it has none
    integers: bool = False  # its inputs have no spread


def gpt(blocks: int = 12) -> list[Module]:
    """A GPT: the residual stream grows from block to block, and gradients towards the input."""
    width = 48
    rows = [
        Module("transformer.wte", "Embedding", width, output=0.02, gradient=8e-4, fan_in=width,
               integers=True),
        Module("transformer.wpe", "Embedding", width, output=0.02, gradient=8e-4, fan_in=width,
               integers=True),
    ]  # fmt: skip
    for at in range(blocks):
        stream, back = 0.03 * 1.32**at + 0.05, 4e-4 * 1.2 ** (blocks - at)
        name = f"transformer.h.{at}"
        rows += [
            Module(f"{name}.ln_1", "LayerNorm", width, input=stream, gradient=back, fan_in=1),
            Module(f"{name}.attn.c_attn", "Linear", 3 * width, output=0.55, gradient=back / 6,
                   fan_in=width),
            Module(f"{name}.attn.softmax", "softmax", 16, input=0.3, output=0.12,
                   gradient=back / 9),
            Module(f"{name}.attn.c_proj", "Linear", width, input=0.2, output=0.06 + 0.02 * at,
                   gradient=back, fan_in=width),
            Module(f"{name}.ln_2", "LayerNorm", width, input=stream, gradient=back, fan_in=1),
            Module(f"{name}.mlp.c_fc", "Linear", 4 * width, "gelu", 1.0, 0.3 + 0.01 * at, back / 4,
                   width),
            Module(f"{name}.mlp.c_proj", "Linear", width, input=0.3, output=0.05 * 1.3**at,
                   gradient=back, fan_in=4 * width),
        ]  # fmt: skip
    return [
        *rows,
        Module("transformer.ln_f", "LayerNorm", width, input=1.2, gradient=6e-5, fan_in=1),
        Module("lm_head", "Linear", 65, output=0.6, gradient=3e-5, fan_in=width),
    ]


def resnet() -> list[Module]:
    """A ResNet-20 for CIFAR-10."""
    rows = [
        Module("conv1", "Conv2d", 16, output=0.6, fan_in=27),
        Module("bn1", "BatchNorm2d", 16, "relu", 0.6, 0.58, fan_in=1),
    ]
    for stage, units in enumerate((16, 32, 64), start=1):
        for block in range(3):
            name = f"layer{stage}.{block}"
            stream = 0.6 + 0.2 * block + 0.1 * stage
            rows += [
                Module(f"{name}.conv1", "Conv2d", units, input=stream, output=0.9 * stream,
                       fan_in=9 * units),
                Module(f"{name}.bn1", "BatchNorm2d", units, "relu", 0.9 * stream, 0.58, fan_in=1),
                Module(f"{name}.conv2", "Conv2d", units, input=0.58, output=0.5, fan_in=9 * units),
                Module(f"{name}.bn2", "BatchNorm2d", units, input=0.5, fan_in=1),
            ]  # fmt: skip
    return [*rows, Module("linear", "Linear", 10, input=0.4, output=0.7, fan_in=64)]


def mlp() -> list[Module]:
    """A Sequential of three linear layers with ReLU between them."""
    return [
        Module("0", "Linear", 32, "relu", 1.0, 0.6, 2e-3, 20),
        Module("2", "Linear", 32, "relu", 0.6, 0.4, 4e-3, 32),
        Module("4", "Linear", 10, "identity", 0.4, 0.3, 9e-3, 32),
    ]


def many(number: int = 1000) -> list[Module]:
    """Blocks of ten modules whose numbers of units differ, so that none are folded."""
    return [
        Module(f"model.layers.{at // 10}.fc{at % 10}", "Linear", 4 + at // 10 % 3, "relu",
               output=1.0 + 0.3 * math.sin(at / 9), fan_in=8)
        for at in range(number)
    ]  # fmt: skip


def layers_of(modules: Sequence[Module], *, first: bool = False) -> tuple[LayerInfo, ...]:
    """Return what a watcher records of modules; with `first`, also how weights were drawn."""
    return tuple(
        LayerInfo(
            at, module.path.rpartition(".")[2], module.kind, module.units, module.activation,
            parameters=module.units * module.fan_in, path=module.path,
            parent=module.path.rpartition(".")[0],
            role="output" if at == len(modules) else "hidden",
            first=_first(module) if first and module.kind in ("Linear", "Conv2d") else None,
            **ACTIVATIONS.get(module.activation, {}),  # type: ignore[arg-type]
        )
        for at, module in enumerate(modules, start=1)
    )  # fmt: skip


def _first(module: Module) -> FirstWeights:
    return FirstWeights(module.fan_in, module.units, module.fan_in**-0.5)


def tensors_of(module: Module, rng: np.random.Generator, step: int) -> dict[str, Floats]:
    """Return the tensors of a row; a row without weights lacks those."""
    shape = (EXAMPLES, module.units)
    output = rng.normal(0, module.output * (1 + step / 2000), shape)
    if module.activation == "relu":
        output = np.maximum(output, 0) * 1.7
    if module.activation == "gelu":
        output = output * (0.5 + np.tanh(output / module.output) / 2)
    tensors = {
        "activation": output,
        "activation_grad": rng.normal(0, module.gradient, shape),
    }
    if not module.integers:
        back = module.gradient * module.output / module.input
        tensors["input_grad"] = rng.normal(0, back, shape)
        tensors["input"] = rng.normal(0, module.input, shape)
    if module.fan_in:
        weight = rng.normal(0, max(module.fan_in, 4) ** -0.5, (module.fan_in, module.units))
        gradient = rng.normal(0, module.gradient * 8, weight.shape)
        tensors |= {"weight": weight, "weight_grad": gradient, "update": -0.3 * gradient}
    return tensors


def record(
    folder: RunFolder,
    modules: Sequence[Module],
    *,
    snapshots: int = 3,
    without: Sequence[str] = (),
    more: Mapping[str, Callable[[int], Floats]] | None = None,
    state: RunState = RunState.FINISHED,
    first: bool = False,
) -> RunFolder:
    """Record a watched run, without some of the tensors; a snapshot every 100 steps."""
    folder.path.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    layers = layers_of(modules, first=first)
    with closing(RunWriter(folder.database)) as writer:
        writer.describe(
            Source(source="torch", capabilities=KEYS, settable=("learning_rate",)),
            ScenarioInfo(title="train.py"),
            TrainingStatus(layers=layers, parameters=sum(layer.parameters for layer in layers)),
            Status(state=RunState.RUNNING),
        )
        for at in range(snapshots):
            step = 100 * at
            steps = np.arange(step, step + 100)
            rows = [tensors_of(module, rng, step) for module in modules]
            rows = [{k: v for k, v in row.items() if k not in without} for row in rows]
            loss = 1.8 + 2.4 * np.exp(-steps / 120) + rng.normal(0, 0.03, len(steps))
            series = {"loss": loss} | {name: make(step) for name, make in (more or {}).items()}
            writer.write(
                Frame(
                    first_step=step,
                    series=series,
                    time=(step + 100) / 9,
                    steps_per_second=9.2,
                    probe_share=0.021,
                    hyperparameters={"learning_rate": 6e-4},
                    snapshot=measure_snapshot(step, 0.0, layers, rows),
                )
            )
        if state.ended:
            writer.describe(Status(state=state))
        else:
            writer.describe(Status(state=state), Progress(step=100 * snapshots))
    return folder


def recorded(path: Path, name: str) -> RunFolder:
    """Record one of the networks by its name."""
    modules = {"gpt": gpt, "resnet": resnet, "mlp": mlp, "many": many}[name]()
    return record(RunFolder(path / name), modules)


def renamed(module: Module, path: str) -> Module:
    """Return a module with another path."""
    return replace(module, path=path)
