"""A loop of one's own with Accelerate, watched: what it has prepared is watched like any model.

python docs/examples/accelerate_mlp.py [steps]
"""

import sys

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import nn

import tuilab


def main(steps: int = 1000) -> None:
    torch.manual_seed(0)
    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=2)
    model = nn.Sequential(
        nn.Linear(16, 64), nn.GELU(), nn.Linear(64, 64), nn.GELU(), nn.Linear(64, 1)
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    model, optimizer = accelerator.prepare(model, optimizer)
    run = tuilab.watch(model, optimizer, title="The norm of a vector", total_steps=steps)

    while run.step < steps:
        with accelerator.accumulate(model):
            x = torch.randn(32, 16)
            loss = F.mse_loss(model(x), x.norm(dim=1, keepdim=True))
            accelerator.backward(loss)
            optimizer.step()
            optimizer.zero_grad()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
