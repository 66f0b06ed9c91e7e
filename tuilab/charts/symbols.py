"""The symbols of the view and of reports, one meaning each, with the role that colours them."""

from collections.abc import Mapping
from typing import Final, NamedTuple

from engine.states import RunState
from tuilab.charts.text import Span
from tuilab.diagnosis.finding import Severity


class Symbol(NamedTuple):
    """A glyph, the role that colours it, and what it means."""

    glyph: str
    role: str
    meaning: str

    @property
    def span(self) -> Span:
        """The glyph in its colour."""
        return self.glyph, self.role

    @property
    def lead(self) -> Span:
        """The glyph in its colour, with a space after it."""
        return f"{self.glyph} ", self.role


SEVERITIES: Final[Mapping[Severity, Symbol]] = {
    "error": Symbol("✕", "error", "an error"),
    "warning": Symbol("▲", "warning", "a warning"),
    "info": Symbol("○", "muted", "worth knowing"),
}
"""A finding, by its severity; an error is also a run that failed."""

OK: Final = Symbol("✓", "success", "as it should be")
FAILED: Final = Symbol("✗", "error", "a claim that does not hold")
PENDING: Final = Symbol("…", "muted", "a claim that cannot be judged yet")
VERDICTS: Final = {True: OK, False: FAILED, None: PENDING}
"""A claim, by whether it holds."""
UNKNOWN: Final = Symbol("–", "muted", "not known")

MEASURED: Final = Symbol("●", "", "measured")
EXPECTED: Final = Symbol("◇", "warning", "expected by theory")
AS_EXPECTED: Final = Symbol("◆", "", "measured as theory expects")

NOT_FINITE: Final = Symbol("⊘", "error", "NaN or infinite")
DEAD: Final = Symbol("†", "error", "a dead unit")
SATURATED: Final = Symbol("▬", "warning", "a saturated unit")
FROZEN: Final = Symbol("❄", "update", "a frozen layer")

CHANGED: Final = Symbol("▾", "update", "a hyper-parameter changed")
REBUILT: Final = Symbol("▼", "update", "the network or its batches changed")

BEST: Final = Symbol("★", "success", "the best trial, or learning rate")
CHOSEN: Final = Symbol("◉", "warning", "the trial under the cursor, or the scenario's own value")
UP: Final = Symbol("↑", "", "upwards: beyond the upper edge, or sorted from the smallest")
DOWN: Final = Symbol("↓", "", "downwards: beyond the lower edge, or sorted from the largest")
PAST: Final = Symbol("◀", "warning", "an earlier step is shown")

_ERROR: Final = SEVERITIES["error"].span
RUN_STATES: Final[Mapping[str, Span]] = {
    RunState.STARTING: ("◌", "activation"),
    RunState.RUNNING: ("▶", "success"),
    RunState.PAUSED: ("❚❚", "warning"),
    RunState.FINISHED: OK.span,
    RunState.STOPPED: ("■", "warning"),
    RunState.DIVERGED: _ERROR,
    RunState.KILLED: _ERROR,
    RunState.FAILED: _ERROR,
    RunState.UNREADABLE: _ERROR,
}
"""How a run is going; what ended badly has the symbol of an error."""
TRIAL_STATES: Final[Mapping[str, str]] = {
    "complete": OK.glyph,
    "pruned": "✂",
    "failed": SEVERITIES["error"].glyph,
    "lost": "↻",
    "running": RUN_STATES[RunState.RUNNING][0],
}
"""How a trial of a search is going, or ended."""

SINGULAR: Final = (
    *SEVERITIES.values(),
    *(OK, FAILED, MEASURED, EXPECTED, AS_EXPECTED, NOT_FINITE, DEAD, SATURATED, FROZEN),
    *(CHANGED, REBUILT, BEST, CHOSEN),
)
"""The symbols that no other file may write out: a test checks both that and that they differ."""
