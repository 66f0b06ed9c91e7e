"""Changing what is trained from the view: what is offered, sent and reported."""

from dataclasses import replace

import msgspec
import numpy as np
import pytest
from textual.widgets import Input, OptionList, Static

from engine.commands import Command
from engine.errors import ConfigError
from engine.statistics.frames import Event, LayerInfo
from tests.tuilab.support import describe, snapshot
from tests.tuilab.viewer.conftest import Clock, FakeClient, Follow, Record
from tests.tuilab.viewer.recorded import Recording
from tests.tuilab.viewer.visits import sent, settle, text, viewing
from tuilab.charts import distributions as charts
from tuilab.charts.event_markers import of_events
from tuilab.record import RunInfo
from tuilab.viewer.app import ViewerApp
from tuilab.viewer.model import changes
from tuilab.viewer.model.changes import OPTIONS
from tuilab.viewer.model.speed_limit import PATIENCE, SpeedLimit
from tuilab.viewer.model.store import RunStore
from tuilab.viewer.panels.header import header
from tuilab.viewer.screens.dialogs import ChoiceScreen, EntryScreen
from tuilab.viewer.screens.layer_screen import LayerScreen

LAYERS = (
    LayerInfo(1, "relu", "linear", 8, "relu"),
    LayerInfo(2, "tanh", "linear", 6, "tanh", "batch_norm", frozen=True),
    LayerInfo(3, "output", "linear", 3, "identity"),
)
INFO = RunInfo(layers=LAYERS, schedule="cosine", samples=(800, 200), batch_size=100)


def options(app: ViewerApp) -> list[str]:
    """The lines of the list that is open."""
    assert isinstance(app.screen, ChoiceScreen)
    listed = app.screen.query_one(OptionList)
    return [str(listed.get_option_at_index(at).prompt) for at in range(listed.option_count)]


def event(kind: str, step: int = 12, **detail: object) -> Event:
    return Event(step, 0.1, kind, detail)


def test_what_is_offered_fits_the_layers() -> None:
    assert dict(changes.options(INFO))["schedule"].endswith("now cosine")
    assert [key for key, _ in changes.options(INFO)] == [*OPTIONS]
    plain = replace(INFO, layers=LAYERS[::2])
    assert {"remove", "unfreeze"}.isdisjoint(key for key, _ in changes.options(plain))
    assert [key for key, _ in changes.options(INFO, 2)] == [
        *("activation", "remove", "reinitialize", "unfreeze")
    ]
    assert [key for key, _ in changes.options(INFO, 3)] == ["reinitialize", "freeze"]


def test_the_layers_that_fit_are_listed_and_all_of_them_where_there_are_several() -> None:
    assert changes.targets(INFO, OPTIONS["activation"]) == [
        ("0", "all hidden layers"),
        ("1", " 1  relu        linear, 8 units"),
        ("2", " 2  tanh        linear, 6 units  batch norm  ❄"),
    ]
    assert [index for index, _ in changes.targets(INFO, OPTIONS["freeze"])] == ["1", "3"]
    assert [index for index, _ in changes.targets(INFO, OPTIONS["insert"])] == ["1"]


@pytest.mark.parametrize(
    "option", [option for option in OPTIONS.values() if option.family], ids=lambda w: w.kind
)
def test_every_member_can_be_sent_as_it_is_written(option: changes.ChangeOption) -> None:
    for name, written in changes.members(option.family):  # type: ignore[arg-type]
        command = changes.named(option, 1, written)
        assert (command.kind, command.layer, command.name) == (option.kind, 1, name)
        assert option.family.build(name, **command.settings)  # type: ignore[union-attr]


def test_the_member_that_there_is_says_so() -> None:
    def marked(key: str, layer: int) -> list[str]:
        option = OPTIONS[key]
        lines = changes.members(option.family, option.now(INFO, layer))  # type: ignore[arg-type]
        return [name for name, text in lines if text.endswith(" now")]

    assert marked("schedule", 0) == ["cosine"]
    assert [marked("activation", layer) for layer in (1, 2)] == [["relu"], ["tanh"]]
    assert marked("activation", 0) == []  # two hidden layers, two of them
    assert marked("reinitialize", 1) == []  # by what weights were drawn is long past


