"""What the sequence finds, for people and for machines."""

import math
import textwrap
from collections.abc import Sequence
from typing import Final, TextIO

import click
import numpy as np

from engine.statistics.frames import Floats
from tuilab.babysit.check import Check, Step, Sweep
from tuilab.babysit.subject import Subject
from tuilab.charts.event_markers import EventMarker
from tuilab.charts.plot import Chart, Curve, draw, wants_logarithm
from tuilab.charts.series import Reduced
from tuilab.charts.text import Line, plain
from tuilab.claims.summary import to_json
from tuilab.cli.options import say

WIDTH, HEIGHT = 76, 14
MARKS: Final = {"good": "✓", "look at it": "▲", "wrong": "✗"}
TINTS: Final = {"good": "green", "look at it": "yellow", "wrong": "red"}
ROLES: Final = {"good": "green", "error": "red", "own": "cyan"}
Found = Sequence[tuple[Step, Check]]


def heading(subject: Subject) -> str:
    """Return what is checked."""
    scenario, data = subject.scenario, subject.data
    title = scenario.header.title
    held_out = "" if data.validation is None else f" + {len(data.validation):,} held out"
    return (
        (f"{scenario.name}: {title}\n" if title else f"{scenario.name}\n")
        + f"{data.name} · {len(data.train):,} examples{held_out}, {subject.classes} classes · "
        + (f"{subject.backend.name} {subject.backend.dtype} · seed {scenario.seed}")
    )


def check_text(step: Step, check: Check, *, colour: bool) -> str:
    """Return one step's finding: verdict and number, what was expected, what it means."""
    head = f"{MARKS[check.verdict]} {step.title}: {check.verdict}"
    lines = [
        "",
        click.style(head, fg=TINTS[check.verdict], bold=True) if colour else head,
        *_wrapped(f"measured  {check.shown}", hang=12),
        *_wrapped(f"expected  {check.expected}", hang=12),
    ]
    if check.sweep is not None:
        lines += sweep_chart(check.sweep, colour=colour)
    return "\n".join([*lines, *_wrapped(check.meaning)])


def _wrapped(text: str, hang: int = 2) -> list[str]:
    return textwrap.wrap(
        text, WIDTH + 2, initial_indent="  ", subsequent_indent=" " * hang, break_on_hyphens=False
    )


def sweep_chart(sweep: Sweep, *, colour: bool) -> list[str]:
    """Draw the loss after a few steps against the logarithm of the learning rate."""
    tried = [t for t in sweep.tried if t.rate > 0]
    rates, losses = np.log10([t.rate for t in tried]), np.array([t.loss for t in tried])
    losses[~np.isfinite(losses)] = np.nan
    low, high = sweep.suggested or (math.inf, -math.inf)
    good = np.array([low <= t.rate <= high for t in tried])
    logarithmic = wants_logarithm(np.append(losses, sweep.initial))
    chart = Chart(
        [
            Curve(_series(rates, losses), "loss"),
            Curve(_series(rates, np.where(good, losses, np.nan)), "good", "●", points=True),
        ],
        _marks(rates, losses, sweep.own),
        reference=math.log10(sweep.initial) if logarithmic else sweep.initial,
        logarithmic=logarithmic,
        decades=True,
    )
    lines = draw(chart, WIDTH, HEIGHT)
    legend = "● suggested   ✗ explodes   ▼ this scenario's   ╌ loss at the first weights"
    return [f"  {_painted(line, colour)}" for line in lines] + [f"  {legend}"] * bool(lines)


def _marks(rates: Floats, losses: Floats, own: float) -> list[EventMarker]:
    """Return what stands above the curve: the rates that explode, and the scenario's own."""
    marks = [EventMarker(rate, "✗", "", "error") for rate in rates[np.isnan(losses)]]
    if own > 0:
        marks.append(EventMarker(math.log10(own), "▼", "", "own"))  # the last drawn at its place
    return sorted(marks, key=lambda mark: mark.step)


def _series(x: Floats, y: Floats) -> Reduced:
    return Reduced(x, y, y, y)


def _painted(line: Line, colour: bool) -> str:
    if not colour:
        return plain(line).rstrip()
    return "".join(click.style(text, fg=ROLES.get(role)) for text, role in line).rstrip()


def closing(found: Found) -> str:
    """Return how many steps came to which verdict."""
    counts = [(sum(c.verdict == verdict for _, c in found), verdict) for verdict in MARKS]
    told = ", ".join(f"{number} {verdict}" for number, verdict in counts if number)
    return f"\n{len(found)} checks: {told}"


def document(subject: Subject, found: Found) -> str:
    """Return one JSON document."""
    sweep = next((check.sweep for _, check in found if check.sweep is not None), None)
    whole = {
        "scenario": subject.scenario.name,
        "title": subject.scenario.header.title,
        "seed": subject.scenario.seed,
        "backend": subject.backend.name,
        "checks": [
            {
                "name": step.name,
                "verdict": check.verdict,
                "measured": check.measured,
                "shown": check.shown,
                "expected": check.expected,
                "passed": check.passed,
                "meaning": check.meaning,
                "details": dict(check.details),
            }
            for step, check in found
        ],
        "learning_rate": None if sweep is None else _sweep(sweep),
        "passed": all(check.passed for _, check in found),
    }
    return to_json(whole)


def _sweep(sweep: Sweep) -> dict[str, object]:
    return {
        "tried": [
            {"rate": t.rate, "loss": t.loss, "fall": t.fall, "verdict": t.verdict}
            for t in sweep.tried
        ],
        "suggested": sweep.suggested,
        "own": sweep.own,
        "initial_loss": sweep.initial,
        "steps": sweep.steps,
    }


class Progress:
    """One line on a terminal that says what is being done, and goes when it is; None for none."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *reason: object) -> None:
        self._put("")

    def tell(self, text: str) -> None:
        """Show `text` in place of what was there."""
        self._put(f"{text} …"[:WIDTH])

    def above(self, text: str) -> None:
        """Print `text` on stdout, with the line out of the way."""
        self._put("")
        say(text)

    def _put(self, text: str) -> None:
        if self._stream is not None:
            self._stream.write(f"\r\x1b[K{text}")
            self._stream.flush()
