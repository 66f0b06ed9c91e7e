"""Findings of the diagnosis in words: severity, rule, layers, evidence, advice."""

import inspect
import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import fields
from typing import Final

from engine.statistics.frames import LayerInfo
from tuilab.charts import formats
from tuilab.charts.distributions import histogram
from tuilab.charts.strips import STYLES
from tuilab.charts.symbols import SEVERITIES, Symbol
from tuilab.charts.text import Line, crop, pad, width, wrap
from tuilab.diagnosis.base import rules
from tuilab.diagnosis.finding import Finding
from tuilab.diagnosis.fixes import Case, Fix
from tuilab.record import RunInfo
from tuilab.viewer.model.capabilities import offers
from tuilab.viewer.model.layer_table import Table
from tuilab.viewer.model.layer_tree import is_numbered, named
from tuilab.viewer.panels.layer_names import names, paths
from tuilab.viewer.panels.layers import axis_line

TENSORS: Final = {
    "activation": ("activation", "activation"),
    "activation_grad": ("dL/dA", "gradient"),
    "weight": ("W", "train"),
    "update": ("ΔW", "update"),
}
"""Names of the tensors that rules are about, and their roles."""
NARROWEST: Final = 16  # cells of a strip
WIDEST: Final = 64
MOST: Final = 40  # layers of a tree of modules
FORWARD: Final = frozenset(("shrinking_activations", "growing_activations"))
BACKWARD: Final = frozenset(("vanishing_gradient", "exploding_gradient"))
UPDATES: Final = frozenset(("low_learning_rate", "high_learning_rate"))
"""Rules about the signal forward, the signal backward, and the size of updates."""


def worst(findings: Iterable[Finding], about: Collection[str]) -> Symbol | None:
    """Return the symbol of the worst finding of the rules in `about`, None without one."""
    relevant = [finding for finding in findings if finding.rule in about]
    if not relevant:
        return None
    return SEVERITIES[max(relevant, key=lambda finding: finding.rank).severity]


def where(finding: Finding, layers: Sequence[LayerInfo]) -> str:
    """Return the layers of a finding in words: by number, or by path in a tree of modules."""
    positions = [index - 1 for index in finding.layers if index <= len(layers)]
    if is_numbered(layers) or not positions:
        return finding.where
    return named(layers, positions)


def finding_lines(
    finding: Finding,
    cells: int,
    *,
    advice: bool,
    more: Sequence[str] = (),
    layers: Sequence[LayerInfo] = (),
) -> list[Line]:
    """Return one finding, wrapped to `cells`; `more` is further evidence.

    `layers` are those of the run.
    """
    symbol = SEVERITIES[finding.severity]
    head: Line = [symbol.lead, (finding.title, f"{symbol.role}.bold")]
    if finding.where:
        head.append((f"  {where(finding, layers)}", "muted"))
    lines = wrap(head, cells, 2)
    for text in (finding.cause, *more):
        lines += wrap([("  ", ""), (text, "")], cells, 2)
    if advice:
        lines += wrap([("  → ", "update"), (finding.advice, "muted")], cells, 4)
    return lines


def note_lines(
    findings: Iterable[Finding], cells: int, layers: Sequence[LayerInfo] = ()
) -> list[Line]:
    """Return findings of severity "info", a paragraph for each."""
    lines: list[Line] = []
    for finding in findings:
        of = f", {where(finding, layers)}" if finding.where else ""
        head = f"{SEVERITIES[finding.severity].glyph} {finding.title}{of}: "
        lines += wrap([(head, "muted"), (finding.cause, "")], cells, 2)
    return [[("worth knowing", "muted")], *lines] if lines else []


def case_of(info: RunInfo, *, live: bool) -> Case:
    """Return what rules need to know of a run to suggest fixes."""
    initializer = info.initializer.partition(" ")[0]
    return Case(info.layers, initializer, info.own_layers, info.hyperparameters, live)


def fixes_of(finding: Finding, info: RunInfo, *, live: bool) -> list[Fix]:
    """Return the changes that help and that the run offers; none for an unknown rule."""
    if finding.rule not in rules:
        return []
    fixes = rules[finding.rule]().fixes(finding, case_of(info, live=live))
    return [fix for fix in fixes if offers(info, needed(fix))]


def needed(fix: Fix) -> str:
    """Return what a run must offer for a fix: the kind of its command, or a restart."""
    if fix.command is not None:
        return fix.command.kind
    return "go_on" if fix.go_on else "restart"


