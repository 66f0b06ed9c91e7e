"""Training programs of many kinds, a few steps each, that any watcher must leave as they are."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

STEPS: Final = 4


@dataclass
class Program:
    """Models and optimisers, and what trains them: `steps` yields the loss of each step."""

    models: list[nn.Module]
    optimizers: list[torch.optim.Optimizer]
    steps: Callable[[], Iterator[float]]
    layers: tuple[str, ...] = ()  # paths of the rows that must be seen
    notes: dict[str, Any] = field(default_factory=dict)


def simple(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *layers: str,
    optimizer: torch.optim.Optimizer | None = None,
    scheduler: Callable[[torch.optim.Optimizer], Any] | None = None,
    forward: Callable[[Tensor], Tensor] | None = None,
) -> Program:
    """Return the usual loop around a model."""
    optimizer = optimizer or torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    schedule = None if scheduler is None else scheduler(optimizer)

    def steps() -> Iterator[float]:
        for _ in range(STEPS):
            optimizer.zero_grad()
            output = model(x) if forward is None else forward(x)
            loss = F.cross_entropy(output.flatten(0, -2), y.flatten())
            loss.backward()
            optimizer.step()
            if schedule is not None:
                schedule.step()
            yield loss.item()

    return Program([model], [optimizer], steps, layers)


def vectors(features: int = 12, classes: int = 5, number: int = 16) -> tuple[Tensor, Tensor]:
    return torch.randn(number, features), torch.randint(0, classes, (number,))


def images(number: int = 8, size: int = 8) -> tuple[Tensor, Tensor]:
    return torch.randn(number, 3, size, size), torch.randint(0, 5, (number,))


def tokens(number: int = 4, length: int = 6, words: int = 11) -> tuple[Tensor, Tensor]:
    x = torch.randint(0, words, (number, length))
    return x, x.roll(-1, 1)


def mlp() -> Program:
    model = nn.Sequential(nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 5))
    return simple(model, *vectors(), "0", "2", "4")


def mlp_in_place() -> Program:
    model = nn.Sequential(nn.Linear(12, 8), nn.ReLU(inplace=True), nn.Linear(8, 5))
    return simple(model, *vectors(), "0", "2")


class Functional(nn.Module):
    """Non-linearities as functions, some in place, with a branch in the control flow."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(12, 8), nn.Linear(8, 8)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.first(x))
        x = torch.tanh_(self.second(x))
        if x.sum() > 0:
            x = F.dropout(x, 0.1, self.training)
        return self.head(x)


def functional() -> Program:
    return simple(Functional(), *vectors(), "first", "second", "head")


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.conv2, self.bn2 = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.relu = nn.ReLU(inplace=True)
        self.skip, self.head = nn.Conv2d(3, 4, 1), nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        y += self.skip(x)
        return self.head(self.relu(y).mean((2, 3)))


def residual() -> Program:
    return simple(Residual(), *images(), "conv1", "conv2", "skip", "relu#2", "head")


def convolutions() -> Program:
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.LeakyReLU(), nn.MaxPool2d(2),
        nn.Conv2d(4, 6, 3), nn.GELU(), nn.Flatten(), nn.Dropout(0.2), nn.Linear(6, 5),
    ).to(memory_format=torch.channels_last)  # fmt: skip
    x, y = images()
    return simple(model, x.to(memory_format=torch.channels_last), y, "0", "4", "8")


class Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.again, self.head = nn.Linear(12, 8), nn.Linear(8, 8), nn.Linear(8, 5)
        self.act = nn.Tanh()

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.first(x))
        for _ in range(3):
            x = self.act(self.again(x))
        return self.head(x)


def shared() -> Program:
    return simple(Shared(), *vectors(), "first", "again", "again#2", "again#3", "head")


class Recurrent(nn.Module):
    def __init__(self, cell: type[nn.RNNBase]) -> None:
        super().__init__()
        self.embed, self.rnn = nn.Embedding(11, 8), cell(8, 8, batch_first=True)
        self.head = nn.Linear(8, 11)

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.rnn(self.embed(x))
        return self.head(y)


def lstm() -> Program:
    return simple(Recurrent(nn.LSTM), *tokens(), "embed", "rnn", "rnn.weight_hh_l0", "head")


