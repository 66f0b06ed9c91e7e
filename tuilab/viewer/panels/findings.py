"""What the diagnosis found, in words: severity, rule, layers, evidence, advice."""

import inspect
import math
from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import Final

from tuilab.charts import formats
from tuilab.charts.strips import WAYS
from tuilab.charts.text import Line, crop, pad, width, wrap
from tuilab.diagnosis.base import rules
from tuilab.diagnosis.finding import MARKS, Finding
from tuilab.diagnosis.fixes import Case, Fix
from tuilab.record import RunInfo
from tuilab.viewer.panels.layer_columns import Table
from tuilab.viewer.panels.layers import axis_line, names

TENSORS: Final = {
    "activation": ("activation", "activation"),
    "activation_grad": ("dL/dA", "gradient"),
    "weight": ("W", "train"),
    "update": ("ΔW", "update"),
}
"""What the tensors of rules are called, and their hues."""
NARROWEST: Final = 16  # cells of a strip
WIDEST: Final = 64
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


def case_of(info: RunInfo, *, live: bool) -> Case:
    """Return what rules need to know of a run to say what helps."""
    initializer = info.initializer.partition(" ")[0]
    return Case(info.layers, initializer, info.own_layers, info.hyperparameters, live)


def fixes_of(finding: Finding, info: RunInfo, *, live: bool) -> list[Fix]:
    """Return the changes that help; none against a rule that this version does not know."""
    if finding.rule not in rules:
        return []
    return rules[finding.rule]().fixes(finding, case_of(info, live=live))


def list_lines(
    findings: Sequence[Finding], standing: Iterable[str], chosen: int, cells: int
) -> list[Line]:
    """Return one line a finding: severity, rule, layers, and since when or whether it is over."""
    standing = set(standing)
    lines: list[Line] = []
    for at, finding in enumerate(findings):
        over = finding.rule not in standing
        role = "faint" if over else ROLES[finding.severity]
        when = "over" if over else f"step {formats.count(finding.first_step)}"
        title = "activation.tag" if at == chosen else f"{role}.bold" if not over else "muted"
        line: Line = [("▸ " if at == chosen else "  ", "activation"),
                      (f"{MARKS[finding.severity]} ", role), (finding.title, title)]  # fmt: skip
        if finding.where:
            line.append((f"  {finding.where}", "muted"))
        end = f"  {when}"
        lines.append([*pad(crop(line, cells - len(end)), cells - len(end)), (end, "muted")])
    return lines


def explanation(finding: Finding, fixes: Sequence[Fix], *, over: bool, cells: int) -> list[Line]:
    """Explain one finding: evidence, what can be done by key, and what the rule looks for."""
    role = ROLES[finding.severity]
    where = f" in {finding.where}" if finding.where else ""
    since = f"{where}, from step {formats.count(finding.first_step)}{'; it is over' * over}"
    head: Line = [(f"{MARKS[finding.severity]} {finding.severity}", f"{role}.bold")]
    lines = [*wrap([*head, (since, "muted")], cells, 2), *wrap([(finding.cause, "bold")], cells)]
    if math.isfinite(finding.measured):
        lines += wrap(_measured(finding, cells), cells)
    lines += [[], [("what helps", "muted")]]
    lines += wrap([("→ ", "update"), (finding.advice or "nothing is known", "")], cells, 2)
    for number, fix in enumerate(fixes, start=1):
        text: Line = [(f"{number} ", "key"), (fix.label, "bold"), (f"  {fix.how}", "muted")]
        lines += wrap(text, cells, 2)
    paragraphs = meaning(finding.rule)
    lines += [[], [("what the rule looks for", "muted")]] if paragraphs else []
    for paragraph in paragraphs:
        lines += wrap([(paragraph, "")], cells)
    return lines


def _measured(finding: Finding, cells: int) -> Line:
    line: Line = [("measured ", "muted"), (f"{finding.measured:.3g}", ROLES[finding.severity])]
    if math.isfinite(finding.threshold):
        line += [("   threshold ", "muted"), (f"{finding.threshold:g}", "")]
        key: Line = [(f"   {finding.key}", "faint")]
        if width([*line, *key]) <= cells:
            line += key
    return line


def evidence(finding: Finding, table: Table, cells: int) -> list[Line]:
    """Draw what the finding is about in all layers, along magnitudes; its layers stand out."""
    known = finding.rule in rules
    tensor = rules[finding.rule].tensor if known else ""
    if tensor not in TENSORS or not (finding.layers or tensor == "update"):
        return []
    labels = names(table)
    size = len(labels[0])
    room = min(cells - size - 11, WIDEST)
    if room < NARROWEST:
        return []
    word, role = TENSORS[tensor]
    histograms, axis = table.histograms(tensor, log=True)
    step = formats.count(table.snapshot.step)
    head: Line = [(f"|{word}|", f"{role}.bold"), (f" of each layer at step {step}", "muted")]
    lines: list[Line] = [[], wrap(head, cells)[0]]
    lines.append([(" " * (size + 2), ""), *axis_line(axis, room), (f"{'std':>9}", "muted")])
    std = table.snapshot.field(tensor, "std").tolist()
    for layer, label, h, spread in zip(table.layers, labels, histograms, std, strict=True):
        meant = not finding.layers or layer.index in finding.layers
        (strip,) = WAYS["bars"](h, axis, room, 1)
        hue = "error" if h.nonfinite else role if meant else f"{role}.dim"
        lines.append([(label, "bold" if meant else "muted"), ("  ", ""), (strip, hue),
                      (f"  {formats.sci(spread)}", "" if meant else "muted")])  # fmt: skip
    return [crop(line, cells) for line in lines]


def meaning(rule: str) -> list[str]:
    """Return what a rule looks for, and why, in paragraphs: as its code says it.

    `thresholds` get the value that they have where a scenario sets none.
    """
    if rule not in rules:
        return []
    usual = rules[rule]()
    text = inspect.getdoc(usual) or ""
    for each in fields(usual):
        text = text.replace(f"`{each.name}`", f"{getattr(usual, each.name):g} ({each.name})")
    return [" ".join(paragraph.split()).replace("`", "") for paragraph in text.split("\n\n")]
