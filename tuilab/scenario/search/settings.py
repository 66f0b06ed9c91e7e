"""[search] and [[search.stage]] of a scenario file.

[search]
objective = "accuracy.validation"   # any metric of [[expect]] with a single value, at the end
sampler = "random"                  # grid, tpe
trials = 20
epochs = 5                          # per trial; default: those of [train]

[search.space]
"optimizer.learning_rate" = { log = [1e-6, 1e-3] }

[[search.stage]]                    # with its own trials, epochs, sampler; the space of a later
name = "coarse"                     # stage is narrowed around the best trials of the stage before,
                                    # except for the keys in its own `space`
"""

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from engine.errors import ConfigError, UnknownNameError, require
from tuilab.claims.expressions import Expression, parse_expression
from tuilab.claims.metrics import WORDS
from tuilab.scenario.search.pruners import Pruner, pruners
from tuilab.scenario.search.samplers import Sampler, samplers
from tuilab.scenario.search.space import Space, parse_space
from tuilab.scenario.search.stop_rules import StopRule, stop_rules
from tuilab.toml_structs import Table, check_keys, convert, field_names, join, member, shown

Positive = Annotated[int, Meta(ge=1, le=10**9)]
RISING: Final = ("accuracy.train", "accuracy.validation")
"""Objectives that are maximised by default."""
STOP: Final = ("not_finite", "loss_ratio")
PER_STAGE: Final = ("trials", "epochs", "steps", "sampler", "pruner", "best")


class StageTable(msgspec.Struct, frozen=True, kw_only=True):
    """[[search.stage]]; keys that are missing are taken from [search]."""

    name: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_]+$")] = ""  # of the stage
    trials: Positive = 20  # number of trials
    epochs: Positive | None = None  # length of a trial; default: as in [train]
    steps: Positive | None = None  # length of a trial; default: as in [train]
    sampler: Any = "random"  # how points are chosen
    pruner: Any = "none"  # what stops poor trials early
    best: Positive | None = None
    """Number of best trials around which the next stage's ranges are narrowed; default: a fifth."""
    space: Any = msgspec.field(default_factory=dict)  # a range for each key that is searched


class SearchTable(StageTable, frozen=True, kw_only=True):
    """[search]."""

    objective: str = "accuracy.validation"  # the metric to optimise
    direction: Literal["maximize", "minimize"] | None = None  # default: by the objective
    stop: tuple[Any, ...] = STOP  # rules that end a trial at once
    heartbeat: Annotated[int, Meta(ge=1, le=3600)] = 20
    """Seconds between heartbeats of a trial; after three missed ones it is lost."""
    stage: tuple[Any, ...] = ()  # [[search.stage]] tables; default: one stage


class Stage(msgspec.Struct, frozen=True):
    """One stage of a search: a number of trials over one space."""

    name: str
    trials: int
    train: dict[str, int]  # epochs or steps of a trial; empty: those of [train]
    sampler: Sampler
    pruner: Pruner
    keep: int | None  # number of best trials, if the file gives it
    space: Space  # of the first stage: complete; of a later one: the keys that are not narrowed

    @property
    def best(self) -> int:
        """Number of trials that count as the best, around which the next stage searches."""
        return self.keep or max(3, self.trials // 5)

    @property
    def length(self) -> str:
        """Length of a trial for people: "5 epochs"."""
        return ", ".join(f"{n} {unit if n > 1 else unit[:-1]}" for unit, n in self.train.items())

    def of_trials(self, trials: int) -> "Stage":
        """Return the stage with another number of trials."""
        return msgspec.structs.replace(self, trials=trials)


class Search(msgspec.Struct, frozen=True):
    """[search], validated."""

    objective: str
    maximize: bool
    stop: tuple[StopRule, ...]
    heartbeat: int
    stages: tuple[Stage, ...]

    @property
    def expression(self) -> Expression:
        """The objective, parsed."""
        return parse_expression(self.objective)

    def of_trials(self, trials: int | None) -> "Search":
        """Return the search with `trials` trials per stage; unchanged for None."""
        if trials is None:
            return self
        stages = tuple(stage.of_trials(trials) for stage in self.stages)
        return msgspec.structs.replace(self, stages=stages)


def parse(table: Any, path: str, hidden: int) -> Search:
    """Validate [search] for a network with `hidden` hidden layers. Raises ConfigError."""
    require(isinstance(table, dict), path, f"must be a table, is {shown(table)}")
    section: SearchTable = convert(table, SearchTable, path)
    _check_objective(section.objective, hidden, join(path, "objective"))
    rules = [member(stop_rules, rule, f"{path}.stop[{at}]") for at, rule in enumerate(section.stop)]
    direction = section.direction or ("maximize" if section.objective in RISING else "minimize")
    return Search(
        objective=section.objective,
        maximize=direction == "maximize",
        stop=tuple(rules),
        heartbeat=section.heartbeat,
        stages=tuple(_stages(table, section, path)),
    )


def _check_objective(text: str, hidden: int, path: str) -> None:
    try:
        expression = parse_expression(text)
        expression.check(hidden, {})
    except ConfigError as error:
        raise error.under(path) from None
    for term in expression.terms:
        scalar = term.metric.name not in WORDS and not term.metric.axis(hidden)
        require(scalar, path, f"'{text}' is not a single number, so it cannot rank trials")


def _stages(table: Table, section: SearchTable, path: str) -> list[Stage]:
    common = {key: table[key] for key in PER_STAGE if key in table}
    if not section.stage:
        return [_stage(common | {"name": section.name or "search"}, section, path, first=True)]
    member(
        samplers, section.sampler, join(path, "sampler")
    )  # an error here does not belong to a stage
    member(pruners, section.pruner, join(path, "pruner"))
    _length(section, path)
    stages: list[Stage] = []
    for index, given in enumerate(section.stage):
        where = f"{path}.stage[{index}]"
        require(isinstance(given, dict), where, f"must be a table, is {shown(given)}")
        check_keys(given, field_names(StageTable), where, "key")
        if "epochs" in given or "steps" in given:
            common = {key: common[key] for key in common if key not in ("epochs", "steps")}
        named = {"name": f"stage{index + 1}"} | common | given
        stage = _stage(named, section, where, first=not stages)
        same = any(stage.name == other.name for other in stages)
        require(not same, join(where, "name"), f"there are two stages '{stage.name}'")
        stages.append(stage)
    return stages


def _length(stage: StageTable, path: str) -> dict[str, int]:
    given = {key: n for key, n in (("epochs", stage.epochs), ("steps", stage.steps)) if n}
    require(len(given) < 2, path, "give either epochs or steps, not both")
    return given


def _stage(table: Table, section: SearchTable, path: str, *, first: bool) -> Stage:
    stage: StageTable = convert(table, StageTable, path)
    given = _length(stage, path)
    space = parse_space(stage.space, join(path, "space"))
    whole = parse_space(section.space, "search.space")
    require(bool(whole), "search", "give the keys to search in [search.space]")
    for key in space:
        if key not in whole:
            raise UnknownNameError("key of the search", key, whole, join(path, f"space.{key}"))
    return Stage(
        name=stage.name,
        trials=stage.trials,
        train=given,
        sampler=member(samplers, stage.sampler, join(path, "sampler")),
        pruner=member(pruners, stage.pruner, join(path, "pruner")),
        keep=stage.best,
        space=whole.changed(space) if first else space,
    )
