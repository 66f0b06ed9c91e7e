"""The application's branches of the error tree in `engine.errors`.

TuilabError
├── ScenarioError     a scenario file that cannot be used: says the file, the line, the key path
├── RunError          a run folder that is missing, taken, unwritable or not ours
├── SearchError       a study that is missing, taken or elsewhere; an extra that is not installed
├── FetchError        a data set that cannot be downloaded, checked or unpacked
├── ViewError         the view broke; training is not touched by it (exit code 1)
└── WorkerError       the training process failed; says where its log is (exit code 1)
"""

from typing import ClassVar

from engine.errors import TuilabError


class ScenarioError(TuilabError):
    """A scenario file, or a `--set`, that cannot be used."""


class RunError(TuilabError):
    """A run folder that is missing, taken, unwritable or not one of ours."""


class SearchError(TuilabError):
    """A search that cannot be begun, gone on with or shown; says what to do."""


class FetchError(TuilabError):
    """A data set that cannot be downloaded, checked or unpacked; says what to do."""


class WorkerError(TuilabError):
    """The training process failed in a way that is not the user's input."""

    exit_code: ClassVar[int] = 1


class ViewError(TuilabError):
    """The view broke, which harms no run; says how to come back."""

    exit_code: ClassVar[int] = 1
