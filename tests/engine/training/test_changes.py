"""What is trained changes between two steps: what is kept, what is new, and that it is right."""

import weakref
from pathlib import Path
from queue import SimpleQueue
from typing import Any, get_args

import numpy as np
import pytest

from engine.activations import ReLU, Tanh
from engine.backends import make_backend
from engine.backends.base import Backend
from engine.commands import ChangeKind, Command
from engine.errors import CheckpointError
from engine.initializers import He, Normal, Xavier
from engine.layers.batch_norm import BatchNorm
from engine.layers.dropout import Dropout
from engine.layers.linear import Linear
from engine.layers.nonlinearity import Nonlinearity
from engine.layers.residual import Residual
from engine.network import Network, activation_choices, mlp
from engine.optimization.optimizers import SGD, Adam, Optimizer
from engine.optimization.schedules import Cosine
from engine.training.changes import CHANGES
from engine.training.checkpoint import Checkpoint
from engine.training.gradcheck import check_parameters
from engine.training.trainer import Trainer
from tests.engine.training.test_checkpoint import make as of_images
from tests.engine.training.test_checkpoint import state_of
from tests.engine.training.test_trainer import blobs, collect, refusal
from tests.engine.variants import HIDDEN, OPTIMIZERS, name


def make(network: Network | None = None, **settings: Any) -> Trainer:
    chosen: dict[str, Any] = {"optimizer": SGD(0.05, momentum=0.9), "batch_size": 20, "steps": 30}
    chosen |= settings
    network = network or mlp([8, 6], 3, activation=ReLU(), initializer=He())
    backend = chosen.pop("backend", None) or make_backend("numpy", "float64")
    return Trainer(network, blobs(), backend=backend, **chosen)


def train(trainer: Trainer, script: dict[int, list[Command]]) -> list[Any]:
    """Train to the end with these commands; return the events."""
    return collect(trainer, SimpleQueue(), dict(script))[1]


def at(trainer: Trainer, step: int) -> Trainer:
    """Train up to a step and not beyond it, although a device is given many at once."""
    if not trainer.step:
        next(trainer.frames(interval=0))
    while trainer.step < step:
        trainer._advance()
    trainer._collect()
    if not trainer._next_frame.is_empty:
        trainer._frame()  # so that later frames have later steps only
    return trainer


def weights(trainer: Trainer) -> list[dict[str, np.ndarray]]:
    return [
        {key: trainer.backend.to_host(view).copy() for key, view in views.items()}
        for views in trainer.network.store.value_views
    ]


def change(trainer: Trainer, *commands: Command) -> Trainer:
    """Apply commands between two steps, as `frames` does."""
    for command in commands:
        assert refusal(trainer, command) == ""
    return trainer


EACH = [
    Command("batch_size", value=10),
    Command("schedule", name="step", settings={"every": 3}),
    Command("freeze", layer=1),
    Command("reinitialize", layer=2, name="normal", settings={"std": 0.5}),
    Command("activation", layer=0, name="tanh"),
    Command("batch_norm", layer=1, name="insert"),
]


def test_every_change_has_a_kind_and_is_tried_here() -> None:
    assert set(CHANGES) == set(get_args(ChangeKind))
    assert set(CHANGES) == {command.kind for command in EACH} | {"unfreeze"}


@pytest.mark.parametrize("command", EACH, ids=lambda c: c.kind)
def test_a_change_is_recorded_with_its_step_and_training_continues(command: Command) -> None:
    trainer = make()
    events = train(trainer, {7: [command]})
    assert [(e.step, e.kind) for e in events] == [(7, command.kind)]
    assert Command.of_event(events[0]) == command
    assert trainer.state == "finished"


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=name)
@pytest.mark.parametrize("command", EACH, ids=lambda c: c.kind)
def test_a_run_cut_after_a_change_is_the_whole_run(
    command: Command, optimizer: Optimizer, backend: Backend
) -> None:
    settings: dict[str, Any] = {"optimizer": optimizer, "schedule": Cosine(), "backend": backend}
    whole = make(**settings)
    if backend.launcher is None:
        train(whole, {7: [command]})
    else:  # whose frames come too late to give a command at a certain step
        at(change(at(whole, 7), command), 30)
    cut = change(at(make(**settings), 7), command)
    taken = at(cut, 12).checkpoint()
    resumed = make(**settings)
    resumed.restore(taken)
    assert resumed.status == cut.status
    assert at(resumed, 30).epoch == whole.epoch
    for ours, theirs in zip(weights(resumed), weights(whole), strict=True):
        for key in theirs:
            np.testing.assert_array_equal(ours[key], theirs[key])


