"""Keras, watched by a callback."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tuilab
from engine.commands import Command
from engine.states import RunState
from tests.tuilab.adapters.support import Recorded, Viewer, recorded

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
os.environ.setdefault("KERAS_BACKEND", "torch")
keras = pytest.importorskip("keras", reason="Keras is not installed")
if keras.backend.backend() != "torch":
    pytest.skip("Keras runs on another back-end", allow_module_level=True)

pytestmark = pytest.mark.filterwarnings("ignore")  # those of Keras are not ours

EXAMPLES, BATCH = 64, 8
Callback: Any = keras.callbacks.Callback


def model(seed: int = 0, *, rate: Any = 0.01, optimizer: str = "Adam") -> Any:
    keras.utils.set_random_seed(seed)
    layers = keras.layers
    made = keras.Sequential(
        [
            keras.Input((4,)),
            layers.Dense(8, activation="tanh", name="first"),
            layers.Dense(6, name="second"),
            layers.BatchNormalization(),
            layers.Activation("relu"),
            layers.Dropout(0.1, seed=1),
            layers.Dense(2, activation="softmax", name="scores"),
        ]
    )
    chosen = getattr(keras.optimizers, optimizer)(rate)
    made.compile(chosen, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return made


def data() -> tuple[Any, Any]:
    x = np.random.default_rng(0).normal(size=(EXAMPLES, 4)).astype("float32")
    return x, (x.sum(axis=1) > 0).astype("int32")


def fit(trained: Any, callbacks: list[Any], **options: Any) -> Any:
    options = {"batch_size": BATCH, "epochs": 2, "shuffle": False, "verbose": 0} | options
    return trained.fit(*data(), callbacks=callbacks, **options)


def watched(trained: Any, tmp_path: Path, **options: Any) -> Recorded:
    watch = tuilab.keras.Watch(out=str(tmp_path / "run"), every=1, quiet=True)
    fit(trained, [watch], **options)
    return recorded(tmp_path / "run")


class Batches(Callback):
    """Keeps the weights before and after each batch, and the loss of each batch."""

    def __init__(self) -> None:
        super().__init__()
        self.weights: list[list[Any]] = []
        self.losses: list[float] = []

    def on_train_begin(self, logs: Any = None) -> None:
        compute = self.model.compute_loss

        def noted(*args: Any, training: bool = True, **kwargs: Any) -> Any:
            loss = compute(*args, training=training, **kwargs)
            if training:
                self.losses.append(float(loss.detach()))
            return loss

        self.model.compute_loss = noted
        self.on_train_batch_end(-1)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        names = ("first", "second", "scores")
        self.weights.append([self.model.get_layer(name).get_weights()[0] for name in names])


def test_layers_losses_metrics_and_validations_are_recorded(tmp_path: Path) -> None:
    batches = Batches()
    watch = tuilab.keras.Watch(out=str(tmp_path / "run"), every=1, quiet=True)
    history = fit(model(), [watch, batches], validation_data=data()).history
    run = recorded(tmp_path / "run")
    info = run.info
    assert (info.state, info.step, info.total_steps) == (RunState.FINISHED, 16, 16)
    assert (info.steps_per_epoch, info.source, info.batch_size) == (8, "keras", BATCH)
    assert run.layers == ["first", "second", "output"]
    first, second, last = info.layers
    assert (first.kind, first.activation, first.units) == ("Dense", "tanh", 8)
    assert (second.activation, second.normalization) == ("relu", "batch_norm")
    assert (last.path, last.role, last.activation) == ("scores", "output", "identity")
    assert first.first is not None
    assert (first.first.fan_in, first.first.fan_out) == (4, 8)
    np.testing.assert_allclose(run.series["loss"], batches.losses, rtol=1e-6)
    np.testing.assert_allclose(run.series["accuracy"][7::8], history["accuracy"])
    assert [v.step for v in run.validations] == [8, 16]
    assert [v.values["loss"] for v in run.validations] == history["val_loss"]


def test_weights_and_updates_are_those_of_the_layers(tmp_path: Path) -> None:
    batches = Batches()
    watch = tuilab.keras.Watch(out=str(tmp_path / "run"), every=1, quiet=True)
    fit(model(), [watch, batches])
    for step, snapshot in enumerate(recorded(tmp_path / "run").snapshots):
        before, after = batches.weights[step], batches.weights[step + 1]
        for at in range(3):
            weight, update = before[at], after[at] - before[at]
            assert snapshot.field("weight", "std")[at] == pytest.approx(weight.std(), rel=1e-5)
            norm = np.linalg.norm(update)
            assert snapshot.field("update", "norm")[at] == pytest.approx(norm, rel=1e-4)


def test_activations_and_gradients_are_those_of_pytorch(tmp_path: Path) -> None:
    trained = model(optimizer="SGD", rate=0.5)
    (w1, b1), (w2, b2) = (trained.get_layer(name).get_weights() for name in ("first", "second"))
    snapshot = watched(trained, tmp_path, epochs=1).snapshots[0]
    x, _ = data()
    pre = x[:BATCH] @ w1 + b1
    assert snapshot.field("pre_activation", "std")[0] == pytest.approx(pre.std(), rel=1e-5)
    assert snapshot.field("activation", "std")[0] == pytest.approx(np.tanh(pre).std(), rel=1e-5)
    linear = np.tanh(pre) @ w2 + b2
    normal = (linear - linear.mean(0)) / np.sqrt(linear.var(0) + 1e-3)
    active = np.maximum(normal, 0)
    assert snapshot.field("pre_activation", "std")[1] == pytest.approx(normal.std(), rel=1e-4)
    assert snapshot.field("activation", "mean")[1] == pytest.approx(active.mean(), rel=1e-4)
    gradients = snapshot.field("weight_grad", "norm")
    assert snapshot.field("update", "norm") == pytest.approx(0.5 * gradients, rel=1e-4)
    assert (snapshot.field("activation_grad", "std") > 0).all()


@pytest.mark.parametrize("optimizer", ["SGD", "Adam", "RMSprop"])
def test_watching_changes_no_weight(tmp_path: Path, optimizer: str) -> None:
    plain, trained = model(optimizer=optimizer), model(optimizer=optimizer)
    fit(plain, [])
    watched(trained, tmp_path)
    for ours, theirs in zip(trained.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert "apply" not in trained.optimizer.__dict__


def schedule() -> Any:
    return keras.optimizers.schedules.ExponentialDecay(0.5, 1, 0.9)


@pytest.mark.parametrize("scheduled", [False, True])
def test_the_learning_rate_changes_by_a_factor_under_any_schedule(
    tmp_path: Path, scheduled: bool
) -> None:
    watch = tuilab.keras.Watch(out=str(tmp_path / "run"), every=1, quiet=True)

    class Halve(Callback):
        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            if batch == 4 and watch.run is not None:
                watch.run.controls.apply(Command("scale", "learning_rate", 0.5))

    trained = model(optimizer="SGD", rate=schedule() if scheduled else 0.5)
    fit(trained, [watch, Halve()], epochs=1)
    run = recorded(tmp_path / "run")
    rates = 0.5 * (0.9 if scheduled else 1.0) ** np.arange(8) * np.repeat([1, 0.5], 4)
    for snapshot, rate in zip(run.snapshots, rates, strict=True):
        gradients = snapshot.field("weight_grad", "norm")
        np.testing.assert_allclose(snapshot.field("update", "norm"), rate * gradients, rtol=1e-4)
    assert "_get_current_learning_rate" not in trained.optimizer.__dict__


def test_a_frozen_layer_keeps_its_weights(tmp_path: Path) -> None:
    watch = tuilab.keras.Watch(out=str(tmp_path / "run"), every=1, quiet=True)
    batches = Batches()

    class Freeze(Callback):
        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            if batch == 1 and watch.run is not None:
                watch.run.controls.apply(Command("freeze", layer=1))

    fit(model(), [watch, Freeze(), batches], epochs=1)
    np.testing.assert_array_equal(batches.weights[1][0], batches.weights[-1][0])
    assert (batches.weights[1][1] != batches.weights[-1][1]).any()


def test_the_key_for_stop_ends_fit_after_the_batch(tmp_path: Path) -> None:
    watch = tuilab.keras.Watch(out=str(tmp_path / "run"), quiet=True)
    stop = Viewer(tmp_path / "run", (lambda: True, Command("stop")))
    fit(model(), [watch], epochs=10**6)
    stop.join()
    assert recorded(tmp_path / "run").info.state is RunState.STOPPED


def test_models_of_many_kinds_of_layers(tmp_path: Path) -> None:
    keras.utils.set_random_seed(0)
    layers = keras.layers
    image = keras.Input((8, 8, 1))
    x = layers.Conv2D(4, 3, padding="same", activation="relu", name="conv")(image)
    x = layers.Add(name="sum")([x, layers.Conv2D(4, 1, name="shortcut")(image)])
    x = layers.MaxPooling2D()(x)
    x = layers.Reshape((16, 4))(x)
    x = layers.LSTM(5, name="lstm")(x)
    inner = keras.Sequential([keras.Input((5,)), layers.Dense(3, activation="gelu", name="in")])
    inner.name = "inner"
    made = keras.Model(image, layers.Dense(1, name="last")(inner(x)))
    made.compile("sgd", "mse")
    watch = tuilab.keras.Watch(out=str(tmp_path / "run"), every=1, quiet=True)
    pixels = np.random.default_rng(0).normal(size=(8, 8, 8, 1)).astype("float32")
    made.fit(pixels, pixels.mean(axis=(1, 2)), epochs=2, verbose=0, callbacks=[watch])
    run = recorded(tmp_path / "run")
    assert {layer.path for layer in run.info.layers} == {
        "conv", "shortcut", "lstm", "lstm.recurrent_kernel", "inner.in", "last",
    }  # fmt: skip
    units = {layer.path: layer.units for layer in run.info.layers}
    assert (units["conv"], units["lstm"], units["inner.in"]) == (4, 5, 3)
    kinds = {layer.path: layer.activation for layer in run.info.layers}
    assert (kinds["conv"], kinds["shortcut"], kinds["inner.in"]) == ("relu", "identity", "gelu")


def test_another_back_end_records_weights_updates_and_metrics(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    batches = Batches()
    watch = tuilab.keras.Watch(out=str(tmp_path / "run"), every=1, quiet=True)
    fit(model(), [watch, batches])
    assert "only weights, updates and metrics" in capsys.readouterr().err
    run = recorded(tmp_path / "run")
    assert (run.info.state, run.info.step, run.info.backend) == (RunState.FINISHED, 16, "jax")
    assert run.layers == ["first", "second", "output"]
    assert {"loss", "accuracy"} <= {*run.series}
    for step, snapshot in enumerate(run.snapshots):
        assert snapshot.tensors == ("weight", "update")
        before, after = batches.weights[step], batches.weights[step + 1]
        for at in range(3):
            norm = np.linalg.norm(after[at] - before[at])
            assert snapshot.field("update", "norm")[at] == pytest.approx(norm, rel=1e-4)
