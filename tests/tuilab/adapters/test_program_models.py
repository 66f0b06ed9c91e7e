"""Which models and optimisers `tuilab watch` finds in a program."""

from pathlib import Path

import pytest

from engine.states import RunState
from tests.tuilab.adapters.test_program import needs_torch, recorded, tensors, watch, write
from tuilab.record.run_folder import RunFolder, find_all

pytestmark = needs_torch

GAN = """
import torch
from torch import nn

generator = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))
critic = nn.Sequential(nn.Linear(2, 8), nn.LeakyReLU(), nn.Linear(8, 1))
of_generator = torch.optim.Adam(generator.parameters())
of_critic = torch.optim.Adam(critic.parameters())
loss = nn.BCEWithLogitsLoss()
for step in range(4):
    made = generator(torch.randn(16, 3))
    of_critic.zero_grad()
    real, fake = critic(torch.randn(16, 2)), critic(made.detach())
    (loss(real, torch.ones(16, 1)) + loss(fake, torch.zeros(16, 1))).backward()
    of_critic.step()
    of_generator.zero_grad()
    loss(critic(made), torch.ones(16, 1)).backward()
    of_generator.step()
"""

COMPILED = """
import torch
from torch import nn

torch._dynamo.config.error_on_recompile = True
compiled = []

def backend(graph, inputs):
    compiled.append(graph)
    return graph.forward

model = torch.compile(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)), backend=backend)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for step in range(6):
    loss = model(torch.randn(16, 4)).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print(len(compiled))
"""

SPAWN = """
import os
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

class Numbers(Dataset):
    def __len__(self):
        return 32

    def __getitem__(self, at):
        assert "TUILAB_PROGRAM" not in os.environ
        return torch.full((4,), float(at)), at % 2

def main():
    model = nn.Linear(4, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
    loader = DataLoader(Numbers(), 8, num_workers=1, multiprocessing_context="spawn")
    for x, y in loader:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()

if __name__ == "__main__":
    main()
"""

PHASES = """
import torch
from torch import nn

def train(model, optimizer, steps=3):
    for step in range(steps):
        optimizer.zero_grad()
        model(torch.randn(16, 4)).square().mean().backward()
        optimizer.step()

first = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
first(torch.randn(2, 4))
later = torch.optim.SGD(first[2].parameters(), lr=0.1)  # does not step before its phase
train(first, torch.optim.SGD(first.parameters(), lr=0.1), 20)
train(first, later)
train(first, torch.optim.Adam(first.parameters()))
second = nn.Sequential(first, nn.Linear(2, 3))
train(second, torch.optim.SGD(second.parameters(), lr=0.1))
del first, second, later
third = nn.Linear(4, 5)
train(third, torch.optim.SGD(third.parameters(), lr=0.1))
"""

OWN = """
import sys
import torch
from torch import nn
import tuilab

model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
run = tuilab.watch(model, optimizer, title="its own", every=1, **eval(sys.argv[1]))
for step in range(3):
    optimizer.zero_grad()
    model(torch.randn(16, 4)).square().mean().backward()
    optimizer.step()
"""


def run_of(folder: Path, *words: str) -> RunFolder:
    result = watch(folder, *words)
    assert result.returncode == 0, result.stderr
    [run] = find_all(folder / "runs")
    return run


def test_a_gan_is_one_run_of_both_networks(tmp_path: Path) -> None:
    run = run_of(tmp_path, write(tmp_path, GAN, "gan.py"))
    info = recorded(run.path)
    assert info.step == 4
    assert sorted(layer.path for layer in info.layers) == ["0.0", "0.2", "1.0", "1.2"]
    assert all(seen >= {"activation", "weight", "update"} for seen in tensors(run.path))


def test_a_compiled_model_is_measured_and_compiled_as_ever(tmp_path: Path) -> None:
    write(tmp_path, COMPILED)
    result = watch(tmp_path, "--every", "4", "train.py")
    assert (result.returncode, result.stdout) == (0, "1\n"), result.stderr
    [run] = find_all(tmp_path / "runs")
    assert recorded(run.path).step == 6
    assert all(seen >= {"activation", "activation_grad", "weight"} for seen in tensors(run.path))


def test_a_spawned_data_loader_works_and_is_not_watched(tmp_path: Path) -> None:
    run = run_of(tmp_path, write(tmp_path, SPAWN, "spawn.py"))
    assert (recorded(run.path).step, recorded(run.path).state) == (4, RunState.FINISHED)


def test_later_optimisers_join_and_a_new_model_is_a_new_run(tmp_path: Path) -> None:
    result = watch(tmp_path, "--out", "run", write(tmp_path, PHASES))
    assert result.returncode == 0, result.stderr
    assert "no longer watching" not in result.stderr
    first, second = recorded(tmp_path / "run"), recorded(tmp_path / "run-2")
    assert {layer.path for layer in first.layers} >= {"0", "2"}
    assert first.state is second.state is RunState.FINISHED
    assert [layer.units for layer in second.layers] == [5]
    assert second.step == 3
    assert first.step >= 3 + 3 + 3


@pytest.mark.parametrize("where", ["{}", "{'out': 'mine'}"])
def test_a_program_that_watches_itself_has_no_second_run(tmp_path: Path, where: str) -> None:
    result = watch(tmp_path, "--out", "ours", "--title", "x", write(tmp_path, OWN), where)
    assert result.returncode == 0, result.stderr
    assert "nothing was recorded" not in result.stderr
    folder = "mine" if "mine" in where else "ours"
    assert recorded(tmp_path / folder).title == "its own"
    assert [path.parent.name for path in tmp_path.glob("*/run.db")] == [folder]


def test_a_program_without_training_says_so(tmp_path: Path) -> None:
    write(tmp_path, "import torch\nmodel = torch.nn.Linear(2, 2)\nmodel(torch.ones(1, 2))")
    result = watch(tmp_path, "train.py")
    assert result.stderr == (
        "tuilab: nothing was recorded: no optimiser of torch.optim made a step\n"
    )


def test_a_module_called_engine_does_not_break_the_program(tmp_path: Path) -> None:
    write(tmp_path, "def train_one_epoch(): print('trained')", "program/engine.py")
    train = "from engine import train_one_epoch\n" + COMPILED.replace("torch.compile(", "(")
    train = train.replace(", backend=backend)", ")").replace("print(len", "train_one_epoch() #")
    result = watch(tmp_path, write(tmp_path, train, "program/train.py"))
    assert (result.returncode, result.stdout) == (0, "trained\n"), result.stderr
    [line] = result.stderr.splitlines()
    assert line.startswith("tuilab: cannot watch the program: its module 'engine' (")
