"""The summary of a run or a comparison as text, with the loss curve."""

from collections.abc import Sequence
from pathlib import Path
from textwrap import wrap

import click
import numpy as np

from engine.states import EventKind
from tuilab.charts.plot import wants_logarithm
from tuilab.charts.series import Reduced, reduce
from tuilab.charts.symbols import FAILED, OK, SEVERITIES, VERDICTS
from tuilab.claims.expectations import Verdict
from tuilab.claims.metrics import Record
from tuilab.claims.summary import Summary
from tuilab.process.comparison import ComparisonSummary, Outcome
from tuilab.record import RunReader
from tuilab.record.run_folder import RunFolder
from tuilab.scenario.scenario import ScenarioFile
from tuilab.terminal import shell_command

WIDTH, HEIGHT, TICKS = 72, 12, 5
LINE = 96  # characters per line of running text


def summary_text(summary: Summary, verdicts: Sequence[Verdict], reader: RunReader) -> str:
    """Return the output of `tuilab run --headless` and `tuilab show`."""
    parts = [
        _headline(summary, reader),
        loss_curve(Record(reader)),
        _layers(summary),
        findings_text(Record(reader)),
        verdict_table([(summary.scenario, v) for v in verdicts]) if verdicts else "",
        f"run folder: {summary.run_dir}   (view it: {shell_command('replay', summary.run_dir)})",
    ]
    return "\n\n".join(part for part in parts if part)


def comparison_text(file: ScenarioFile, outcome: Outcome, out: Path) -> str:
    """Return the output of `tuilab run --headless` for a comparison."""
    document = outcome.document
    assert isinstance(document, ComparisonSummary)
    rows: list[tuple[str, ...]] = [
        ("variant", "state", "steps", "loss", "best", "training", "validation")
    ]
    for name, run in document.variants.items():
        loss, accuracy = run.loss, run.accuracy
        ends = f"{_value(loss['initial'])} → {_value(loss['final'])}"
        shares = (_share(accuracy["train"]), _share(accuracy["validation"]))
        rows.append((name, run.status, f"{run.steps:,}", ends, _value(loss["best"]), *shares))
    verdicts = [(f"{file.name}/{name}" if name else file.name, v) for name, v in outcome.verdicts]
    first = next(iter(document.variants))
    parts = [
        f"{file.name}: {document.title}" if document.title else file.name,
        aligned(rows),
        verdict_table(verdicts) if verdicts else "",
        f"run folders: {out}/   (view one: {shell_command('replay', out / first)})",
    ]
    return "\n\n".join(part for part in parts if part)


def _headline(summary: Summary, reader: RunReader) -> str:
    info = reader.info()
    state = RunFolder(reader.path.parent).state(info)
    speed = summary.throughput
    lines = [
        ": ".join(text for text in (summary.scenario, summary.title) if text),
        f"{state} after {summary.steps:,} steps ({summary.epochs:.4g} epochs)"
        f" · {info.data} · {summary.backend} {info.dtype} · seed {summary.seed}"
        f" · {speed['steps_per_second']:.0f} steps/s, statistics {speed['probe_share']:.1%}",
    ]
    if info.fork is not None:
        lines.append(str(info.fork))
    if info.message:
        lines.append(info.message)
    for event in (event for _, event in reader.events() if event.kind == EventKind.DIVERGED):
        lines.append(str(event.detail.get("message", "")))
    loss, accuracy = summary.loss, summary.accuracy
    lines.append(
        f"loss {_value(loss['initial'])} → {_value(loss['final'])} (best {_value(loss['best'])})"
        f" · accuracy {_share(accuracy['train'])} training, "
        f"{_share(accuracy['validation'])} validation"
    )
    return "\n".join(lines)


