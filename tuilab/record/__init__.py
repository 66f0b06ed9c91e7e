"""`run.db`, the single truth of a run: written by the worker only, read by everybody else.

SQLite in WAL mode, one short transaction a frame: what was committed survives `kill -9`, and
readers never wait for the writer. Anyone can open it with `sqlite3` or pandas:

    run         key, value (JSON): what is trained, and its state
    block       per-step series of one frame: float64 blobs `loss`, `data_loss`; float32 `accuracy`;
                float64 `learning_rate`, one value where it is constant; little-endian; the first
                value belongs to `first_step`
    validation  loss and accuracy on the validation split after `step` updates
    event       commands that were applied and what else happened, with their step
    snapshot    one row a recorded snapshot
    tensor      the statistics of one tensor of one layer in a snapshot; `histogram` is
                1 + 64 + 1 int64: below `low`, 64 equal bins, above `high`
    units       what each unit of a layer did in a snapshot: `mean` float32, `active` and
                `saturated` float16, `dead` bytes of 0 and 1; NULL where that is no question
    checkpoint  files in checkpoints/, with the step, and the event, after which they were saved

History is bounded: of the snapshots, step 0, the first ones, those around an event and the newest
are kept, and of the others an even spread. The units are kept of fewer.
"""

from tuilab.record.reader import RunReader
from tuilab.record.schema import Block, Fork, History, LayerTraces, RunInfo
from tuilab.record.writer import KEPT_FIRST, SPREAD, RunWriter

__all__ = [
    "KEPT_FIRST",
    "SPREAD",
    "Block",
    "Fork",
    "History",
    "LayerTraces",
    "RunInfo",
    "RunReader",
    "RunWriter",
]
