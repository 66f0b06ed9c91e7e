"""The scenario files: each loads, is listed, holds at the start for any seed, and can fail.

A folder of scenarios has a file of its name in tests/scenarios/ (top.toml for those in no folder),
with a table a scenario: `wrong` lists networks of which its claims are not true, each a list of
`--set` assignments. Every claim must fail on one of them.
"""

import os
import re
import signal
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import pytest

from engine.backends.threads import usable_cores
from tuilab.claims.expectations import Expectation
from tuilab.claims.metrics import SCALARS
from tuilab.data.folder import data_folder
from tuilab.process import worker
from tuilab.process.comparison import begin, result
from tuilab.process.launch import Options, Worker, write_atomically
from tuilab.process.run_pool import Job, run_all
from tuilab.record.run_folder import create
from tuilab.scenario.loading import load_file
from tuilab.scenario.scenario import ScenarioFile

FOLDER = Path(__file__).parents[1] / "scenarios"
FILES = sorted(FOLDER.rglob("*.toml"))
DATA = os.environ.get("TUILAB_DATA", "")
WRONG: dict[str, list[list[str]]] = {
    name if chapter.stem == "top" else f"{chapter.stem}/{name}": table["wrong"]
    for chapter in sorted((Path(__file__).parent / "scenarios").glob("*.toml"))
    for name, table in tomllib.loads(chapter.read_text(encoding="utf-8")).items()
}


def ids(path: Path) -> str:
    return path.relative_to(FOLDER).with_suffix("").as_posix()


def claims(file: ScenarioFile) -> list[Expectation]:
    """What is expected of each run, and of several: in the order in which it is judged."""
    return [*(each for run in file.runs.values() for each in run.expect), *file.expect]


def of_start(claim: Expectation) -> bool:
    """Return whether the first step decides it."""
    return claim.expression.moments(claim.at) == {"start"}


STARTING = [path for path in FILES if any(map(of_start, claims(load_file(path))))]
ENDING = [path for path in FILES if not all(map(of_start, claims(load_file(path))))]


@pytest.fixture(autouse=True)
def signals() -> Iterator[None]:
    """Give the signals back the handlers that a training process has taken."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


def read(path: Path, sets: Sequence[str]) -> ScenarioFile:
    """Read a scenario; skip the test where its data is not here."""
    file = load_file(path, sets)
    for run in file.runs.values():
        if not run.source.is_here(data_folder(DATA)):
            pytest.skip(f"needs {run.source.title}; set TUILAB_DATA to the folder that has it")
    return file


def first_step(path: Path, folder: Path, sets: Sequence[str]) -> set[Expectation]:
    """Make one step of each run, in this process; return what is claimed of it and not true."""
    file, workers = read(path, [*sets, "train.steps=1"]), {}
    for name, run in file.runs.items():
        made = create(folder / f"run-{name}")
        write_atomically(made.scenario, run.to_toml())
        assert worker.main([f"--data-dir={DATA}", "--no-checkpoints", str(made.path)]) == 0
        workers[name] = Worker(made)
    return not_true(file, workers)


def whole_runs(files: Sequence[ScenarioFile], folder: Path) -> list[set[Expectation]]:
    """Train all runs of `files` in processes of their own; return what is not true of each file."""
    options = Options(data_dir=DATA, threads=1, checkpoints=False)
    keys = [(number, name) for number, file in enumerate(files) for name in file.runs]
    jobs = [
        Job(name, partial(begin, files[number].run(name), folder / f"{number}-{name}", options))
        for number, name in keys
    ]
    workers: list[dict[str, Worker]] = [{} for _ in files]
    for done in run_all(jobs, limit=usable_cores(), stop=[]):
        number, name = keys[done.place]
        workers[number][name] = done.started()
    return [not_true(file, found) for file, found in zip(files, workers, strict=True)]


def not_true(file: ScenarioFile, workers: Mapping[str, Worker]) -> set[Expectation]:
    verdicts = result(file, {name: workers[name] for name in file.runs}).verdicts
    judged = zip(claims(file), verdicts, strict=True)
    return {claim for claim, (_, verdict) in judged if not verdict.passed}


def said(found: Iterable[Expectation]) -> list[str]:
    return [f"{claim.claim}: {claim.metric} {claim.band}" for claim in found]


@pytest.mark.parametrize("path", FILES, ids=ids)
def test_a_scenario_says_what_it_shows_and_expects_something(path: Path) -> None:
    file = load_file(path)
    assert file.header.title
    assert file.header.question.endswith("?")
    assert any(expectation.claim for expectation in claims(file))


def test_the_list_of_scenarios_is_complete_and_asks_the_same_questions() -> None:
    listed = dict(
        re.findall(r"\| \[\w+\]\(([\w/]+)\.toml\) \| (.+\?)", (FOLDER / "README.md").read_text())
    )
    assert listed == {ids(path): load_file(path).header.question for path in FILES}


def test_there_are_wrong_networks_for_every_scenario() -> None:
    assert sorted(WRONG) == sorted(map(ids, FILES))


def test_the_examples_in_their_readme_are_valid(tmp_path: Path) -> None:
    """Every metric and every table that is shown is read as such."""
    text = (FOLDER / "README.md").read_text()
    examples = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    base = (FOLDER / "digits_mlp.toml").read_text().partition("[[expect]]")[0]
    for number, example in enumerate(examples):
        metrics = re.findall(r"^metric = .*", example, re.MULTILINE)
        if "[[" not in example:
            example = "".join(f"[[expect]]\n{metric}\nabove = 0\n" for metric in metrics)
        path = tmp_path / f"{number}.toml"
        path.write_text(base + example)
        file = load_file(path)
        own = {each for run in file.runs.values() for each in run.expect}
        assert len({*own, *file.expect}) == len(metrics) > 0


def test_every_metric_there_is_is_explained() -> None:
    text = (FOLDER / "README.md").read_text()
    for name in SCALARS:
        assert f"`{re.sub('train|validation', 'SPLIT', name) if 'data.' in name else name}`" in text


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("path", STARTING, ids=ids)
def test_what_is_claimed_of_the_start_is_true(path: Path, seed: int, tmp_path: Path) -> None:
    assert said(filter(of_start, first_step(path, tmp_path, [f"seed={seed}"]))) == []


@pytest.mark.parametrize("path", STARTING, ids=ids)
def test_every_claim_about_the_start_fails_on_a_wrong_network(path: Path, tmp_path: Path) -> None:
    held = set(filter(of_start, claims(load_file(path))))
    for number, sets in enumerate(WRONG[ids(path)]):
        held -= first_step(path, tmp_path / str(number), sets)
    assert said(held) == []


@pytest.mark.slow
@pytest.mark.parametrize("path", ENDING, ids=ids)
def test_every_other_claim_fails_on_a_wrong_network(path: Path, tmp_path: Path) -> None:
    held = {claim for claim in claims(load_file(path)) if not of_start(claim)}
    held.difference_update(*whole_runs([read(path, sets) for sets in WRONG[ids(path)]], tmp_path))
    assert said(held) == []
