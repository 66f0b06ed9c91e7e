"""The one table of what can be done: it feeds key bindings, footer, help and command palette."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

from engine.commands import Command

FACTOR: Final = 1.25
FAR: Final = 10**9  # snapshots: beyond either end of the history


Section = Literal["run", "tour", "view"]


class Charts(Protocol):
    """What actions ask of the curves."""

    def cycle(self) -> None: ...
    def toggle_axis(self) -> None: ...
    def smooth(self) -> None: ...
    def zoom(self, factor: float, at: float | None = None) -> None: ...
    def pan(self, share: float) -> None: ...


class Panels(Protocol):
    """What actions ask of the panels on the screen."""

    @property
    def board(self) -> Charts: ...
    def toggle(self, tab: str) -> None: ...
    def show_overview(self) -> None: ...
    def next_way(self) -> None: ...
    def toggle_log(self) -> None: ...
    def scroll_panel(self, pages: float, lines: int) -> None: ...


class Training(Protocol):
    """What actions ask of what is trained."""

    def command(self, command: Command) -> None: ...
    def toggle_pause(self) -> None: ...
    def ask(self, key: str) -> None: ...
    def change(self, what: str) -> None: ...
    def limit_speed(self, factor: float) -> None: ...


class View(Protocol):
    """What actions ask of the app."""

    @property
    def stage(self) -> Panels: ...
    @property
    def controls(self) -> Training: ...
    def next_variant(self) -> None: ...
    def toggle_beside(self) -> None: ...
    def cycle_side_by_side(self) -> None: ...
    def fork_run(self) -> None: ...
    def restart_run(self, *, new_seed: bool) -> None: ...
    def go_on(self) -> None: ...
    def look(self, by: int) -> None: ...
    def show_tour(self) -> None: ...
    def tour_by(self, places: int) -> None: ...
    def next_panel(self, by: int) -> None: ...
    def show_detail(self) -> None: ...
    def show_findings(self) -> None: ...
    def show_help(self) -> None: ...
    def leave(self) -> None: ...
    def action_command_palette(self) -> Any: ...
    def take_picture(self, panel: str = "") -> None: ...
    def cycle_theme(self) -> None: ...
    def cycle_glyphs(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Action:
    """One thing that can be done.

    `keys` are Textual's names, `shown` is how they are written on screen; `priority` orders the
    footer's survivors where room is short, 0 keeps an action out of the footer.
    """

    id: str
    keys: str
    shown: str
    label: str
    help: str
    run: Callable[[View], None]
    section: Section = "view"
    priority: int = 0


def _scale(factor: float) -> Callable[[View], None]:
    return lambda app: app.controls.command(Command("scale", "learning_rate", factor))


ACTIONS: Final = (
    Action("pause", "space", "space", "pause", "pause, or go on",
           lambda app: app.controls.toggle_pause(), "run", 90),
    Action("step", "n", "n", "step", "make one step and pause",
           lambda app: app.controls.command(Command("step")), "run", 70),
    Action("slower", "left_square_bracket", "[", "lr ÷1.25", "learning rate ÷ 1.25",
           _scale(1 / FACTOR), "run", 80),
    Action("faster", "right_square_bracket", "]", "×1.25", "learning rate × 1.25",
           _scale(FACTOR), "run", 81),
    Action("slower_10", "left_curly_bracket", "{", "÷10", "learning rate ÷ 10",
           _scale(0.1), "run", 49),
    Action("faster_10", "right_curly_bracket", "}", "×10", "learning rate × 10",
           _scale(10.0), "run", 50),
    Action("to_epoch", "N,upper_n", "N", "to epoch", "run to the end of this epoch, then pause",
           lambda app: app.controls.command(Command("run_to_epoch")), "run", 44),
    Action("half_speed", "minus", "-", "half speed", "at most half as many steps a second",
           lambda app: app.controls.limit_speed(0.5), "run"),
    Action("double_speed", "plus", "+", "double speed",
           "twice as many steps a second; in the end no limit at all",
           lambda app: app.controls.limit_speed(2.0), "run"),
    Action("learning_rate", "l", "l", "set lr", "type a learning rate",
           lambda app: app.controls.ask("learning_rate"), "run", 60),
    Action("momentum", "m", "m", "momentum", "type a momentum",
           lambda app: app.controls.ask("momentum"), "run"),
    Action("weight_decay", "w", "w", "weight decay", "type a weight decay",
           lambda app: app.controls.ask("weight_decay"), "run"),
    Action("dropout", "d", "d", "dropout", "type a share of units to drop",
           lambda app: app.controls.ask("dropout"), "run"),
    Action("hyperparameter", "p", "p", "parameters", "choose any hyper-parameter, and type it",
           lambda app: app.controls.ask(""), "run", 45),
    Action("batch_size", "b", "b", "batch size", "type a batch size; a new epoch begins with it",
           lambda app: app.controls.change("batch_size"), "run"),
    Action("change", "e", "e", "change",
           "change schedule, non-linearity, batch norm, weights, frozen layers",
           lambda app: app.controls.change("network"), "run", 53),
    Action("restart", "r", "r", "restart", "stop, and start anew from the same seed",
           lambda app: app.restart_run(new_seed=False), "run", 65),
    Action("reseed", "R,upper_r", "R", "new seed", "stop, and start anew from another seed",
           lambda app: app.restart_run(new_seed=True), "run", 40),
    Action("go_on", "g", "g", "go on",
           "go on with a run that ended; after a divergence from before it, at a lower rate",
           lambda app: app.go_on(), "run"),
    Action("fork", "f", "f", "fork",
           "branch off: a new run from the checkpoint before what is shown, with other settings",
           lambda app: app.fork_run(), "run", 58),
    Action("next_scenario", "greater_than_sign", ">", "next scenario", "next scenario of the tour",
           lambda app: app.tour_by(1), "tour", 94),
    Action("previous_scenario", "less_than_sign", "<", "previous", "previous scenario of the tour",
           lambda app: app.tour_by(-1), "tour", 92),
    Action("tour", "t", "t", "list", "the list of scenarios; esc comes back to this one",
           lambda app: app.show_tour(), "tour", 93),
    Action("variant", "v", "v", "next variant", "the next run, where several are compared",
           lambda app: app.next_variant(), "view", 75),
    Action("beside", "c", "c", "compare", "the curves of the other runs beside, or not",
           lambda app: app.toggle_beside(), "view", 74),
    Action("side_by_side", "C,upper_c", "C", "layers beside",
           "the layers of all runs side by side: both, activation, dL/dA, off",
           lambda app: app.cycle_side_by_side(), "view", 73),
    Action("curves", "1", "1", "curves", "curves alone (again: everything); enter: one of them",
           lambda app: app.stage.toggle("curves")),
    Action("layers", "2", "2", "layers", "layers alone (again: everything)",
           lambda app: app.stage.toggle("layers")),
    Action("reading", "3", "3", "reading", "reading alone (again: everything)",
           lambda app: app.stage.toggle("reading")),
    Action("gain", "4", "4", "gain", "gain a layer against theory (again: everything)",
           lambda app: app.stage.toggle("gain")),
    Action("way", "h", "h", "strips", "the layers' strips as bars, heat, or percentile bands",
           lambda app: app.stage.next_way(), "view", 33),
    Action("log", "H,upper_h", "H", "log axis", "the strips along magnitudes, logarithmically",
           lambda app: app.stage.toggle_log()),
    Action("chart", "x", "x", "other chart",
           "another chart beside the loss: update ratios, gradient norms, learning rate",
           lambda app: app.stage.board.cycle(), "view", 52),
    Action("axis", "y", "y", "axis", "loss on the other axis, logarithmic or linear; automatic",
           lambda app: app.stage.board.toggle_axis()),
    Action("smooth", "tilde,S,upper_s", "~ S", "smooth",
           "moving average over the curves: 0.6, 0.9, 0.99, off",
           lambda app: app.stage.board.smooth()),
    Action("zoom_in", "i", "i", "zoom in", "zoom the curves in; the wheel does so at the pointer",
           lambda app: app.stage.board.zoom(0.5)),
    Action("zoom_out", "o", "o", "zoom out", "zoom the curves out",
           lambda app: app.stage.board.zoom(2.0)),
    Action("pan_back", "comma", ",", "pan back", "earlier steps of zoomed curves; or drag them",
           lambda app: app.stage.board.pan(-0.25)),
    Action("pan_forth", "full_stop", ".", "pan forth",
           "later steps of zoomed curves; at the newest they follow",
           lambda app: app.stage.board.pan(0.25)),
    Action("next", "tab", "tab", "next panel", "next panel",
           lambda app: app.next_panel(1), "view", 30),
    Action("previous", "shift+tab", "shift+tab", "previous panel", "previous panel",
           lambda app: app.next_panel(-1)),
    Action("overview", "escape,0", "0, esc", "overview",
           "all of the curves, then everything on one screen again",
           lambda app: app.stage.show_overview()),
    Action("detail", "enter", "enter", "layer", "one layer alone: tensors, units, weights",
           lambda app: app.show_detail(), "view", 54),
    Action("findings", "a", "a", "findings", "what the diagnosis found: why, where, what mends it",
           lambda app: app.show_findings(), "view", 57),
    Action("back", "left", "←", "back in time", "an earlier snapshot; training goes on behind it",
           lambda app: app.look(-1), "view", 55),
    Action("forth", "right", "→", "forth", "a later snapshot, up to now",
           lambda app: app.look(1)),
    Action("far_back", "shift+left", "shift+←", "ten back", "ten snapshots earlier",
           lambda app: app.look(-10)),
    Action("far_forth", "shift+right", "shift+→", "ten forth", "ten snapshots later",
           lambda app: app.look(10)),
    Action("start", "home", "home", "step 0", "as it was at the start",
           lambda app: app.look(-FAR)),
    Action("now", "end", "end", "now", "as it is now", lambda app: app.look(FAR)),
    Action("up", "up,k", "↑", "up", "scroll up", lambda app: app.stage.scroll_panel(0, -1)),
    Action("down", "down,j", "↓", "down", "scroll down", lambda app: app.stage.scroll_panel(0, 1)),
    Action("page_up", "pageup", "pgup", "page up", "scroll a page up",
           lambda app: app.stage.scroll_panel(-1, 0)),
    Action("page_down", "pagedown", "pgdn", "page down", "scroll a page down",
           lambda app: app.stage.scroll_panel(1, 0)),
    Action("theme", "T,upper_t", "T", "colours", "other colours: dark, light, colour-blind",
           lambda app: app.cycle_theme()),
    Action("glyphs", "G,upper_g", "G", "characters",
           "other characters: braille, blocks, plain ASCII", lambda app: app.cycle_glyphs()),
    Action("picture", "P,upper_p", "P", "picture",
           "the screen as SVG and PNG, into the run folder", lambda app: app.take_picture()),
    Action("palette", "colon", ":", "palette", "find any of these by name",
           lambda app: app.action_command_palette(), "view", 20),
    Action("help", "question_mark", "?", "help", "these keys, and what the numbers mean",
           lambda app: app.show_help(), "view", 95),
    Action("leave", "q,ctrl+c,ctrl+q", "q", "leave", "leave; a run that goes on can be left alone",
           lambda app: app.leave(), "view", 99),
)  # fmt: skip
ON_STAGE: Final = frozenset((
    *("curves", "layers", "reading", "gain", "overview"),
    *("beside", "side_by_side", "way", "log"),
    *("chart", "axis", "smooth", "zoom_in", "zoom_out", "pan_back", "pan_forth"),
))  # fmt: skip
"""What changes the panels of the main screen: another screen above it is left first."""
SCROLLING: Final = frozenset(("up", "down", "page_up", "page_down"))
"""What scrolls them: nothing that is covered is scrolled."""
BY_ID: Final = {action.id: action for action in ACTIONS}


AFTER_THE_END: Final = {"go_on": 88, "restart": 65, "fork": 58, "reseed": 40}
"""What control is left over a run that has ended, and its priority then."""
OF_SEVERAL: Final = ("variant", "beside", "side_by_side")
"""What there is no use for where a run is alone."""


def hints(
    *,
    paused: bool,
    ended: bool,
    finished: bool = False,
    compared: bool = False,
    touring: bool = False,
) -> list[tuple[int, str, str, str]]:
    """Return (priority, key, label, action) for the footer; run control goes when it has ended.

    One that has `finished` all its steps has none to go on with.
    """
    kept = []
    for action in ACTIONS:
        priority = action.priority
        if ended and action.section == "run":
            priority = AFTER_THE_END.get(action.id, 0)
        if finished and action.id == "go_on":
            continue
        usable = touring if action.section == "tour" else compared or action.id not in OF_SEVERAL
        if priority and usable:
            label = "resume" if action.id == "pause" and paused else action.label
            kept.append((priority, action.shown, label, action.id))
    return kept