def gru() -> Program:
    return simple(Recurrent(nn.GRU), *tokens(), "embed", "rnn", "head")


class Cell(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell, self.head = nn.GRUCell(12, 8), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(len(x), 8)
        for _ in range(3):
            h = self.cell(x, h)
        return self.head(h)


def cell() -> Program:
    return simple(Cell(), *vectors(), "cell", "cell#3", "head")


class Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            t.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for t in self.qkv(self.ln_1(x)).chunk(3, -1)
        )
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.proj(attended.transpose(1, 2).flatten(2))
        return x + self.fc2(F.gelu(self.fc1(self.ln_2(x))))


class GPT(nn.Module):
    def __init__(self, blocks: int = 2, width: int = 16, words: int = 11, length: int = 6) -> None:
        super().__init__()
        self.wte = nn.Embedding(words, width)
        self.wpe = nn.Parameter(torch.randn(length, width) / 10)
        self.h = nn.ModuleList(Block(width, 2) for _ in range(blocks))
        self.ln_f, self.head = nn.LayerNorm(width), nn.Linear(width, words, bias=False)
        self.head.weight = self.wte.weight  # tied

    def forward(self, x: Tensor) -> Tensor:
        x = self.wte(x) + self.wpe[: x.shape[1]]
        for block in self.h:
            x = block(x)
        return self.head(self.ln_f(x))


def gpt() -> Program:
    model = GPT()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    return simple(
        model, *tokens(), "wte", "wpe", "h.0.ln_1", "h.0.qkv", "h.1.fc1", "ln_f", "head",
        optimizer=optimizer,
    )  # fmt: skip


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(12, 16)
        layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.1, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2)
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(self.embed(x).unsqueeze(1)).squeeze(1))


def encoder() -> Program:
    wanted = "encoder.layers.0.self_attn", "encoder.layers.1.linear1", "head"
    return simple(Encoder(), *vectors(), *wanted)


class Checkpointed(nn.Module):
    def __init__(self, *, reentrant: bool) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(12, 8), nn.Linear(8, 8), nn.Linear(8, 5)
        self.reentrant = reentrant

    def middle(self, x: Tensor) -> Tensor:
        return F.relu(self.second(x))

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.first(x))
        return self.head(checkpoint(self.middle, x, use_reentrant=self.reentrant))


def checkpointed() -> Program:
    return simple(Checkpointed(reentrant=False), *vectors(), "first", "second", "head")


def checkpointed_reentrant() -> Program:
    return simple(Checkpointed(reentrant=True), *vectors(), "first", "second", "head")


def gan() -> Program:
    make = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 12))
    judge = nn.Sequential(nn.Linear(12, 8), nn.LeakyReLU(0.2), nn.Linear(8, 1))
    of_judge = torch.optim.Adam(judge.parameters(), lr=1e-2)
    of_make = torch.optim.Adam(make.parameters(), lr=1e-2)
    real, noise = torch.randn(16, 12), torch.randn(16, 4)

    def steps() -> Iterator[float]:
        for _ in range(STEPS):
            of_judge.zero_grad()
            loss = F.softplus(-judge(real)).mean() + F.softplus(judge(make(noise).detach())).mean()
            loss.backward()
            of_judge.step()
            of_make.zero_grad()
            second = F.softplus(-judge(make(noise))).mean()
            second.backward()
            of_make.step()
            yield loss.item() + second.item()

    return Program([make, judge], [of_make, of_judge], steps, ("0.0", "1.2"))


def accumulation() -> Program:
    model = nn.Sequential(nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 5))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    x, y = vectors(number=32)

    def steps() -> Iterator[float]:
        for _ in range(STEPS):
            optimizer.zero_grad()
            total = 0.0
            for part in range(4):
                rows = slice(8 * part, 8 * part + 8)
                loss = F.cross_entropy(model(x[rows]), y[rows]) / 4
                loss.backward()
                total += loss.item()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            yield total

    return Program([model], [optimizer], steps, ("0", "2"))


