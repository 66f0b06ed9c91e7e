"""What each kind of chart draws and states, from a recorded run; no app."""

from dataclasses import replace

import numpy as np
import pytest

from engine.statistics.frames import Event
from tests.tuilab.viewer.conftest import Follow, Record
from tuilab.charts import plot
from tuilab.charts.axes import robust
from tuilab.charts.event_markers import marker_line, of_events
from tuilab.charts.text import plain, width
from tuilab.charts.viewport import Viewport
from tuilab.diagnosis.finding import Finding
from tuilab.viewer.curves import KINDS, Kind, Scene, Value
from tuilab.viewer.curves.legends import legend, names, read_out
from tuilab.viewer.model.other_runs import OtherRun
from tuilab.viewer.model.store import RunStore

BY_NAME = {kind.name: kind for kind in KINDS}


@pytest.fixture
def scene(record: Record, follow: Follow) -> Scene:
    recording = record(steps=1, depth=3)
    for _ in range(30):
        recording.steps(1)
    store = follow(recording.folder)
    store.poll()
    return Scene(store, (), Viewport())


def picture(kind: Kind, scene: Scene, cells: int = 60, height: int = 14) -> str:
    return "\n".join(plain(line) for line in plot.draw(kind.chart(scene), cells, height))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_kind_draws_and_has_numbers_and_help(kind: Kind, scene: Scene) -> None:
    assert any("⠀" < c <= "⣿" for c in picture(kind, scene))
    assert all(value.text for value in kind.values(scene, None))
    assert kind.values(scene, 0) != []
    assert kind.help
    assert not kind.waits(scene)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_kind_waits_for_a_run_that_has_not_begun(
    kind: Kind, record: Record, follow: Follow
) -> None:
    scene = Scene(follow(record(steps=0).folder), (), Viewport())
    scene.store.poll()
    assert kind.waits(scene)
    assert picture(kind, scene) == ""
    for at in (None, 0):
        assert {value.text for value in kind.values(scene, at)} <= {"–"}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_window_shows_its_steps_only(kind: Kind, scene: Scene) -> None:
    viewport = Viewport(span=10.0, right=20.0)
    zoomed = kind.chart(replace(scene, viewport=viewport))
    assert zoomed.window == (10.0, 20.0)
    assert all(len(curve.data.x) <= 13 for curve in zoomed.curves)
    assert "10" in picture(kind, replace(scene, viewport=viewport)).splitlines()[-1]


def test_the_update_ratio_has_its_level_in_sight(scene: Scene) -> None:
    assert "-3" in picture(BY_NAME["update_ratio"], scene)
    assert "╌" in picture(BY_NAME["update_ratio"], scene)
    snapshot = scene.store.snapshot
    assert snapshot is not None
    shown = [value.text for value in BY_NAME["update_ratio"].read(scene, scene.store.step)]
    assert shown == [f"{np.log10(r):.1f}".replace("-", "−") for r in snapshot.update_ratio]


def test_the_total_norm_is_that_of_all_gradients(scene: Scene) -> None:
    snapshot = scene.store.snapshot
    assert snapshot is not None
    total = np.linalg.norm(snapshot.field("weight_grad", "norm"))
    assert BY_NAME["gradient_norm"].values(scene, None)[0].text == f"{total:.1e}"


def test_the_axis_of_the_loss_is_as_one_likes(scene: Scene) -> None:
    loss = BY_NAME["loss"]
    assert not loss.chart(scene).logarithmic
    forced = replace(scene, viewport=Viewport(logarithmic=True))
    assert loss.chart(forced).logarithmic
    assert not BY_NAME["accuracy"].chart(forced).logarithmic


def test_smoothing_leaves_the_raw_line_behind(scene: Scene) -> None:
    curves = BY_NAME["loss"].chart(replace(scene, viewport=Viewport(smoothing=0.9))).curves
    raw, smoothed = (next(c for c in curves if c.role == role) for role in ("train.dim", "train"))
    assert raw.band
    np.testing.assert_array_equal(raw.data.mean, scene.store.series.values("loss"))
    assert np.ptp(smoothed.data.mean[5:]) < np.ptp(raw.data.mean[5:])


def test_what_is_no_number_is_crossed_out_and_counted(record: Record, follow: Follow) -> None:
    recording = record(steps=0)
    recording.frame(0, np.array([1.0, 1.0, np.nan, np.nan, 2.0]), np.zeros(5))
    store = follow(recording.folder)
    store.poll()
    scene = Scene(store, (), Viewport())
    assert BY_NAME["loss"].broken(scene) == 2
    assert picture(BY_NAME["loss"], scene).count("⊘") == 2
    assert BY_NAME["loss"].broken(replace(scene, viewport=Viewport(span=1.0))) == 1
    assert BY_NAME["accuracy"].broken(scene) == 0


