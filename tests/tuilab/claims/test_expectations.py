"""`[[expect]]`: each metric, each `at`, each bound, while the run lives and after."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.errors import ConfigError
from engine.statistics.frames import FIELDS, TENSORS, Event, Validation
from tests.tuilab.support import describe, frame, layer_infos, snapshot
from tuilab.claims.expectations import Expectation, Verdict, judge
from tuilab.claims.metrics import parse_metric
from tuilab.diagnosis import Finding
from tuilab.record import RunReader, RunWriter

HIDDEN = 2
Judge = Callable[..., Verdict]
LOSS = [2.0, 1.5, 1.0, 0.5, 0.4, 0.3, 0.2, 0.1]


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[RunWriter]:
    """A run of eight steps with validation after 0, 4 and 8 and snapshots of steps 0, 3 and 7."""
    made = RunWriter(tmp_path / "run.db")
    describe(made, layers=layer_infos(HIDDEN + 1), steps_per_epoch=4, total_steps=8)
    made.write(
        frame(
            0, LOSS[:1], shot=snapshot(0), validation=Validation.of(0, 0.0, loss=2.1, accuracy=0.1)
        )
    )
    made.write(
        frame(
            1, LOSS[1:4], shot=snapshot(3), validation=Validation.of(4, 1.0, loss=0.9, accuracy=0.6)
        )
    )
    made.write(
        frame(
            4,
            LOSS[4:],
            accuracy=[0.6, 0.7, 0.8, 0.9],
            data_loss=[0.35, 0.25, 0.15, 0.05],
            shot=snapshot(7),
            validation=Validation.of(8, 2.0, loss=0.8, accuracy=0.4),
        )
    )
    yield made
    made.close()


@pytest.fixture
def verdict(writer: RunWriter, tmp_path: Path) -> Judge:
    """Judge one expectation on that run, which has ended with `state` ("" for: is running)."""

    def judged(metric: str, at: str | int = "end", *, state: str = "finished", **bound: Any) -> Any:
        if state:
            describe(writer, state=state)
        table = {"metric": metric, "at": at, **bound}
        expectation = Expectation.parse(table, "expect[0]", HIDDEN)
        with RunReader(tmp_path / "run.db") as reader:
            return judge([expectation], reader)[0]

    return judged


class TestMetrics:
    @pytest.mark.parametrize(
        ("metric", "at", "measured"),
        [
            ("loss", "start", 2.0),
            ("loss", 3, 0.5),
            ("loss", "end", 0.25),  # the mean of the last epoch, four steps
            ("loss.data", 0, 2.0),
            ("loss.data", 7, 0.05),
            ("accuracy.train", 6, 0.8),
            ("accuracy.validation", "start", 0.1),
            ("accuracy.validation", 4, 0.6),
            ("accuracy.validation", "end", 0.4),
            ("steps_to_loss(1)", "end", 4.0),
            ("steps_to_loss(0.001)", "end", float("inf")),
            ("status", "end", "finished"),
            ("layers[1].update_ratio", "end", 1e-3),
            ("layers[3].dead_fraction", "end", 1.0),
            ("layers[2].asymmetry", "start", 0.85),
            ("layers[-1].one_signed", "end", 0.25),
            ("layers[*].dead_fraction", "start", [0.0, 0.5]),
            ("gain.forward", 3, snapshot(3).gain_forward),
            ("gain.backward", "end", snapshot(7).gain_backward),
        ],
    )
    def test_the_value_is_that_of_the_step(
        self, verdict: Judge, metric: str, at: str | int, measured: Any
    ) -> None:
        bound = {"equals": "finished"} if metric == "status" else {"above": -1.0}
        found = verdict(metric, at, **bound).measured
        assert found == (measured if isinstance(measured, str) else pytest.approx(measured))

    def test_a_loss_that_was_not_reached_proves_only_that_it_takes_more_steps(
        self, verdict: Judge
    ) -> None:
        found = verdict("steps_to_loss(0.001)", above=8)
        assert (found.passed, found.measured_text) == (True, "not in 8")
        assert verdict("steps_to_loss(0.001)", above=9).passed is False
        assert verdict("steps_to_loss(0.001)", below=1e9).passed is False
        assert verdict("steps_to_loss(0.001)", state="diverged", above=1).passed is False

    @pytest.mark.parametrize("tensor", TENSORS)
    @pytest.mark.parametrize("field", FIELDS)
    def test_every_field_of_every_tensor_is_read(
        self, verdict: Judge, tensor: str, field: str
    ) -> None:
        expected = snapshot(3).field(tensor, field)
        assert verdict(f"layers[2].{tensor}.{field}", 3, above=0).measured == expected[1]

    def test_the_norm_is_derived(self, verdict: Judge) -> None:
        expected = snapshot(7).field("weight", "norm")[0]
        assert verdict("layers[1].weight.norm", above=0).measured == pytest.approx(expected)

    @pytest.mark.parametrize(("layer", "position"), [(1, 0), (2, 1), (3, 2), (-1, 1), (-2, 0)])
    def test_layers_count_from_one_and_minus_one_is_the_last_hidden(
        self, verdict: Judge, layer: int, position: int
    ) -> None:
        expected = snapshot(7).field("activation", "std")[position]
        assert verdict(f"layers[{layer}].activation.std", above=0).measured == expected

    def test_a_star_is_every_hidden_layer_and_all_must_hold(self, verdict: Judge) -> None:
        values = snapshot(7).field("activation", "std")[:HIDDEN].tolist()
        found = verdict("layers[*].activation.std", above=min(values) - 1)
        assert (found.measured, found.passed) == (values, True)
        assert verdict("layers[*].activation.std", above=min(values)).passed is False

    @pytest.mark.parametrize(
        ("metric", "words"),
        [
            ("los", "did you mean 'loss'"),
            ("gain.sideways", "unknown metric"),
            ("layers[1].activaton.std", "did you mean 'activation'"),
            ("layers[1].activation.sdt", "did you mean 'std'"),
            ("layers[1].updte_ratio", "did you mean 'update_ratio'"),
            ("layers[0].activation.std", "count from 1"),
            ("layers[4].activation.std", "no layer 4: the network has 2 hidden layers"),
            ("layers[-3].activation.std", "no layer -3"),
            ("layers[x].activation.std", "unknown metric"),
            ("steps_to_loss(x)", "takes a number, got 'x'"),
            ("", "unknown metric"),
        ],
    )
    def test_a_name_that_is_none_is_refused(self, metric: str, words: str) -> None:
        with pytest.raises(ConfigError) as caught:
            Expectation.parse({"metric": metric, "above": 0}, "expect[3]", HIDDEN)
        assert caught.value.path == "expect[3].metric"
        assert words in str(caught.value)

    def test_every_scalar_metric_parses_to_itself(self) -> None:
        for name in ("loss", "loss.data", "accuracy.train", "gain.forward", "status"):
            assert parse_metric(name).name == name


class TestBounds:
    @pytest.mark.parametrize(
        ("bound", "passed"),
        [
            ({"between": [0.4, 0.5]}, True),
            ({"between": [0.5, 0.6]}, True),
            ({"between": [0.51, 0.6]}, False),
            ({"below": 0.5}, False),
            ({"below": 0.51}, True),
            ({"above": 0.5}, False),
            ({"above": 0.49}, True),
            ({"equals": 0.5}, True),
            ({"equals": 0.4}, False),
        ],
    )
    def test_the_value_is_compared(self, verdict: Judge, bound: Any, passed: bool) -> None:
        assert verdict("loss", 3, **bound).passed is passed

    @pytest.mark.parametrize(("word", "passed"), [("stopped", True), ("finished", False)])
    def test_a_status_is_compared_as_a_word(self, verdict: Judge, word: str, passed: bool) -> None:
        assert verdict("status", state="stopped", equals=word).passed is passed

    @pytest.mark.parametrize("at", ["start", "end", "any", "always"])
    def test_a_value_of_the_whole_run_is_the_same_at_any_time(
        self, verdict: Judge, at: str
    ) -> None:
        assert verdict("status", at, equals="finished").passed is True
        assert verdict("steps_to_loss(1)", at, below=5).passed is True

    @pytest.mark.parametrize(
        ("table", "path", "words"),
        [
            ({"metric": "status", "below": 1}, "below", "status is a word"),
            ({"metric": "status", "equals": "finnished"}, "equals", "did you mean 'finished'"),
            ({"metric": "status", "equals": 3}, "equals", "unknown status '3.0'"),
            ({"metric": "loss", "contains": "x"}, "contains", "is a number"),
            ({"metric": "loss", "lacks": "x"}, "lacks", "is a number"),
            ({"metric": "status", "lacks": "x"}, "lacks", "status is a word"),
            ({"metric": "findings", "below": 1}, "below", "findings are rules: use contains"),
            ({"metric": "findings", "contains": "dead_unit"}, "contains", "mean 'dead_units'?"),
            ({"metric": "loss", "equals": "low"}, "equals", "is a number"),
            ({"metric": "loss", "between": [2, 1]}, "between", "must not be the larger"),
            ({"metric": "loss", "below": np.nan}, "below", "must not be nan"),
            ({"metric": "loss", "between": [np.nan, 1]}, "between", "must not be nan"),
        ],
    )
    def test_a_bound_that_the_metric_cannot_meet_is_refused(
        self, table: dict[str, Any], path: str, words: str
    ) -> None:
        with pytest.raises(ConfigError) as caught:
            Expectation.parse(table, "expect[0]", HIDDEN)
        assert caught.value.path == f"expect[0].{path}"
        assert words in str(caught.value)

    @pytest.mark.parametrize(
        ("bound", "band"),
        [
            ({"between": [0.64, 0.77]}, "0.64 … 0.77"),
            ({"below": 0.05}, "< 0.05"),
            ({"above": 3}, "> 3"),
            ({"equals": 3}, "= 3"),
        ],
    )
    def test_the_band_is_said_in_words(self, bound: Any, band: str) -> None:
        assert Expectation.parse({"metric": "loss", **bound}, "", HIDDEN).band == band


class TestWhen:
    @pytest.mark.parametrize(
        ("at", "bound", "passed", "measured"),
        [
            ("any", {"below": 0.15}, True, 0.1),
            ("any", {"below": 0.05}, False, 2.0),
            ("always", {"below": 2.5}, True, 2.0),
            ("always", {"below": 1.2}, False, 2.0),
            ("always", {"above": 0.45}, False, 0.4),
            (99, {"below": 5}, False, None),
        ],
    )
    def test_any_and_always_look_at_every_step_and_show_the_one_that_decides(
        self, verdict: Judge, at: Any, bound: Any, passed: bool, measured: Any
    ) -> None:
        found = verdict("loss", at, **bound)
        assert (found.passed, found.measured) == (passed, measured)

    @pytest.mark.parametrize(
        ("metric", "at", "bound", "passed"),
        [
            ("loss", "start", {"above": 1}, True),  # can change no more
            ("loss", "start", {"below": 1}, False),
            ("loss", 3, {"below": 1}, True),
            ("loss", 99, {"below": 1}, None),
            ("loss", "end", {"below": 1}, None),
            ("loss", "end", {"above": 1}, None),
            ("loss", "any", {"below": 1}, True),
            ("loss", "any", {"above": 9}, None),
            ("loss", "always", {"below": 9}, None),
            ("loss", "always", {"below": 1}, False),
            ("steps_to_loss(1)", "end", {"below": 5}, None),
            ("steps_to_loss(0.001)", "end", {"below": 5}, None),
            ("status", "end", {"equals": "finished"}, None),
            ("status", "any", {"equals": "finished"}, None),
        ],
    )
    def test_what_can_still_change_is_open_while_the_run_lives(
        self, verdict: Judge, metric: str, at: Any, bound: Any, passed: bool | None
    ) -> None:
        assert verdict(metric, at, state="running", **bound).passed is passed

    @pytest.mark.parametrize(("state", "passed"), [("failed", False), ("stopped", None)])
    def test_a_run_without_a_step_has_met_nothing(
        self, tmp_path: Path, state: str, passed: bool | None
    ) -> None:
        writer = RunWriter(tmp_path / "empty.db")
        describe(writer, state=state, layers=layer_infos(3))
        metrics = ["loss", "accuracy.validation", "gain.forward", "layers[*].weight.std"]
        tables = [{"metric": metric, "above": 0} for metric in metrics]
        with RunReader(tmp_path / "empty.db") as reader:
            found = judge([Expectation.parse(t, "", HIDDEN) for t in tables], reader)
        writer.close()
        assert [v.passed for v in found] == [passed] * 4
        assert {v.measured_text for v in found} == {"—"}


class TestFindings:
    @pytest.fixture
    def found(self, writer: RunWriter, verdict: Judge) -> Judge:
        """Judge a run in which dead units were found, and cleared."""
        dead = Finding("dead_units", "warning", (1,), 2, 0.3, 0.1, "30 % are silent", "lower it")
        cleared = Event(7, 0.7, "cleared", {"rule": "dead_units", "first_step": 2})
        writer.write(frame(8, events=[dead.event(4, 0.4), cleared]))
        return verdict

    @pytest.mark.parametrize("at", ["start", "end", "any", "always"])
    def test_they_are_those_of_the_whole_run(self, found: Judge, at: str) -> None:
        assert found("findings", at, contains="dead_units").passed is True
        assert found("findings", at, lacks="dead_units").passed is False
        assert found("findings", at, contains="saturation").passed is False
        assert found("findings", at, lacks="saturation").passed is True

    @pytest.mark.parametrize("state", ["running", "stopped"])
    def test_what_was_found_stays_found_and_the_rest_is_open(
        self, found: Judge, state: str
    ) -> None:
        more = {"state": "" if state == "running" else state}
        assert found("findings", contains="dead_units", **more).passed is True
        assert found("findings", lacks="dead_units", **more).passed is False
        assert found("findings", contains="saturation", **more).passed is None
        assert found("findings", lacks="saturation", **more).passed is None

    def test_they_are_said_in_words(self, found: Judge, verdict: Judge) -> None:
        shown = found("findings", lacks="saturation")
        assert (shown.measured_text, shown.band) == ("dead_units", "has no saturation")
        assert found("findings", contains="dead_units").band == "has dead_units"

    def test_none_is_said_too(self, verdict: Judge) -> None:
        assert verdict("findings", lacks="dead_units").measured_text == "none"


class TestNaN:
    @pytest.fixture
    def diverged(self, tmp_path: Path) -> Judge:
        path = tmp_path / "nan.db"
        writer = RunWriter(path)
        describe(writer, layers=layer_infos(HIDDEN + 1), steps_per_epoch=2)
        writer.write(frame(0, [1.0, np.nan], shot=snapshot(0, value=np.nan), state="diverged"))
        writer.close()

        def judged(metric: str, at: str = "end", **bound: Any) -> Verdict:
            expectation = Expectation.parse({"metric": metric, "at": at, **bound}, "", HIDDEN)
            with RunReader(path) as reader:
                return judge([expectation], reader)[0]

        return judged

    @pytest.mark.parametrize(
        "metric", ["loss", "gain.forward", "layers[*].weight.std", "layers[1].weight.mean"]
    )
    @pytest.mark.parametrize("bound", [{"below": 1e9}, {"above": -1e9}, {"between": [-1e9, 1e9]}])
    def test_it_is_in_no_band(self, diverged: Judge, metric: str, bound: Any) -> None:
        assert diverged(metric, **bound).passed is False

    @pytest.mark.parametrize("value", ["nan", float("nan")])
    def test_it_can_be_expected(self, diverged: Judge, value: Any) -> None:
        assert diverged("loss", equals=value).passed is True
        assert diverged("status", equals="diverged").passed is True

    def test_a_loss_that_was_reached_before_counts(self, diverged: Judge) -> None:
        assert diverged("steps_to_loss(1)", equals=0).passed is True


@pytest.mark.parametrize(
    ("measured", "text"),
    [
        (None, "—"),
        (0.12345678, "0.1235"),
        ([0.5, 0.25, 1.0], "0.25 … 1"),
        ([0.5, 0.5], "0.5"),
        ([], "—"),
        ("diverged", "diverged"),
    ],
)
def test_a_measured_value_is_short_in_a_table(measured: Any, text: str) -> None:
    assert Verdict("c", "loss", "end", measured, "", None, "below", 1).measured_text == text
