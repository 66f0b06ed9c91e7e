"""A trainer of tuilab's own engine, built in Python and watched.

    python docs/examples/engine_trainer.py [steps]

Everything that the keys of the view can change of a scenario can be changed here.
"""

import sys

import numpy as np

import tuilab
from engine import Trainer, mlp
from engine.activations import ReLU
from engine.data.dataset import prepare
from engine.data.sources.digits import Digits
from engine.initializers import He
from engine.optimization.optimizers import SGD


def main(steps: int = 2000) -> None:
    generator = np.random.default_rng(0)
    digits = Digits().load(generator=generator, directory=None)
    data = prepare(digits, validation=0.2, preprocess=[], generator=generator)
    network = mlp([100, 100], classes=10, activation=ReLU(), initializer=He())
    trainer = Trainer(network, data, optimizer=SGD(0.002, momentum=0.9), batch_size=32, steps=steps)
    with tuilab.watch(trainer, title="Digits, by the engine"):
        for frame in trainer.frames():
            for result in frame.validations:
                print(f"step {result.step}: validation accuracy {result.accuracy:.3f}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
