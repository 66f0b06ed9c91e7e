"""A setup bound to its data: what a step is made with, and what one assembly takes from another."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.backends.base import Array, Backend
from engine.data.augment import Augmentation, bind_all
from engine.data.batches import Batches
from engine.data.dataset import Dataset, Examples
from engine.losses import Loss
from engine.network.network import BoundNetwork, Network
from engine.network.parameter_layout import slices
from engine.optimization.hyperparameters import Hyperparameters
from engine.optimization.optimizers import Optimizer
from engine.optimization.schedules import schedules
from engine.statistics.frames import LayerInfo, TrainingStatus
from engine.training.batch_dependence import BatchDependenceProbe
from engine.training.checkpoint import TrainingState, fingerprint
from engine.training.evaluation import Evaluator
from engine.training.training_config import TrainingConfig
from engine.training.training_step import TrainingStep


@dataclass(frozen=True, slots=True)
class Resources:
    """What stays as it is through all changes of a setup."""

    data: Dataset
    train: Examples  # of `data`, on the device
    validation: Examples | None  # the same
    loss: Loss
    optimizer: Optimizer
    hyperparameters: Hyperparameters
    streams: Mapping[str, np.random.Generator]
    backend: Backend
    probes: bool
    augment: Sequence[Augmentation]

    @classmethod
    def of(cls, data: Dataset, *, backend: Backend, **rest: Any) -> "Resources":
        """Bring `data` into the memory of `backend`, in its precision; the rest is as above."""

        def there(examples: Examples) -> Examples:
            return Examples(backend.to_device(examples.x), backend.to_device(examples.y))

        held_out = data.validation and there(data.validation)
        return cls(data, there(data.train), held_out, backend=backend, **rest)

    @contextmanager
    def drawing(self) -> Iterator[None]:
        """Draw weights; where that or what follows fails, it is as if nothing had been drawn."""
        generator = self.streams["weights"].bit_generator
        before = generator.state
        try:
            yield
        except BaseException:
            generator.state = before
            raise


class BoundTraining:
    """Everything that is bound for one setup; `take_over` fills it with the state of another."""

    def __init__(self, setup: TrainingConfig, fixture: Resources, total_steps: int) -> None:
        """Draw and bind. Raises ConfigError, ShapeError."""
        setup.check(fixture.data)
        self.setup, self._fixture = setup, fixture
        data, streams, hyper = fixture.data, fixture.streams, fixture.hyperparameters
        backend = fixture.backend
        self.batches = Batches(
            len(data.train), setup.batch_size, streams["shuffle"], start=setup.epoch_start
        )
        self.network = setup.network.bind(
            (setup.batch_size, *data.train.x.shape[1:]),
            backend,
            generator=streams["weights"],
            hyper=hyper,
            noise=streams["dropout"],
        )
        self.step = TrainingStep(
            self.network,
            fixture.loss,
            fixture.optimizer,
            hyper,
            fixture.train,
            probes=fixture.probes,
            augment=bind_all(
                fixture.augment,
                data.pixels,
                setup.batch_size,
                backend,
                generator=streams["augment"],
            ),
            frozen=setup.frozen,
        )
        held_out = fixture.validation
        self.evaluate = Evaluator(self.network, fixture.loss, held_out) if held_out else None
        self.schedule = setup.schedule.bind(total_steps, setup.schedule_start)
        self.batch_dependence = BatchDependenceProbe(self.step, len(data.train))
        self.state = TrainingState(
            identity={
                **setup.network.description,
                "optimizer": type(fixture.optimizer).__name__,
                "batch_size": str(setup.batch_size),
                "training data": fingerprint(data.train),
            },
            hyperparameters=hyper,
            generators=streams,
            arrays={
                "order": self.batches.order,
                "schedule": self.schedule.state,
                **self.step.arrays,
            },
            backend=backend,
            slices=slices(self.network),
        )

    @property
    def layers(self) -> list[LayerInfo]:
        """What the layers are, as the lecture counts them."""
        return [*self.setup.layers(self.network.batch_shape[1:])]

    def standing(self, speed_limit: float) -> TrainingStatus:
        """Return what is trained and how, for a frame to tell."""
        return TrainingStatus(
            layers=self.layers,
            parameters=len(self.network.store.values),
            batch_size=self.batches.size,
            steps_per_epoch=self.batches.per_epoch,
            schedule=schedules.name_of(self.setup.schedule),
            speed_limit=speed_limit,
        )

    def steps_left(self, step: int) -> int:
        """Return how many steps there are from `step` to the end of its epoch."""
        per_epoch = self.batches.per_epoch
        return per_epoch - (step - self.setup.epoch_start) % per_epoch

    def take_over(self, old: "BoundTraining", anew: Collection[int]) -> list[tuple[int, str]]:
        """Take the state of `old`, as far as it fits; return which parameters begin anew.

        Each is told by its layer, from 1, and its name there.

        Those of the layers `anew` do, with what the optimiser remembers of them.
        """
        self.batches.order[...] = old.batches.order
        if (old.setup.schedule, old.setup.schedule_start) == (
            self.setup.schedule,
            self.setup.schedule_start,
        ):
            self.schedule.state[...] = old.schedule.state
        pairs = [*_matches(old.setup.network, self.setup.network, anew)]
        kept = _copy_parameters(old.network, self.network, pairs)
        _copy_state(old.network, self.network, pairs)
        self._take_memory(old, pairs)
        if self.step.probes is not None and old.step.probes is not None:
            self.step.probes.take_over(old.step.probes, anew)
        return [(group, name) for group, at, name in self._parameters() if (at, name) not in kept]

    def _parameters(self) -> Iterator[tuple[int, int, str]]:
        """Yield (layer from 1, position, name) of all parameters."""
        at = 0
        for group, row in enumerate(self.setup.network.rows):
            for _ in row:
                yield from ((group, at, name) for name in self.network.store.value_views[at])
                at += 1

    def _take_memory(self, old: "BoundTraining", pairs: Sequence[tuple[int, int]]) -> None:
        """Take what the optimiser remembers between updates."""
        size, old_size = self.network.store.values.shape, old.network.store.values.shape
        for name, array in self.step.optimizer.state.items():
            before = old.step.optimizer.state[name]
            if array.shape == size and before.shape == old_size:
                ours, theirs = self.network.store.views(array), old.network.store.views(before)
                for new_at, old_at in pairs:
                    _copy_fitting(theirs[old_at], ours[new_at])
            else:  # the number of updates
                array[...] = before


def _matches(old: Network, new: Network, anew: Collection[int]) -> Iterator[tuple[int, int]]:
    """Yield positions (new, old) of layers that are the same: the n-th of a kind in its group."""
    places = {place: at for at, place in enumerate(_places(old))}
    for at, place in enumerate(_places(new)):
        if place in places and place[0] not in anew:
            yield at, places[place]


def _places(network: Network) -> Iterator[tuple[int, str, int]]:
    """Yield for each layer its group, its kind, and how many of the kind go before it there."""
    for group, row in enumerate(network.rows):
        kinds = [layer.kind for layer in row]
        yield from ((group, kind, kinds[:at].count(kind)) for at, kind in enumerate(kinds))


def _copy_parameters(
    old: BoundNetwork, new: BoundNetwork, pairs: Sequence[tuple[int, int]]
) -> set[tuple[int, str]]:
    """Copy what fits; return position and name of each."""
    return {
        (new_at, name)
        for new_at, old_at in pairs
        for name in _copy_fitting(old.store.value_views[old_at], new.store.value_views[new_at])
    }


def _copy_state(old: BoundNetwork, new: BoundNetwork, pairs: Sequence[tuple[int, int]]) -> None:
    for new_at, old_at in pairs:
        _copy_fitting(old.store.state_views[old_at], new.store.state_views[new_at])


def _copy_fitting(source: Mapping[str, Array], target: Mapping[str, Array]) -> list[str]:
    """Copy arrays of the same name and shape; return their names."""
    fitting = [
        name
        for name, array in target.items()
        if name in source and source[name].shape == array.shape
    ]
    for name in fitting:
        target[name][...] = source[name]
    return fitting