@pytest.mark.parametrize(
    ("typed", "reason"),
    [
        ("hee", "did you mean 'he'"),
        ("normal(-1.0)", "std"),
        ('normal("x")', "expected 'float'"),
        ("normal(1, 2)", "expected normal(std)"),
    ],
)
def test_a_member_that_cannot_be_is_told(typed: str, reason: str) -> None:
    with pytest.raises(ConfigError) as error:
        changes.named(OPTIONS["reinitialize"], 1, typed)
    assert reason in str(error.value)


def test_batch_sizes_are_whole_numbers_within_the_examples() -> None:
    assert changes.batch_size(" 64 ", 800) == 64
    assert changes.batch_size("all", 800) == 800
    for typed in ("0", "801", "-3", "2.5", "x", "1e2", "²"):
        with pytest.raises(ConfigError, match=r"whole number|must be between 1 and 800"):
            changes.batch_size(typed, 800)


LABELS = {
    "batch 50": event("batch_size", value=50.0),
    "cosine": event("schedule", name="cosine"),
    "❄ 2": event("freeze", layer=2),
    "thaw all": event("unfreeze"),
    "he 2": event("reinitialize", layer=2, name="he"),
    "tanh all": event("activation", name="tanh"),
    "+BN 1": event("batch_norm", layer=1, name="insert"),
    "−BN all": event("batch_norm", name="remove"),
}


@pytest.mark.parametrize("label", LABELS)
def test_changes_become_marks_over_the_loss(label: str) -> None:
    (mark,) = of_events([LABELS[label]])
    assert (mark.step, mark.label) == (12, label)


def test_it_is_told_what_became_of_a_change() -> None:
    gamma_beta = [[1, "gamma"], [1, "beta"], [2, "gamma"], [2, "beta"], [3, "gamma"], [3, "beta"]]
    assert changes.sentence(event("batch_norm", reset=gamma_beta)) == (
        "network rebuilt at step 12: reset: gamma and beta of layers 1–3;"
        " all other weights are unchanged"
    )
    old = changes.sentence(event("batch_norm", anew=gamma_beta))  # recorded before version 0.3
    assert old == changes.sentence(event("batch_norm", reset=gamma_beta))
    assert changes.sentence(event("activation", reset=[])).endswith("all weights are unchanged")
    assert changes.sentence(event("batch_norm", layer=3, name="remove", reset=[])).startswith(
        "network rebuilt at step 12 without batch norm in layer 3:"
    )
    assert "he weights in layer 2:" in changes.sentence(
        event("reinitialize", layer=2, name="he", reset=[])
    )
    assert changes.sentence(event("freeze", layer=2)).startswith("layer 2 frozen from step 12")
    assert changes.sentence(event("batch_size", value=50.0)).startswith("batch size 50 from")
    assert "cosine from step 12" in changes.sentence(event("schedule", name="cosine"))


def limited(recording: Recording, limit: float, previous: float) -> None:
    describe(recording.writer, speed_limit=limit)
    detail = {"value": limit, "previous": previous}
    recording.steps(1, events=[Event(recording.made, 0.1, "speed", detail)])


def test_the_speed_is_halved_doubled_and_let_go(record: Record, follow: Follow) -> None:
    recording = record()  # of 412.3 steps a second
    store = follow(recording.folder)
    store.poll()
    clock = Clock()
    speed = SpeedLimit(clock)
    assert speed.changed(store, 0.5) == 210
    assert speed.changed(store, 0.5) == 100  # although nothing is recorded yet
    limited(recording, 210, 0)
    limited(recording, 100, 210)
    clock.now += 2 * PATIENCE
    store.poll()
    assert speed.changed(store, 2.0) == 200
    assert speed.changed(store, 2.0) == 400
    assert speed.changed(store, 2.0) == 0  # so fast it was without
    assert SpeedLimit(clock).changed(store, 1e-9) == 0.1


