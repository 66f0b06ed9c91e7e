"""Forwards, backwards and ten steps of training against PyTorch, in float64 to 1e-10."""

from typing import Any

import numpy as np
import pytest

from engine.activations import Activation
from engine.layers.base import Layer
from engine.losses import Loss, MeanSquaredError, MulticlassSVM, SoftmaxCrossEntropy
from engine.optimization.optimizers import SGD, Optimizer, optimizers
from tests.engine.torch_twin import TOLERANCE, make_pair, torch, torch_module
from tests.engine.variants import ACTIVATIONS, CHANGED, HIDDEN, LOSSES, OPTIMIZERS, name

pytestmark = pytest.mark.parity


@pytest.mark.parametrize("activation", HIDDEN, ids=name)
@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize(("momentum", "decay"), [(0.0, 0.0), (0.9, 0.01)])
def test_ten_steps_equal_those_of_pytorch(
    activation: Activation | Layer, batch_norm: bool, momentum: float, decay: float
) -> None:
    optimizer = SGD(0.1, weight_decay=decay, momentum=momentum)
    pair = make_pair(activation=activation, batch_norm=batch_norm, optimizer=optimizer)
    for number in range(10):
        if number == 5:  # a change of the learning rate acts alike with momentum under way
            pair.set("learning_rate", 0.03)
        pair.make_step(number)
    assert pair.difference() < TOLERANCE
    if batch_norm:
        pair.twin.eval()
        np.testing.assert_allclose(
            pair.network.rebind(40).forward(pair.examples.x, False),
            pair.twin(torch.from_numpy(pair.examples.x)).detach().numpy(),
            rtol=0,
            atol=TOLERANCE,
        )


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=name)
def test_an_activation_and_its_derivative_equal_pytorchs_from_end_to_end(
    activation: Activation, backend: Any
) -> None:
    x = np.concatenate([np.linspace(-19, 19, 2001), [-1e3, 0.0, 1e3]])
    theirs = torch.from_numpy(x).requires_grad_()
    expected = torch_module(activation)(theirs)
    expected.sum().backward()
    scratch = [backend.empty(x.shape) for _ in range(activation.scratch)]
    ours, y, dx = backend.to_device(x), backend.empty(x.shape), backend.empty(x.shape)
    activation.forward(backend, ours, y, scratch)
    activation.backward(backend, ours, y, backend.full(x.shape, 1.0), dx, scratch)
    for found, wanted in ((y, expected.detach()), (dx, theirs.grad)):
        np.testing.assert_allclose(backend.to_host(found), wanted.numpy(), rtol=1e-13, atol=1e-13)


THEIR_LOSS: dict[type[Loss], Any] = {
    SoftmaxCrossEntropy: lambda loss: torch.nn.CrossEntropyLoss(
        label_smoothing=loss.label_smoothing
    ),
    MulticlassSVM: lambda loss: (
        lambda scores, labels: (
            scores.shape[1] * torch.nn.MultiMarginLoss(margin=loss.margin)(scores, labels)
        )
    ),
    MeanSquaredError: lambda loss: (
        lambda scores, labels: torch.nn.functional.mse_loss(
            scores, torch.nn.functional.one_hot(labels, 4).double()
        )
    ),
}


@pytest.mark.parametrize("loss", LOSSES, ids=name)
def test_ten_steps_with_a_loss_equal_those_of_pytorch(loss: Loss) -> None:
    if type(loss) not in THEIR_LOSS:
        pytest.skip(f"PyTorch has no {loss}")
    pair = make_pair(loss=loss, their_loss=THEIR_LOSS[type(loss)](loss))
    for number in range(10):
        pair.make_step(number)
    assert pair.difference() < TOLERANCE


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=name)
def test_ten_steps_of_an_optimiser_equal_those_of_pytorch(
    optimizer: Optimizer, small_blocks: None
) -> None:
    pair = make_pair(optimizer=optimizer)
    for number in range(10):
        pair.make_step(number)
    assert pair.difference() < TOLERANCE


@pytest.mark.parametrize("member", list(optimizers))
def test_the_defaults_are_pytorchs(member: str) -> None:
    ours = optimizers[member]().hyperparameters()
    groups = [{"params": [torch.zeros(1)]}]
    theirs = getattr(torch.optim, THEIR_NAMES.get(member, "SGD"))(groups).defaults
    expected = {"epsilon": "eps", "alpha": "alpha", "weight_decay": "weight_decay"}
    if member not in ("sgd", "nesterov"):  # which PyTorch begins at 0.001 and without momentum
        expected |= {"learning_rate": "lr", "momentum": "momentum"}
    for key, name_there in expected.items():
        assert ours.get(key) == theirs.get(name_there, ours.get(key)), key
    if "betas" in theirs:
        assert (ours["beta1"], ours["beta2"]) == theirs["betas"]


THEIR_NAMES = {"adagrad": "Adagrad", "rmsprop": "RMSprop", "adam": "Adam", "adamw": "AdamW"}
CHANGES = [
    (optimizer, key)
    for optimizer in OPTIMIZERS
    if all(optimizer.hyperparameters().get(key, 1.0) for key in ("momentum", "weight_decay"))
    for key in optimizer.hyperparameters()
    if key != "max_norm"  # PyTorch has no such thing
]


@pytest.mark.parametrize(("optimizer", "key"), CHANGES, ids=name)
def test_a_hyperparameter_changed_on_the_way_acts_as_in_pytorch(
    optimizer: Optimizer, key: str, small_blocks: None
) -> None:
    pair = make_pair(optimizer=optimizer)
    for number in range(10):
        if number == 5:
            pair.set(key, CHANGED.get(key, 0.05))
        pair.make_step(number)
    assert pair.difference() < TOLERANCE
