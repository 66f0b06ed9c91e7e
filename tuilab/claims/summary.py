"""The summary of a run: one document for machines, and the verdicts."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
import numpy as np

from engine.states import RunState
from engine.statistics.frames import FIELDS, Floats, Snapshot
from tuilab.claims.expectations import Expectation, Verdict, judge
from tuilab.claims.expressions import parse_expression
from tuilab.claims.metrics import AtLeast, Record
from tuilab.record import RunReader
from tuilab.record.run_folder import RunFolder

COMPLETE: Final = (RunState.FINISHED, RunState.DIVERGED)
SHOWN_TENSORS: Final = ("activation", "activation_grad", "weight", "weight_grad")


class Summary(msgspec.Struct, frozen=True):
    """The document of `tuilab run --headless --json` (the names are part of the contract)."""

    scenario: str
    title: str
    seed: int
    backend: str
    device: str
    run_dir: str
    status: str
    steps: int
    epochs: float
    loss: dict[str, Any]
    accuracy: dict[str, Any]
    layers: list[dict[str, Any]]
    gain: dict[str, Any]
    findings: list[dict[str, Any]]
    expectations: list[dict[str, Any]]
    throughput: dict[str, Any]

    def to_json(self) -> str:
        """Return one JSON document; NaN and infinities are strings."""
        return to_json(self)


def to_json(document: Any) -> str:
    """Return a document as one line of JSON; NaN and infinities are strings."""
    return msgspec.json.encode(_named_nonfinite(msgspec.to_builtins(document))).decode()


def summarize(
    folder: RunFolder, reader: RunReader, expectations: tuple[Expectation, ...]
) -> tuple[Summary, list[Verdict]]:
    """Read a run and return its summary and the verdicts on its expectations."""
    record = Record(reader)
    info, loss = record.info, record.loss
    verdicts = judge(expectations, record)
    start, end = reader.snapshot(0), reader.snapshot()
    last = record.last_block
    summary = Summary(
        scenario=info.scenario,
        title=info.title,
        seed=info.seed,
        backend=info.backend,
        device=info.device,
        run_dir=str(folder.path),
        status=info.state if info.state in COMPLETE else RunState.STOPPED,
        steps=len(loss),
        epochs=last.epoch if last else 0.0,
        loss={
            "initial": float(loss[0]) if len(loss) else None,
            "final": record.final(loss) if len(loss) else None,
            "best": _best(record.running_mean(loss)),
        },
        accuracy={
            "train": record.final(record.accuracy) if len(record.accuracy) else None,
            "validation": _last_accuracy(record),
        },
        layers=[
            {
                "index": layer.index,
                "name": layer.name,
                "kind": layer.kind,
                "units": layer.units,
                "start": _layer(start, position),
                "end": _layer(end, position),
            }
            for position, layer in enumerate(info.layers)
        ],
        gain={"start": _gain(start), "end": _gain(end)},
        findings=[finding.document() for finding in record.findings],
        expectations=[verdict_document(verdict) for verdict in verdicts],
        throughput={
            "steps_per_second": last.steps_per_second if last else 0.0,
            "probe_share": last.probe_share if last else 0.0,
        },
    )
    return summary, verdicts


def verdict_document(verdict: Verdict) -> dict[str, Any]:
    """Return a verdict as an entry of `expectations`."""
    measured = verdict.measured
    if isinstance(measured, list):
        measured = [_plain(value) for value in measured]
    return {
        "claim": verdict.claim,
        "metric": verdict.metric,
        "at": verdict.at,
        "measured": _plain(measured),
        verdict.bound: verdict.limit,
        "passed": verdict.passed,
    }


def _plain(value: Any) -> Any:
    """Return a plain number, also where only a lower bound is known."""
    return float(value) if isinstance(value, AtLeast) else value


def exit_code(summary: Summary, verdicts: Sequence[Verdict]) -> int:
    """0 as expected, 1 where an expectation failed or training diverged without one saying so."""
    if any(verdict.passed is False for verdict in verdicts):
        return 1
    return int(diverged_unexpectedly(summary, verdicts))


def diverged_unexpectedly(summary: Summary, verdicts: Sequence[Verdict], variant: str = "") -> bool:
    """Return whether a run diverged, and no expectation about how it ends holds."""
    ends = ("status", "diverged_at")
    return summary.status == RunState.DIVERGED and not any(
        verdict.passed and term.metric.name in ends and term.variant in (variant, "")
        for verdict in verdicts
        for term in parse_expression(verdict.metric).terms
    )


def _last_accuracy(record: Record) -> float | None:
    measured = [v.accuracy for v in record.validations if "accuracy" in v.values]
    return measured[-1] if measured else None


def _best(means: Floats) -> float | None:
    finite = means[np.isfinite(means)]
    return float(finite.min()) if len(finite) else None


def _layer(snapshot: Snapshot | None, position: int) -> dict[str, Any]:
    if snapshot is None:
        return {}
    values: dict[str, Any] = {
        tensor: {name: float(snapshot.field(tensor, name)[position]) for name in FIELDS}
        for tensor in SHOWN_TENSORS
    }
    values["update_ratio"] = float(snapshot.update_ratio[position])
    values["dead_fraction"] = float(snapshot.dead_fraction[position])
    return values


def _gain(snapshot: Snapshot | None) -> dict[str, Any]:
    if snapshot is None:
        return {}
    return {"forward": snapshot.gain_forward, "backward": snapshot.gain_backward}


def _named_nonfinite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _named_nonfinite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_named_nonfinite(inner) for inner in value]
    if isinstance(value, float) and not np.isfinite(value):
        return str(value)
    return value
