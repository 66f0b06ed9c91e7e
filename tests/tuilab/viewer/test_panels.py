"""What the panels compute, as plain lines; no app."""

import numpy as np
import pytest

from engine.states import RunState
from engine.statistics.frames import Event, LayerInfo
from tests.tuilab.support import describe
from tests.tuilab.viewer.conftest import Follow, Record
from tests.tuilab.viewer.recorded import Recording
from tuilab.charts.event_markers import of_events
from tuilab.charts.text import Line, Piece, crop, fit, pad, plain, width, wrap
from tuilab.claims.expectations import Verdict
from tuilab.record import RunInfo
from tuilab.viewer.action import hints
from tuilab.viewer.actions import ACTIONS
from tuilab.viewer.curves import Value
from tuilab.viewer.curves.legends import legend
from tuilab.viewer.layout import arrange
from tuilab.viewer.model.claims import Claims
from tuilab.viewer.model.store import RunStore
from tuilab.viewer.panels import status
from tuilab.viewer.panels.explanation import explanation_lines
from tuilab.viewer.panels.footer import footer
from tuilab.viewer.panels.header import header, progress


def test_the_reading_says_what_the_gains_mean(store: RunStore) -> None:
    text = "\n".join(plain(line) for line in explanation_lines(store, Claims(), 60))
    assert "▲ activations shrink: ×0." in text
    assert "std after 10 layers: " in text
    assert "theory at step 0: ×0.71 (σ_w√fan_in ×1.00, of which relu preserves ×0.71)" in " ".join(
        text.split()
    )
    assert "▲ gradients shrink: ×0." in text
    assert store.info.question in text.replace("\n", " ")


def test_an_activation_that_the_view_does_not_know_has_no_theory(
    recording: Recording, follow: Follow
) -> None:
    layers = [LayerInfo(k, "swoosh", "linear", 24, "swoosh") for k in range(1, 12)]
    describe(recording.writer, activation="swoosh", layers=layers)
    store = follow(recording.folder)
    store.poll()
    text = "\n".join(plain(line) for line in explanation_lines(store, Claims(), 60))
    assert "activations shrink" in text
    assert "theory" not in text


def test_a_healthy_network_reads_green(record: Record, follow: Follow) -> None:
    store = follow(record(units=200, gain=2**0.5).folder)
    store.poll()
    lines = explanation_lines(store, Claims(), 60)
    assert plain(lines[0]).startswith("✓ activations keep their size: ×")
    assert lines[0][0][1] == "success"


def test_claims_have_verdict_number_and_band(store: RunStore) -> None:
    gain = ("the spread falls", "gain.forward", "start", 0.69, "0.64 … 0.77", True, "between", None)
    late = ("it does not learn", "accuracy.train", "end", None, "< 0.2", None, "below", 0.2)
    wrong = ("it diverges", "status", "end", "finished", "= diverged", False, "equals", "diverged")
    claims = Claims([Verdict(*verdict) for verdict in (gain, late, wrong)])
    lines = [plain(line).replace("\u00a0", " ") for line in explanation_lines(store, claims, 60)]
    assert "claims  1 of 3 hold" in lines
    assert "✓ the spread falls  0.69 0.64 … 0.77" in lines
    assert "… it does not learn  < 0.2" in lines
    assert "✗ it diverges  finished = diverged" in lines
    narrow = [plain(line) for line in explanation_lines(store, claims, 24)]
    assert any("0.69\u00a00.64\u00a0…\u00a00.77" in line for line in narrow)


def test_back_in_time_the_words_are_of_then(recording: Recording, follow: Follow) -> None:
    recording.steps(5)
    recording.frame(6, np.array([1e-6]), np.ones(1))  # learnt
    store = follow(recording.folder)
    store.poll()
    verdict = Verdict("it holds", "loss", "end", 0.7, "< 1", True, "below", 1.0)
    now, then = (
        "\n".join(plain(line) for line in _looked(store, by, Claims([verdict]))) for by in (0, -9)
    )
    assert "the training loss is close to zero" in now
    assert "the training loss is close to zero" not in then
    assert "1 of 1 hold now" in then
    assert "hold now" not in now


def _looked(store: RunStore, by: int, claims: Claims) -> list[Line]:
    if by:
        store.look(by)
    return explanation_lines(store, claims, 60)


def test_claims_that_cannot_be_judged_say_why(store: RunStore) -> None:
    lines = [plain(line) for line in explanation_lines(store, Claims(problem="no such file"), 60)]
    assert "no such file" in lines


def test_the_header_has_everything_where_there_is_room(store: RunStore) -> None:
    first, second = (plain(line) for line in header(store, 160))
    assert len(first) == len(second) == 160
    assert first.startswith(" xavier_relu   Why does a rule that works for tanh starve")
    assert first.rstrip().endswith("gaussian 1000×100  numpy float32  1 thread")
    for part in ("▶ running", "step 1", "epoch 1/50", "━", "0 %", "412 steps/s", "probes 1.3 %",
                 "lr 1.00e-2", "momentum 0.9", "λ 0"):  # fmt: skip
        assert part in second or part == "━"


def test_the_header_tells_what_a_schedule_makes_of_the_learning_rate(
    recording: Recording, follow: Follow
) -> None:
    for schedule, shown in (("constant", False), ("cosine", True)):
        describe(recording.writer, schedule=schedule)
        store = follow(recording.folder)
        store.poll()
        assert (f"{schedule} 1.00e-2" in plain(header(store, 160)[1])) is shown


