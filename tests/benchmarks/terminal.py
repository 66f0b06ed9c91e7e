"""What a view costs: bytes to the terminal and processor time, at ten snapshots a second.

`python -m tests.benchmarks.terminal` records a ten-layer run in this process, ten frames a second,
and watches it with the command in a pseudo-terminal of 160×48.
"""

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import tempfile
import termios
import time
from pathlib import Path

from tests.tuilab.viewer.recorded import Network, Recording
from tuilab.record.run_folder import RunFolder

COLUMNS, ROWS = 160, 48
FRAMES = 10  # a second
WARM_UP, SECONDS = 5.0, 20.0


def watch(folder: RunFolder, config: Path) -> tuple[subprocess.Popen[bytes], int]:
    """Open the view in a terminal; return its process and our end of the terminal."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    colours = {"TERM": "xterm-256color", "COLORTERM": "truecolor", "TUILAB_CONFIG": str(config)}
    view = subprocess.Popen(
        [sys.executable, "-m", "tuilab.cli.main", "attach", str(folder.path)],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=os.environ | colours,
        start_new_session=True,
    )
    os.close(theirs)
    return view, ours


def processor_seconds(pid: int) -> float:
    """Return what a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(folder: RunFolder, config: Path) -> tuple[float, float, float]:
    """Return kB/s, the share of a core, and frames/s that were recorded."""
    recording = Recording(folder, Network(depth=10, units=60), total=10**6).hold()
    recording.steps(1)
    view, terminal = watch(folder, config)
    begin = time.monotonic() + WARM_UP
    written = frames = 0
    used = 0.0
    due = time.monotonic()
    while (now := time.monotonic()) < begin + SECONDS:
        if now >= due:
            recording.steps(2)
            due += 1 / FRAMES
            frames += now >= begin
        if now < begin:
            written, used = 0, processor_seconds(view.pid)
        if select.select([terminal], [], [], 0.01)[0]:
            written += len(os.read(terminal, 65536))
    used = processor_seconds(view.pid) - used
    view.kill()
    view.wait()
    recording.close()
    return written / SECONDS / 1000, used / SECONDS, frames / SECONDS


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as place:
        rate, share, frames = measure(RunFolder(Path(place) / "run"), Path(place) / "config.json")
    print(f"{COLUMNS}×{ROWS}, ten layers, {frames:.1f} frames/s recorded:")
    print(f"  {rate:.1f} kB/s to the terminal, {100 * share:.0f} % of a core")


if __name__ == "__main__":
    main()
