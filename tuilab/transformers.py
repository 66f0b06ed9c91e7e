"""Hugging Face Transformers: `Trainer(…, callbacks=[tuilab.transformers.Watch()])`."""

from tuilab.adapters.transformers import Watch

__all__ = ["Watch"]
