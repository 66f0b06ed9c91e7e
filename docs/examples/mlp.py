"""A training loop in PyTorch, watched: one line.

python docs/examples/mlp.py [steps]
"""

import sys

import torch
import torch.nn.functional as F
from torch import nn

import tuilab


def main(steps: int = 3000) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(2, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2)
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    run = tuilab.watch(model, optimizer)  # the line

    for _ in range(steps):
        x = torch.rand(64, 2) * 2 - 1
        y = (x.norm(dim=1) < 0.7).long()
        scores = model(x)
        loss = F.cross_entropy(scores, y)
        optimizer.zero_grad()
        loss.backward()
        run.log(accuracy=(scores.argmax(1) == y).float().mean())  # as much as you like, or nothing
        optimizer.step()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
