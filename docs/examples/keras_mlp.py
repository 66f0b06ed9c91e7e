"""Keras, watched: one callback.

    KERAS_BACKEND=torch python docs/examples/keras_mlp.py [epochs]

On the PyTorch back-end everything is recorded; on others, weights, updates and metrics.
"""

import os
import sys

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
import numpy as np

import tuilab


def main(epochs: int = 20) -> None:
    keras.utils.set_random_seed(0)
    generator = np.random.default_rng(0)
    x = generator.uniform(-1, 1, (4096, 8)).astype("float32")
    y = (np.sin(3 * x[:, 0]) * x[:, 1] + x[:, 2] > 0).astype("int32")
    model = keras.Sequential(
        [
            keras.Input((8,)),
            keras.layers.Dense(64, activation="relu"),
            keras.layers.Dense(64),
            keras.layers.BatchNormalization(),
            keras.layers.Activation("relu"),
            keras.layers.Dense(2, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    watch = tuilab.keras.Watch(title="A curved border", classes=2)
    model.fit(
        x, y, batch_size=64, epochs=epochs, validation_split=0.2, callbacks=[watch], verbose=0
    )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
