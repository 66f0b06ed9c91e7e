"""Curves, against literal text; and the reduction of long series."""

import math

import numpy as np

from tuilab.charts.event_markers import EventMarker
from tuilab.charts.plot import Chart, Curve, Drawing, draw, paint, spans_decades, wants_logarithm
from tuilab.charts.series import Reduced, reduce
from tuilab.charts.text import plain


def curve(values: list[float], role: str = "train", *, points: bool = False) -> Curve:
    data = reduce(np.arange(len(values), dtype=float), np.array(values), 200)
    return Curve(data, role, "•", points=points)


def text(chart: Chart, width: int = 30, height: int = 8) -> list[str]:
    return [plain(line) for line in draw(chart, width, height)]


def test_a_line_with_its_axes() -> None:
    assert text(Chart([curve([0.0, 1.0])], limits=(0.0, 1.0))) == [
        "1.0┤                         •",
        "   │                    ••••• ",
        "0.5┤               •••••      ",
        "   │          •••••           ",
        "   │     •••••                ",
        "0.0┤•••••                     ",
        "   └┬────────────────────────┬",
        "    0                        1",
    ]


def test_a_gap_stays_a_gap() -> None:
    chart = Chart([curve([1, 1, math.nan, math.nan, 1, 1])], limits=(0.0, 2.0))
    assert text(chart, 33)[2] == "1.0┤•••••••               •••••••"


def test_a_cursor_goes_through_its_step_behind_the_curve() -> None:
    chart = Chart([curve([0.0, 1.0])], limits=(0.0, 1.0), cursor=0.6)
    assert text(chart) == [
        "1.0┤               │         •",
        "   │               │    ••••• ",
        "0.5┤               •••••      ",
        "   │          •••••│          ",
        "   │     •••••     │          ",
        "0.0┤•••••          │          ",
        "   └┬────────────────────────┬",
        "    0                        1",
    ]


def test_a_picture_knows_where_its_steps_are() -> None:
    picture = paint(Chart([curve([0.0, 1.0, 2.0])], limits=(0.0, 2.0)), 30, 8)
    left, right = picture.left, picture.left + picture.columns - 1
    found = [picture.step_at(x) for x in (left - 1, left, right, right + 1)]
    assert found == [None, 0.0, 2.0, None]
    assert Drawing().step_at(0) is None
    crossed = [plain(line) for line in picture.with_cursor(2.0)]
    assert [line[-1] for line in crossed] == ["•", *"│││││", "┬", "2"]
    assert picture.with_cursor(5.0) == picture.lines


def test_a_window_cuts_the_curve_and_the_axes_to_what_is_seen() -> None:
    values = [100.0, 0.0, 1.0, 0.0, 100.0]
    assert text(Chart([curve(values)], window=(1.0, 3.0)), 30, 8) == [
        "1.0┤             •            ",
        "   │           •• ••          ",
        "0.5┤        •••     ••        ",
        "   │      ••          •••     ",
        "   │   •••               ••   ",
        "0.0┤•••                    •••",
        "   └────────────┬─────────────",
        "                2         step",
    ]


def test_each_curve_has_its_role() -> None:
    low, high = curve([0.0, 0.0]), curve([1.0, 1.0], "validation", points=True)
    lines = draw(Chart([low, high], limits=(0.0, 1.0)), 30, 8)
    roles = {role for line in lines for text, role in line if "•" in text}
    assert roles == {"train", "validation"}


def test_marks_stand_above_their_step_and_labels_do_not_collide() -> None:
    markers = [EventMarker(2, "▾", "lr ×2", "update"), EventMarker(3, "▾", "lr ×3", "update")]
    chart = Chart([curve([1.0] * 11)], markers=markers, limits=(0.0, 2.0))
    first = text(chart, 34, 9)[0]
    assert first.index("▾") == 4 + round(0.2 * 29)
    assert first.count("▾") == 2
    assert "lr ×3" in first
    assert "lr ×2" not in first


def test_the_label_of_a_mark_at_the_end_stands_before_it() -> None:
    chart = Chart([curve([1.0] * 11)], markers=[EventMarker(10, "✕", "not finite", "error")])
    assert text(chart)[0].endswith(" not finite ✕")


def test_the_reference_is_dashed_where_nothing_else_is() -> None:
    chart = Chart([curve([0.0, 0.0])], limits=(0.0, 2.0), reference=2.0 - 1e-9)
    assert "╌" * 26 in text(chart)[0]


def test_a_logarithmic_axis_has_decades() -> None:
    lines = text(Chart([curve([1.0, 1e-4])], logarithmic=True), 30, 12)
    assert [line[:4].strip() for line in lines if "e" in line[:4]] == [
        "1e0",
        "1e-1",
        "1e-2",
        "1e-3",
        "1e-4",
    ]


def test_a_logarithmic_axis_within_a_decade_has_labels() -> None:
    for low, high in ((2.1, 2.4), (0.51, 0.98), (2.30, 2.31), (1.0, 20.0)):
        lines = text(Chart([curve([low, high])], logarithmic=True))
        labels = [float(line.partition("┤")[0]) for line in lines if "┤" in line]
        assert labels
        assert all(0.9 * low <= label <= 1.1 * high for label in labels)


def test_a_logarithmic_axis_has_a_gap_where_a_loss_is_zero() -> None:
    with_zero = text(Chart([curve([1.0, 0.1, 0.0, 0.001])], logarithmic=True))
    assert with_zero == text(Chart([curve([1.0, 0.1, math.nan, 0.001])], logarithmic=True)) != []


def test_only_what_is_all_positive_wants_a_logarithmic_axis() -> None:
    assert wants_logarithm(np.array([1.0, 101.0, math.nan]))
    assert not wants_logarithm(np.array([1.0, 99.0]))
    assert not wants_logarithm(np.array([1.0, 101.0, 0.0]))


def test_nothing_finite_draws_nothing_and_one_point_draws_one() -> None:
    assert text(Chart([curve([math.nan])])) == []
    assert "".join(text(Chart([curve([0.5])], limits=(0.0, 1.0)))).count("•") == 1


def test_every_size_gives_lines_of_that_width() -> None:
    markers = [EventMarker(1, "▾", "lr", "update")]
    chart = Chart([curve([3.0, 2.0, 1.0])], markers=markers, reference=2.3, cursor=1)
    for width in range(1, 60, 3):
        for height in range(1, 20):
            lines = text(chart, width, height)
            assert {len(line) for line in lines} <= {width}
            assert len(lines) in (0, height)


def test_decades() -> None:
    assert spans_decades(np.array([1.0, 101.0, math.nan, -3.0]))
    assert not spans_decades(np.array([1.0, 99.0]))
    assert not spans_decades(np.array([math.nan]))


def test_a_long_series_keeps_extremes_means_and_gaps() -> None:
    values = np.array([1.0, 3.0, math.nan, math.nan, 5.0, math.nan])
    reduced = reduce(np.arange(6.0), values, 3)
    expected = Reduced(
        np.array([0.5, 2.5, 4.5]),
        np.array([1.0, math.nan, 5.0]),
        np.array([3.0, math.nan, 5.0]),
        np.array([2.0, math.nan, 5.0]),
    )
    for got, wanted in zip(reduced, expected, strict=True):
        np.testing.assert_array_equal(got, wanted)


def test_a_short_series_stays_as_it_is() -> None:
    reduced = reduce(np.arange(2.0), np.array([1.0, math.inf]), 3)
    np.testing.assert_array_equal(reduced.mean, [1.0, math.nan])
