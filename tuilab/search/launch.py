"""Begins and resumes searches: the folder, the storage and the pool, opened and closed."""

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import msgspec

from engine.backends.threads import usable_cores
from engine.errors import ConfigError, TuilabError
from tuilab.claims.summary import to_json
from tuilab.errors import SearchError
from tuilab.process.headless import held_signals
from tuilab.process.launch import Options
from tuilab.scenario.scenario import Scenario
from tuilab.scenario.search.ranges import chosen_range
from tuilab.search import folder as folders
from tuilab.search.extras import need
from tuilab.search.folder import StudyFolder, StudyInfo, scenario_of, search_settings
from tuilab.search.points import check_space
from tuilab.search.pools import LocalPool, Pool, check_address
from tuilab.search.results import SearchResult
from tuilab.search.search_loop import Listener, SearchLoop, SearchPlan
from tuilab.toml_structs import located, read


class SearchOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The options of the command line that are not part of the scenario."""

    jobs: int | None = None
    trials: int | None = None
    ranges: tuple[str, ...] = ()
    extend: bool = False
    cluster: str = ""


def new_folder(
    scenario: Scenario, path: Path | None, storage: str, options: Options
) -> StudyFolder:
    """Create the folder of a new search. Raises ScenarioError, SearchError."""
    try:
        check_space(scenario, search_settings(scenario))
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
    """Return the name under which machines that search the same scenario share a study.

    A different number of trials or heartbeat is the same search; any other change is a new one.
    """
    table = dict(scenario.table)
    table["search"] = {k: v for k, v in table["search"].items() if k not in ("trials", "heartbeat")}
    digest = hashlib.sha256(to_json(table).encode()).hexdigest()[:6]
    return f"{scenario.name}-{digest}"


def find_resumable(path: Path | None, scenario: Path | None) -> StudyFolder:
    """Return the search for --resume: the folder `path`, or the newest one of `scenario`."""
    if path is not None:
        folder = StudyFolder(path)
        folder.info()
        return folder
    name = scenario.stem if scenario is not None else None
    matching = [other for other in folders.find_all() if name in (None, other.info().scenario)]
    if not matching:
        of = f" of {name}" if name else ""
        raise SearchError(f"no search{of} to resume under runs/; leave out --resume to start one")
    return matching[-1]


def search(
    folder: StudyFolder, options: SearchOptions, listener: Listener, threads: int = 1
) -> SearchResult:
    """Begin or resume a search, and run it until it is complete or a signal arrives."""
    need("optuna")
    from tuilab.search.storage import Storage, storage_errors

    with ExitStack() as stack:
        stack.enter_context(folder.hold())
        with removed_on_error(folder):
            check_options(folder, options)
            info = save_options(folder, options, pid=os.getpid())
            plan = _plan(folder, info, threads)
            heartbeat = plan.search.heartbeat if plan.shared else None
            storage = Storage(folder.storage_url(), info.study, heartbeat=heartbeat)
            stack.callback(storage.close)
            pool = _pool(options)
            stack.callback(pool.close)
        stop = stack.enter_context(held_signals())
        stack.enter_context(storage_errors(folder.storage_url()))
        result = SearchLoop(plan, storage, pool, stop, listener).run()
    return replace(result, folder=str(folder.path))  # the path as the user gave it


def search_in_background(folder: StudyFolder, options: SearchOptions) -> "subprocess.Popen[bytes]":
    """Begin or resume a search in a process that outlives this one; its output goes to the log."""
    with removed_on_error(folder):
        check_options(folder, options)
    save_options(folder, options)
    arguments = ["--resume", "--out", str(folder.path), "--headless"]
    for name, value in (("jobs", options.jobs), ("trials", options.trials)):
        arguments += [f"--{name}={value}"] if value else []
    arguments += [f"--range={text}" for text in options.ranges]
    arguments += ["--extend"] * options.extend
    arguments += [f"--cluster={options.cluster}"] if options.cluster else []
    with folder.log.open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "tuilab.cli.main", "search", "start", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env=os.environ,
        )


@contextmanager
def removed_on_error(folder: StudyFolder) -> Iterator[None]:
    """Remove a newly created folder if its search cannot begin.

    A folder with a log is kept: the log shows the error to the view that started the search.
    """
    new = not folder.info().pid and not folder.log.exists()
    try:
        yield
    except TuilabError:
        if new:
            folder.remove()
        raise


def check_options(folder: StudyFolder, options: SearchOptions) -> None:
    """Check the options against the scenario. Raises SearchError."""
    space = search_settings(scenario_of(folder)).stages[0].space
    for text in options.ranges:
        chosen_range(text, space)
    if options.cluster:
        check_address(options.cluster)


def save_options(folder: StudyFolder, options: SearchOptions, pid: int | None = None) -> StudyInfo:
    """Save the options for --resume and `search show`; those not given keep their values."""
    info = folder.info()
    info = msgspec.structs.replace(
        info,
        trials=options.trials or info.trials,
        ranges=options.ranges or info.ranges,
        extend=options.extend or info.extend,
        pid=info.pid if pid is None else pid,
    )
    folder.write(info)
    return info


def _plan(folder: StudyFolder, info: StudyInfo, threads: int) -> SearchPlan:
    scenario = scenario_of(folder)
    space = search_settings(scenario).stages[0].space
    return SearchPlan(
        scenario=scenario,
        folder=StudyFolder(folder.path.resolve()),
        options=Options(info.backend, info.data_dir, threads, checkpoints=False, tied=True),
        trials=info.trials,
        ranges=dict(chosen_range(text, space) for text in info.ranges),
        extend=info.extend,
        shared=bool(info.storage),
    )


def _pool(options: SearchOptions) -> Pool:
    if not options.cluster:
        return LocalPool(options.jobs or usable_cores())
    need("distributed")
    from tuilab.search.cluster import DaskPool

    return DaskPool(options.cluster, options.jobs)