def test_changes_add_up_and_all_are_made_again_after_a_checkpoint() -> None:
    script = {step: [command] for step, command in enumerate(EACH * 2, start=3) if step != 11}
    script[20] = [Command("unfreeze", layer=1), Command("batch_norm", layer=1, name="remove")]
    whole, cut = make(), make()
    train(whole, script)
    inbox: SimpleQueue[Command] = SimpleQueue()
    script = dict(script)
    for frame in cut.frames(inbox, interval=0):
        for command in script.pop(frame.next_step, []):
            inbox.put(command)
        if frame.next_step == 25:
            break
    resumed = make()
    resumed.restore(cut.checkpoint())
    at(resumed, 30)
    np.testing.assert_array_equal(resumed.network.store.values, whole.network.store.values)
    assert resumed.checkpoint().changes == whole.checkpoint().changes


def test_a_checkpoint_with_changes_of_another_network_is_refused_and_changes_nothing() -> None:
    taken = change(at(make(), 5), Command("activation", layer=2, name="tanh")).checkpoint()
    shallow = make(mlp([8], 3, activation=ReLU(), initializer=He()))
    before = shallow.checkpoint()
    with pytest.raises(CheckpointError, match="belongs to another run: it has a change"):
        shallow.restore(taken)
    other = make(mlp([8, 7], 3, activation=ReLU(), initializer=He()))
    streams = other.checkpoint().generators
    with pytest.raises(CheckpointError, match="belongs to another run: what was trained"):
        other.restore(taken)
    assert other.checkpoint().generators == streams
    np.testing.assert_array_equal(
        shallow.checkpoint().arrays["parameters"], before.arrays["parameters"]
    )


def test_another_batch_size_begins_an_epoch_and_keeps_all_that_was_learned() -> None:
    trainer = at(make(), 7)  # of 5 steps an epoch
    before, order = weights(trainer), trainer._training.batches.order.copy()
    velocity = trainer.training_step.optimizer.state["velocity"].copy()
    change(trainer, Command("batch_size", value=50))
    assert (trainer.batch_size, trainer.steps_per_epoch, trainer.epoch) == (50, 2, 2.0)
    np.testing.assert_array_equal(trainer._training.batches.order, order)
    np.testing.assert_array_equal(trainer.training_step.optimizer.state["velocity"], velocity)
    for ours, theirs in zip(weights(trainer), before, strict=True):
        for key in theirs:
            np.testing.assert_array_equal(ours[key], theirs[key])
    validated = [v.step for f in trainer.frames(interval=0) for v in f.validations]
    assert validated[:3] == [9, 11, 13]
    assert trainer.epoch == 2 + 23 / 2


def test_another_batch_size_at_the_end_of_an_epoch_cuts_none_short() -> None:
    trainer = change(at(make(), 10), Command("batch_size", value=10))
    assert trainer.epoch == 2.0
    assert at(trainer, 15).epoch == 2.5


def test_a_batch_of_another_size_is_gathered_as_a_new_trainer_would() -> None:
    trainer = change(at(make(), 7), Command("batch_size", value=33))
    fresh = make(batch_size=33)
    fresh.network.store.values[...] = trainer.network.store.values
    rows = np.arange(33)
    found = []
    for each in (trainer, fresh):
        each.training_step.take(rows)
        found.append((each.training_step.gradients(), each.network.store.gradients.copy()))
    assert found[0][0] == found[1][0]
    np.testing.assert_array_equal(found[0][1], found[1][1])


