"""What `tuilab.watch` costs a PyTorch program, beside hooks that one would write by hand.

Each contender trains the same network in a process of its own, because an armed step of one would
disturb the others; the processes take turns. What counts is the processor time of the whole
process, so that the recorder's thread is included and other programs are not.
"""

import argparse
import gc
import itertools
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import tuilab
from tests.benchmarks.paired import table

CONTENDERS: Final = ("plain", "not armed", "default", "every step", "hooks", "like wandb.watch")
TURN: Final = 2.0  # seconds at least; the default cadence measures several times in it
LEAST: Final = 8  # steps of a turn
SETTLE: Final = 4
"""Steps of a turn that do not count: the first of them is measured because time has passed."""
BINS: Final = 64


class Block(nn.Module):
    """A residual block of two convolutions."""

    def __init__(self, inputs: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, channels, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1:
            self.shortcut = nn.Conv2d(inputs, channels, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


def resnet() -> nn.Module:
    """Return a residual network with 20 layers for images of 32×32 pixels."""
    layers: list[nn.Module] = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    for inputs, channels, stride in ((16, 16, 1), (16, 32, 2), (32, 64, 2)):
        layers += [Block(inputs, channels, stride)]
        layers += [Block(channels, channels, 1) for _ in range(2)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


class Attention(nn.Module):
    """A block of a GPT: causal attention and two linear layers, each behind a normalisation."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.project = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        qkv = self.qkv(self.norm1(x)).view(batch, length, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.project(y.transpose(1, 2).reshape(x.shape))
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


class GPT(nn.Module):
    """Six blocks, 128 wide, sequences of 64 out of 256 tokens."""

    def __init__(self, tokens: int = 256, width: int = 128, length: int = 64) -> None:
        super().__init__()
        self.token, self.position = nn.Embedding(tokens, width), nn.Embedding(length, width)
        self.blocks = nn.ModuleList(Attention(width, 4) for _ in range(6))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, tokens, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.token(tokens) + self.position(torch.arange(tokens.shape[1]))
        for block in self.blocks:
            x = block(x)
        y: Tensor = self.head(self.norm(x)).flatten(0, 1)
        return y


def mlp() -> nn.Module:
    """Return 784-10×500-10 with ReLU."""
    widths = [784, *[500] * 10]
    layers: list[nn.Module] = []
    for inputs, units in itertools.pairwise(widths):
        layers += [nn.Linear(inputs, units), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(500, 10))


Batch = tuple[Tensor, Tensor]
NETWORKS: Final[dict[str, tuple[Callable[[], nn.Module], Callable[[], Batch]]]] = {
    "MLP 784-10×500-10, batch 128": (
        mlp,
        lambda: (torch.randn(128, 784), torch.randint(10, (128,))),
    ),
    "ResNet-20, 32×32×3, batch 64": (
        resnet,
        lambda: (torch.randn(64, 3, 32, 32), torch.randint(10, (64,))),
    ),
    "GPT of 6 blocks, 128 wide, 16×64 tokens": (
        GPT,
        lambda: (torch.randint(256, (16, 64)), torch.randint(256, (1024,))),
    ),
}


# Hooks as one would write them.


def by_hand(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Mean, std and histogram of activations, their gradients, and weights, at every step."""
    seen: list[object] = []

    def look(values: Tensor) -> None:
        values = values.detach()
        seen.append((values.mean().item(), values.std().item(), torch.histc(values, BINS)))

    def forward(_: nn.Module, __: object, output: Tensor) -> None:
        look(output)
        output.register_hook(look)  # type: ignore[no-untyped-call, unused-ignore]

    for module in model.modules():
        if not any(module.children()):
            module.register_forward_hook(forward)

    def before(*_: object) -> None:
        for parameter in model.parameters():
            if parameter.ndim > 1 and parameter.grad is not None:
                look(parameter)
                look(parameter.grad)
        seen.clear()

    optimizer.register_step_pre_hook(before)


def like_wandb(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Histograms of all parameters and gradients, as `wandb.watch(log="all")` takes them."""
    seen: list[object] = []

    def look(values: Tensor) -> None:
        flat = values.detach().reshape(-1)
        finite = torch.isfinite(flat)
        if not finite.all():
            flat = flat[finite]
        low, high = flat.min().item(), flat.max().item()
        counts = flat.histc(BINS, low, high).cpu().detach().clone()
        seen.append((counts.tolist(), torch.linspace(low, high, BINS + 1).tolist()))

    def forward(module: nn.Module, _: object, __: object) -> None:
        for parameter in module.parameters(recurse=False):
            look(parameter)

    for module in model.modules():
        module.register_forward_hook(forward)
    for parameter in model.parameters():
        parameter.register_hook(look)  # type: ignore[no-untyped-call, unused-ignore]
    optimizer.register_step_post_hook(lambda *_: seen.clear())


def prepare(
    contender: str, model: nn.Module, optimizer: torch.optim.Optimizer, folder: Path
) -> Any:
    """Give a model and its optimiser what the contender measures with; return its run if any."""
    every: Any = {"not armed": "never", "default": 0.03, "every step": 1}.get(contender)
    if every is not None:
        return tuilab.watch(model, optimizer, out=str(folder / "run"), every=every, quiet=True)
    if contender == "hooks":
        by_hand(model, optimizer)
    if contender == "like wandb.watch":
        like_wandb(model, optimizer)
    return None


def serve(network: str, contender: str, *, compiled: bool, folder: Path) -> None:
    """Make as many steps as each line of the input says; print processor and wall seconds."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    build, draw = NETWORKS[network]
    model = build()
    optimizer = torch.optim.SGD(model.parameters(), 1e-3, momentum=0.9)
    forward: Any = torch.compile(model) if compiled else model
    x, y = draw()

    def step() -> None:
        optimizer.zero_grad()
        loss = F.cross_entropy(forward(x), y)
        loss.backward()  # type: ignore[no-untyped-call, unused-ignore]
        optimizer.step()

    step()
    gc.collect()
    held = resident()
    watched = prepare(contender, model, optimizer, folder)
    for _ in range(2 * SETTLE):
        step()
    print(resident() - held, flush=True)
    for line in sys.stdin:
        for _ in range(SETTLE):
            step()
        begin = process_time(), perf_counter()
        for _ in range(int(line)):
            step()
        print(process_time() - begin[0], perf_counter() - begin[1], flush=True)
    if watched is not None:
        watched.close()


def resident() -> float:
    """Return the megabytes that this process has held at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


class Contender:
    """A process that trains as one contender, when it is asked to."""

    def __init__(self, network: str, name: str, *, compiled: bool) -> None:
        self.name, self._folder = name, tempfile.TemporaryDirectory()
        arguments = [network, name, "--folder", self._folder.name, *["--compiled"] * compiled]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.watch", *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def answer(self) -> list[float]:
        """Wait for the next line of numbers."""
        assert self._process.stdout is not None
        return [float(word) for word in self._process.stdout.readline().split()]

    def seconds(self, steps: int) -> float:
        """Make some steps; return the processor time of one."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{steps}\n")
        self._process.stdin.flush()
        return self.answer()[0] / steps

    def end(self) -> None:
        """Let the process end, and remove what it has recorded."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
        self._folder.cleanup()


def watch(
    rounds: int, networks: Sequence[str] = tuple(NETWORKS), how: Sequence[bool] = (False, True)
) -> list[Any]:
    """Training with and without `tuilab.watch`, eager and compiled."""
    rows = []
    for network in networks:
        for compiled in how:
            print(f"{network}, {'compiled' if compiled else 'eager'}", flush=True)
            contenders = [Contender(network, name, compiled=compiled) for name in CONTENDERS]
            memory = {contender.name: contender.answer()[0] for contender in contenders}
            number = max(LEAST, round(TURN / contenders[0].seconds(LEAST)))
            times: dict[str, list[float]] = {name: [] for name in CONTENDERS}
            for _ in range(rounds):
                for contender in contenders:
                    times[contender.name].append(contender.seconds(number))
            for contender in contenders:
                contender.end()
            table(times, "ms", 1e3)
            extra = {
                name: median(a / b - 1 for a, b in zip(times[name], times["plain"], strict=True))
                for name in CONTENDERS
            }
            for name, value in extra.items():
                megabytes = memory[name] - memory["plain"]
                print(f"    {name:<24} {value:+9.1%} of the time  {megabytes:+6.0f} MB")
            for name in ("hooks", "like wandb.watch"):
                print(f"     {name} cost {extra[name] / extra['every step']:.1f} × every step")
            rows.append(
                {
                    "name": network, "compiled": compiled,
                    "seconds": times, "extra": extra, "memory": memory,
                }
            )  # fmt: skip
    return rows


def main() -> None:
    """Be one of the processes."""
    parser = argparse.ArgumentParser(description="Train a network as one contender.")
    parser.add_argument("network", choices=list(NETWORKS))
    parser.add_argument("contender", choices=CONTENDERS)
    parser.add_argument("--compiled", action="store_true")
    parser.add_argument("--folder", type=Path, required=True)
    options = parser.parse_args()
    serve(options.network, options.contender, compiled=options.compiled, folder=options.folder)


if __name__ == "__main__":
    main()
