"""Arithmetic on metrics: what is read, what is refused, and what comes out."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.errors import ConfigError
from engine.statistics.frames import BatchDependence, Event, Validation
from tests.tuilab.support import describe, frame, layer_infos, snapshot
from tuilab.claims.expectations import Expectation, Verdict, judge
from tuilab.claims.expressions import Term, parse_expression
from tuilab.claims.metrics import AtLeast, Metric, NotWithin, Record
from tuilab.record import RunReader, RunWriter

HIDDEN = 2
LOSS = {"fast": [2.0, 1.0, 0.5, 0.25], "slow": [2.0, 1.8, 1.6, 1.4]}
INPUTS = {"train": {"mean": [-0.5, 0.5], "std": [1.0, 2.0], "correlation": 0.75}}


@pytest.fixture
def records(tmp_path: Path) -> Iterator[dict[str, Record]]:
    """Two runs of four steps, an epoch being one, with snapshots of steps 0 and 3."""
    readers, found = [], {}
    for number, (name, loss) in enumerate(LOSS.items()):
        writer = RunWriter(tmp_path / f"{name}.db")
        describe(writer, variant=name, layers=layer_infos(HIDDEN + 1), steps_per_epoch=1)
        describe(writer, parameters=100 * (number + 1), inputs=INPUTS)
        first = frame(0, loss[:1], shot=snapshot(number), data_loss=[1.5], validation=Validation.of(
            0, 0.0, loss=2.0, accuracy=0.25))  # fmt: skip
        writer.write(first)
        writer.write(frame(1, loss[1:], shot=snapshot(3), accuracy=[0.5, 0.75, 1.0]))
        dependence = [BatchDependence(0, 0.5, 0.0), BatchDependence(4, 0.125, 0.0)]
        describe(writer, state="finished", batch_dependence=dependence)
        writer.close()
        readers.append(RunReader(tmp_path / f"{name}.db"))
        found[name] = Record(readers[-1])
    yield found
    for reader in readers:
        reader.close()


def verdict(records: Any, metric: str, at: str | int = "end", **bound: Any) -> Verdict:
    table = {"metric": metric, "at": at, **(bound or {"above": -1e9})}
    depths = dict.fromkeys(LOSS, HIDDEN)
    expectation = Expectation.parse(table, "expect[0]", HIDDEN, depths)
    runs = records if expectation.expression.terms[0].variant else records["fast"]
    return judge([expectation], runs)[0]


def of(step: int, layer: int = 0, tensor: str = "activation", field: str = "std") -> float:
    return float(snapshot(step).field(tensor, field)[layer])


class TestValues:
    @pytest.mark.parametrize(
        ("metric", "at", "measured"),
        [
            ("loss / 4", "start", 0.5),
            ("4 / loss", "start", 2.0),
            ("loss*-2", "end", -0.5),
            ("loss - .5", 1, 0.5),
            ("loss - loss.data", "start", 0.5),
            ("accuracy.train - accuracy.validation", "end", 0.75),
            ("loss@start / loss@end", "end", 8.0),
            ("loss@2", "start", 0.5),
            ("loss@start - loss", 1, 1.0),
            ("variants.slow.loss - variants.fast.loss", "end", 1.15),
            ("variants.slow.loss@1 / variants.fast.loss@2", "end", 3.6),
            ("variants.fast.steps_to_loss(1)", "end", 1.0),
            ("variants.slow.parameters / variants.fast.parameters", "end", 2.0),
            ("parameters - 100", "any", 0.0),
            ("layers[1].activation.std / layers[2].activation.std", 3, of(3, 0) / of(3, 1)),
            ("layers[-1].weight.mean*1e-3", 3, of(3, 1, "weight", "mean") / 1e3),
            ("gain.forward@3 / gain.forward@start", "end",
             snapshot(3).gain_forward / snapshot(0).gain_forward),
            ("data.train.correlation", "end", 0.75),
            ("batch_dependence.training", "start", 0.5),
            ("batch_dependence.training@end / batch_dependence.training@start", "end", 0.25),
            ("batch_dependence.evaluation", "end", 0.0),
            ("loss / 0", "start", math.inf),
            ("loss@0 * 0", "end", 0.0),
        ],
    )  # fmt: skip
    def test_a_number(self, records: Any, metric: str, at: str | int, measured: float) -> None:
        assert verdict(records, metric, at).measured == pytest.approx(measured)

    @pytest.mark.parametrize(
        ("metric", "measured"),
        [
            ("layers[*].weight.mean / layers[*].activation.std",
             [of(3, k, "weight", "mean") / of(3, k) for k in range(HIDDEN)]),
            ("layers[*].weight.mean / layers[1].activation.std",
             [of(3, k, "weight", "mean") / of(3, 0) for k in range(HIDDEN)]),
            ("2 * layers[*].activation.std", [2 * of(3, k) for k in range(HIDDEN)]),
            ("layers[*].activation.std@3 - layers[*].activation.std@0",
             [of(3, k) - of(0, k) for k in range(HIDDEN)]),
            ("variants.slow.layers[*].activation.std@1 - variants.fast.layers[*].activation.std@0",
             [of(1, k) - of(0, k) for k in range(HIDDEN)]),
            ("data.train.mean", [-0.5, 0.5]),
            ("data.train.std / 2", [0.5, 1.0]),
        ],
    )  # fmt: skip
    def test_one_a_layer(self, records: Any, metric: str, measured: list[float]) -> None:
        assert verdict(records, metric).measured == pytest.approx(measured)

    def test_all_must_hold(self, records: Any) -> None:
        assert verdict(records, "data.train.std", between=[0.9, 2.1]).passed is True
        assert verdict(records, "data.train.std", between=[0.9, 1.9]).passed is False

    @pytest.mark.parametrize(
        ("metric", "at", "bound", "passed", "measured"),
        [
            ("loss / 2", "any", {"below": 0.2}, True, 0.125),
            ("loss / 2", "always", {"below": 0.9}, False, 1.0),
            ("loss / loss@start", "always", {"below": 1.01}, True, 1.0),
            ("variants.slow.loss - variants.fast.loss", "always", {"above": -0.1}, True, 0.0),
            ("variants.slow.loss - variants.fast.loss", "any", {"above": 1.0}, True, 1.1),
            # Of these two, only what was measured of both: step 0 of accuracy, 3 of neither.
            ("accuracy.train - accuracy.validation", "any", {"above": 0.3}, False, 0.25),
            ("loss / steps_to_loss(1)", "always", {"above": 0.2}, True, 2.0),
        ],
    )
    def test_any_and_always_go_over_the_steps_at_which_all_was_measured(
        self, records: Any, metric: str, at: str, bound: Any, passed: bool, measured: float
    ) -> None:
        found = verdict(records, metric, at, **bound)
        assert (found.passed, found.measured) == (passed, pytest.approx(measured))

    @pytest.mark.parametrize("at", [1, "end"])
    def test_what_was_not_measured_fails_in_the_end(self, records: Any, at: Any) -> None:
        found = verdict(records, "layers[1].activation.std@2 / loss", at)
        assert (found.measured, found.passed) == (None, False)
        assert verdict(records, "data.validation.mean").passed is False

    def test_without_one_of_the_runs_it_is_left_open(self, records: Any) -> None:
        del records["slow"]
        found = verdict(records, "variants.slow.loss - variants.fast.loss")
        assert (found.measured, found.passed) == (None, None)

    def test_while_one_of_the_runs_goes_on_it_is_left_open(
        self, records: Any, tmp_path: Path
    ) -> None:
        with RunReader(tmp_path / "slow.db") as reader:
            records["slow"] = live = Record(reader)
            live.settled = False
            text = "variants.slow.loss / variants.fast.loss"
            assert verdict(records, text, below=9).passed is None
            assert verdict(records, text, "start", below=9).passed is True
            assert verdict(records, f"{text}@end", "start", below=9).passed is None
            assert verdict(records, text, "always", below=9).passed is None
            assert verdict(records, text, "always", below=2).passed is False
            assert verdict(records, text, "any", below=1.5).passed is True
            assert verdict(records, text, "any", below=0.5).passed is None


def test_a_number_that_is_none_is_in_no_band(tmp_path: Path) -> None:
    writer = RunWriter(tmp_path / "run.db")
    inputs = {"train": {"mean": [float("nan"), 1.0], "std": [1.0, 1.0], "correlation": 0.0}}
    measured = [BatchDependence(0, float("nan"), 0.0)]
    describe(writer, state="finished", inputs=inputs, batch_dependence=measured)
    writer.close()
    with RunReader(tmp_path / "run.db") as reader:
        record = Record(reader)
        for metric in ("data.train.mean", "batch_dependence.training"):
            assert verdict({"fast": record}, metric, above=-1e9).passed is False
            assert verdict({"fast": record}, metric, below=1e9).passed is False


class TestNotReached:
    """A loss that was not reached within N steps takes N at least, and perhaps for ever."""

    SLOW, FAST = "variants.slow.steps_to_loss(0.5)", "variants.fast.steps_to_loss(0.5)"

    @pytest.mark.parametrize(
        ("metric", "least"),
        [
            (f"{SLOW} / {FAST}", 2.0),
            (f"{SLOW} - {FAST}", 2.0),
            (f"{SLOW} * {FAST}", 8.0),
            (f"3 * {SLOW}", 12.0),
            (f"{SLOW} / {SLOW}", -math.inf),
            (f"{FAST} / {SLOW}", -math.inf),
            (f"{FAST} - {SLOW}", -math.inf),
            (f"{SLOW} - {SLOW}", -math.inf),
            (f"{SLOW} / variants.fast.steps_to_loss(5)", -math.inf),  # which is 0
            (f"{SLOW} * -1", -math.inf),
        ],
    )
    def test_what_is_known(self, records: Any, metric: str, least: float) -> None:
        measured = verdict(records, metric).measured
        assert isinstance(measured, AtLeast)
        assert measured.least == least

    def test_a_lower_bound_proves_above_and_nothing_else(self, records: Any) -> None:
        ratio = f"{self.SLOW} / {self.FAST}"
        assert verdict(records, ratio, above=2).passed is True
        assert verdict(records, ratio, above=2.01).passed is False
        assert verdict(records, ratio, below=1e9).passed is False
        assert verdict(records, ratio, between=[0, 1e9]).passed is False
        assert verdict(records, ratio).measured_text == "at least 2"

    @pytest.mark.parametrize(
        "bound",
        [{"above": -1e300}, {"below": 1e300}, {"equals": "nan"}, {"equals": "inf"},
         {"between": [-1e300, 1e300]}],
    )  # fmt: skip
    def test_in_the_denominator_it_proves_nothing(self, records: Any, bound: Any) -> None:
        found = verdict(records, f"{self.FAST} / {self.SLOW}", **bound)
        assert (found.passed, found.measured_text) == (False, "not known")

    def test_a_run_that_did_not_diverge(self, records: Any) -> None:
        found = verdict(records, "diverged_at", above=3)
        assert (found.passed, found.measured_text) == (True, "not in 4")
        assert isinstance(found.measured, NotWithin)
        assert verdict(records, "diverged_at", below=100).passed is False


@pytest.mark.parametrize(("state", "passed"), [("diverged", True), ("running", None)])
def test_a_run_that_diverged(tmp_path: Path, state: str, passed: bool | None) -> None:
    writer = RunWriter(tmp_path / "run.db")
    describe(writer, layers=layer_infos(3), steps_per_epoch=2)
    happened = [Event(1, 0.1, "diverged")] if state == "diverged" else []
    writer.write(frame(0, [1.0, np.nan], events=happened, state=state))
    writer.close()
    expectation = Expectation.parse({"metric": "diverged_at", "below": 2}, "", HIDDEN)
    with RunReader(tmp_path / "run.db") as reader:
        (found,) = judge([expectation], reader)
    assert found.passed is passed
    assert found.measured == (1.0 if state == "diverged" else None)


class TestReading:
    def test_terms(self) -> None:
        found = parse_expression(" variants.a.layers[-1].activation.std@12/2e-3 ")
        metric = Metric("tensor", -1, "activation", "std")
        assert found.operands == (Term(metric, "a", 12), 0.002)
        assert found.operator == "/"

    def test_spaces_do_not_matter(self) -> None:
        for text in ("loss-loss.data", "loss - loss.data", "loss  -loss.data"):
            assert parse_expression(text) == parse_expression("loss - loss.data")

    @pytest.mark.parametrize(
        ("metric", "words"),
        [
            ("loss + loss.data", ["cannot read '+ loss.data'", "one of / - *"]),
            ("loss loss.data", ["cannot read 'loss.data'"]),
            ("loss / 2 / 3", ["cannot read '/ 3'", "one operator"]),
            ("loss /", ["cannot read 'loss /'", "one of / - *"]),
            ("/ loss", ["unknown metric '/ loss'"]),
            ("3", ["names no metric"]),
            ("3 - 4", ["names no metric"]),
            ("loss / 3x", ["cannot read 'loss / 3x'"]),
            ("", ["unknown metric ''"]),
            ("los / 3", ["did you mean 'loss'"]),
            ("loss / layers[1].activation.sdt", ["did you mean 'std'"]),
            ("status - 1", ["status is not a number"]),
            ("loss@ende", ["moment after @ 'ende'", "did you mean 'end'"]),
            ("loss@", ["moment after @"]),
            ("loss@-1", ["moment after @ '-1'"]),
            ("loss@1.5", ["cannot read '.5'"]),
            ("variants.fst.loss", ["unknown variant 'fst'", "did you mean 'fast'"]),
            ("variants.fast", ["unknown metric ''"]),
            ("variants.fast.los", ["did you mean 'loss'"]),
            ("variants.fast.loss / loss", ["give the variant of both metrics"]),
            ("variants.fast.layers[4].activation.std", ["no layer 4: the network has 2 hidden"]),
            ("layers[*].activation.std - layers[4].activation.std", ["no layer 4"]),
            (
                "data.train.mean / layers[*].activation.std",
                ["one metric is a range over the features, the other of 2 layers"],
            ),
            ("data.training.mean", ["did you mean 'data.train.mean'"]),
            ("batch_dependence.train", ["did you mean 'batch_dependence.training'"]),
        ],
    )
    def test_what_cannot_be_read_is_refused(self, metric: str, words: list[str]) -> None:
        table = {"metric": metric, "above": 0}
        depths = {"fast": HIDDEN, "deep": 3}
        with pytest.raises(ConfigError) as caught:
            Expectation.parse(table, "expect[0]", HIDDEN, depths)
        assert caught.value.path == "expect[0].metric"
        for word in words:
            assert word in str(caught.value)

    def test_values_that_do_not_pair_are_refused(self) -> None:
        table = {"metric": "variants.a.layers[*].weight.std / variants.b.layers[*].weight.std",
                 "above": 0}  # fmt: skip
        assert Expectation.parse(table, "", 0, {"a": 2, "b": 2})
        with pytest.raises(ConfigError, match="one metric is of 2 layers, the other of 3 layers"):
            Expectation.parse(table, "", 0, {"a": 2, "b": 3})

    def test_a_file_without_variants_has_none(self) -> None:
        with pytest.raises(ConfigError, match="unknown variant 'a'"):
            Expectation.parse({"metric": "variants.a.loss", "above": 0}, "", HIDDEN)

    @pytest.mark.parametrize(
        ("metric", "at", "steps"),
        [
            ("loss", "end", set()),
            ("loss", 5, {5}),
            ("loss@3 - loss@start", 5, {3}),
            ("loss@3 - loss", 5, {3, 5}),
        ],
    )
    def test_the_steps_that_are_needed_are_known(
        self, metric: str, at: Any, steps: set[int]
    ) -> None:
        table = {"metric": metric, "at": at, "above": 0}
        assert Expectation.parse(table, "", HIDDEN).steps() == steps
