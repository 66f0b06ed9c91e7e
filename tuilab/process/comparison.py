"""The outcome of a scenario file's runs: of one, or of the variants of a comparison."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from engine.errors import TuilabError
from tuilab.claims.expectations import Expectation, Verdict, judge
from tuilab.claims.metrics import Record
from tuilab.claims.summary import Summary, diverged_unexpectedly, to_json, verdict_document
from tuilab.process.headless import outcome
from tuilab.process.launch import Options, Worker, start, write_atomically
from tuilab.record import RunReader
from tuilab.record.run_folder import RunFolder, find_group, refuse_taken
from tuilab.scenario.loading import load, load_expectations
from tuilab.scenario.scenario import Scenario, ScenarioFile

EXPECTATIONS: Final = "comparison.toml"
"""What is expected over several runs, in the folder that holds theirs."""


class ComparisonSummary(msgspec.Struct, frozen=True):
    """The document of `tuilab run --headless --json` for a comparison.

    `expectations` are those over several variants; those of one are in its own document.
    """

    scenario: str
    title: str
    variants: dict[str, Summary]
    expectations: list[dict[str, Any]]

    def to_json(self) -> str:
        """Return one JSON document; NaN and infinities are strings."""
        return to_json(self)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The document of a scenario file's runs, and the verdicts on what was expected of them."""

    document: Summary | ComparisonSummary
    verdicts: Sequence[tuple[str, Verdict]]  # with the variant that it is about, "" for several
    diverged: Sequence[str]  # variants that diverged although no expectation allows it

    @property
    def problem(self) -> str:
        """What is wrong with it, in a few words."""
        if failed := sum(verdict.passed is False for _, verdict in self.verdicts):
            return f"{failed} failed"
        if not self.diverged:
            return ""
        which = f" ({', '.join(self.diverged)})" if any(self.diverged) else ""
        return f"training diverged{which}, but no expectation allows it"


def folders(out: Path, file: ScenarioFile) -> dict[str, Path]:
    """Return the run folder of each run of `file`. Raises RunError where one is taken."""
    paths = {name: out / name if name else out for name in file.runs}
    for path in (out, *paths.values()):
        refuse_taken(RunFolder(path))
    return paths


def keep_expectations(out: Path, file: ScenarioFile) -> None:
    """Save what is expected over several runs of `file` beside them. Raises RunError."""
    if file.expect:
        out.mkdir(parents=True, exist_ok=True)
        write_atomically(out / EXPECTATIONS, file.expectations_toml())


def kept_expectations(runs: Sequence[RunFolder]) -> tuple[Expectation, ...]:
    """Return what is expected over the comparison that `runs` are of; nothing of any others.

    Raises RunError, ScenarioError.
    """
    places = {run.path.parent for run in runs}
    path = places.pop() / EXPECTATIONS
    if places or not path.is_file():
        return ()
    depths = {}
    for run in find_group(str(path.parent)):
        with RunReader(run.database) as reader:
            depths[reader.info().variant] = load(run.scenario).depth
    return load_expectations(path, depths)


def begin(scenario: Scenario, path: Path, options: Options) -> Worker:
    """Start one run; what is wrong with a variant is said with its name."""
    try:
        return start(scenario, path, options)
    except TuilabError as error:
        raise _of(scenario.variant, error) from None


def begin_all(file: ScenarioFile, out: Path, options: Options) -> list[Worker]:
    """Start every run of `file`, in `out` or below it. Raises RunError where one is taken."""
    places = folders(out, file)
    keep_expectations(out, file)
    options = options if "" in places else options.for_several()
    return [begin(file.runs[name], place, options) for name, place in places.items()]


def result(file: ScenarioFile, workers: Mapping[str, Worker]) -> Outcome:
    """Judge the runs of `file` that have ended, by variant. Raises their failures."""
    summaries: dict[str, Summary] = {}
    own: list[tuple[str, Verdict]] = []
    for name, worker in workers.items():
        try:
            summaries[name], verdicts = outcome(worker)
        except TuilabError as error:
            raise _of(name, error) from None
        own += [(name, verdict) for verdict in verdicts]
    over_several = judge_several(file.expect, {n: w.folder for n, w in workers.items()})
    all_verdicts = [*own, *(("", verdict) for verdict in over_several)]
    diverged = [
        name
        for name, summary in summaries.items()
        if diverged_unexpectedly(summary, [v for of, v in all_verdicts if of in (name, "")], name)
    ]
    document: Summary | ComparisonSummary
    if "" in summaries:
        document = summaries[""]
    else:
        document = ComparisonSummary(
            file.name, file.header.title, summaries, [verdict_document(v) for v in over_several]
        )
    return Outcome(document, all_verdicts, diverged)


def judge_several(
    expectations: Sequence[Expectation], runs: Mapping[str, RunFolder]
) -> list[Verdict]:
    """Judge what is expected over several runs; what lacks one of them is left open."""
    with ExitStack() as stack:
        records = {
            name: Record(stack.enter_context(RunReader(folder.database)))
            for name, folder in runs.items()
            if expectations
        }
        return judge(expectations, records)


def _of(variant: str, error: TuilabError) -> TuilabError:
    """Return `error` as that of a variant."""
    return type(error)(f"variant {variant}: {error}") if variant else error
