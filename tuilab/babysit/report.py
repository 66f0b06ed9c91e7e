"""The results of all checks as text and as JSON."""

import math
import textwrap
from collections.abc import Sequence
from typing import Final

import click
import numpy as np

from engine.statistics.frames import Floats
from tuilab.babysit.check import Check, CheckResult, Sweep
from tuilab.babysit.subject import Subject
from tuilab.charts.event_markers import EventMarker
from tuilab.charts.plot import Chart, Curve, draw, wants_logarithm
from tuilab.charts.series import Reduced
from tuilab.charts.symbols import BEST, CHOSEN, NOT_FINITE, OK, SEVERITIES
from tuilab.charts.text import Line, plain
from tuilab.claims.summary import to_json

WIDTH, HEIGHT = 76, 14
VERDICTS: Final = {"good": OK, "look at it": SEVERITIES["warning"], "wrong": SEVERITIES["error"]}
COLOURS: Final = {"success": "green", "warning": "yellow", "error": "red"}
Results = Sequence[tuple[Check, CheckResult]]


def heading(subject: Subject) -> str:
    """Return a heading with the scenario, its data and the back-end."""
    scenario, data = subject.scenario, subject.data
    title = scenario.header.title
    held_out = "" if data.validation is None else f" + {len(data.validation):,} held out"
    return (
        (f"{scenario.name}: {title}\n" if title else f"{scenario.name}\n")
        + f"{data.name} · {len(data.train):,} examples{held_out}, {subject.classes} classes · "
        + (f"{subject.backend.name} {subject.backend.dtype} · seed {scenario.seed}")
    )


def check_text(check: Check, result: CheckResult, *, colour: bool) -> str:
    """Return one result: its verdict, the measured and expected values, and their meaning."""
    symbol = VERDICTS[result.verdict]
    head = f"{symbol.glyph} {check.title}: {result.verdict}"
    lines = [
        "",
        click.style(head, fg=COLOURS[symbol.role], bold=True) if colour else head,
        *_wrapped(f"measured  {result.shown}", hang=12),
        *_wrapped(f"expected  {result.expected}", hang=12),
    ]
    if result.sweep is not None:
        lines += sweep_chart(result.sweep, colour=colour)
    return "\n".join([*lines, *_wrapped(result.meaning)])


def _wrapped(text: str, hang: int = 2) -> list[str]:
    return textwrap.wrap(
        text, WIDTH + 2, initial_indent="  ", subsequent_indent=" " * hang, break_on_hyphens=False
    )


def sweep_chart(sweep: Sweep, *, colour: bool) -> list[str]:
    """Draw the loss after a few steps against the logarithm of the learning rate."""
    trials = [t for t in sweep.trials if t.rate > 0]
    rates, losses = np.log10([t.rate for t in trials]), np.array([t.loss for t in trials])
    losses[~np.isfinite(losses)] = np.nan
    low, high = sweep.suggested or (math.inf, -math.inf)
    good = np.array([low <= t.rate <= high for t in trials])
    logarithmic = wants_logarithm(np.append(losses, sweep.initial))
    chart = Chart(
        [
            Curve(Reduced.of(rates, losses), "loss"),
            Curve(
                Reduced.of(rates, np.where(good, losses, np.nan)),
                BEST.role,
                BEST.glyph,
                points=True,
            ),
        ],
        _marks(rates, losses, sweep.own),
        reference=math.log10(sweep.initial) if logarithmic else sweep.initial,
        logarithmic=logarithmic,
        decades=True,
    )
    lines = draw(chart, WIDTH, HEIGHT)
    legend = (
        f"{BEST.glyph} suggested   {NOT_FINITE.glyph} explodes   {CHOSEN.glyph} this scenario   "
        "╌ initial loss"
    )
    return [f"  {_painted(line, colour)}" for line in lines] + [f"  {legend}"] * bool(lines)


def _marks(rates: Floats, losses: Floats, own: float) -> list[EventMarker]:
    """Return the marks above the curve: rates that explode, and the scenario's rate."""
    marks = [
        EventMarker(rate, NOT_FINITE.glyph, "", NOT_FINITE.role) for rate in rates[np.isnan(losses)]
    ]
    if own > 0:
        # Drawn last, on top of the others.
        marks.append(EventMarker(math.log10(own), CHOSEN.glyph, "", CHOSEN.role))
    return sorted(marks, key=lambda mark: mark.step)


def _painted(line: Line, colour: bool) -> str:
    if not colour:
        return plain(line).rstrip()
    return "".join(click.style(text, fg=COLOURS.get(role)) for text, role in line).rstrip()


def closing(results: Results) -> str:
    """Return the last line: how many checks have which verdict."""
    counts = [(sum(r.verdict == verdict for _, r in results), verdict) for verdict in VERDICTS]
    summary = ", ".join(f"{number} {verdict}" for number, verdict in counts if number)
    return f"\n{len(results)} checks: {summary}"


def document(subject: Subject, results: Results) -> str:
    """Return all results as one JSON document."""
    sweep = next((result.sweep for _, result in results if result.sweep is not None), None)
    whole = {
        "scenario": subject.scenario.name,
        "title": subject.scenario.header.title,
        "seed": subject.scenario.seed,
        "backend": subject.backend.name,
        "checks": [
            {
                "name": check.name,
                "verdict": result.verdict,
                "measured": result.measured,
                "shown": result.shown,
                "expected": result.expected,
                "passed": result.passed,
                "meaning": result.meaning,
                "details": dict(result.details),
            }
            for check, result in results
        ],
        "learning_rate": None if sweep is None else _sweep(sweep),
        "passed": all(result.passed for _, result in results),
    }
    return to_json(whole)


def _sweep(sweep: Sweep) -> dict[str, object]:
    return {
        "tried": [
            {"rate": t.rate, "loss": t.loss, "fall": t.fall, "verdict": t.verdict}
            for t in sweep.trials
        ],
        "suggested": sweep.suggested,
        "own": sweep.own,
        "initial_loss": sweep.initial,
        "steps": sweep.steps,
    }
