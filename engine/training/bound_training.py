"""A configuration bound to its data, and what carries over when a command changes it."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from engine.backends.base import Array
from engine.commands import Command
from engine.data.augmentation import bind_all
from engine.data.batches import Batches
from engine.network import BoundNetwork, Network
from engine.network.parameter_layout import slices
from engine.optimization.schedules import schedules
from engine.statistics.frames import LayerInfo, TrainingStatus
from engine.training.batch_dependence import BatchDependenceProbe
from engine.training.changes import changed, event_detail, redrawn_layers, replayed
from engine.training.checkpoint import Checkpoint, TrainingState, fingerprint
from engine.training.evaluation import Evaluator
from engine.training.training_config import Resources, TrainingConfig
from engine.training.training_step import TrainingStep


class BoundTraining:
    """Everything that is bound for one TrainingConfig, and the changes that led to it.

    A command that changes the configuration makes another BoundTraining, see `change`.
    """

    def __init__(
        self,
        config: TrainingConfig,
        resources: Resources,
        total_steps: int,
        changes: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        """Draw the parameters and bind. Raises ConfigError, ShapeError.

        The schedule spreads over `total_steps`. `changes` are recorded in checkpoints.
        """
        config.check(resources.data)
        self.config, self._resources, self._changes = config, resources, changes
        data, streams, hyper = resources.data, resources.streams, resources.hyperparameters
        backend = resources.backend
        self.batches = Batches(
            len(data.train), config.batch_size, streams["shuffle"], start=config.epoch_start
        )
        self.network = BoundNetwork.of(
            config.network,
            (config.batch_size, *data.train.x.shape[1:]),
            backend,
            generator=streams["weights"],
            hyper=hyper,
            noise=streams["dropout"],
        )
        self.step = TrainingStep(
            self.network,
            resources.loss,
            resources.optimizer,
            hyper,
            resources.train,
            probes=resources.probes,
            augment=bind_all(
                resources.augment,
                data.pixels,
                config.batch_size,
                backend,
                generator=streams["augment"],
            ),
            frozen=config.frozen,
        )
        held_out = resources.validation
        self.evaluate = Evaluator(self.network, resources.loss, held_out) if held_out else None
        self.schedule = config.schedule.bind(total_steps, config.schedule_start)
        self.batch_dependence = BatchDependenceProbe(self.step, len(data.train))
        self._state = TrainingState(
            identity={
                **config.network.description,
                "optimizer": type(resources.optimizer).__name__,
                "batch_size": str(config.batch_size),
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
        """The layers as the lecture counts them."""
        return [*self.config.layers(self.network.batch_shape[1:])]

    def status(self, speed_limit: float) -> TrainingStatus:
        """Return what is trained and how, for a frame."""
        return TrainingStatus(
            layers=self.layers,
            parameters=len(self.network.store.values),
            batch_size=self.batches.size,
            steps_per_epoch=self.batches.per_epoch,
            schedule=schedules.name_of(self.config.schedule),
            speed_limit=speed_limit,
        )

    def steps_left(self, step: int) -> int:
        """Return the number of steps from `step` to the end of its epoch."""
        per_epoch = self.batches.per_epoch
        return per_epoch - (step - self.config.epoch_start) % per_epoch

    def change(self, command: Command, step: int) -> tuple["BoundTraining", dict[str, object]]:
        """Return the training that `command` makes at `step`, and the detail of its event.

        It takes over all state of this one that still fits, and this one stays as it is. Raises
        ConfigError, ShapeError, MemoryError.
        """
        data, values = self._resources.data, command.plain()
        config = changed(self.config, command, step, len(data.train))
        config.check(data)
        changes = [*self._changes, {"step": step, **values}]
        with self._resources.undo_draws_on_error():
            new = BoundTraining(config, self._resources, self.schedule.total, changes)
            redrawn = new._take_over(self, redrawn_layers(config, command))
        before = [asdict(layer) for layer in self.layers]
        del values["kind"]
        detail = values | event_detail(self.config, config)
        return new, detail | {"reset": redrawn, "layers_before": before}

    def checkpoint(self, step: int, seconds: float, total_steps: int) -> Checkpoint:
        """Return a copy of everything that the steps to come depend on."""
        return self._state.copy(step, seconds, total_steps, self._changes)

    def restored(self, checkpoint: Checkpoint) -> "BoundTraining":
        """Return the training with the configuration and the state of `checkpoint`.

        It is this one unless the configuration differs. Raises CheckpointError, and leaves
        everything as it is then.
        """
        changes = [*checkpoint.changes]
        config = replayed(self.config, changes, len(self._resources.data.train))
        training = self
        with self._resources.undo_draws_on_error():
            if config != self.config:
                training = BoundTraining(config, self._resources, self.schedule.total)
            training._state.put_back(checkpoint)
        training._changes = changes
        if training.step.probes is not None:
            training.step.probes.dead_units.reload()
        return training

    def _take_over(self, old: "BoundTraining", redrawn: Collection[int]) -> list[tuple[int, str]]:
        """Copy the state of `old`, as far as it fits; return which parameters were drawn again.

        A parameter is given by its layer, from 1, and its name there. Those of the layers `redrawn`
        are not copied, nor is the optimiser's state for them.
        """
        self.batches.order[...] = old.batches.order
        if (old.config.schedule, old.config.schedule_start) == (
            self.config.schedule,
            self.config.schedule_start,
        ):
            self.schedule.state[...] = old.schedule.state
        pairs = [*_matches(old.config.network, self.config.network, redrawn)]
        copied = _copy_parameters(old.network, self.network, pairs)
        states, old_states = self.network.store.state_views, old.network.store.state_views
        for at, old_at in pairs:
            _copy_fitting(old_states[old_at], states[at])
        self._copy_optimizer_state(old, pairs)
        if self.step.probes is not None and old.step.probes is not None:
            self.step.probes.take_over(old.step.probes, redrawn)
        return [(layer, name) for layer, at, name in self._parameters() if (at, name) not in copied]

    def _parameters(self) -> Iterator[tuple[int, int, str]]:
        """Yield (layer from 1, position, name) of all parameters."""
        at = 0
        for layer, row in enumerate(self.config.network.rows):
            for _ in row:
                yield from ((layer, at, name) for name in self.network.store.value_views[at])
                at += 1

    def _copy_optimizer_state(self, old: "BoundTraining", pairs: Sequence[tuple[int, int]]) -> None:
        size, old_size = self.network.store.values.shape, old.network.store.values.shape
        for name, array in self.step.optimizer.state.items():
            before = old.step.optimizer.state[name]
            if array.shape == size and before.shape == old_size:
                ours, theirs = self.network.store.views(array), old.network.store.views(before)
                for new_at, old_at in pairs:
                    _copy_fitting(theirs[old_at], ours[new_at])
            else:  # the number of updates
                array[...] = before


def _matches(old: Network, new: Network, redrawn: Collection[int]) -> Iterator[tuple[int, int]]:
    """Yield positions (new, old) of layers that are the same: the n-th of a kind in its group."""
    places = {place: at for at, place in enumerate(_places(old))}
    for at, place in enumerate(_places(new)):
        if place in places and place[0] not in redrawn:
            yield at, places[place]


def _places(network: Network) -> Iterator[tuple[int, str, int]]:
    """Yield for each layer its group, its kind, and the number of that kind before it there."""
    for group, row in enumerate(network.rows):
        kinds = [layer.kind for layer in row]
        yield from ((group, kind, kinds[:at].count(kind)) for at, kind in enumerate(kinds))


def _copy_parameters(
    old: BoundNetwork, new: BoundNetwork, pairs: Sequence[tuple[int, int]]
) -> set[tuple[int, str]]:
    """Copy the parameters that fit; return the position and name of each."""
    return {
        (new_at, name)
        for new_at, old_at in pairs
        for name in _copy_fitting(old.store.value_views[old_at], new.store.value_views[new_at])
    }


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
