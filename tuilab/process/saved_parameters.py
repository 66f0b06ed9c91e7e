"""The parameters of one layer as they were saved: read from the checkpoints, without the rest."""

from collections.abc import Mapping
from dataclasses import dataclass

from engine.backends.base import Host
from engine.training.checkpoint import read_layer
from tuilab.process.checkpoints import Saved, saved
from tuilab.record import RunReader
from tuilab.record.run_folder import RunFolder


@dataclass(frozen=True, slots=True, eq=False)
class Parameters:
    """What a layer had learned after `step` updates."""

    step: int
    arrays: Mapping[str, Host]  # "weight" (inputs, units), "bias", "gamma", "running_mean" …


class SavedParameters:
    """Reads them layer by layer; what was read last is kept."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._last: tuple[Saved, int, Parameters] | None = None

    def read(self, reader: RunReader, layer: int, step: int) -> Parameters | None:
        """Return those of a layer (from 1) from the newest checkpoint that is not after `step`.

        The oldest where all are after it; None where there is none yet. Raises CheckpointError.
        """
        found = saved(self._folder, reader)
        if not found:
            return None
        chosen = next((each for each in reversed(found) if each.step <= step), found[0])
        if self._last is None or self._last[:2] != (chosen, layer):
            arrays = {each.name: array for each, array in read_layer(chosen.path, layer).items()}
            self._last = chosen, layer, Parameters(chosen.step, arrays)
        return self._last[2]
