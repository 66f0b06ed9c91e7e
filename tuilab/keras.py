"""Keras: `model.fit(…, callbacks=[tuilab.keras.Watch()])`."""

from tuilab.adapters.keras import Watch

__all__ = ["Watch"]
