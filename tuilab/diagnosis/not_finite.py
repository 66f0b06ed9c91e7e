"""Where training broke."""

from dataclasses import dataclass
from typing import ClassVar

from tuilab.diagnosis.base import Rule, Seen, Symptom, rules


@rules.register("not_finite")
@dataclass(frozen=True)
class NotFinite(Rule):
    """A loss that is NaN or infinite; the trainer names the first layer and tensor that is so."""

    moment: ClassVar = "frame"
    patient: ClassVar = False

    def look(self, seen: Seen, slack: float) -> Symptom | None:
        event = next((e for e in seen.frame.events if e.kind == "diverged"), None)
        if event is None:
            return None
        layer, tensor = event.detail.get("layer"), event.detail.get("tensor")
        loss = str(event.detail.get("loss"))
        cause = f"the loss became {loss} at step {event.step}"
        if layer is not None:
            cause += f"; first not finite: {tensor} of layer {layer} ({event.detail.get('name')})"
        advice = "lower optimizer.learning_rate, or limit steps: optimizer.clip_norm = 1.0"
        layers = (int(layer),) if layer is not None else ()
        return Symptom("error", float(loss), float("inf"), "", cause, advice, layers)
