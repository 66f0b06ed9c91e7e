"""`tuilab new`: a scenario file to begin with, every line of it explained."""

from pathlib import Path
from typing import Final

from tuilab.errors import ScenarioError
from tuilab.process.launch import write_atomically
from tuilab.record.run_folder import slug

TEMPLATE: Final = """\
title = "{title}"
question = "What do you want to know?"
seed = 0

[data]
source = "digits"              # 1,797 handwritten digits; or gaussian, spirals, cifar10, csv …
batch_size = 50                # "all" for the whole training split
preprocess = ["zero_mean", "normalize"]
validation = 0.2               # share that is held out

# Data of your own:
# source = "csv"
# path = "table.csv"           # beside this file
# label = "species"            # name or number of the column

[network]
hidden = [100, 50]             # units of the hidden layers; {{ depth = 10, width = 500 }} for many
activation = "relu"
initializer = "he"             # or {{ name = "normal", std = 0.01 }}
batch_norm = false

[loss]
name = "softmax_cross_entropy"

[optimizer]
name = "sgd"
learning_rate = 0.01
momentum = 0.9
weight_decay = 0.0             # ½·λ·‖W‖², added to the loss

[train]
epochs = 20                    # or steps = 1000

[[expect]]
claim = "it begins as if guessing: ln 10"
metric = "loss.data"
at = "start"
between = [2.0, 3.6]

[[expect]]
claim = "it reads digits that it has not seen"
metric = "accuracy.validation"
above = 0.9
"""


def create(name: str) -> Path:
    """Write NAME.toml and return its path. Raises ScenarioError where there can be none."""
    path = Path(name if name.endswith(".toml") else f"{name}.toml")
    if not path.stem or path.name.startswith("."):
        raise ScenarioError(f"'{name}' is no name for a scenario: tuilab new my_network")
    if path.exists():
        raise ScenarioError(f"{path} is there already; choose another name, or remove it")
    if not path.parent.is_dir():
        raise ScenarioError(f"{path}: there is no folder {path.parent}")
    write_atomically(path, TEMPLATE.format(title=slug(path.stem).replace("_", " ")))
    return path