def test_a_schedule_acts_from_here_to_the_end() -> None:
    trainer = make(optimizer=SGD(0.1), steps=20)
    script = {10: [Command("schedule", name="cosine", settings={"to": 0})]}
    frames, _ = collect(trainer, SimpleQueue(), script)
    rates = [float(rate) for frame in frames for rate in frame.learning_rate]
    assert rates[:11] == [0.1] * 11
    assert rates[15] == pytest.approx(0.05)
    assert rates[19] == pytest.approx(0.1 * (1 + np.cos(0.9 * np.pi)) / 2)
    assert frames[-1].status is None
    assert [f.status.schedule for f in frames if f.status] == ["cosine"]


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=name)
def test_a_frozen_layer_stays_bit_equal_and_the_others_learn(
    optimizer: Optimizer, backend: Backend
) -> None:
    trainer = make(
        mlp([8, 6], 3, activation=ReLU(), initializer=He(), batch_norm=True),
        optimizer=optimizer,
        backend=backend,
    )
    at(trainer, 7)
    for key in ("weight_decay", "l1", "max_norm", "clip_norm"):
        trainer.hyperparameters[key] = 0.1
    change(trainer, Command("freeze", layer=2))
    before = weights(trainer)
    at(trainer, 20)
    after = weights(trainer)
    for position in (3, 4):  # the linear layer and its batch normalisation
        for key, value in before[position].items():
            np.testing.assert_array_equal(after[position][key], value)
    assert np.abs(after[0]["weight"] - before[0]["weight"]).max() > 0
    assert [layer.frozen for layer in trainer.layers] == [False, True, False]
    change(trainer, Command("unfreeze", layer=2))
    at(trainer, 25)
    assert np.abs(weights(trainer)[3]["weight"] - after[3]["weight"]).max() > 0


def test_the_others_learn_as_if_the_frozen_layer_had_a_rate_of_zero() -> None:
    """Where clipping goes by the norm, that of what learns counts."""
    optimizer = SGD(0.1, clip_norm=0.01)
    trainer = change(make(optimizer=optimizer), Command("freeze", layer=1))
    step = trainer.training_step
    step.take(np.arange(20))
    step.gradients()
    free = [g.copy() for at in (2, 4) for g in trainer.network.store.gradient_views[at].values()]
    norm = np.sqrt(sum(float((g**2).sum()) for g in free))
    before = weights(trainer)
    step.update()
    moved = weights(trainer)[2]["weight"] - before[2]["weight"]
    np.testing.assert_allclose(moved, -0.1 * free[0] * 0.01 / norm, rtol=1e-3)


def test_a_layer_drawn_again_follows_the_rule_and_its_optimizer_state_is_reset() -> None:
    network = mlp([300, 300], 3, activation=ReLU(), initializer=He(), batch_norm=True)
    trainer = at(make(network, optimizer=Adam(0.01)), 7)
    before = weights(trainer)
    memory = trainer.training_step.optimizer.state["mean"]
    old_memory = trainer.network.store.views(memory)[0]["weight"].copy()
    change(trainer, Command("reinitialize", layer=2, name="normal", settings={"std": 0.5}))
    after = weights(trainer)
    assert after[3]["weight"].std() == pytest.approx(0.5, rel=0.01)
    assert (after[4]["gamma"] == 1).all()
    assert trainer.config.network.rows[2][0] == Linear(300, Normal(0.5), None)
    np.testing.assert_array_equal(after[0]["weight"], before[0]["weight"])
    np.testing.assert_array_equal(after[6]["weight"], before[6]["weight"])
    store, state = trainer.network.store, trainer.training_step.optimizer.state
    assert not store.views(state["mean"])[3]["weight"].any()
    np.testing.assert_array_equal(store.views(state["mean"])[0]["weight"], old_memory)
    assert state["step"][0] == 7


@pytest.mark.parametrize("activation", HIDDEN, ids=name)
def test_after_another_non_linearity_gradients_agree_with_centred_differences(
    activation: Any,
) -> None:
    trainer = at(make(mlp([8, 6], 3, activation=Tanh(), initializer=Xavier())), 4)
    called = activation_choices().name_of(activation)
    if called == "tanh":
        called = "sigmoid"
    change(trainer, Command("activation", layer=0, name=called))
    change(trainer, Command("batch_norm", layer=2, name="insert"))
    checks = check_parameters(trainer.training_step, np.arange(20), elements=30)
    assert max(check.error for check in checks) < 1e-4


def test_another_non_linearity_keeps_the_weights_and_is_that_of_a_new_network() -> None:
    trainer = at(make(), 7)
    before = weights(trainer)
    (event,) = train(trainer, {8: [Command("activation", layer=1, name="tanh")]})
    assert event.detail["rebuilt"] is True
    assert event.detail["reset"] == []
    trainer = change(at(make(), 7), Command("activation", layer=1, name="tanh"))
    for ours, theirs in zip(weights(trainer), before, strict=True):
        for key in theirs:
            np.testing.assert_array_equal(ours[key], theirs[key])
    mixed = Network([Linear(8), Nonlinearity(Tanh()), Linear(6), Nonlinearity(ReLU()), Linear(3)])
    fresh = make(mixed)
    fresh.network.store.values[...] = trainer.network.store.values
    x = fresh.data.train.x[:20]
    np.testing.assert_array_equal(
        trainer.network.forward(x, True).copy(), fresh.network.forward(x, True)
    )
    assert [layer.activation for layer in trainer.layers] == ["tanh", "relu", "identity"]


