"""`tuilab new`: a commented scenario file to start from."""

from pathlib import Path
from typing import Final

from tuilab.errors import ScenarioError
from tuilab.record.run_folder import slug

TEMPLATE: Final = """\
title = "{title}"
question = "What do you want to know?"
seed = 0

[data]
source = "digits"              # 1,797 handwritten digits; or gaussian, spirals, cifar10, csv, ...
batch_size = 50                # or "all": the whole training split
preprocess = ["zero_mean", "normalize"]
validation = 0.2               # share of the data held out for validation

# Your own data:
# source = "csv"
# path = "table.csv"           # relative to this file
# label = "species"            # name or number of the label column

[network]
hidden = [100, 50]             # units per hidden layer; or {{ depth = 10, width = 500 }}
activation = "relu"
initializer = "he"             # or {{ name = "normal", std = 0.01 }}
batch_norm = false

[loss]
name = "softmax_cross_entropy"

[optimizer]
name = "sgd"
learning_rate = 0.01
momentum = 0.9
weight_decay = 0.0             # λ: adds ½·λ·‖W‖² to the loss

[train]
epochs = 20                    # or steps = 1000

[[expect]]
claim = "the first loss is that of guessing: ln 10"
metric = "loss.data"
at = "start"
between = [2.0, 3.6]

[[expect]]
claim = "it recognises digits that it was not trained on"
metric = "accuracy.validation"
above = 0.9
"""


def create(name: str) -> Path:
    """Write NAME.toml and return its path. Raises ScenarioError where it cannot be written."""
    path = Path(name if name.endswith(".toml") else f"{name}.toml")
    if not path.stem or path.name.startswith("."):
        raise ScenarioError(
            f"'{name}' is not a valid file name; give one such as: tuilab new my_network"
        )
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(TEMPLATE.format(title=slug(path.stem).replace("_", " ")))
    except FileExistsError:
        raise ScenarioError(f"{path} already exists; choose another name, or delete it") from None
    except OSError as error:
        hint = "" if path.parent.is_dir() else f"; create the folder {path.parent} first"
        raise ScenarioError(f"cannot write {path}: {error.strerror}{hint}") from None
    return path
