"""The one table of what can be done: it feeds key bindings, footer, help and command palette.

Panels add to it: an action that shows each alone, and their `PanelSpec.actions`.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, Final, Protocol

from engine.commands import Command
from tuilab.viewer.action import Action
from tuilab.viewer.comparison import Comparison
from tuilab.viewer.controls import Controls
from tuilab.viewer.dashboard import Dashboard
from tuilab.viewer.navigation import Navigation
from tuilab.viewer.panels.base import PanelSpec
from tuilab.viewer.panels.registry import BY_KEY
from tuilab.viewer.runs import Runs
from tuilab.viewer.terminal.screenshot import Screenshots

FACTOR: Final = 1.25
FAR: Final = 10**9  # snapshots: beyond either end of the history


class Viewer(Protocol):
    """What the actions act on: the app, as its table of keys sees it."""

    @property
    def dashboard(self) -> Dashboard:
        """The panels of the main screen."""

    @property
    def controls(self) -> Controls:
        """Sends commands to the run."""

    @property
    def runs(self) -> Runs:
        """Starts runs and switches between them."""

    @property
    def comparison(self) -> Comparison:
        """Follows the other runs."""

    @property
    def navigation(self) -> Navigation:
        """Opens screens and goes through time."""

    @property
    def screenshots(self) -> Screenshots:
        """Saves pictures of the screen."""

    def cycle_theme(self) -> None:
        """Switch to the next theme."""

    def cycle_glyphs(self) -> None:
        """Draw in other characters."""

    def action_command_palette(self) -> None:
        """Open the palette."""


def _scale(factor: float) -> Callable[[Viewer], object]:
    return lambda app: app.controls.command(Command("scale", "learning_rate", factor))


def _of_panel(spec: PanelSpec[Any], action: Action[Any]) -> Action[Viewer]:
    """Return an action on a panel as one on the app."""
    return replace(action, run=lambda app: action.run(app.dashboard.panels[spec.name]))


def _show_alone(spec: PanelSpec[Any]) -> Action[Viewer]:
    """Return the action that lets a panel fill the screen."""
    return Action(spec.name, spec.key, spec.key, spec.name, spec.help,
                  lambda app: app.dashboard.toggle(spec.name), scope="panels")  # fmt: skip


RUN: Final = partial(Action[Viewer], section="run")
TOUR: Final = partial(Action[Viewer], section="tour")
VIEW: Final = partial(Action[Viewer], section="view")

ACTIONS: Final = (
    RUN("pause", "space", "space", "pause", "pause or resume",
        lambda app: app.controls.toggle_pause(), priority=90, needs="pause"),
    RUN("step", "n", "n", "step", "take one step, then pause",
        lambda app: app.controls.command(Command("step")), priority=70, needs="step"),
    RUN("slower", "left_square_bracket", "[", "lr ÷1.25", "learning rate ÷ 1.25",
        _scale(1 / FACTOR), priority=80, needs="scale"),
    RUN("faster", "right_square_bracket", "]", "×1.25", "learning rate × 1.25",
        _scale(FACTOR), priority=81, needs="scale"),
    RUN("slower_10", "left_curly_bracket", "{", "÷10", "learning rate ÷ 10",
        _scale(0.1), priority=49, needs="scale"),
    RUN("faster_10", "right_curly_bracket", "}", "×10", "learning rate × 10",
        _scale(10.0), priority=50, needs="scale"),
    RUN("to_epoch", "N,upper_n", "N", "to epoch", "run to the end of this epoch, then pause",
        lambda app: app.controls.command(Command("run_to_epoch")), priority=44,
        needs="run_to_epoch"),
    RUN("half_speed", "minus", "-", "half speed", "limit training to half as many steps per second",
        lambda app: app.controls.limit_speed(0.5), needs="speed"),
    RUN("double_speed", "plus", "+", "double speed",
        "twice as many steps per second; in the end without a limit",
        lambda app: app.controls.limit_speed(2.0), needs="speed"),
    RUN("learning_rate", "l", "l", "set lr", "enter a learning rate",
        lambda app: app.controls.ask("learning_rate"), priority=60, needs="set"),
    RUN("momentum", "m", "m", "momentum", "enter a momentum",
        lambda app: app.controls.ask("momentum"), needs="set"),
    RUN("weight_decay", "w", "w", "weight decay", "enter a weight decay",
        lambda app: app.controls.ask("weight_decay"), needs="set"),
    RUN("dropout", "d", "d", "dropout", "enter the share of units to drop",
        lambda app: app.controls.ask("dropout"), needs="set"),
    RUN("hyperparameter", "p", "p", "parameters", "choose any hyper-parameter and enter a value",
        lambda app: app.controls.ask(""), priority=45, needs="set"),
    RUN("batch_size", "b", "b", "batch size", "enter a batch size; it starts a new epoch",
        lambda app: app.controls.change("batch_size"), needs="batch_size"),
    RUN("change", "e", "e", "change",
        "change schedule, non-linearity, batch norm, weights, frozen layers",
        lambda app: app.controls.change("network"), priority=53),
    RUN("measure", "M,upper_m", "M", "measure", "measure the next step, whatever that costs",
        lambda app: app.controls.command(Command("arm", value=1.0)), priority=52, needs="arm"),
    RUN("save", "ctrl+s", "^S", "save", "save what the network has learned, after this step",
        lambda app: app.controls.command(Command("checkpoint")), needs="checkpoint"),
    RUN("restart", "r", "r", "restart", "stop, and start again with the same seed",
        lambda app: app.runs.restart(new_seed=False), priority=65, priority_after_end=65,
        needs="restart"),
    RUN("reseed", "R,upper_r", "R", "new seed", "stop, and start again with a new seed",
        lambda app: app.runs.restart(new_seed=True), priority=40, priority_after_end=40,
        needs="restart"),
    RUN("go_on", "g", "g", "resume",
        "resume a run that has ended; a diverged one from before that, at a lower rate",
        lambda app: app.runs.go_on(), priority_after_end=88, needs="go_on"),
    RUN("fork", "f", "f", "fork",
        "fork: a new run from the checkpoint before what is shown, with other settings",
        lambda app: app.runs.fork(), priority=58, priority_after_end=58, needs="fork"),
    TOUR("next_scenario", "greater_than_sign", ">", "next scenario", "next scenario of the tour",
         lambda app: app.runs.tour_by(1), priority=94),
    TOUR("previous_scenario", "less_than_sign", "<", "previous", "previous scenario of the tour",
         lambda app: app.runs.tour_by(-1), priority=92),
    TOUR("tour", "t", "t", "list", "list of scenarios; esc returns to this one",
         lambda app: app.runs.show_tour(), priority=93),
    VIEW("variant", "v", "v", "next variant", "show the next run, where several are compared",
         lambda app: app.runs.next(), priority=75, with_others=True),
    VIEW("beside", "c", "c", "compare", "curves of the other runs, on or off",
         lambda app: app.comparison.toggle_curves(), priority=74, scope="panels", with_others=True),
    VIEW("side_by_side", "C,upper_c", "C", "layers beside",
         "layers of all runs side by side: both, activation, dL/dA, off",
         lambda app: app.comparison.cycle_layers(), priority=73, scope="panels", with_others=True),
    *map(_show_alone, BY_KEY),
    *(_of_panel(spec, action) for spec in BY_KEY for action in spec.actions),
    VIEW("next", "tab", "tab", "next panel", "next panel",
         lambda app: app.navigation.next_panel(1), priority=30),
    VIEW("previous", "shift+tab", "shift+tab", "previous panel", "previous panel",
         lambda app: app.navigation.next_panel(-1)),
    VIEW("overview", "escape,0", "0, esc", "overview",
         "reset zoomed curves; then show everything again",
         lambda app: app.dashboard.show_overview(), scope="panels"),
    VIEW("detail", "enter", "enter", "layer",
         "one layer alone: tensors, units, weights; a row of several layers unfolds",
         lambda app: app.navigation.enter(), priority=54),
    VIEW("filter", "slash", "/", "filter",
         "show only layers whose path contains a text, or matches a glob such as *.mlp.*",
         lambda app: app.navigation.ask_filter(), scope="panels"),
    VIEW("findings", "a", "a", "findings", "findings of the diagnosis: why, where, how to fix them",
         lambda app: app.navigation.show_findings(), priority=57),
    VIEW("output", "o", "o", "output", "what the program of the run has printed",
         lambda app: app.navigation.show_output(), priority=62),
    VIEW("back", "left", "←", "back in time", "an earlier snapshot; training continues meanwhile",
         lambda app: app.navigation.look(-1), priority=55),
    VIEW("forward", "right", "→", "forward", "a later snapshot, up to the newest",
         lambda app: app.navigation.look(1)),
    VIEW("far_back", "shift+left", "shift+←", "ten back", "ten snapshots earlier",
         lambda app: app.navigation.look(-10)),
    VIEW("far_forward", "shift+right", "shift+→", "ten forward", "ten snapshots later",
         lambda app: app.navigation.look(10)),
    VIEW("start", "home", "home", "step 0", "the first snapshot",
         lambda app: app.navigation.look(-FAR)),
    VIEW("now", "end", "end", "now", "the newest snapshot",
         lambda app: app.navigation.look(FAR)),
    VIEW("up", "up,k", "↑", "up", "scroll up",
         lambda app: app.dashboard.scroll_panel(0, -1), scope="scrolling"),
    VIEW("down", "down,j", "↓", "down", "scroll down",
         lambda app: app.dashboard.scroll_panel(0, 1), scope="scrolling"),
    VIEW("page_up", "pageup", "pgup", "page up", "scroll a page up",
         lambda app: app.dashboard.scroll_panel(-1, 0), scope="scrolling"),
    VIEW("page_down", "pagedown", "pgdn", "page down", "scroll a page down",
         lambda app: app.dashboard.scroll_panel(1, 0), scope="scrolling"),
    VIEW("theme", "T,upper_t", "T", "colours", "other colours: dark, light, colour-blind",
         lambda app: app.cycle_theme()),
    VIEW("glyphs", "G,upper_g", "G", "characters",
         "other characters: braille, blocks, plain ASCII", lambda app: app.cycle_glyphs()),
    VIEW("picture", "P,upper_p", "P", "picture",
         "save the screen as SVG and PNG in the run folder",
         lambda app: app.screenshots.take()),
    VIEW("palette", "colon", ":", "palette", "find any of these by name",
         lambda app: app.action_command_palette(), priority=20),
    VIEW("help", "question_mark", "?", "help", "these keys, and what the numbers mean",
         lambda app: app.navigation.show_help(), priority=95),
    VIEW("leave", "q,ctrl+c,ctrl+q", "q", "leave", "leave; an unfinished run can keep running",
         lambda app: app.navigation.leave(), priority=99),
)  # fmt: skip
BY_ID: Final = {action.id: action for action in ACTIONS}
