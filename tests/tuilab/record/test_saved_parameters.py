"""Saved parameters: of which step they are, and that they are the network's."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from engine.errors import CheckpointError
from tests.tuilab.viewer.recorded import Network, Recording
from tests.tuilab.viewer.saved import normalised, save
from tuilab.record import RunReader
from tuilab.record.run_folder import RunFolder
from tuilab.record.saved_parameters import SavedParameters


@pytest.fixture
def recording(tmp_path: Path) -> Iterator[Recording]:
    made = Recording(RunFolder(tmp_path / "run"), Network(units=24))
    made.steps(1)
    yield made
    made.close()


def test_they_are_read_from_the_newest_checkpoint_that_is_not_after(recording: Recording) -> None:
    trainer = normalised()
    saved = SavedParameters(recording.folder)
    expected = {}
    with RunReader(recording.folder.database) as reader:
        assert saved.read(reader, 1, 99) is None
        for step in (4, 9):
            trainer.network.store.values[:] += step
            expected[step] = trainer.network.store.value_views[0]["weight"].copy()
            save(recording, trainer, step)
        for asked, found in ((3, 4), (4, 4), (8, 4), (9, 9), (99, 9)):
            parameters = saved.read(reader, 1, asked)
            assert parameters is not None
            assert parameters.step == found
            np.testing.assert_array_equal(parameters.arrays["weight"], expected[found])
            assert saved.read(reader, 1, asked) is parameters  # and is not read again


def test_each_layer_has_its_own(recording: Recording) -> None:
    trainer = normalised()
    save(recording, trainer, 4)
    saved, store = SavedParameters(recording.folder), trainer.network.store
    with RunReader(recording.folder.database) as reader:
        for layer, position in ((1, 0), (2, 3), (11, 30)):
            parameters = saved.read(reader, layer, 4)
            assert parameters is not None
            weight = store.value_views[position]["weight"]
            np.testing.assert_array_equal(parameters.arrays["weight"], weight)
            assert ("gamma" in parameters.arrays) == (layer < 11)


def test_a_file_that_is_gone_is_passed_over_and_a_broken_one_is_told(recording: Recording) -> None:
    trainer = normalised()
    for step in (4, 9):
        save(recording, trainer, step)
    folder, saved = recording.folder.checkpoints, SavedParameters(recording.folder)
    with RunReader(recording.folder.database) as reader:
        (folder / "9.safetensors").unlink()
        parameters = saved.read(reader, 1, 99)
        assert parameters is not None
        assert parameters.step == 4
        (folder / "4.safetensors").write_bytes(b"no checkpoint")
        with pytest.raises(CheckpointError, match="cannot be read"):
            SavedParameters(recording.folder).read(reader, 1, 99)
