"""What the diagnosis found, in words: severity, rule, layers, evidence, advice."""

from collections.abc import Iterable, Sequence
from typing import Final

from tuilab.diagnosis.finding import MARKS, Finding
from tuilab.viewer.text import Line, wrap

ROLES: Final = {"error": "error", "warning": "warning", "info": "muted"}


def finding_lines(
    finding: Finding, cells: int, *, advice: bool, details: Sequence[str] = ()
) -> list[Line]:
    """Return one finding, wrapped to `cells`; `details` are further evidence."""
    role = ROLES[finding.severity]
    head: Line = [(f"{MARKS[finding.severity]} ", role), (finding.title, f"{role}.bold")]
    if finding.where:
        head.append((f"  {finding.where}", "muted"))
    lines = wrap(head, cells, 2)
    for text in (finding.cause, *details):
        lines += wrap([("  ", ""), (text, "")], cells, 2)
    if advice:
        lines += wrap([("  → ", "update"), (finding.advice, "muted")], cells, 4)
    return lines


def note_lines(findings: Iterable[Finding], cells: int) -> list[Line]:
    """Return findings that are worth knowing and nothing to worry about, a paragraph each."""
    lines: list[Line] = []
    for finding in findings:
        where = f", {finding.where}" if finding.where else ""
        head = f"{MARKS[finding.severity]} {finding.title}{where}: "
        lines += wrap([(head, "muted"), (finding.cause, "")], cells, 2)
    return [[("worth knowing", "muted")], *lines] if lines else []
