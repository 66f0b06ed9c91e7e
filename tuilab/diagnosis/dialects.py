"""How advice names what to change: by keys of a scenario file, or in a framework's own words.

A rule says what helps; the dialect of a run says how that is written there. The words are those
that a person would look up: `optimizer.learning_rate`, or `optimizer.param_groups`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Dialect:
    """Words for what advice names, in scenario files."""

    rate: str = "optimizer.learning_rate"
    clip: str = "optimizer.clip_norm = 1.0"
    weight_decay: str = "optimizer.weight_decay"
    augment: str = "data.augment"
    width: str = "network.hidden"
    centre: str = 'data.preprocess = ["zero_mean"]'
    small_bias: str = "network.bias = 0.01"
    restart: str = (
        "press g, or tuilab run --resume RUN --set optimizer.learning_rate=…"  # from a checkpoint
    )

    def activation(self, *names: str) -> str:
        """Return how to choose one of some non-linearities."""
        return "network.activation = " + " or ".join(f'"{name}"' for name in names)

    def initializer(self, name: str, *, own_layers: bool) -> str:
        """Return how to choose an initialiser."""
        if own_layers:
            return f'initializer = "{name}" in the [[layer]] tables'
        return f'network.initializer = "{name}"'

    def normalization(self, *, own_layers: bool) -> str:
        """Return how to normalise each layer."""
        return "a batch_norm layer after each" if own_layers else "network.batch_norm = true"


@dataclass(frozen=True)
class _Torch(Dialect):
    """The words of PyTorch."""

    rate: str = "lr (optimizer.param_groups)"
    clip: str = "torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)"
    weight_decay: str = "the optimiser's weight_decay"
    augment: str = "augmentation (torchvision.transforms)"
    width: str = "wider layers"
    centre: str = "subtract the mean of the training set, and divide by its std"
    small_bias: str = "torch.nn.init.constant_(layer.bias, 0.01)"
    restart: str = "load the last state that was good"

    def activation(self, *names: str) -> str:
        return " or ".join(f"torch.nn.{MODULES.get(name, name)}" for name in names)

    def initializer(self, name: str, *, own_layers: bool) -> str:
        return f"torch.nn.init.{FUNCTIONS[name]}"

    def normalization(self, *, own_layers: bool) -> str:
        return "a BatchNorm or LayerNorm module after each layer"


@dataclass(frozen=True)
class _Keras(Dialect):
    """The words of Keras."""

    rate: str = "learning_rate of the optimizer"
    clip: str = "clipnorm=1.0 in the optimizer"
    weight_decay: str = "weight_decay of the optimizer"
    augment: str = "augmentation layers (keras.layers.RandomFlip …)"
    width: str = "more units"
    centre: str = "keras.layers.Normalization, adapted to the training set"
    small_bias: str = "bias_initializer=keras.initializers.Constant(0.01)"
    restart: str = "load the last weights that were good"

    def activation(self, *names: str) -> str:
        return " or ".join(f'activation="{name}"' for name in names)

    def initializer(self, name: str, *, own_layers: bool) -> str:
        spelled = {"xavier": "glorot_normal", "he": "he_normal", "lecun": "lecun_normal"}
        return f'kernel_initializer="{spelled[name]}"'

    def normalization(self, *, own_layers: bool) -> str:
        return "BatchNormalization after each layer"


MODULES: Final[Mapping[str, str]] = {"leaky_relu": "LeakyReLU", "tanh": "Tanh", "elu": "ELU"}
FUNCTIONS: Final[Mapping[str, str]] = {
    "xavier": "xavier_normal_(layer.weight)",
    "he": 'kaiming_normal_(layer.weight, nonlinearity="relu")',
    "lecun": 'kaiming_normal_(layer.weight, nonlinearity="linear")',
}
SCENARIO: Final = Dialect()
_BY_SOURCE: Final[Mapping[str, Dialect]] = {
    "torch": _Torch(), "lightning": _Torch(), "transformers": _Torch(), "keras": _Keras(),
}  # fmt: skip


def dialect_of(source: str) -> Dialect:
    """Return the words for a run of a source; those of scenario files where it has none."""
    return _BY_SOURCE.get(source, SCENARIO)