def test_a_run_with_a_huge_loss_leaves_the_chart(scene: Scene, record: Record) -> None:
    huge = record(steps=0)
    huge.frame(0, np.full(31, 40.0), np.zeros(31))
    store = RunStore(huge.folder)
    store.poll()
    others = [OtherRun("huge", "gradient", store.series, store.info, lambda _: None)]
    beside = picture(BY_NAME["loss"], replace(scene, others=others))
    assert "↑" in beside
    assert "40" not in beside
    store.close()


def test_limits_have_room_for_what_is_shown_and_the_usual_of_the_others() -> None:
    own = np.array([1.0, 2.0, np.nan])
    assert robust(own, []) == pytest.approx((0.96, 2.04))
    assert robust(own, [np.array([1e9, 1e9])]) == pytest.approx((0.92, 3.08))
    assert robust(own, [np.full(100, 2.5)]) == pytest.approx((0.94, 2.56))
    assert robust(np.empty(0), [np.array([5.0, 6.0])]) == pytest.approx((4.96, 6.04))
    assert robust(np.array([np.nan]), []) is None
    assert robust(own, [], (0.0, 1.0)) == (0.0, 1.0)


def finding(rule: str, step: int, severity: str = "warning") -> Event:
    found = Finding(rule, severity, (1,), step, 1.0, 2.0, "cause", "advice")  # type: ignore[arg-type]
    return found.event(step + 2, 0.0)


def test_findings_and_actions_become_marks_once() -> None:
    lr = Event(3, 0.0, "set", {"key": "learning_rate", "value": 0.02, "previous": 0.01})
    frozen = Event(5, 0.0, "freeze", {"layer": 2})
    cosine = Event(6, 0.0, "set", {"key": "schedule", "value": "cosine"})
    events = [
        finding("dead_units", 1), lr, finding("dead_units", 4), frozen, cosine,
        finding("dead_units", 7, "error"), finding("overfitting", 8, "info"),
        Event(9, 0.0, "cleared", {"rule": "dead_units"}),
    ]  # fmt: skip
    assert [(m.step, m.glyph, m.label, m.role) for m in of_events(events)] == [
        (1, "▲", "dead units", "warning"),
        (3, "▾", "lr ×2", "update"),
        (5, "▼", "❄ 2", "update"),
        (6, "▾", "schedule cosine", "update"),
        (7, "✕", "dead units", "error"),
        (8, "○", "overfitting", "muted"),
    ]


def test_crowded_marks_are_one_with_their_number() -> None:
    found = of_events([finding(f"rule_{k}", k, "info") for k in range(3)])
    found += of_events([finding("gravest", 2, "error"), finding("late", 80)])
    line = marker_line(found, (0.0, 100.0), 2, 40)
    assert plain(line) == "  ✕4 gravest                     ▲ late   "
    assert width(line) == 42


def test_a_legend_of_many_runs_is_never_cut_off() -> None:
    values = [Value(f"init=run_{k}", "1.23", "gradient") for k in "abcd"]
    assert plain(names(values, 100)).startswith("─ init=run_a 1.23  ─ init=run_b 1.23")
    assert plain(names(values, 40)) == "─ a 1.23  ─ b 1.23  ─ c 1.23  ─ d 1.23"
    assert plain(names(values, 20)) == "─ a  ─ b  ─ c  ─ d"
    assert plain(names(values, 12)) == "─  ─  ─  ─"
    unlike = [Value(name, "1.23", "gradient") for name in ("low_rate", "very_high_rate")]
    assert plain(names(unlike, 24)) == "─ low_rate  ─ very_hi…"
    for cells in range(80):
        assert width(names(values, cells)) <= cells


def test_a_read_out_loses_words_before_numbers() -> None:
    values = [
        Value("train", "2.10", "train"),
        Value("validation", "2.25", "validation", "•", "val"),
        Value("1", "−3.0", "depth.0", ""),
    ]
    shown = [plain(read_out("step 9", values, cells)) for cells in (60, 40, 34, 20, 7, 3)]
    assert shown == [
        "step 9  ─ train 2.10  • validation 2.25  1 −3.0",
        "step 9  ─ train 2.10  • val 2.25  1 −3.0",
        "step 9  ─ 2.10  • 2.25  1 −3.0",
        "step 9  ─ 2.10",
        "step 9",
        "",
    ]
    assert plain(legend("Loss", values, 5)) == "Loss"