def list_lines(
    findings: Sequence[Finding],
    current: Iterable[str],
    chosen: int,
    cells: int,
    layers: Sequence[LayerInfo] = (),
) -> list[Line]:
    """Return a line per finding: severity, rule, layers, and its first step or that it is over.

    `current` are the rules whose findings still hold.
    """
    current = set(current)
    lines: list[Line] = []
    for at, finding in enumerate(findings):
        over = finding.rule not in current
        symbol = SEVERITIES[finding.severity]
        role = "faint" if over else symbol.role
        when = "over" if over else f"step {formats.count(finding.first_step)}"
        title = "activation.tag" if at == chosen else f"{role}.bold" if not over else "muted"
        line: Line = [("▸ " if at == chosen else "  ", "activation"),
                      (f"{symbol.glyph} ", role), (finding.title, title)]  # fmt: skip
        if finding.where:
            line.append((f"  {where(finding, layers)}", "muted"))
        end = f"  {when}"
        lines.append([*pad(crop(line, cells - len(end)), cells - len(end)), (end, "muted")])
    return lines


def details(
    finding: Finding,
    fixes: Sequence[Fix],
    *,
    over: bool,
    cells: int,
    layers: Sequence[LayerInfo] = (),
) -> list[Line]:
    """Return the details of a finding: evidence, fixes by key, and what the rule looks for."""
    symbol = SEVERITIES[finding.severity]
    of = f" in {where(finding, layers)}" if finding.where else ""
    since = f"{of}, from step {formats.count(finding.first_step)}{'; it is over' * over}"
    head: Line = [(f"{symbol.glyph} {finding.severity}", f"{symbol.role}.bold")]
    lines = [*wrap([*head, (since, "muted")], cells, 2), *wrap([(finding.cause, "bold")], cells)]
    if math.isfinite(finding.measured):
        lines += wrap(_measured(finding, cells), cells)
    lines += [[], [("what helps", "muted")]]
    lines += wrap([("→ ", "update"), (finding.advice or "no fix is known", "")], cells, 2)
    for number, fix in enumerate(fixes, start=1):
        text: Line = [(f"{number} ", "key"), (fix.label, "bold"), (f"  {fix.how}", "muted")]
        lines += wrap(text, cells, 2)
    paragraphs = meaning(finding.rule)
    lines += [[], [("what the rule looks for", "muted")]] if paragraphs else []
    for paragraph in paragraphs:
        lines += wrap([(paragraph, "")], cells)
    return lines


def _measured(finding: Finding, cells: int) -> Line:
    line: Line = [
        ("measured ", "muted"),
        (f"{finding.measured:.3g}", SEVERITIES[finding.severity].role),
    ]
    if math.isfinite(finding.threshold):
        line += [("   threshold ", "muted"), (f"{finding.threshold:g}", "")]
        key: Line = [(f"   {finding.key}", "faint")]
        if width([*line, *key]) <= cells:
            line += key
    return line


def evidence(finding: Finding, table: Table, cells: int) -> list[Line]:
    """Draw the tensor of a finding in all layers, over magnitudes; its layers are highlighted."""
    known = finding.rule in rules
    tensor = rules[finding.rule].tensor if known else ""
    if tensor not in TENSORS or not (finding.layers or tensor == "update"):
        return []
    numbered = table.is_numbered
    shown = [
        at
        for at, layer in enumerate(table.layers)
        if numbered or not finding.layers or layer.index in finding.layers
    ][: MOST if not numbered else None]
    labels = names(table) if numbered else paths([table.layers[at] for at in shown], cells // 3)
    if not labels:
        return []
    size = len(labels[0])
    room = min(cells - size - 11, WIDEST)
    if room < NARROWEST:
        return []
    word, role = TENSORS[tensor]
    axis = table.axis(tensor, log=True)
    step = formats.count(table.snapshot.step)
    head: Line = [(f"|{word}|", f"{role}.bold"), (f" of each layer at step {step}", "muted")]
    lines: list[Line] = [[], wrap(head, cells)[0]]
    lines.append([(" " * (size + 2), ""), *axis_line(axis, room), (f"{'std':>9}", "muted")])
    std = table.snapshot.field(tensor, "std").tolist()
    for at, label in zip(shown, labels, strict=True):
        layer, spread = table.layers[at], std[at]
        h = histogram(table.snapshot, at, tensor)
        affected = not finding.layers or layer.index in finding.layers
        (strip,) = STYLES["bars"](h, axis, room, 1)
        tint = "error" if h.nonfinite else role if affected else f"{role}.dim"
        lines.append([(label, "bold" if affected else "muted"), ("  ", ""), (strip, tint),
                      (f"  {formats.sci(spread)}", "" if affected else "muted")])  # fmt: skip
    return [crop(line, cells) for line in lines]


def meaning(rule: str) -> list[str]:
    """Return the docstring of a rule in paragraphs, with the default values of its thresholds."""
    if rule not in rules:
        return []
    default = rules[rule]()
    text = inspect.getdoc(default) or ""
    for threshold in fields(default):
        value = getattr(default, threshold.name)
        text = text.replace(f"`{threshold.name}`", f"{value:g} ({threshold.name})")
    return [" ".join(paragraph.split()).replace("`", "") for paragraph in text.split("\n\n")]
