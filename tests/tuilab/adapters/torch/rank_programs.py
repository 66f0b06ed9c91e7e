"""Training by two ranks in processes of their own, by gloo; what they found is in their files."""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from threading import Timer
from typing import Any, Final

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

import tuilab
from engine.commands import Command
from tuilab.adapters.watched_run import Stopped

EXAMPLES: Final = 16
Found = dict[str, Any]


def network() -> nn.Sequential:
    """Return the same network in each rank; 9 units are not divisible by two ranks."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(12, 9), nn.ReLU(), nn.Linear(9, 8), nn.Tanh(), nn.Linear(8, 5))


def examples() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(EXAMPLES, 12, generator=generator)
    return x, torch.randint(0, 5, (EXAMPLES,), generator=generator)


def own_examples(rank: int) -> tuple[Tensor, Tensor]:
    x, y = examples()
    return x.chunk(2)[rank], y.chunk(2)[rank]


def momentum(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)


def train(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    x: Tensor,
    y: Tensor,
    steps: int = 4,
    before: Callable[[int], None] = lambda step: None,
) -> list[float]:
    losses = []
    for step in range(steps):
        before(step)
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def watch(model: nn.Module, optimizer: torch.optim.Optimizer, out: Path, **options: Any) -> Any:
    return tuilab.watch(model, optimizer, out=str(out), quiet=True, **{"every": 1, **options})


def ddp(rank: int, folder: Path) -> Found:
    """Watched and not."""
    found = []
    for watched in (False, True):
        model = DistributedDataParallel(network())
        optimizer = momentum(model)
        run = watch(model, optimizer, folder / "run") if watched else None
        losses = train(model, optimizer, *own_examples(rank))
        if run is not None:
            run.close()
        found.append((losses, [p.detach().clone() for p in model.parameters()]))
    return {"plain": found[0], "watched": found[1]}


def sharded(rank: int, folder: Path) -> Found:
    """Parameters divided between the ranks, one layer apart from the others."""
    model = network()
    mesh = init_device_mesh("cpu", (2,))
    fully_shard(model[0], mesh=mesh)
    fully_shard(model, mesh=mesh)
    optimizer = momentum(model)
    run = watch(model, optimizer, folder / "run")

    def before(step: int) -> None:
        if step == 2 and rank == 0:
            run._inbox.put(Command("checkpoint"))

    losses = train(model, optimizer, *own_examples(rank), before=before)
    run.close()
    return {"losses": losses}


def commands(rank: int, folder: Path) -> Found:
    """Rank 0 is asked to change things; then to stop."""
    model = DistributedDataParallel(network())
    optimizer = momentum(model)
    run = watch(model, optimizer, folder / "run", every=3)
    weights: list[Tensor] = []
    asked = {
        1: [Command("set", key="learning_rate", value=0.01)],
        4: [Command("freeze", layer=1)],
        8: [Command("pause")],
        12: [Command("arm", value=2.0)],
        16: [Command("stop")],
    }

    def before(step: int) -> None:
        weights.append(model.module[0].weight.detach().clone())
        for command in asked.get(step, []) if rank == 0 else []:
            run._inbox.put(command)
            if command.kind == "pause":
                Timer(0.7, run._inbox.put, [Command("resume")]).start()

    stopped = False
    try:
        train(model, optimizer, *own_examples(rank), steps=40, before=before)
    except Stopped:
        stopped = True
    return {"stopped": stopped, "weights": weights, "closed": run.closed}


def alone(rank: int, folder: Path) -> Found:
    """Only rank 0 is watched, as many programs would have it."""
    model = DistributedDataParallel(network())
    optimizer = momentum(model)
    run = watch(model, optimizer, folder / "run") if rank == 0 else None
    losses = train(model, optimizer, *own_examples(rank))
    if run is not None:
        run.close()
    return {"losses": losses}


def others_alone(rank: int, folder: Path) -> Found:
    """Only the other rank is watched."""
    model = DistributedDataParallel(network())
    optimizer = momentum(model)
    run = watch(model, optimizer, folder / "run") if rank else None
    losses = train(model, optimizer, *own_examples(rank))
    return {"losses": losses, "closed": run is None or run.closed}


def closed(rank: int, folder: Path) -> Found:
    """The ranks close their runs after different steps, and train on."""
    model = DistributedDataParallel(network())
    optimizer = momentum(model)
    run = watch(model, optimizer, folder / "run")

    def before(step: int) -> None:
        if step == (6 if rank == 0 else 3):
            run.close()

    return {"losses": train(model, optimizer, *own_examples(rank), steps=10, before=before)}


def broken(rank: int, folder: Path) -> Found:
    """The watcher of the other rank fails; and later that of rank 0."""
    model = DistributedDataParallel(network())
    optimizer = momentum(model)
    run = watch(model, optimizer, folder / "run")

    def fails(*_: Any, **__: Any) -> None:
        raise RuntimeError("on purpose")

    def before(step: int) -> None:
        if step == (5 if rank == 0 else 2):
            run._controls._slots.copy_of = fails

    losses = train(model, optimizer, *own_examples(rank), steps=9, before=before)
    return {"losses": losses, "closed": run.closed}


def unlike(rank: int, folder: Path) -> Found:
    """The other rank is slow; in the end, one of its examples is not a number."""
    model = DistributedDataParallel(network())
    optimizer = momentum(model)
    x, y = own_examples(rank)
    run = watch(model, optimizer, folder / "run")

    def before(step: int) -> None:
        time.sleep(0.05 * rank)
        if step == 23 and rank:
            x[0, 0] = float("nan")

    losses = train(model, optimizer, x, y, steps=24, before=before)
    run.close()
    return {"losses": losses}


def uneven(rank: int, folder: Path) -> Found:
    """Rank 0 has more steps, which `join` allows."""
    model = DistributedDataParallel(network())
    optimizer = momentum(model)
    run = watch(model, optimizer, folder / "run")
    with model.join():
        losses = train(model, optimizer, *own_examples(rank), steps=6 - 3 * rank)
    run.close()
    return {"losses": losses}


def by_time(rank: int, folder: Path) -> Found:
    """The default: a share of the time; nobody but rank 0 looks at a clock."""
    model = DistributedDataParallel(network())
    optimizer = momentum(model)
    run = watch(model, optimizer, folder / "run", every=0.03)
    losses = train(model, optimizer, *own_examples(rank), steps=200)
    run.close()
    return {"losses": losses}


def dies(rank: int, folder: Path) -> Found:
    """The other rank ends without a word."""
    model = DistributedDataParallel(network())
    optimizer = momentum(model)
    watch(model, optimizer, folder / "run")

    def before(step: int) -> None:
        if step == 3 and rank:
            os._exit(3)

    train(model, optimizer, *own_examples(rank), steps=100, before=before)
    return {}


TOGETHER: Final = (
    ddp,
    sharded,
    commands,
    alone,
    others_alone,
    closed,
    broken,
    unlike,
    uneven,
    by_time,
)


def main(folder: Path, names: list[str]) -> None:
    """Run programs by name in this rank, as `torchrun` started it."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    for name in names:
        (folder / name).mkdir(exist_ok=True)
        found = globals()[name](rank, folder / name)
        torch.save(found, folder / name / f"rank-{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
