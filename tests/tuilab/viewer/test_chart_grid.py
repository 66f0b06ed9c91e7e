"""The curves through Pilot: every key and every gesture of the mouse."""

from textual import events
from textual.pilot import Pilot

from tests.tuilab.viewer.conftest import FakeClient, Record
from tests.tuilab.viewer.recorded import Recording
from tests.tuilab.viewer.visits import settle, text, viewing
from tuilab.charts.text import plain
from tuilab.process.launch import Worker
from tuilab.viewer.actions import ACTIONS
from tuilab.viewer.app import ViewerApp
from tuilab.viewer.curves import KINDS
from tuilab.viewer.model.thresholds import DEFAULTS
from tuilab.viewer.panels.chart import ChartPanel
from tuilab.viewer.panels.curves import Curves
from tuilab.viewer.screens.dialogs import help_text
from tuilab.viewer.screens.layer_screen import LayerScreen


def trained(record: Record, steps: int = 40) -> Recording:
    recording = record(steps=1, depth=3)
    recording.steps(steps // 2)
    recording.steps(steps - steps // 2 - 1)
    return recording


def titles(app: ViewerApp) -> list[str]:
    return [panel.kind.name for panel in app.dashboard.panel(Curves).shown]


def chart(app: ViewerApp, name: str = "loss") -> ChartPanel:
    return app.dashboard.panel(Curves).charts[name]


def zoomed(app: ViewerApp) -> bool:
    return app.dashboard.panel(Curves).viewport.zoomed


def overview(app: ViewerApp) -> bool:
    return app.dashboard.overview


async def press(app: ViewerApp, pilot: Pilot[Worker], *keys: str) -> None:
    await pilot.press(*keys)
    await settle(app, pilot)


async def test_x_goes_through_the_kinds(record: Record, client: FakeClient) -> None:
    async with viewing(trained(record).folder, client) as (app, pilot):
        seen = []
        for _ in range(4):
            seen.append(titles(app)[1])
            assert f"─ {chart(app, seen[-1]).kind.title}" in text(app)
            await press(app, pilot, "x")
        assert seen == ["accuracy", "update_ratio", "gradient_norm", "learning_rate"]
        assert titles(app) == ["loss", "accuracy"]


async def test_a_big_screen_has_more_charts(record: Record, client: FakeClient) -> None:
    async with viewing(trained(record).folder, client, size=(220, 70)) as (app, pilot):
        assert titles(app) == ["loss", "accuracy", "update_ratio", "gradient_norm"]
        await press(app, pilot, "1")
        assert len(titles(app)) == 5
        await pilot.resize_terminal(60, 12)
        await settle(app, pilot)
        assert titles(app) == ["loss"]
        await press(app, pilot, "x", "x")
        assert titles(app) == ["update_ratio"]
        assert "─ Update ratio" in text(app)


async def test_enter_and_one_make_a_chart_large(record: Record, client: FakeClient) -> None:
    async with viewing(trained(record).folder, client) as (app, pilot):
        await press(app, pilot, "1", "x", "enter")
        assert titles(app) == ["update_ratio"]
        assert not isinstance(app.screen, LayerScreen)
        await press(app, pilot, "escape")
        assert len(titles(app)) == 5
        assert not overview(app)
        await press(app, pilot, "escape")
        assert overview(app)
        await pilot.resize_terminal(80, 24)
        await settle(app, pilot)
        await press(app, pilot, "1")
        assert len(titles(app)) == 1
        await press(app, pilot, "1")
        assert len(titles(app)) == 2


async def test_zoom_and_pan_by_key(record: Record, client: FakeClient) -> None:
    recording = trained(record)
    async with viewing(recording.folder, client) as (app, pilot):
        curves = app.dashboard.panel(Curves)
        await press(app, pilot, "i")
        assert curves.viewport.window(40) == (20, 40)
        assert "steps 20–40" in text(app)
        recording.steps(10)
        await settle(app, pilot)
        assert "steps 30–50" in text(app)  # at the newest step it follows
        await press(app, pilot, "comma")
        assert "steps 25–45" in text(app)
        recording.steps(10)
        await settle(app, pilot)
        assert "steps 25–45" in text(app)
        await press(app, pilot, "full_stop", "I")
        assert zoomed(app)
        await press(app, pilot, "escape")
        assert not zoomed(app)
        assert overview(app)
        await press(app, pilot, "i", "0")
        assert not zoomed(app)


async def test_axis_and_smoothing_are_said_in_the_title(record: Record, client: FakeClient) -> None:
    async with viewing(trained(record).folder, client) as (app, pilot):
        plain = text(app)
        await press(app, pilot, "y")
        assert " log " in text(app)
        await press(app, pilot, "y")
        assert text(app) == plain
        for key, shown in (("tilde", "~0.6"), ("S", "~0.9"), ("S", "~0.99")):
            await press(app, pilot, key)
            assert f"{shown} " in text(app)
        await press(app, pilot, "S")
        assert text(app) == plain


async def test_the_wheel_zooms_at_the_pointer(record: Record, client: FakeClient) -> None:
    async with viewing(trained(record).folder, client) as (app, pilot):
        panel = chart(app)
        picture = panel._drawing
        at = picture.left + picture.columns // 4
        step = picture.step_at(at)
        assert step is not None
        offset = (at + 2, 6)  # the border and the padding
        for _ in range(3):
            await pilot._post_mouse_events([events.MouseScrollUp], panel, offset, button=0)
        await settle(app, pilot)
        low, high = app.dashboard.panel(Curves).viewport.window(40)
        assert 0 < low < step < high < 40
        assert abs((step - low) / (high - low) - 0.25) < 0.03
        for _ in range(4):
            await pilot._post_mouse_events([events.MouseScrollDown], panel, offset, button=0)
        assert not zoomed(app)


async def test_a_cursor_reads_the_charts_without_drawing_them(
    record: Record, client: FakeClient
) -> None:
    async with viewing(trained(record).folder, client) as (app, pilot):
        panel, other = chart(app), chart(app, "accuracy")
        picture = panel._drawing
        column = picture.left + 10
        await pilot.hover(panel, offset=(column + 2, 6))
        await pilot.pause()
        step = round(picture.step_at(column) or 0)
        loss = app.store.series.value("loss", step)
        assert panel._drawing is picture  # the canvas is that of before
        for shown in (panel, other):
            assert f"step {step}" in str(shown.border_subtitle)
            assert sum("│" in "".join(t for t, _ in line)[10:] for line in shown.lines) > 3
        assert f"{loss:.2f}" in str(panel.border_subtitle)
        await pilot.hover("#header")
        await pilot.pause()
        assert panel.pointed is None
        assert "step" not in str(other.border_subtitle)


async def test_dragging_pans(record: Record, client: FakeClient) -> None:
    async with viewing(trained(record).folder, client) as (app, pilot):
        await press(app, pilot, "i")
        before = app.dashboard.panel(Curves).viewport.window(40)
        panel = chart(app)
        await pilot.mouse_down(panel, offset=(20, 6))
        await pilot.hover(panel, offset=(30, 6))
        await pilot.mouse_up(panel, offset=(30, 6))
        after = app.dashboard.panel(Curves).viewport.window(40)
        moved = 10 / panel._drawing.columns * (before[1] - before[0])
        assert abs(before[0] - after[0] - moved) < 1e-9
        await pilot.hover(panel, offset=(20, 6))
        assert app.dashboard.panel(Curves).viewport.window(40) == after  # the button is up


async def test_a_double_click_makes_a_chart_large(record: Record, client: FakeClient) -> None:
    async with viewing(trained(record).folder, client) as (app, pilot):
        await pilot.click("#accuracy", times=2)
        await settle(app, pilot)
        assert titles(app) == ["accuracy"]
        assert "─ Layers" not in text(app)
        await pilot.click("#accuracy", times=2)
        await settle(app, pilot)
        assert titles(app) == ["loss", "accuracy"]
        assert overview(app)


def test_the_help_lists_every_kind_and_action() -> None:
    text = " ".join(" ".join(plain(line) for line in help_text(ACTIONS, DEFAULTS, 200)).split())
    assert all(kind.help in text for kind in KINDS)
    assert all(f"{action.shown} {action.help}" in text for action in ACTIONS)


async def test_other_colours_reach_the_legends(record: Record, client: FakeClient) -> None:
    async with viewing(trained(record).folder, client) as (app, pilot):
        before = chart(app).border_title
        app.theme = "textual-light"
        await settle(app, pilot)
        assert chart(app).border_title != before
