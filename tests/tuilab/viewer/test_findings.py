"""What the diagnosis found, in the panel that reads it out."""

import pytest

from engine.statistics.frames import Event
from tests.tuilab.viewer.conftest import FakeClient, Follow, Record
from tests.tuilab.viewer.recorded import Recording
from tests.tuilab.viewer.visits import settle, text, viewing
from tuilab.charts.text import plain, width
from tuilab.diagnosis import Finding
from tuilab.viewer.model.claims import Claims
from tuilab.viewer.model.store import RunStore
from tuilab.viewer.panels.explanation import explanation_lines
from tuilab.viewer.panels.findings import finding_lines

SHRINKING = Finding(
    "shrinking_activations", "warning", tuple(range(1, 11)), 0, 0.71, 0.8,
    "the spread of activations shrinks ×0.71 a layer, ×0.046 over 10 layers",
    'network.initializer = "he", or network.batch_norm = true',
)  # fmt: skip
DEAD = Finding(
    "dead_units", "error", (3, 4), 1, 0.5, 0.4, "50 % of the units of layer 3 are silent",
    "lower optimizer.learning_rate",
)  # fmt: skip
OVER = Finding("overfitting", "info", (), 1, 0.3, 0.1, "90 % are right, 60 % of the others", "more")


@pytest.fixture
def diagnosed(recording: Recording, follow: Follow) -> RunStore:
    recording.steps(1, events=[f.event(1, 0.1) for f in (SHRINKING, OVER, DEAD)])
    store = follow(recording.folder)
    store.poll()
    return store


def shown(store: RunStore, cells: int = 60, room: int = 0) -> list[str]:
    return [plain(line) for line in explanation_lines(store, Claims(), cells, room=room)]


def test_the_gravest_stands_first_with_layers_evidence_and_advice(diagnosed: RunStore) -> None:
    lines = shown(diagnosed)
    assert lines[:3] == [
        "✕ dead units  layers 3, 4",
        "  50 % of the units of layer 3 are silent",
        "  → lower optimizer.learning_rate",
    ]
    assert lines[3] == "▲ shrinking activations  layers 1–10"
    assert '  → network.initializer = "he", or network.batch_norm = true' in lines
    assert lines.index("worth knowing") > lines.index(lines[3])
    assert "○ overfitting: 90 % are right, 60 % of the others" in lines
    roles = [line[0][1] if line else "" for line in explanation_lines(diagnosed, Claims(), 60)]
    assert (roles[0], roles[3]) == ("error", "warning")


def test_what_a_finding_says_is_not_said_again(diagnosed: RunStore) -> None:
    lines = shown(diagnosed)
    assert not any("activations shrink: ×" in line for line in lines)
    said = " ".join(" ".join(lines).split())  # and what is expected stays
    assert "theory at step 0: ×0.71 (σ_w√fan_in ×1.00, of which relu preserves ×0.71)" in said
    assert any(line.startswith("▲ gradients shrink: ×") for line in lines)


def test_what_has_cleared_leaves_its_place_to_how_things_stand(
    diagnosed: RunStore, recording: Recording
) -> None:
    cleared = {"rule": "shrinking_activations", "first_step": 0}
    recording.steps(1, events=[Event(2, 0.2, "cleared", cleared)])
    assert diagnosed.poll().events
    lines = shown(diagnosed)
    assert not any("shrinking" in line for line in lines)
    assert any("activations shrink: ×" in line for line in lines)
    assert lines[0] == "✕ dead units  layers 3, 4"


@pytest.mark.parametrize(("room", "advised"), [(0, True), (30, True), (6, False)])
def test_advice_goes_where_it_would_leave_no_room(
    diagnosed: RunStore, room: int, advised: bool
) -> None:
    assert any("→" in line for line in shown(diagnosed, room=room)) is advised


def test_in_the_past_stands_what_stood_then(diagnosed: RunStore, recording: Recording) -> None:
    recording.steps(1, events=[Event(2, 0.2, "cleared", {"rule": "dead_units", "first_step": 1})])
    diagnosed.poll()
    assert [f.rule for f in diagnosed.findings] == ["shrinking_activations", "overfitting"]
    assert diagnosed.look(-1)
    assert diagnosed.findings[0].rule == "dead_units"
    assert diagnosed.look(-1)
    assert diagnosed.findings == []  # all was found at step 1
    assert diagnosed.look(99)
    assert [f.rule for f in diagnosed.findings] == ["shrinking_activations", "overfitting"]


@pytest.mark.parametrize("cells", [24, 38, 76, 120])
def test_lines_fit(cells: int) -> None:
    for finding in (SHRINKING, DEAD, OVER):
        lines = finding_lines(finding, cells, advice=True)
        assert all(width(line) <= cells for line in lines)
        said = " ".join("".join(plain(line) for line in lines).split())
        assert finding.title in said


@pytest.mark.parametrize("size", [(120, 36), (80, 24), (200, 60)])
async def test_they_are_on_the_screen(
    record: Record, client: FakeClient, size: tuple[int, int]
) -> None:
    recording = record(steps=1)
    recording.steps(20, events=[SHRINKING.event(1, 0.1), DEAD.event(1, 0.1)])
    async with viewing(recording.folder, client, size=size) as (app, pilot):
        if size[0] < 110:
            await pilot.press("3")
            await settle(app, pilot)
        assert "✕ dead units  layers 3, 4" in text(app)
        assert "▲ shrinking activations  layers 1–10" in text(app)