def loss_curve(record: Record) -> str:
    """Draw training and validation loss over steps, without non-finite values."""
    import plotext

    validations = record.validations
    steps = np.arange(len(record.loss), dtype=np.float64)
    x = np.array([v.step for v in validations], dtype=np.float64)
    training = _finite(reduce(steps, record.loss, WIDTH))
    validation = _finite(reduce(x, np.array([v.loss for v in validations]), WIDTH // 4))
    if len(training[0]) < 2:
        return ""
    plotext.terminal.limit(False, False)  # the same size in a pipe
    figure = plotext.figure.clear().theme("colorless").plot_size(WIDTH, HEIGHT)
    losses = np.array([*training[1], *validation[1]])
    figure.ruler("y").scale("log" if wants_logarithm(losses) else "linear")
    ticks = sorted({round(tick) for tick in np.linspace(training[0][0], training[0][-1], TICKS)})
    figure.ruler("x").ticks(ticks, [f"{tick:,}" for tick in ticks])
    figure.draw(figure.signal(*training, marker="braille").lines())
    if len(validations) > 1:
        figure.draw(figure.signal(*validation, marker="•"))
    legend = "loss: line training" + (", dots validation" if len(validations) > 1 else "")
    lines = plotext.uncolorize(figure.build()).splitlines()
    return "\n".join([legend, *(line.rstrip() for line in lines)]).rstrip()


def _finite(data: Reduced) -> tuple[list[float], list[float]]:
    finite = np.isfinite(data.mean)
    return data.x[finite].tolist(), data.mean[finite].tolist()


def findings_text(record: Record) -> str:
    """List the findings of the diagnosis: severity, rule, layers, cause, advice."""
    lines = ["diagnosis:" if record.findings else ""]
    for f in record.findings:
        where = f" · {f.where}" if f.where else ""
        lines.append(f"{SEVERITIES[f.severity].glyph} {f.severity}: {f.title}{where}")
        evidence = f"{f.cause} (step {f.first_step}, {f.key} = {f.threshold:g})"
        lines += wrap(evidence, LINE, initial_indent="    ", subsequent_indent="    ")
        lines += wrap(f"→ {f.advice}", LINE, initial_indent="    ", subsequent_indent="      ")
    return "\n".join(lines)


def _layers(summary: Summary) -> str:
    rows: list[tuple[str, ...]] = [("layer", "activation std", "dL/dA std", "‖ΔW‖/‖W‖", "dead")]
    for layer in summary.layers:
        start, end = layer["start"], layer["end"]
        if not start or not end:
            continue
        rows.append(
            (
                f"{layer['index']} {layer['name']}",
                *(
                    _change(start[t]["std"], end[t]["std"])
                    for t in ("activation", "activation_grad")
                ),
                _change(start["update_ratio"], end["update_ratio"]),
                f"{_share(start['dead_fraction'])} → {_share(end['dead_fraction'])}",
            )
        )
    if len(rows) == 1:
        return ""
    table = aligned(rows)
    gain = summary.gain
    if gain["start"] and np.isfinite(gain["start"]["forward"]):
        table += "\n" + "   ".join(
            f"{direction} gain per layer {gain['start'][direction]:.2f} → "
            f"{gain['end'][direction]:.2f}"
            for direction in ("forward", "backward")
        )
    return table


def verdict_table(
    verdicts: Sequence[tuple[str, Verdict]], passes: Sequence[str] = (), colour: bool = False
) -> str:
    """Return a table of claims with their run, measured value, band and verdict.

    `passes` has the share of seeds for which each claim holds, if several were tried.
    """
    rows: list[tuple[str, ...]] = [("", "scenario", "claim", "at", "measured", "band")]
    for run, v in verdicts:
        rows.append((VERDICTS[v.passed].glyph, run, v.claim, str(v.at), v.measured_text, v.band))
    if passes:
        rows = [(*row, last) for row, last in zip(rows, ("seeds", *passes), strict=True)]
    lines = aligned(rows).split("\n")
    if not colour:
        return "\n".join(lines)
    tints = {OK.glyph: "green", FAILED.glyph: "red"}
    return "\n".join(click.style(line, fg=tints.get(line[:1])) for line in lines)


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Return rows of cells as text with aligned columns; the first row is the header."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def _value(value: float | None) -> str:
    return "—" if value is None else f"{value:.3g}"


def _change(start: float | None, end: float | None) -> str:
    """Return how a value has changed; a dash for a tensor that the layer does not have."""
    if start is None or np.isnan(start):
        return "—"
    return f"{_value(start)} → {_value(end)}"


def _share(value: float | None) -> str:
    return "—" if value is None or not np.isfinite(value) else f"{value:.1%}"
