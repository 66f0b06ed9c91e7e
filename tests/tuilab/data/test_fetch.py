"""`tuilab data fetch` from a server on this machine: what is kept, checked and refused."""

import hashlib
import io
import sys
import tarfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

from engine.data.sources.cifar10 import FOLDER, RECORD, Cifar10
from engine.data.sources.mnist import Mnist
from tests.engine.data.idx_files import write_split
from tests.tuilab.conftest import Cli
from tests.tuilab.support import small, write_scenario
from tuilab.data import fetch
from tuilab.data.fetch import CATALOG, Bar, Remote
from tuilab.data.folder import data_folder
from tuilab.errors import FetchError

pytest.importorskip("pooch")


class Site(ThreadingHTTPServer):
    """Serves `files` by path; those in `cut` break off half-way. Remembers what was asked for."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.files: dict[str, bytes] = {}
        self.cut: set[str] = set()
        self.asked: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_port}/"


class Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        site = self.server
        assert isinstance(site, Site)
        name = self.path.removeprefix("/")
        site.asked.append(name)
        if name not in site.files:
            self.send_error(404)
            return
        content = site.files[name]
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if name in site.cut else content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = Site()
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def mnist(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """A small MNIST, at its home and in the catalogue."""
    for split, labels in (("train", [3, 1, 4]), ("t10k", [5])):
        write_split(tmp_path / "home", split, labels, packed=True)
    site.files = {path.name: path.read_bytes() for path in sorted((tmp_path / "home").iterdir())}
    hashes = {name: sha256(content) for name, content in site.files.items()}
    monkeypatch.setitem(CATALOG, "mnist", Remote(site.url, "mnist", hashes))
    return site.files


@pytest.fixture
def cifar10(site: Site, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """A small CIFAR-10 in an archive, with files in it that nobody wants; its wanted members."""
    batches = {
        f"{FOLDER}/{name}.bin": bytes([label]) + bytes(RECORD - 1)
        for label, name in enumerate(["data_batch_1", "data_batch_2", "test_batch"])
    }
    unwanted = {f"{FOLDER}/readme.html": b"<p>", "../escape.bin": b"x", "/abs.bin": b"x"}
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, content in (batches | unwanted).items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    name = "cifar-10-binary.tar.gz"
    site.files = {name: packed.getvalue()}
    sizes = dict.fromkeys(batches, RECORD)
    remote = Remote(site.url, ".", {name: sha256(packed.getvalue())}, sizes)
    monkeypatch.setitem(CATALOG, "cifar10", remote)
    return batches


def left(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_files_go_to_the_folder_of_this_user_where_sources_look(
    cli: Cli, mnist: dict[str, bytes]
) -> None:
    code, out, err = cli("data", "fetch", "mnist")
    assert (code, out) == (0, f"mnist is in {data_folder()}\n")
    assert "train-images-idx3-ubyte.gz" in err
    assert left(data_folder() / "mnist") == mnist
    loaded = Mnist().load(generator=np.random.default_rng(0), directory=data_folder())
    assert loaded.train.y.tolist() == [3, 1, 4]


@pytest.mark.parametrize("way", ["option", "variable"])
def test_or_to_a_folder_that_is_named(
    cli: Cli, mnist: dict[str, bytes], lab: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    if way == "variable":
        monkeypatch.setenv("TUILAB_DATA", "mine")
    code, _, _ = cli("data", "fetch", "mnist", *(["--to", "mine"] if way == "option" else []))
    assert code == 0
    assert left(lab / "mine" / "mnist") == mnist


def test_what_is_complete_is_kept_and_the_rest_fetched(
    cli: Cli, site: Site, mnist: dict[str, bytes], lab: Path
) -> None:
    t10k_images, t10k_labels, train_images, train_labels = mnist
    site.cut.add(train_images)
    assert cli("data", "fetch", "mnist", "--to", "d")[0] == 2
    whole = left(lab / "d" / "mnist")
    assert whole == {name: mnist[name] for name in (t10k_images, t10k_labels)}
    (lab / "d" / "mnist" / t10k_labels).write_bytes(b"damaged since")
    site.cut.clear()
    for again in ([t10k_labels, train_images, train_labels], []):
        site.asked.clear()
        assert cli("data", "fetch", "mnist", "--to", "d")[0] == 0
        assert site.asked == again
        assert left(lab / "d" / "mnist") == mnist


def test_an_archive_is_unpacked_and_not_kept(
    cli: Cli, site: Site, cifar10: dict[str, bytes], lab: Path
) -> None:
    assert cli("data", "fetch", "cifar10", "--to", "d")[0] == 0
    assert left(lab / "d") == cifar10
    loaded = Cifar10().load(generator=np.random.default_rng(0), directory=lab / "d")
    assert loaded.train.y.tolist() == [0, 1]
    assert not (lab / "escape.bin").exists()
    code, _, err = cli("data", "fetch", "cifar10", "--to", "d")
    assert (code, len(site.asked)) == (0, 1)
    assert "already complete" in err


def test_an_archive_is_unpacked_again_where_a_file_was_cut(
    cli: Cli, cifar10: dict[str, bytes], lab: Path
) -> None:
    (lab / "d" / FOLDER).mkdir(parents=True)
    (lab / "d" / FOLDER / "data_batch_1.bin").write_bytes(b"cut")
    assert cli("data", "fetch", "cifar10", "--to", "d")[0] == 0
    assert left(lab / "d") == cifar10


def test_a_file_that_was_brought_by_hand_needs_no_network(
    cli: Cli, site: Site, cifar10: dict[str, bytes], lab: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pooch", None)
    (lab / "d").mkdir()
    for name, content in site.files.items():
        (lab / "d" / name).write_bytes(content)
    assert cli("data", "fetch", "cifar10", "--to", "d")[0] == 0
    assert left(lab / "d") == cifar10
    assert site.asked == []


def test_a_wrong_hash_is_refused_and_nothing_kept(
    cli: Cli, site: Site, mnist: dict[str, bytes], lab: Path
) -> None:
    for name in mnist:
        site.files[name] = b"something else"
    code, out, err = cli("data", "fetch", "mnist", "--to", "d")
    assert (code, out) == (2, "")
    assert "has changed: its SHA-256 is not" in err
    assert left(lab / "d") == {}


def test_a_connection_that_breaks_off_is_said_and_leaves_nothing(
    cli: Cli, site: Site, cifar10: dict[str, bytes], lab: Path
) -> None:
    site.cut |= set(site.files)
    code, out, err = cli("data", "fetch", "cifar10", "--to", "d")
    assert (code, out) == (2, "")
    assert "cifar-10-binary.tar.gz: the connection was lost. Try again" in err
    assert left(lab / "d") == {}


def test_a_host_that_cannot_be_reached_is_said_with_what_to_do(
    cli: Cli, site: Site, mnist: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = Site()
    closed.server_close()  # its port is free again, and nobody answers
    remote = Remote(closed.url, "mnist", CATALOG["mnist"].files)
    monkeypatch.setitem(CATALOG, "mnist", remote)
    code, out, err = cli("data", "fetch", "mnist", "--to", "d")
    assert (code, out) == (2, "")
    assert "no connection to 127.0.0.1. Try again when the network is available" in err
    assert "HTTPConnectionPool" not in err


def test_a_file_that_is_gone_is_said_with_the_answer(
    cli: Cli, site: Site, mnist: dict[str, bytes]
) -> None:
    site.files.clear()
    code, _, err = cli("data", "fetch", "mnist", "--to", "d")
    assert code == 2
    assert "the server answered 404 Not Found" in err


def test_without_pooch_it_says_how_to_get_it(
    cli: Cli, mnist: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pooch", None)
    code, out, err = cli("data", "fetch", "mnist", "--to", "d")
    assert (code, out) == (2, "")
    assert "-m pip install pooch" in err


def test_an_unknown_name_gets_the_nearest(cli: Cli) -> None:
    code, _, err = cli("data", "fetch", "cifar100")
    assert code == 2
    assert "did you mean 'cifar10'? (allowed: cifar10, fashion_mnist, mnist)" in err


def test_a_folder_that_cannot_be_made_is_named(
    cli: Cli, mnist: dict[str, bytes], lab: Path
) -> None:
    (lab / "d").write_text("a file")
    code, _, err = cli("data", "fetch", "mnist", "--to", "d")
    assert code == 2
    assert "cannot write d" in err


def test_an_archive_that_lacks_a_file_is_refused(
    cli: Cli, site: Site, cifar10: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, lab: Path
) -> None:
    remote = CATALOG["cifar10"]
    wanted = {**remote.unpacked, f"{FOLDER}/data_batch_3.bin": RECORD}
    more = Remote(remote.url, ".", remote.files, wanted)
    monkeypatch.setitem(CATALOG, "cifar10", more)
    code, _, err = cli("data", "fetch", "cifar10", "--to", "d")
    assert code == 2
    assert f"lacks {FOLDER}/data_batch_3.bin" in err


def test_an_archive_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.tar.gz").write_bytes(b"no archive")
    with pytest.raises(FetchError, match="cannot be unpacked"):
        fetch._unpack(tmp_path / "a.tar.gz", tmp_path, {"a": 1})


def test_the_catalogue_names_whole_hashes_and_homes() -> None:
    for remote in CATALOG.values():
        assert remote.url.startswith("http")
        assert remote.url.endswith("/")
        assert all(len(bytes.fromhex(known)) == 32 for known in remote.files.values())


def test_the_bar_says_how_far_it_is_and_goes_away() -> None:
    out, times = io.StringIO(), iter([0.0, 0.1, 0.3])
    bar = Bar(out, lambda: next(times))
    bar.total = 4_000_000
    for _ in range(3):
        bar.update(1_000_000)
    assert out.getvalue() == "\r  1.0 of 4.0 MB \r  3.0 of 4.0 MB "
    bar.close()
    assert out.getvalue().endswith("\r\x1b[K")


def test_a_run_finds_what_was_fetched(cli: Cli, mnist: dict[str, bytes], lab: Path) -> None:
    table = small() | {"data": {"source": "mnist", "batch_size": 3, "validation": "test"}}
    write_scenario(lab / "s.toml", table)
    code, _, err = cli("run", "s.toml", "--headless")
    assert code == 2
    assert f"no mnist in {data_folder()}" in err
    assert "tuilab data fetch mnist --to" in err
    assert cli("data", "fetch", "mnist")[0] == 0
    assert cli("run", "s.toml", "--headless")[0] == 0
