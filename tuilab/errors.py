"""The application's branches of the error tree in `engine.errors`.

TuilabError
├── ScenarioError     an unusable scenario file; names the file, the line and the key path
├── RunError          a run folder that is missing, in use, unwritable or not from tuilab
├── SearchError       a study that is missing, in use or unreachable; a missing extra
├── FetchError        a data set that cannot be downloaded, checked or unpacked
├── ViewError         the view failed, which does not affect training (exit code 1)
└── WorkerError       the training process failed; names its log (exit code 1)
"""

import sys
from typing import ClassVar

from engine.errors import TuilabError


class ScenarioError(TuilabError):
    """A scenario file, or a `--set`, that cannot be used."""


class RunError(TuilabError):
    """A run folder that is missing, in use, unwritable or not from tuilab."""


class SearchError(TuilabError):
    """A search that cannot be started, resumed or shown; says what to do."""


class FetchError(TuilabError):
    """A data set that cannot be downloaded, checked or unpacked; says what to do."""


class WorkerError(TuilabError):
    """The training process failed for a reason other than the user's input."""

    exit_code: ClassVar[int] = 1


class ViewError(TuilabError):
    """The view failed, which does not affect any run; says how to open it again."""

    exit_code: ClassVar[int] = 1


def missing_package(purpose: str, package: str) -> str:
    """Return the message for an optional package that is not installed, with what installs it."""
    install = f"{sys.executable} -m pip install {package}"
    return f"{purpose}, which is not installed; to install it: {install}"
