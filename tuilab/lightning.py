"""PyTorch Lightning: `Trainer(callbacks=[tuilab.lightning.Watch()])`."""

from tuilab.adapters.lightning import Watch

__all__ = ["Watch"]
