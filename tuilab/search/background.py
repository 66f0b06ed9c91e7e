"""A search in a process of its own, as runs are: whoever watches it can go away."""

import os
import subprocess
import sys

from tuilab.search.begin import SearchOptions, check, keep, opening
from tuilab.search.folder import StudyFolder


def begin(folder: StudyFolder, wishes: SearchOptions) -> "subprocess.Popen[bytes]":
    """Start to search in `folder`, or go on there; what is said goes to its log."""
    with opening(folder):
        check(folder, wishes)
    keep(folder, wishes)
    arguments = ["--resume", "--out", str(folder.path), "--headless"]
    for name, value in (("jobs", wishes.jobs), ("trials", wishes.trials)):
        arguments += [f"--{name}={value}"] if value else []
    arguments += [f"--range={text}" for text in wishes.ranges]
    arguments += ["--extend"] * wishes.extend
    arguments += [f"--cluster={wishes.cluster}"] if wishes.cluster else []
    with folder.log.open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "tuilab.cli.main", "search", "start", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env=os.environ,
        )
