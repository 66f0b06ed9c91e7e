"""Scenario → data set, network, trainer."""

from collections.abc import Sequence
from pathlib import Path

from engine.backends.base import Backend
from engine.data.dataset import Dataset, prepare
from engine.errors import ConfigError, TuilabError
from engine.initializers import Initializer
from engine.layers.base import Layer, Shape
from engine.layers.linear import Linear
from engine.layers.reshape import Flatten, Image
from engine.network import Network, mlp
from engine.training.random_streams import stream
from engine.training.trainer import Trainer
from tuilab.diagnosis.settings import spread
from tuilab.scenario.scenario import Scenario


def load_data(scenario: Scenario, directory: Path | None) -> Dataset:
    """Load, split and preprocess the data of `scenario`. Raises DataError or ConfigError."""
    try:
        loaded = scenario.source.load(generator=stream(scenario.seed, "data"), directory=directory)
        return prepare(
            loaded,
            validation=scenario.data.validation,
            preprocess=scenario.preprocess,
            generator=stream(scenario.seed, "split"),
        )
    except ConfigError as error:
        raise error.under("data") from None
    except MemoryError as error:
        raise ConfigError(f"does not fit into memory: {error}", "data") from None


def build_network(scenario: Scenario, data: Dataset) -> Network:
    """Return the network of `scenario` for `data`. Raises ShapeError."""
    if scenario.layers:
        return _around(scenario.layers, data, scenario.initializer)
    return mlp(
        scenario.hidden,
        len(data.classes),
        activation=scenario.activation,
        initializer=scenario.initializer,
        bias=scenario.bias,
        batch_norm=scenario.batch_norm,
    )


def _around(hidden: Sequence[Layer], data: Dataset, initializer: Initializer) -> Network:
    """Return `hidden` with the input and output layers that `data` needs. Raises ShapeError."""
    begin: list[Layer] = []
    shape: Shape = (data.features,)
    if data.pixels is not None and hidden[0].over_images:
        begin.append(Image(*data.pixels))
    shape = Network([*begin, *hidden]).shapes(shape)[-1]
    end: list[Layer] = [Flatten()] if len(shape) > 1 else []
    return Network([*begin, *hidden, *end, Linear(len(data.classes), initializer)])


def build_trainer(
    scenario: Scenario, data: Dataset, backend: Backend, *, probes: bool = True
) -> Trainer:
    """Bind network and data of `scenario` into a trainer. Raises ConfigError, ShapeError."""
    size = scenario.data.batch_size
    try:
        return Trainer(
            build_network(scenario, data),
            data,
            loss=scenario.loss,
            optimizer=scenario.optimizer,
            schedule=scenario.schedule,
            batch_size=None if size == "all" else size,
            epochs=scenario.train.epochs,
            steps=scenario.train.steps,
            seed=scenario.seed,
            backend=backend,
            probes=probes,
            snapshot_at=scenario.snapshot_steps | _diagnosis_steps(scenario, data),
            augment=scenario.augment,
        )
    except ConfigError as error:
        if error.path == "schedule":
            raise
        of_data = error.path.startswith(("batch_size", "augment"))
        raise error.under("data" if of_data else "train") from None
    except MemoryError as error:
        raise ConfigError(f"does not fit into memory: {error}", "network") from None
    except TuilabError as error:
        raise type(error)(f"the network of {scenario.name}: {error}") from None


def _diagnosis_steps(scenario: Scenario, data: Dataset) -> set[int]:
    """Return the steps whose statistics the diagnosis needs."""
    if not scenario.diagnosis.rules:
        return set()
    size, train = scenario.data.batch_size, scenario.train
    batches = 1 if size == "all" else max(len(data.train) // size, 1)
    return spread(train.steps or (train.epochs or 0) * batches)