def test_the_header_cuts_no_number(store: RunStore) -> None:
    for cells in range(40, 160):
        first, second = (plain(line) for line in header(store, cells))
        assert len(first) == len(second) == cells
        assert second.startswith(" ▶ running  step 1")
        assert "lr 1.00e-2" in second
        for label, value in (("probes", "1.3 %"), ("momentum", "0.9"), ("epoch", "1/50")):
            assert (label in second) == (f"{label} {value}" in second)


def test_progress_is_drawn_in_half_cells() -> None:
    assert plain(progress(0.0, 4)) == "────"
    assert plain(progress(0.375, 4)) == "━╸──"
    assert plain(progress(1.0, 4)) == "━━━━"


def test_events_become_marks() -> None:
    lr = Event(3, 0.0, "set", {"key": "learning_rate", "value": 0.0125, "previous": 0.01})
    momentum = Event(4, 0.0, "set", {"key": "momentum", "value": 0.5, "previous": 0.9})
    broke = Event(9, 0.0, "diverged", {"layer": 1})
    found = of_events([lr, Event(3, 0.0, "pause"), momentum, broke])
    assert [(m.step, m.glyph, m.label) for m in found] == [
        (3, "▾", "lr ×1.25"),
        (4, "▾", "momentum 0.5"),
        (9, "⊘", "not finite"),
    ]


def test_the_legend_loses_words_before_numbers() -> None:
    values = [
        Value("train", "2.10", "train"),
        Value("validation", "2.25", "validation", "•", "val"),
    ]

    def shown(cells: int) -> str:
        return plain(legend("Loss", values, cells))

    assert shown(50) == "Loss  ─ train 2.10  • validation 2.25"
    assert shown(32) == "Loss  ─ train 2.10  • val 2.25"
    assert shown(22) == "Loss  ─ 2.10  • 2.25"
    assert shown(14) == "Loss  ─ 2.10"
    assert shown(8) == "Loss"


def test_what_broke_is_said_with_its_place(store: RunStore, recording: Recording) -> None:
    assert status.notice(store, 100) == []
    message = "the loss became nan at step 1; first not finite: weight of layer 4 (4 relu)"
    event = Event(1, 0.1, "diverged", {"layer": 4, "tensor": "weight", "message": message})
    recording.frame(1, np.array([np.nan]), np.zeros(1), events=[event], state="diverged")
    store.poll()
    text = "".join(plain(line) for line in status.notice(store, 100))
    assert "✕ diverged" in text
    assert message in text


def test_a_killed_run_shows_its_log(store: RunStore, recording: Recording) -> None:
    recording.folder.log.write_text("MemoryError\n")
    store.state, store.message = RunState.KILLED, "the training process is gone"
    text = "".join(plain(line) for line in status.notice(store, 200))
    assert "last recorded step 1" in text
    assert str(recording.folder.log) in text
    assert "MemoryError" in [plain(line) for line in explanation_lines(store, Claims(), 60)]


@pytest.mark.parametrize(
    ("size", "mode", "rows"),
    [((160, 48), "wide", 2), ((200, 60), "wide", 3), ((120, 36), "wide", 1), ((110, 28), "wide", 1),
     ((109, 48), "narrow", 3), ((80, 24), "narrow", 1), ((39, 24), "tiny", 1),
     ((40, 9), "tiny", 1)],
)  # fmt: skip
def test_layout(size: tuple[int, int], mode: str, rows: int) -> None:
    layout = arrange(*size, layers=11)
    assert (layout.mode, layout.row_height) == (mode, rows)
    if mode == "wide":
        assert size[1] - 3 - layout.lower_height >= 9


def test_the_footer_keeps_help_and_leave_to_the_last() -> None:
    shown = hints(ACTIONS, RunInfo(), paused=False, ended=False)
    wide, under = footer(shown, 160)
    assert plain(wide).startswith(" space pause  n step  [ lr ÷1.25  ] ×1.25")
    assert len(under) == 160
    assert under[plain(wide).index("?")] == "help"
    narrow, _ = footer(shown, 20)
    assert plain(narrow).strip() == "? help  q leave"


def test_the_footer_of_an_ended_run_offers_no_pause() -> None:
    actions = [action for *_, action in hints(ACTIONS, RunInfo(), paused=False, ended=True)]
    assert "pause" not in actions
    assert {"restart", "help", "leave"} <= set(actions)
    assert "resume" in [
        label for _, _, label, _ in hints(ACTIONS, RunInfo(), paused=True, ended=False)
    ]


def test_every_action_is_written_out_and_keys_are_unique() -> None:
    keys = [key for action in ACTIONS for key in action.keys.split(",")]
    assert len(keys) == len(set(keys))
    assert all(action.help and action.label and action.shown for action in ACTIONS)


def test_text_is_cut_with_an_ellipsis_padded_and_wrapped() -> None:
    assert plain(crop([("abc", ""), ("def", "")], 4)) == "abc…"
    assert crop([("ab", "")], 2) == [("ab", "")]
    assert width(pad([("日本", "")], 6)) == 6
    assert [plain(line) for line in wrap([("one two ", ""), ("three", "x")], 8, 2)] == [
        "one two",
        "  three",
    ]
    kept = fit([Piece(1, [("aaaa", "")]), Piece(0, [("bbbb", "")]), Piece(2, [("cc", "")])], 8)
    assert [plain(piece.line) for piece in kept] == ["aaaa", "cc"]
