"""Forking a run: the step from which the fork starts, and the settings to change."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from engine.statistics.frames import Event
from tuilab.charts import formats
from tuilab.errors import RunError
from tuilab.process.fork import fork_point
from tuilab.viewer.model.store import RunStore
from tuilab.viewer.screens.dialogs import Dialog, ValueScreen, in_words

START = "start"
"""Id of the option that starts the fork; the ids of the others are hyper-parameters."""


@dataclass(frozen=True, slots=True)
class ForkPlan:
    """A fork to be made: `at` is the step that is looked at, None for now."""

    at: int | None
    where: str  # in words
    values: Mapping[str, float] = field(default_factory=dict)  # hyper-parameters at that step


def plan(store: RunStore) -> ForkPlan:
    """Return where a fork of a run would start. Raises RunError."""
    if not store.step:
        raise RunError("there is nothing to fork yet: the run has not taken a step")
    values = store.info.hyperparameters
    if store.live and store.at is None:
        where = f"from now, about step {formats.count(store.step)}: a checkpoint is saved first"
        return ForkPlan(None, where, values)
    point = fork_point(store.folder, store.at)
    looked_at = store.step if store.at is None else store.at
    if point is None:
        where = "from the start: there is no checkpoint before " + (
            f"step {formats.count(looked_at)}" if looked_at else "it"
        )
        return ForkPlan(store.at, where, values_at(store.events, values, 0))
    where = f"from the checkpoint at step {formats.count(point.step)}"
    if point.step != looked_at:
        where += f", the last before step {formats.count(looked_at)}"
    return ForkPlan(store.at, where, values_at(store.events, values, point.step))


def values_at(events: Sequence[Event], now: Mapping[str, float], step: int) -> dict[str, float]:
    """Return the hyper-parameters after `step` updates, from the present ones."""
    values = dict(now)
    for event in reversed(events):
        if event.kind == "set" and event.step >= step:
            values[str(event.detail["key"])] = float(str(event.detail["previous"]))
    return values


class ForkScreen(Dialog[dict[str, float]]):
    """Lists all hyper-parameters, and the start; answers with the changed ones."""

    def __init__(self, plan: ForkPlan) -> None:
        super().__init__()
        self._plan = plan
        self.changes: dict[str, float] = {}

    def compose(self) -> ComposeResult:
        """Build the box."""
        with Vertical(classes="dialog") as box:
            box.border_title = "fork this run"
            box.border_subtitle = "enter: choose   esc: cancel"
            yield Static(
                f"{self._plan.where}; the batches are the same from there on", classes="muted"
            )
            yield OptionList(*self._options())

    def _options(self) -> list[Option]:
        changed = ", ".join(map(in_words, self.changes)) or "nothing"
        options = [Option(f"start the fork, with {changed} changed", id=START)]
        for key, value in self._plan.values.items():
            new = f"  → {formats.number(self.changes[key])}" if key in self.changes else ""
            options.append(Option(f"  {in_words(key):<16}{formats.number(value)}{new}", id=key))
        return options

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Start, or ask for a value."""
        key = event.option_id or START
        if key == START:
            self.dismiss(self.changes)
            return
        current = self.changes.get(key, self._plan.values[key])
        self.app.push_screen(ValueScreen(key, current), partial(self._set, key))

    def _set(self, key: str, value: float | None) -> None:
        if value is None:
            return
        self.changes.pop(key, None)
        if value != self._plan.values[key]:
            self.changes[key] = value
        options = self.query_one(OptionList)
        options.clear_options()
        options.add_options(self._options())
        options.highlighted = 0
