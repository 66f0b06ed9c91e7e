"""`run.db`, the single truth of a run: written by one source, read by everybody else.

SQLite in WAL mode, one short transaction a frame: what was committed survives `kill -9`, and
readers never wait for the writer. Anyone can open it with `sqlite3` or pandas:

    run               key, value (JSON): what is trained, and its state (see `RunInfo`)
    layer             the layers in order, a tree of paths: kind, role, bounds and saturation of the
                      activations, and as JSON what else is known of them
    block             one frame: how many steps from `first_step`, when, at which speed
    series            a named per-step series of a block: little-endian floats of `type` f8 or f4,
                      one value where it is constant; `data_loss` is left out where it is the loss
    validation        named values on the validation split after `step` updates, one a row
    event             commands that were applied and what else happened, with their step
    snapshot          one row a recorded snapshot
    layer_statistics  the numbers of one layer in a snapshot
    tensor            the statistics of one tensor of one layer in a snapshot; `histogram` is
                      1 + 64 + 1 counts (uint32, or int64 where they are larger): below `low`, 64
                      equal bins, above `high`
    units             what each unit of a layer did in a snapshot: `mean` float32, `active` and
                      `saturated` float16, `dead` bytes of 0 and 1; NULL where it does not apply
    checkpoint        files in checkpoints/, with the step and the event after which they were saved

History is bounded: of the snapshots, step 0, the first ones, those around an event and the newest
are kept, and of the others an even spread. The units are kept of fewer.

What belongs here: everything about the record itself, including run folders and the socket for
commands. What does not: who trains, and who looks.
"""

from tuilab.record.reader import RunReader
from tuilab.record.run_info import (
    Compute,
    DataInfo,
    Fork,
    NetworkInfo,
    Origin,
    Part,
    Plan,
    Process,
    Progress,
    RunInfo,
    ScenarioInfo,
    Source,
    StartOptions,
    Status,
    part_of,
)
from tuilab.record.schema import Block, History, LayerTraces
from tuilab.record.writer import KEPT_FIRST, SPREAD, RunWriter

__all__ = [
    "KEPT_FIRST",
    "SPREAD",
    "Block",
    "Compute",
    "DataInfo",
    "Fork",
    "History",
    "LayerTraces",
    "NetworkInfo",
    "Origin",
    "Part",
    "Plan",
    "Process",
    "Progress",
    "RunInfo",
    "RunReader",
    "RunWriter",
    "ScenarioInfo",
    "Source",
    "StartOptions",
    "Status",
    "part_of",
]