async def test_keys_limit_the_speed_and_the_header_shows_it(
    record: Record, client: FakeClient
) -> None:
    recording = record()
    async with viewing(recording.folder, client) as (app, pilot):
        await pilot.press("plus")
        assert [n.message for n in app._notifications] == ["there is no speed limit; - sets one"]
        await pilot.press("minus")
        await sent(app)
        assert client.sent == [Command("speed", value=210.0)]
        limited(recording, 210, 0)
        await settle(app, pilot)
        assert "≤ 210 steps/s" in text(app)
        await pilot.press("plus")
        await sent(app)
        assert client.sent[1:] == [Command("speed", value=0.0)]


async def test_n_with_shift_runs_to_the_epoch(record: Record, client: FakeClient) -> None:
    async with viewing(record().folder, client) as (app, pilot):
        await pilot.press("N")
        await sent(app)
        assert client.sent == [Command("run_to_epoch")]


async def test_a_batch_size_is_typed(record: Record, client: FakeClient) -> None:
    async with viewing(record().folder, client) as (app, pilot):
        await pilot.press("b")
        await pilot.pause()
        assert "now 100 of 800 training examples" in text(app)
        await pilot.press(*"801", "enter")
        assert isinstance(app.screen, EntryScreen)
        assert "must be between 1 and 800" in str(app.screen.query_one("#wrong", Static).render())
        await pilot.press("backspace", "enter")
        await sent(app)
        assert client.sent == [Command("batch_size", value=80.0)]


async def test_batch_norm_is_inserted_into_all_layers(record: Record, client: FakeClient) -> None:
    async with viewing(record().folder, client) as (app, pilot):
        await pilot.press("e")
        await pilot.pause()
        assert options(app)[0] == "non-linearity"
        await pilot.press("down", "enter")
        await pilot.pause()
        assert options(app)[0] == "all hidden layers"
        assert len(options(app)) == 11
        await pilot.press("enter")
        await sent(app)
        assert client.sent == [Command("batch_norm", name="insert")]
        assert len(app.screen_stack) == 1


async def test_a_member_with_settings_is_looked_over_before_it_is_sent(
    record: Record, client: FakeClient
) -> None:
    async with viewing(record().folder, client) as (app, pilot):
        await pilot.press("e", "down", "down", "enter")  # no batch norm to remove
        await pilot.pause()
        await pilot.press("down", "down", "down", "enter")
        await pilot.pause()
        family = OPTIONS["reinitialize"].family
        assert family is not None
        assert options(app) == [written for _, written in changes.members(family)]
        await pilot.press(
            "down", "down", "down", *["down"] * options(app)[3:].index("normal(0.01)")
        )
        await pilot.press("enter")
        await pilot.pause()
        field = app.screen.query_one(Input)
        assert field.value == "normal(0.01)"
        await pilot.press("end", *["backspace"] * 2, *"x)", "enter")
        assert isinstance(app.screen, EntryScreen)
        assert str(app.screen.query_one("#wrong", Static).render())
        await pilot.press(*["backspace"] * 2, *"3)", "enter")
        await sent(app)
        assert client.sent == [
            Command("reinitialize", layer=3, name="normal", settings={"std": 0.03})
        ]


async def test_the_schedule_is_changed_without_a_layer(record: Record, client: FakeClient) -> None:
    async with viewing(record().folder, client) as (app, pilot):
        await pilot.press("e", "end", "enter")
        await pilot.pause()
        await pilot.press("down", "enter")
        await pilot.pause()
        assert "cosine(warm_up_steps, to)" in text(app)
        await pilot.press("enter")
        await sent(app)
        settings = {"warm_up_steps": 0, "to": 0.0}
        assert client.sent == [Command("schedule", name="cosine", settings=settings)]


async def test_the_layer_that_stands_alone_is_the_one_that_changes(
    record: Record, client: FakeClient
) -> None:
    async with viewing(record().folder, client) as (app, pilot):
        await pilot.press("enter", "down", "down")
        assert isinstance(app.screen, LayerScreen)
        await pilot.press("e")
        await pilot.pause()
        assert "change layer 3 (3 relu)" in text(app)
        assert "learning-rate schedule" not in options(app)
        await pilot.press("down", "down", "down", "enter")
        await sent(app)
        assert client.sent == [Command("freeze", layer=3)]
        assert isinstance(app.screen, LayerScreen)


