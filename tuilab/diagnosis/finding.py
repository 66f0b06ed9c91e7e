"""A finding, and its event in `run.db`."""

from collections.abc import Iterable
from typing import Any, Final, Literal

import msgspec

from engine.states import EventKind
from engine.statistics.frames import Event

Severity = Literal["info", "warning", "error"]
NOT_IN_JSON: Final = ("key", "remedy")
SEVERITIES: Final[tuple[Severity, ...]] = ("info", "warning", "error")


class Finding(msgspec.Struct, frozen=True):
    """What a rule reports; the fields of `--json`, and those in NOT_IN_JSON."""

    rule: str
    severity: Severity
    layers: tuple[int, ...]  # from 1; the output layer is the last
    first_step: int  # from which the condition held
    measured: float
    threshold: float
    cause: str
    advice: str
    key: str = ""  # of the threshold in a scenario file: "diagnosis.saturation.share"
    remedy: str = ""  # which of the rule's remedies is advised, if it has several

    @property
    def rank(self) -> int:
        """Place in the order of severities, the worst highest."""
        return SEVERITIES.index(self.severity)

    @property
    def title(self) -> str:
        """The rule in words: "dead units"."""
        return self.rule.replace("_", " ")

    @property
    def where(self) -> str:
        """The layers in words; "" if it is not about layers."""
        return named_layers(self.layers) if self.layers else ""

    def event(self, step: int, time: float) -> Event:
        """Return the event that records it."""
        detail = msgspec.to_builtins(self)
        for name in ("measured", "threshold"):  # JSON knows no NaN
            detail[name] = str(detail[name])
        return Event(step, time, EventKind.FINDING, detail)

    @classmethod
    def of(cls, event: Event) -> "Finding":
        """Return the finding of an event."""
        return msgspec.convert(event.detail, cls, strict=False)

    def document(self) -> dict[str, Any]:
        """Return the entry of the `--json` document."""
        fields = msgspec.to_builtins(self)
        return {name: value for name, value in fields.items() if name not in NOT_IN_JSON}


def active(events: Iterable[Event]) -> list[Finding]:
    """Return the findings that are open after `events`, most severe first."""
    open_findings: dict[str, Finding] = {}
    for event in events:
        if event.kind == EventKind.FINDING:
            finding = Finding.of(event)
            open_findings[finding.rule] = finding
        elif event.kind == EventKind.CLEARED:
            open_findings.pop(str(event.detail.get("rule")), None)
    return _ordered(open_findings.values())


def all_found(events: Iterable[Event]) -> list[Finding]:
    """Return one finding a rule over a whole run: the worst, with the step of the first."""
    worst: dict[str, Finding] = {}
    for event in events:
        if event.kind != EventKind.FINDING:
            continue
        finding = Finding.of(event)
        earlier = worst.get(finding.rule)
        if earlier is not None:
            if earlier.rank > finding.rank:
                continue
            finding = msgspec.structs.replace(finding, first_step=earlier.first_step)
        worst[finding.rule] = finding
    return _ordered(worst.values())


def _ordered(findings: Iterable[Finding]) -> list[Finding]:
    return sorted(findings, key=lambda f: (-f.rank, f.first_step))


def named_layers(layers: tuple[int, ...]) -> str:
    """Return layers in words: "layer 3", "layers 1–10", "layers 1, 2, 5"."""
    if len(layers) == 1:
        return f"layer {layers[0]}"
    if len(layers) > 2 and layers[-1] - layers[0] == len(layers) - 1:
        return f"layers {layers[0]}–{layers[-1]}"
    return f"layers {', '.join(map(str, layers))}"