def autocast() -> Program:
    model = nn.Sequential(nn.Linear(12, 8), nn.ReLU(), nn.LayerNorm(8), nn.Linear(8, 5))
    x, y = vectors()

    def forward(x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return model(x).float()

    return simple(model, x, y, "0", "2", "3", forward=forward)


def scaled(*, fused: bool) -> Program:
    model = nn.Sequential(nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 5))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, fused=fused)
    scaler = torch.amp.GradScaler("cpu", init_scale=512.0)
    x, y = vectors()

    def steps() -> Iterator[float]:
        for _ in range(STEPS):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            yield loss.item()

    return Program([model], [optimizer], steps, ("0", "2"))


def scaled_fused() -> Program:
    return scaled(fused=True)


def scaled_not_fused() -> Program:
    return scaled(fused=False)


def in_backward() -> Program:
    model = nn.Sequential(nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 5))
    optimizers = {p: torch.optim.SGD([p], lr=0.1) for p in model.parameters()}
    for parameter, optimizer in optimizers.items():

        def update(_: Tensor, optimizer: torch.optim.Optimizer = optimizer) -> None:
            optimizer.step()
            optimizer.zero_grad()

        parameter.register_post_accumulate_grad_hook(update)
    x, y = vectors()

    def steps() -> Iterator[float]:
        for _ in range(STEPS):
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            yield loss.item()

    return Program([model], [*optimizers.values()], steps, ("0", "2"))


def lbfgs() -> Program:
    model = nn.Sequential(nn.Linear(12, 8), nn.Tanh(), nn.Linear(8, 5))
    optimizer = torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=3)
    x, y = vectors()

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        return loss

    def steps() -> Iterator[float]:
        for _ in range(STEPS):
            yield optimizer.step(closure).item()

    return Program([model], [optimizer], steps, ("0", "2"))


def sparse() -> Program:
    class Bag(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.head = nn.EmbeddingBag(20, 8, sparse=True), nn.Linear(8, 5)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.embed(x))

    model = Bag()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return simple(
        model, torch.randint(0, 20, (16, 3)), torch.randint(0, 5, (16,)), "embed", "head",
        optimizer=optimizer,
    )  # fmt: skip


class Complex(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(12, 5, dtype=torch.complex64) / 4)

    def forward(self, x: Tensor) -> Tensor:
        return (x.to(torch.complex64) @ self.weight).abs()


def complex_numbers() -> Program:
    model = nn.Sequential(nn.Linear(12, 12), Complex())
    return simple(model, *vectors(), "0", "1")


def groups() -> Program:
    model = nn.Sequential(nn.Linear(12, 8), nn.SiLU(), nn.Linear(8, 5))
    optimizer = torch.optim.AdamW(
        [{"params": model[0].parameters(), "lr": 1e-3}, {"params": model[2].parameters()}], lr=1e-2
    )
    return simple(
        model, *vectors(), "0", "2", optimizer=optimizer,
        scheduler=lambda o: torch.optim.lr_scheduler.OneCycleLR(
            o, [0.01, 0.1], total_steps=STEPS + 1
        ),
    )  # fmt: skip


def frozen() -> Program:
    model = nn.Sequential(nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 5))
    model[0].requires_grad_(False)
    optimizer = torch.optim.SGD(model[2].parameters(), lr=0.1)
    return simple(model, *vectors(), "0", "2", optimizer=optimizer)


def functional_call() -> Program:
    model = nn.Sequential(nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 5))

    def forward(x: Tensor) -> Tensor:
        parameters = dict(model.named_parameters())
        return torch.func.functional_call(model, parameters, (x,))

    return simple(model, *vectors(), "0", "2", forward=forward)


def vmapped() -> Program:
    model = nn.Sequential(nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 5))
    return simple(model, *vectors(), forward=lambda x: torch.func.vmap(model)(x))


PROGRAMS: Final[tuple[Callable[[], Program], ...]] = (
    *(mlp, mlp_in_place, functional, residual, convolutions, shared, lstm, gru, cell, gpt, encoder),
    *(checkpointed, checkpointed_reentrant, gan, accumulation, autocast, scaled_fused),
    *(scaled_not_fused, in_backward, lbfgs, sparse, complex_numbers, groups, frozen),
    *(functional_call, vmapped),
)