async def test_escape_changes_nothing_at_any_depth(record: Record, client: FakeClient) -> None:
    async with viewing(record().folder, client) as (app, pilot):
        for keys in (["e"], ["e", "enter"], ["e", "enter", "enter"], ["b"]):
            for key in keys:
                await pilot.press(key)
                await pilot.pause()
            await pilot.press("escape")
            await pilot.pause()
            assert len(app.screen_stack) == 1
        await sent(app)
        assert client.sent == []


async def test_nothing_changes_in_a_run_that_has_ended_or_in_the_past(
    record: Record, client: FakeClient
) -> None:
    recording = record(steps=1)
    recording.steps(1)
    recording.steps(1)
    async with viewing(recording.folder, client) as (app, pilot):
        await pilot.press("home", "e", "b")
        assert {n.message for n in app._notifications} == {
            "this is an earlier step; end returns to now"
        }
        recording.end("finished")
        await settle(app, pilot)
        await pilot.press("end", "e", "b", "N")
        assert "the run has ended" in {n.message for n in app._notifications}
        assert len(app.screen_stack) == 1
        await sent(app)
        assert client.sent == []


async def test_a_network_that_is_not_there_yet_cannot_be_changed(
    record: Record, client: FakeClient
) -> None:
    recording = record(steps=0)
    describe(recording.writer, layers=[], state="starting", phase="loading data")
    async with viewing(recording.folder, client) as (app, pilot):
        for key in ("e", "b"):
            await pilot.press(key)
            assert [n.message for n in app._notifications] == ["the run is still starting"]
            assert len(app.screen_stack) == 1


async def test_what_was_done_is_told_and_what_was_not_with_its_reason(
    record: Record, client: FakeClient
) -> None:
    recording = record()
    async with viewing(recording.folder, client) as (app, pilot):
        made = event("activation", 1, name="tanh", reset=[])
        refused = event("refused", 1, command="batch_norm", reason="needs at least 2 examples")
        recording.steps(1, events=[made, refused])
        await settle(app, pilot)
        assert [n.message for n in app._notifications] == [
            "network rebuilt at step 1 with tanh in all hidden layers: all weights are unchanged",
            "needs at least 2 examples",
        ]


def test_layers_are_shown_as_they_were_at_the_step_that_is_looked_at(
    record: Record, follow: Follow
) -> None:
    recording = record(steps=1, depth=2)
    store: RunStore = follow(recording.folder)
    store.poll()
    before = store.info.layers
    after = [*before]
    after[0] = LayerInfo(1, "tanh", "linear", 24, "tanh", frozen=True)
    before_change = [msgspec.to_builtins(layer) for layer in before]
    recording.steps(
        1, events=[event("activation", 1, name="tanh", reset=[], layers_before=before_change)]
    )
    describe(recording.writer, layers=after)
    recording.steps(1)
    store.poll()
    assert store.info.layers[0].frozen
    store.look(-1)
    assert (store.at, store.info.layers[0].activation) == (1, "tanh")
    store.look(-1)
    assert (store.at, store.info.layers) == (0, before)
    store.look(9)
    assert store.info.layers[0].frozen


def test_epochs_are_counted_on_with_the_batches_of_now(record: Record, follow: Follow) -> None:
    recording = record(steps=80)  # of 400, 8 an epoch
    store = follow(recording.folder)
    store.poll()
    assert "epoch 11/50" in "".join(part for part, _ in header(store, 200)[1])
    describe(recording.writer, steps_per_epoch=80)
    store.poll()
    assert "epoch 11/14" in "".join(part for part, _ in header(store, 200)[1])


def test_a_zero_in_a_sample_counts_as_one_of_the_sample() -> None:
    shot = snapshot(0, value=0.0)
    shot.statistics[0, 5] = (7 * shot.histograms[0, 5].sum(), 0, 0, 0, 0, 1.0, 0, 0)
    found = charts.histogram(shot, 0, "update")
    assert found.zeros == found.total
    assert np.isfinite(found.zeros)