def test_maxout_needs_other_weights_which_are_drawn_again_and_the_rest_stays() -> None:
    trainer = at(make(), 7)
    before = weights(trainer)
    trainer._apply(Command("activation", layer=1, name="maxout", settings={"pieces": 3}))
    assert trainer._next_frame.events[-1].detail["reset"] == [(1, "weight"), (1, "bias")]
    after = weights(trainer)
    assert after[0]["weight"].shape == (6, 24)
    np.testing.assert_array_equal(after[2]["weight"], before[2]["weight"])
    change(trainer, Command("activation", layer=1, name="relu"))
    assert weights(trainer)[0]["weight"].shape == (6, 8)


def test_batch_norm_comes_and_goes_with_all_weights_kept() -> None:
    trainer = at(make(), 7)
    before = weights(trainer)
    change(trainer, Command("batch_norm", layer=0, name="insert"))
    assert [layer.normalization for layer in trainer.layers] == ["batch_norm", "batch_norm", ""]
    kinds = [layer.kind for layer in trainer.config.network.layers]
    assert kinds == ["linear", "batch_norm", "activation"] * 2 + ["linear"]
    assert trainer._next_frame.events[-1].detail["reset"] == [
        *((1, "gamma"), (1, "beta"), (2, "gamma"), (2, "beta"))
    ]
    trainer.training_step.take(np.arange(20))
    trainer.training_step.forward()
    normalized = trainer.network.bound[1].output
    np.testing.assert_allclose(normalized.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(normalized.std(axis=0), 1, atol=1e-4)
    change(trainer, Command("batch_norm", layer=0, name="remove"))
    for ours, theirs in zip(weights(trainer), before, strict=True):
        for key in theirs:
            np.testing.assert_array_equal(ours[key], theirs[key])


def test_running_averages_outlive_a_change_elsewhere() -> None:
    network = mlp([8, 6], 3, activation=ReLU(), initializer=He(), batch_norm=True)
    trainer = at(make(network), 7)
    before = [{k: v.copy() for k, v in view.items()} for view in trainer.network.store.state_views]
    change(trainer, Command("activation", layer=2, name="tanh"))
    for ours, theirs in zip(trainer.network.store.state_views, before, strict=True):
        for key in theirs:
            np.testing.assert_array_equal(ours[key], theirs[key])


def test_dead_units_are_followed_on_through_a_change() -> None:
    trainer = at(make(), 7)
    seen = trainer.training_step.probes.dead_units  # type: ignore[union-attr]
    before = {key: array.copy() for key, array in seen.state.items()}
    change(trainer, Command("activation", layer=2, name="tanh"))
    after = trainer.training_step.probes.dead_units.state  # type: ignore[union-attr]
    assert set(after) == {"fraction", "highest0", "dead0"}
    np.testing.assert_array_equal(after["highest0"], before["highest0"])
    assert after["fraction"][0] == before["fraction"][0]
    change(trainer, Command("activation", layer=2, name="relu"))
    after = trainer.training_step.probes.dead_units.state  # type: ignore[union-attr]
    assert np.isnan(after["fraction"][1])  # nothing is known of it before a whole epoch


IMAGES = [
    Command("batch_norm", layer=1, name="remove"),
    Command("activation", layer=1, name="gelu", settings={"approximate": "tanh"}),
    Command("activation", layer=1, name="prelu"),
    Command("reinitialize", layer=1, name="xavier"),
    Command("freeze", layer=1),
    Command("batch_size", value=7),
    Command("set", "dropout", 0.7),
]


def test_a_network_over_images_with_noise_and_augmentation_changes_too() -> None:
    """One with everything that has a state; and it goes on from a checkpoint bit for bit."""
    script = {step: [command] for step, command in enumerate(IMAGES, start=3)}
    whole, cut, resumed = (of_images(30) for _ in range(3))
    collect(whole, SimpleQueue(), dict(script))
    inbox: SimpleQueue[Command] = SimpleQueue()
    for frame in cut.frames(inbox, interval=0):
        for command in script.get(frame.next_step, []):
            inbox.put(command)
        if frame.next_step == 17:
            break
    resumed.restore(cut.checkpoint())
    assert state_of(at(resumed, 30)) == state_of(whole)
    assert [layer.activation for layer in whole.layers] == ["prelu", "identity"]


def test_maxout_over_images_is_refused() -> None:
    command = Command("activation", layer=1, name="maxout")
    assert "takes a flat input" in refusal(of_images(), command)


def test_the_old_network_is_freed() -> None:
    trainer = at(make(), 3)
    old = weakref.ref(trainer.network)
    change(trainer, Command("activation", layer=1, name="tanh"))
    assert old() is None


REFUSED = {
    Command("batch_size", value=0): "must be 1 … 100",
    Command("batch_size", value=101): "must be 1 … 100",
    Command("batch_size", value=2.5): "whole number",
    Command("batch_size", value=20): "nothing would change",
    Command("batch_size", value=float("nan")): "whole number",
    Command("batch_size", value=float("inf")): "whole number",
    Command("schedule", name="cosin"): "did you mean 'cosine'",
    Command("schedule", name="constant"): "nothing would change",
    Command("freeze", layer=4): "must be 1 … 3, is 4",
    Command("freeze", layer=-1): "must be 1 … 3, is -1",
    Command("unfreeze", layer=1): "nothing would change",
    Command("reinitialize", layer=1, name="hee"): "did you mean 'he'",
    Command("activation", layer=1, name="relu"): "nothing would change",
    Command("activation", layer=3, name="tanh"): "3 is the output layer",
    Command("batch_norm", layer=1, name="remove"): "nothing would change",
    Command("batch_norm", layer=1, name="add"): "unknown change 'add'",
}


@pytest.mark.parametrize("command", REFUSED.items(), ids=lambda c: f"{c[0].plain()}")
def test_an_invalid_change_is_refused_with_the_reason_and_changes_nothing(
    command: tuple[Command, str],
) -> None:
    trainer = at(make(), 3)
    before = trainer.checkpoint()
    assert command[1] in refusal(trainer, command[0])
    after = trainer.checkpoint()
    assert (after.generators, after.changes) == (before.generators, ())
    np.testing.assert_array_equal(after.arrays["parameters"], before.arrays["parameters"])


def test_settings_are_checked_for_their_type() -> None:
    trainer = make()
    settings: Any
    for settings in ({"std": "much"}, {"std": True}, {"stdd": 1.0}, {"std": -1.0}):
        command = Command("reinitialize", layer=1, name="normal", settings=settings)
        assert refusal(trainer, command)
    change(trainer, Command("reinitialize", layer=1, name="normal", settings={"std": 1}))


def test_a_plateau_needs_validation() -> None:
    data = blobs()
    trainer = Trainer(
        mlp([8], 3, activation=ReLU(), initializer=He()),
        type(data)(data.name, data.classes, data.train, None),
        steps=5,
    )
    command = Command("schedule", name="reduce_on_plateau")
    assert "depends on the validation loss" in refusal(trainer, command)


def test_batch_norm_with_one_example_is_refused_when_it_comes_to_it() -> None:
    trainer = make(batch_size=1)
    command = Command("batch_norm", layer=1, name="insert")
    assert "at least 2 examples" in refusal(trainer, command)
    assert trainer.checkpoint().changes == ()


def test_layers_inside_a_residual_block_are_drawn_again_but_keep_their_non_linearity() -> None:
    inner = (Linear(6, He()), Nonlinearity(ReLU()), Linear(6, He()))
    trainer = make(Network([Linear(6), Nonlinearity(ReLU()), Residual(inner), Linear(3)]))
    assert "inside" in refusal(trainer, Command("activation", layer=2, name="tanh"))
    change(trainer, Command("reinitialize", layer=2, name="zeros"))
    assert not any(view.any() for view in trainer.network.store.value_views[2].values())


def test_a_bare_linear_layer_gets_its_non_linearity_after_its_normalisation() -> None:
    trainer = make(Network([Linear(6), BatchNorm(), Dropout(0.1), Linear(3)]))
    change(trainer, Command("activation", layer=1, name="tanh"))
    kinds = [layer.kind for layer in trainer.config.network.layers]
    assert kinds == ["linear", "batch_norm", "activation", "dropout", "linear"]


def test_a_checkpoint_without_changes_is_still_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = Checkpoint._parts
    with monkeypatch.context() as patch:
        patch.setattr(
            Checkpoint,
            "_parts",
            lambda self: {k: v for k, v in parts(self).items() if k != "changes"},
        )
        at(make(), 5).checkpoint().save(tmp_path / "x")
    resumed = make()
    resumed.restore(Checkpoint.load(tmp_path / "x"))
    assert resumed.step == 5
