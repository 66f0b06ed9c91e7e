"""A search from beginning to end: the folder, the storage and the pool, opened and closed."""

import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import msgspec

from engine.backends.base import usable_cores
from engine.errors import ConfigError, TuilabError
from tuilab.claims.summary import to_json
from tuilab.errors import ScenarioError, SearchError
from tuilab.process.headless import held_signals
from tuilab.process.launch import Options
from tuilab.scenario.loading import load
from tuilab.scenario.scenario import Scenario
from tuilab.scenario.search.ranges import chosen_range
from tuilab.scenario.search.settings import Search
from tuilab.search import folder as folders
from tuilab.search.extras import need
from tuilab.search.folder import StudyFolder, StudyInfo
from tuilab.search.points import check_space
from tuilab.search.pools import LocalPool, Pool, check_address
from tuilab.search.results import SearchResult
from tuilab.search.search_loop import Listener, SearchLoop, SearchPlan
from tuilab.toml_structs import located, read


class SearchOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line says of a search beside its scenario."""

    jobs: int | None = None
    trials: int | None = None
    ranges: tuple[str, ...] = ()
    extend: bool = False
    cluster: str = ""


def searched(scenario: Scenario) -> Search:
    """Return what a scenario says of its search. Raises ScenarioError where it says nothing."""
    if scenario.search is None:
        raise ScenarioError(
            f"{scenario.origin or scenario.name} has no [search]; say which keys to search:\n"
            "[search.space]\n"
            '"optimizer.learning_rate" = { log = [1e-5, 1e-1] }'
        )
    return scenario.search


def new_folder(
    scenario: Scenario, path: Path | None, storage: str, options: Options
) -> StudyFolder:
    """Make the folder of a search. Raises ScenarioError, SearchError."""
    try:
        check_space(scenario, searched(scenario))
    except ConfigError as error:
        origin = Path(scenario.origin)
        raise located(origin, read(origin), error) from None
    info = StudyInfo(
        scenario=scenario.name,
        study=study_name(scenario),
        storage=storage,
        origin=scenario.origin,
        data_dir=str(Path(options.data_dir).resolve()) if options.data_dir else "",
        backend=options.backend,
        created=time.time(),
    )
    return folders.create(path or folders.default_path(scenario.name), info, scenario.to_toml())


def study_name(scenario: Scenario) -> str:
    """Return the name by which machines that search the same scenario find each other.

    Another number of trials is the same search; anything else makes another one.
    """
    table = dict(scenario.table)
    table["search"] = {k: v for k, v in table["search"].items() if k not in ("trials", "heartbeat")}
    digest = hashlib.sha256(to_json(table).encode()).hexdigest()[:6]
    return f"{scenario.name}-{digest}"


def to_go_on_with(path: Path | None, scenario: Path | None) -> StudyFolder:
    """Find the search that --resume means: by its folder, or the newest of a scenario."""
    if path is not None:
        found = StudyFolder(path)
        found.info()
        return found
    name = scenario.stem if scenario is not None else None
    mine = [each for each in folders.find_all() if name in (None, each.info().scenario)]
    if not mine:
        of = f" of {name}" if name else ""
        raise SearchError(f"there is no search{of} under runs/ to go on with; leave out --resume")
    return mine[-1]


def scenario_of(folder: StudyFolder) -> Scenario:
    """Read what a folder searches. Raises ScenarioError, SearchError."""
    info = folder.info()
    read = load(folder.scenario)
    searched(read)
    return msgspec.structs.replace(read, name=info.scenario, origin=info.origin)


def search(
    folder: StudyFolder, wishes: SearchOptions, listener: Listener, threads: int = 1
) -> SearchResult:
    """Search, or go on with it, until it is done or a signal comes."""
    need("optuna")
    from tuilab.search.storage import Storage, told_as_ours

    with ExitStack() as stack:
        stack.enter_context(folder.hold())
        with opening(folder):
            check(folder, wishes)
            info = keep(folder, wishes, pid=os.getpid())
            plan = _plan(folder, info, threads)
            heartbeat = plan.search.heartbeat if plan.shared else None
            storage = Storage(folder.storage_url(), info.study, heartbeat=heartbeat)
            stack.callback(storage.close)
            pool = _pool(wishes)
            stack.callback(pool.close)
        stop = stack.enter_context(held_signals())
        stack.enter_context(told_as_ours(folder.storage_url()))
        result = SearchLoop(plan, storage, pool, stop, listener).run()
    return replace(result, folder=str(folder.path))  # as the user named it


@contextmanager
def opening(folder: StudyFolder) -> Iterator[None]:
    """Remove a folder that was made just now where its search cannot begin.

    One with a log stays: it says why, to the view that began the search.
    """
    new = not folder.info().pid and not folder.log.exists()
    try:
        yield
    except TuilabError:
        if new:
            folder.remove()
        raise


def check(folder: StudyFolder, wishes: SearchOptions) -> None:
    """Check what the command line says. Raises SearchError."""
    space = searched(scenario_of(folder)).stages[0].space
    for text in wishes.ranges:
        chosen_range(text, space)
    if wishes.cluster:
        check_address(wishes.cluster)


def keep(folder: StudyFolder, wishes: SearchOptions, pid: int | None = None) -> StudyInfo:
    """Write down what is wished, for --resume and `search show`; the rest stays as it was."""
    info = folder.info()
    info = msgspec.structs.replace(
        info,
        trials=wishes.trials or info.trials,
        ranges=wishes.ranges or info.ranges,
        extend=wishes.extend or info.extend,
        pid=info.pid if pid is None else pid,
    )
    folder.write(info)
    return info


def _plan(folder: StudyFolder, info: StudyInfo, threads: int) -> SearchPlan:
    scenario = scenario_of(folder)
    space = searched(scenario).stages[0].space
    return SearchPlan(
        scenario=scenario,
        folder=StudyFolder(folder.path.resolve()),
        options=Options(info.backend, info.data_dir, threads, checkpoints=False, tied=True),
        trials=info.trials,
        ranges=dict(chosen_range(text, space) for text in info.ranges),
        extend=info.extend,
        shared=bool(info.storage),
    )


def _pool(wishes: SearchOptions) -> Pool:
    if not wishes.cluster:
        return LocalPool(wishes.jobs or usable_cores())
    need("distributed")
    from tuilab.search.cluster import DaskPool

    return DaskPool(wishes.cluster, wishes.jobs)
