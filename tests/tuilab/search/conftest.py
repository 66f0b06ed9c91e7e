"""Servers that a search can use: a real PostgreSQL, and a real Dask scheduler with two workers."""

import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.tuilab.support import environment, wait_for

OWNERS = ("postgres", "nobody")  # PostgreSQL refuses to run as root


def binary(name: str) -> str | None:
    """Find a program of PostgreSQL, which distributions keep out of the path."""
    places = [Path(found).parent for found in [shutil.which(name)] if found]
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((str(place / name) for place in places if (place / name).is_file()), None)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of an empty database on a server of its own."""
    if find_spec("psycopg") is None:
        pytest.skip("needs psycopg: pip install 'tuilab[postgres]'")
    initdb, server = binary("initdb"), binary("postgres")
    if initdb is None or server is None:
        pytest.skip("needs the programs of a PostgreSQL server: initdb, postgres")
    owner: dict[str, Any] = {}
    folder = Path(tempfile.mkdtemp(prefix="tuilab-postgres-"))
    if os.geteuid() == 0:
        names = [entry.pw_name for entry in pwd.getpwall()]
        name = next((each for each in OWNERS if each in names), None)
        if name is None:
            pytest.skip("PostgreSQL refuses to run as root, and there is no user postgres")
        user = pwd.getpwnam(name)
        os.chown(folder, user.pw_uid, user.pw_gid)
        owner = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    data, port = str(folder / "data"), free_port()
    how = {"cwd": folder, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, **owner}
    subprocess.run([initdb, "-D", data, "-U", "tuilab", "-A", "trust", "-N"], check=True, **how)
    settings = {"fsync": "off", "listen_addresses": "127.0.0.1", "unix_socket_directories": ""}
    options = [word for key, value in settings.items() for word in ("-c", f"{key}={value}")]
    process = subprocess.Popen([server, "-D", data, "-p", str(port), *options], **how)
    try:
        wait_for(lambda: answers(port))
        yield f"postgresql://tuilab@127.0.0.1:{port}/postgres"
    finally:
        process.terminate()
        process.wait(timeout=30)
        shutil.rmtree(folder, ignore_errors=True)


def answers(port: int) -> bool:
    import psycopg

    try:
        with psycopg.connect(host="127.0.0.1", port=port, user="tuilab", dbname="postgres"):
            return True
    except psycopg.OperationalError:
        return False


@dataclass
class Cluster:
    """A scheduler and its workers."""

    address: str
    workers: list["subprocess.Popen[bytes]"]


@pytest.fixture
def cluster(lab: Path) -> Iterator[Cluster]:
    """A Dask scheduler with two workers of one thread, without nannies to revive them."""
    if find_spec("distributed") is None:
        pytest.skip("needs distributed: pip install 'tuilab[cluster]'")
    address = f"tcp://127.0.0.1:{free_port()}"
    log = (lab / "dask.log").open("wb")

    def begin(*arguments: str) -> "subprocess.Popen[bytes]":
        dask = [sys.executable, "-m", "dask", *arguments, "--no-dashboard"]
        return subprocess.Popen(dask, cwd=lab, env=environment(), stdout=log, stderr=log)

    scheduler = begin("scheduler", "--host", "127.0.0.1", "--port", address.rpartition(":")[2])
    options = ("--nthreads", "1", "--no-nanny", "--local-directory", str(lab / "dask"))
    workers = [begin("worker", address, *options) for _ in range(2)]
    joined = b"Registered to"
    try:
        wait_for(lambda: (lab / "dask.log").read_bytes().count(joined) >= 2)
        yield Cluster(address, workers)
    finally:
        for process in (*workers, scheduler):
            process.kill()
            process.wait(timeout=30)
        log.close()
