"""One study on several machines: lost ones, whose trials are tried again, and none run twice."""

import json
import os
import signal
import subprocess
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.tuilab.conftest import Cli
from tests.tuilab.search.conftest import Cluster
from tests.tuilab.search.support import LR, searching
from tests.tuilab.support import command, environment, steps_made, wait_for, write_scenario
from tuilab.record.run_folder import RunFolder

TRIALS = 6
FEW = 4  # of long trials: more than there are workers
LONG = 8_000  # steps that take longer than a trial's process takes to start


def scenario(lab: Path, steps: int = 3000, trials: int = TRIALS) -> Path:
    table = searching(trials=trials, objective="loss.data", heartbeat=1)
    table["search"].pop("epochs")
    return write_scenario(lab / "x.toml", table | {"train": {"steps": steps}})


def begin(lab: Path, *arguments: str | Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        command("search", *arguments, "--headless", "--json"),
        cwd=lab, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def running(folder: Path) -> list[RunFolder]:
    """The runs of a search that are on their way."""
    runs = [RunFolder(lock.parent) for lock in folder.glob("trials/*/worker.lock")]
    return [run for run in runs if run.is_alive() and run.database.exists() and steps_made(run)]


def ended(process: "subprocess.Popen[str]") -> dict[str, Any]:
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    found: dict[str, Any] = json.loads(out)
    return found


def check(found: dict[str, Any], trials: int = TRIALS) -> Counter[str]:
    """Check that each point was trained to its end once; return how many trials are in a state."""
    (stage,) = found["stages"]
    done = [trial for trial in stage["trials"] if trial["state"] == "complete"]
    assert len(done) == trials
    assert len({trial["parameters"][LR] for trial in done}) == trials
    first = [trial for trial in stage["trials"] if trial["retry_of"] is None]
    assert len(first) == trials
    for trial in stage["trials"]:
        if trial["retry_of"] is not None:
            lost = stage["trials"][trial["retry_of"]]
            assert (lost["state"], lost["parameters"]) == ("lost", trial["parameters"])
    return Counter(trial["state"] for trial in stage["trials"])


def test_machines_share_a_study_on_a_server_and_one_of_them_is_lost(
    lab: Path, postgres: str
) -> None:
    path = scenario(lab)
    kept = begin(lab, path, "--jobs", "1", "--storage", postgres, "--out", "kept")
    lost = begin(lab, path, "--jobs", "1", "--storage", postgres, "--out", "lost")
    wait_for(lambda: running(lab / "lost"))
    os.kill(lost.pid, signal.SIGKILL)
    lost.communicate(timeout=30)
    states = check(ended(kept))
    assert states["lost"] == 1
    wait_for(lambda: not running(lab / "lost"))  # its training ended with it


def test_a_finished_study_is_not_searched_again(lab: Path, cli: Cli, postgres: str) -> None:
    path = write_scenario(lab / "y.toml", searching(trials=2))
    ended(begin(lab, path, "--storage", postgres, "--out", "first"))
    found = ended(begin(lab, path, "--storage", postgres, "--out", "second"))
    (stage,) = found["stages"]
    assert len(stage["trials"]) == 2
    assert not list((lab / "second/trials").iterdir())
    code, out, _ = cli("search", "show", "second")
    assert code == 0
    assert "2 of 2 trials complete" in out


def test_a_cluster_runs_the_trials_and_one_of_its_workers_is_lost(
    lab: Path, cluster: Cluster
) -> None:
    path = scenario(lab, LONG, FEW)
    search = begin(lab, path, "--cluster", cluster.address, "--out", "s")
    wait_for(lambda: len(running(lab / "s")) == 2)  # one on each worker
    cluster.workers[0].kill()
    states = check(ended(search), FEW)
    assert states == {"complete": FEW}  # Dask itself gave the lost trial to the other worker


def test_an_interrupted_search_leaves_nothing_on_the_cluster(lab: Path, cluster: Cluster) -> None:
    search = begin(lab, scenario(lab), "--cluster", cluster.address, "--out", "s")
    wait_for(lambda: running(lab / "s"))
    search.send_signal(signal.SIGINT)
    _, err = search.communicate(timeout=60)
    assert search.returncode == 130
    assert "Traceback" not in err
    assert running(lab / "s") == []
    for worker in cluster.workers:
        worker.kill()
        worker.wait(timeout=30)
    again = begin(lab, "--resume", "--cluster", cluster.address, "--out", "s")
    _, err = again.communicate(timeout=60)
    assert again.returncode == 2
    assert "has no workers" in err


@pytest.mark.skipif(find_spec("distributed") is None, reason="needs distributed")
def test_without_a_scheduler_it_is_said(lab: Path) -> None:
    search = begin(lab, scenario(lab), "--cluster", "tcp://127.0.0.1:1", "--out", "s")
    _, err = search.communicate(timeout=60)
    assert search.returncode == 2
    assert "no Dask scheduler at tcp://127.0.0.1:1" in err
    assert "Traceback" not in err


@pytest.mark.skipif(find_spec("psycopg") is None, reason="needs psycopg")
def test_a_server_that_is_not_there_is_told_without_the_password(lab: Path, cli: Cli) -> None:
    code, _, err = cli(
        "search", scenario(lab), "--headless", "--storage", "postgresql://x:secret@127.0.0.1:1/x"
    )
    assert code == 2
    assert "cannot open the study at postgresql://127.0.0.1:1/x" in err
    assert "secret" not in err


def test_a_server_that_goes_away_ends_the_search_in_words(lab: Path, postgres: str) -> None:
    import psycopg

    with psycopg.connect(postgres, autocommit=True) as server:
        server.execute("CREATE ROLE guest LOGIN; GRANT ALL ON SCHEMA public TO guest")
        server.execute("CREATE DATABASE guests OWNER guest")
        url = postgres.replace("tuilab@", "guest@").replace("/postgres", "/guests")
        search = begin(lab, scenario(lab), "--jobs", "1", "--storage", url, "--out", "s")
        wait_for(lambda: running(lab / "s"))
        server.execute("ALTER ROLE guest NOLOGIN")
        server.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'guest'"
        )
        _, err = search.communicate(timeout=60)
    assert search.returncode == 2
    assert "Traceback" not in err
    assert "is no longer reachable" in err
    wait_for(lambda: not running(lab / "s"))
