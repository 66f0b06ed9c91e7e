"""What single rules leave alone, and how grave they are: the cases that took thought."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest

from engine.losses import Loss, MeanSquaredError, MulticlassSVM, SoftmaxCrossEntropy
from engine.statistics.frames import FIELDS, TENSORS, Event, Frame, LayerInfo, Snapshot, Validation
from tests.tuilab.diagnosis.support import FIRING, HEALTHY, diagnose, found
from tests.tuilab.support import frame, snapshot
from tuilab.adapters.engine.description import guessing_loss
from tuilab.diagnosis import Diagnosis, Finding, Monitor, RunFacts
from tuilab.diagnosis.finding import active, all_found
from tuilab.diagnosis.rules import cost


def facts(hidden: int = 4, activation: str = "relu", examples: int = 1000) -> RunFacts:
    layers = [LayerInfo(k, activation, "linear", 9, activation) for k in range(1, hidden + 1)]
    return RunFacts(
        layers=(*layers, LayerInfo(hidden + 1, "output", "linear", 4, "identity")),
        classes=4,
        total_steps=40,
        steps_per_epoch=4,
        guessing_loss=math.log(4),
        validation_examples=examples,
    )


def calm(step: int, *, hidden: int = 4, more: Mapping[str, Sequence[float]]) -> Snapshot:
    """A snapshot of which no rule has anything to say, but for `more`."""
    made = snapshot(step, layers=hidden + 1, value=0.0)
    for tensor in TENSORS:
        made.statistics[:, TENSORS.index(tensor), FIELDS.index("std")] = 1.0
    values = {"dead_fraction": 0.0, "update_ratio": 1e-3, "asymmetry": 1.0, "one_signed": 0.0}
    for name, value in (values | dict(more)).items():
        getattr(made, name)[:] = value
    return made


def findings(frames: Iterable[Frame], run: RunFacts | None = None) -> dict[str, Finding]:
    monitor = Monitor(Diagnosis(), run or facts())
    return found([event for made in frames for event in monitor.see(made)])


def run_of(loss: Sequence[float], **more: Sequence[float]) -> list[Frame]:
    """A frame a step, each with a snapshot."""
    return [frame(step, [value], shot=calm(step, more=more)) for step, value in enumerate(loss)]


FALLING = np.geomspace(1.4, 0.5, 40).tolist()
LEARNED = np.geomspace(1.4, 0.001, 40).tolist()


def test_nothing_is_said_of_a_calm_run() -> None:
    assert findings(run_of(FALLING)) == {}


class TestLowLearningRate:
    TINY = [1e-6] * 5

    def test_tiny_updates_are_a_warning_but_not_of_what_is_learned(self) -> None:
        assert findings(run_of(FALLING, update_ratio=self.TINY))["low_learning_rate"].layers == ()
        late = run_of(LEARNED)[:35] + run_of(LEARNED, update_ratio=self.TINY)[35:]
        assert findings(late) == {}

    def test_nor_where_a_schedule_has_lowered_the_rate(self) -> None:
        made = run_of(FALLING, update_ratio=self.TINY)
        lowered = []
        for f in made:
            rate = np.array([1.0 if f.first_step < 2 else 0.01])
            lowered.append(replace(f, series={**f.series, "learning_rate": rate}))
        assert findings(lowered) == {}

    def test_nor_where_dead_units_let_no_gradient_through(self) -> None:
        made = run_of(FALLING, update_ratio=self.TINY, dead_fraction=[0, 0.95, 0, 0, 0])
        assert list(findings(made)) == ["dead_units"]

    def test_a_loss_that_stands_is_one_too(self) -> None:
        assert findings(run_of([1.386] * 40))["low_learning_rate"].key.endswith(".change")


class TestHighLearningRate:
    def test_large_updates_are_well_where_the_loss_falls(self) -> None:
        assert findings(run_of(FALLING, update_ratio=[0.05] * 5)) == {}
        plateau = np.random.default_rng(0).normal(1.0, 0.01, 40).tolist()
        made = findings(run_of(plateau, update_ratio=[0.05] * 5))["high_learning_rate"]
        assert (made.severity, made.measured) == ("warning", 0.05)

    def test_above_a_tenth_they_are_an_error_in_any_case(self) -> None:
        made = findings(run_of(FALLING, update_ratio=[0.2] * 5))["high_learning_rate"]
        assert (made.severity, made.threshold) == ("error", 0.1)

    def test_a_loss_that_jumps_about_on_a_plateau_is_one_too(self) -> None:
        jumps = ([0.8, 0.8, 1.2, 1.2] * 10, [1.0, 1.0, 1.02, 1.02] * 10)
        loud, quiet = (findings(run_of(loss)) for loss in jumps)
        assert loud["high_learning_rate"].key == "diagnosis.high_learning_rate.oscillation"
        assert "high_learning_rate" not in quiet


class TestOverfitting:
    def run(self, validation: Sequence[float], examples: int = 1000) -> Finding | None:
        """Ten epochs in which the training accuracy rises to 1."""
        right = np.minimum(np.linspace(0.3, 1.2, len(validation)), 1.0)
        frames = [
            frame(
                4 * epoch, [0.5] * 4, accuracy=[float(right[epoch])] * 4,
                validation=Validation.of(4 * epoch + 4, epoch + 1.0, loss=1.0, accuracy=accuracy),
            )
            for epoch, accuracy in enumerate(validation)
        ]  # fmt: skip
        return findings(frames, facts(examples=examples)).get("overfitting")

    def test_a_gap_that_grows_is_worth_knowing(self) -> None:
        finding = self.run([0.3, 0.4, 0.5, 0.55, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6])
        assert finding is not None
        assert finding.severity == "info"

    def test_validation_accuracy_that_falls_from_its_best_is_a_warning(self) -> None:
        falling = [0.3, 0.5, 0.6, 0.6, 0.6, 0.55, 0.5, 0.45, 0.45, 0.45]
        finding = self.run(falling)
        assert finding is not None
        assert (finding.severity, finding.key) == ("warning", "diagnosis.overfitting.fall")
        few = self.run(falling, examples=40)  # of forty, that may be chance
        assert few is not None
        assert few.severity == "info"

    def test_no_gap_is_nothing(self) -> None:
        assert self.run(np.minimum(np.linspace(0.3, 1.2, 10), 1.0).tolist()) is None


class TestDeadUnits:
    def finding(self, start: Sequence[float], later: Sequence[float]) -> Finding | None:
        made = run_of(FALLING[:1], dead_fraction=[*start, 0])
        made += run_of(FALLING, dead_fraction=[*later, 0])[1:]
        return findings(made).get("dead_units")

    @pytest.mark.parametrize(
        ("start", "later", "severity"),
        [
            ([0, 0, 0, 0.09], [0, 0, 0, 0.09], None),
            ([0, 0, 0, 0.15], [0, 0, 0, 0.15], "info"),  # depth makes some
            ([0.15, 0, 0, 0], [0.15, 0, 0, 0], "warning"),  # but not in the first layer
            ([0, 0, 0, 0.15], [0, 0, 0, 0.3], "warning"),  # and they become no more
            ([0, 0, 0, 0.35], [0, 0, 0, 0.35], "warning"),  # nor are there that many
            ([0, 0, 0, 0.45], [0, 0, 0, 0.45], "error"),
            ([0, 0, 0, 0], [0, 0.5, 0, 0], "error"),
        ],
    )
    def test_what_depth_alone_makes_is_no_warning(
        self, start: Sequence[float], later: Sequence[float], severity: str | None
    ) -> None:
        finding = self.finding(start, later)
        assert (finding.severity if finding else None) == severity

    def test_the_advice_goes_by_when_they_died(self) -> None:
        begun, died = self.finding([0.5, 0, 0, 0], [0.5, 0, 0, 0]), self.finding([0] * 4, [0.5] * 4)
        assert begun is not None and died is not None
        assert "bias" in begun.advice
        assert "learning_rate" in died.advice


def test_a_gain_over_few_layers_is_no_trend() -> None:
    def shrinking(hidden: int) -> dict[str, Finding]:
        shot = calm(0, hidden=hidden, more={})
        shot.statistics[:, 0, FIELDS.index("std")] = 0.3 ** np.arange(hidden + 1)
        return findings([frame(0, [1.4], shot=shot)], facts(hidden))

    assert shrinking(3) == {}
    assert shrinking(4)["shrinking_activations"].severity == "error"


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (SoftmaxCrossEntropy(), math.log(10)),
        (SoftmaxCrossEntropy(label_smoothing=0.1), math.log(10)),
        (MulticlassSVM(), 9.0),
    ],
)
def test_the_loss_of_guessing_is_that_of_scores_that_are_all_zero(
    loss: Loss, expected: float
) -> None:
    assert guessing_loss(loss, 10) == pytest.approx(expected)
    assert guessing_loss(MeanSquaredError(), 10) > 0


@pytest.mark.parametrize(
    ("first", "severity"),
    [(math.log(4), None), (1.5, None), (1.6, "info"), (1.2, "info"), (2.9, "warning"),
     (0.6, "warning"), (math.nan, None)],
)  # fmt: skip
def test_how_far_the_first_loss_is_off(first: float, severity: str | None) -> None:
    finding = findings(run_of([first])).get("initial_loss")
    assert (finding.severity if finding else None) == severity


@pytest.mark.parametrize(
    ("activation", "severity"), [("sigmoid", "warning"), ("relu", "info"), ("tanh", None)]
)
def test_inputs_of_one_sign_behind_each_activation(activation: str, severity: str | None) -> None:
    path = FIRING / "low_learning_rate.toml"
    sets = [f'network.activation="{activation}"', "optimizer.learning_rate=0.02"]
    finding = found(diagnose(path, *sets)).get("not_zero_centered")
    assert (finding.severity if finding else None) == severity
    if finding is not None:
        assert finding.layers == (2,)


def test_statistics_cost_most_of_the_first_steps_which_is_nothing_to_mention() -> None:
    early = [replace(made, probe_share=0.5, time=0.1) for made in run_of(FALLING)]
    assert findings(early) == {}
    late = [replace(made, time=cost.SETTLED) for made in early]
    assert findings(late)["probe_cost"].measured == 0.5


def test_where_training_broke_stands_until_a_step_was_made_again() -> None:
    diverged = Event(5, 0.5, "diverged", {"loss": "nan", "layer": 2, "tensor": "weight"})
    broken = [*run_of(FALLING[:5]), frame(5, [math.nan], events=[diverged], state="paused")]
    waiting = [frame(6, events=[Event(6, 0.6, "set", {})], state="paused") for _ in range(5)]
    again = [frame(6 + n, [0.5]) for n in range(3)]
    monitor = Monitor(Diagnosis(), facts())
    events = [event for made in [*broken, *waiting] for event in monitor.see(made)]
    (finding,) = active(events)
    assert (finding.rule, finding.first_step, finding.layers) == ("not_finite", 5, (2,))
    events += [event for made in again for event in monitor.see(made)]
    assert active(events) == []
    assert [f.rule for f in all_found(events)] == ["not_finite"]


def test_the_advice_names_the_initialiser_that_fits() -> None:
    events = found(diagnose(HEALTHY / "xavier_relu.toml", "train.steps=1"))
    assert 'network.initializer = "he"' in events["shrinking_activations"].advice
    events = found(diagnose(HEALTHY / "std001_tanh.toml", "train.steps=1"))
    assert 'network.initializer = "xavier"' in events["shrinking_activations"].advice
