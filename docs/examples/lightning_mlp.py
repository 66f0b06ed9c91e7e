"""PyTorch Lightning, watched: one callback.

python docs/examples/lightning_mlp.py [steps]
"""

import sys
from typing import Any

import lightning
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import tuilab


class Classifier(lightning.LightningModule):
    """A small network for two intertwined spirals."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(2, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2)
        )

    def training_step(self, batch: Any, _: int) -> torch.Tensor:
        loss, accuracy = self.judge(batch)
        self.log("train_accuracy", accuracy)
        return loss

    def validation_step(self, batch: Any, _: int) -> None:
        loss, accuracy = self.judge(batch)
        self.log_dict({"val_loss": loss, "val_accuracy": accuracy})

    def judge(self, batch: Any) -> tuple[torch.Tensor, torch.Tensor]:
        x, y = batch
        scores = self.net(x)
        return F.cross_entropy(scores, y), (scores.argmax(1) == y).float().mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=1e-2)


def spirals(examples: int) -> TensorDataset:
    y = torch.arange(examples) % 2
    radius = torch.rand(examples)
    angle = 3 * torch.pi * radius + torch.pi * y
    x = torch.stack([radius * angle.cos(), radius * angle.sin()], dim=1)
    return TensorDataset(x, y)


def main(steps: int = 2000) -> None:
    lightning.seed_everything(0, verbose=False)
    watch = tuilab.lightning.Watch(title="Two spirals", classes=2)
    trainer = lightning.Trainer(
        max_steps=steps,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        callbacks=[watch],
    )
    train = DataLoader(spirals(2048), batch_size=64, shuffle=True)
    trainer.fit(Classifier(), train, DataLoader(spirals(512), batch_size=512))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
