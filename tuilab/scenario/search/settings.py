"""[search] and [[search.stage]] of a scenario file.

[search]
objective = "accuracy.validation"   # any metric of [[expect]] that is one number, at the end
sampler = "random"                  # grid, tpe
trials = 20
epochs = 5                          # a trial; those of [train] if not given

[search.space]
"optimizer.learning_rate" = { log = [1e-6, 1e-3] }

[[search.stage]]                    # each with its own trials, epochs, sampler; the space of a
name = "coarse"                     # later one is narrowed around the best trials of the one
                                    # before it, but for what its own `space` says
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
"""Objectives that are the better the higher they are, if nothing else is said."""
STOP: Final = ("not_finite", "loss_ratio")
PER_STAGE: Final = ("trials", "epochs", "steps", "sampler", "pruner", "best")


class StageTable(msgspec.Struct, frozen=True, kw_only=True):
    """[[search.stage]]; what it does not say is as in [search]."""

    name: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_]+$")] = ""
    trials: Positive = 20
    epochs: Positive | None = None
    steps: Positive | None = None
    sampler: Any = "random"
    pruner: Any = "none"
    best: Positive | None = None
    """Trials around which the next stage's ranges are narrowed; a fifth, if not given."""
    space: Any = msgspec.field(default_factory=dict)


class SearchTable(StageTable, frozen=True, kw_only=True):
    """[search]."""

    objective: str = "accuracy.validation"
    direction: Literal["maximize", "minimize"] | None = None
    stop: tuple[Any, ...] = STOP
    heartbeat: Annotated[int, Meta(ge=1, le=3600)] = 20
    """Seconds between signs of life of a trial; without three of them it is lost."""
    stage: tuple[Any, ...] = ()


class Stage(msgspec.Struct, frozen=True):
    """One round of a search."""

    name: str
    trials: int
    train: dict[str, int]  # what it says of [train]: epochs or steps, or nothing
    sampler: Sampler
    pruner: Pruner
    keep: int | None  # how many are its best, where the file says so
    space: Space  # of the first stage all of it; of a later one what is not narrowed

    @property
    def best(self) -> int:
        """How many of its trials count as the best: those that tell where to search next."""
        return self.keep or max(3, self.trials // 5)

    @property
    def length(self) -> str:
        """How long a trial is, for people: "5 epochs"."""
        return ", ".join(f"{n} {unit if n > 1 else unit[:-1]}" for unit, n in self.train.items())

    def of_trials(self, trials: int) -> "Stage":
        """Return the stage with another number of trials."""
        return msgspec.structs.replace(self, trials=trials)


class Search(msgspec.Struct, frozen=True):
    """[search] as read."""

    objective: str
    maximize: bool
    stop: tuple[StopRule, ...]
    heartbeat: int
    stages: tuple[Stage, ...]

    @property
    def expression(self) -> Expression:
        """What is looked for."""
        return parse_expression(self.objective)

    def of_trials(self, trials: int | None) -> "Search":
        """Return the search with another number of trials of each stage, where one is given."""
        if trials is None:
            return self
        stages = tuple(stage.of_trials(trials) for stage in self.stages)
        return msgspec.structs.replace(self, stages=stages)


def parse(table: Any, path: str, hidden: int) -> Search:
    """Validate [search] of a network with so many hidden layers. Raises ConfigError."""
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
        plain = term.metric.name not in WORDS and not term.metric.axis(hidden)
        require(plain, path, f"'{text}' is not one number, by which trials could be ranked")


def _stages(table: Table, section: SearchTable, path: str) -> list[Stage]:
    common = {key: table[key] for key in PER_STAGE if key in table}
    if not section.stage:
        return [_stage(common | {"name": section.name or "search"}, section, path, first=True)]
    member(samplers, section.sampler, join(path, "sampler"))  # an error here is not of a stage
    member(pruners, section.pruner, join(path, "pruner"))
    _length(section, path)
    found: list[Stage] = []
    for index, given in enumerate(section.stage):
        where = f"{path}.stage[{index}]"
        require(isinstance(given, dict), where, f"must be a table, is {shown(given)}")
        check_keys(given, field_names(StageTable), where, "key")
        if "epochs" in given or "steps" in given:
            common = {key: common[key] for key in common if key not in ("epochs", "steps")}
        named = {"name": f"stage{index + 1}"} | common | given
        stage = _stage(named, section, where, first=not found)
        same = any(stage.name == other.name for other in found)
        require(not same, join(where, "name"), f"there are two stages '{stage.name}'")
        found.append(stage)
    return found


def _length(stage: StageTable, path: str) -> dict[str, int]:
    given = {key: n for key, n in (("epochs", stage.epochs), ("steps", stage.steps)) if n}
    require(len(given) < 2, path, "give either epochs or steps of a trial")
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
