"""`tuilab data fetch`: download data sets from their publishers, checked by SHA-256.

Files are written completely or not at all, and complete files are kept, so that a second call
continues an interrupted one.
"""

import hashlib
import tarfile
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from types import ModuleType
from typing import Any, Final, TextIO
from urllib.parse import urlsplit

from engine.errors import unknown_name
from tuilab.errors import FetchError, missing_package

TIMEOUT: Final = 30.0  # seconds without a byte


@dataclass(frozen=True, slots=True)
class Remote:
    """Files at `url` (name → SHA-256) that are stored in `folder` of the data folder.

    `unpacked` are the files to extract from an archive (name → size in bytes); the archive is
    then deleted.
    """

    url: str
    folder: str
    files: Mapping[str, str]
    unpacked: Mapping[str, int] = field(default_factory=dict)


CATALOG: Final[dict[str, Remote]] = {
    "cifar10": Remote(
        "https://www.cs.toronto.edu/~kriz/",
        ".",
        {
            "cifar-10-binary.tar.gz": (
                "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"
            )
        },
        dict.fromkeys(
            (
                *(f"cifar-10-batches-bin/data_batch_{number}.bin" for number in range(1, 6)),
                "cifar-10-batches-bin/test_batch.bin",
            ),
            10_000 * (1 + 3 * 32 * 32),
        ),
    ),
    "mnist": Remote(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "mnist",
        {
            "train-images-idx3-ubyte.gz": (
                "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"
            ),
            "train-labels-idx1-ubyte.gz": (
                "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"
            ),
            "t10k-images-idx3-ubyte.gz": (
                "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"
            ),
            "t10k-labels-idx1-ubyte.gz": (
                "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"
            ),
        },
    ),
    "fashion_mnist": Remote(
        # http, because an S3 website has no https; the hashes protect the content
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "fashion_mnist",
        {
            "train-images-idx3-ubyte.gz": (
                "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"
            ),
            "train-labels-idx1-ubyte.gz": (
                "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"
            ),
            "t10k-images-idx3-ubyte.gz": (
                "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"
            ),
            "t10k-labels-idx1-ubyte.gz": (
                "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"
            ),
        },
    ),
}


class Bar:
    """Progress of a download on one line of a terminal; pooch calls these methods."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = monotonic) -> None:
        self._stream, self._clock = stream, clock
        self._done, self._next = 0, 0.0
        self.total = 0  # bytes; 0 if unknown

    def update(self, size: int) -> None:
        self._done += size
        if (now := self._clock()) >= self._next:
            self._next = now + 0.2
            of = f" of {self.total / 1e6:.1f}" if self.total else ""
            self._stream.write(f"\r  {min(self._done, self.total or self._done) / 1e6:.1f}{of} MB ")
            self._stream.flush()

    def reset(self) -> None:
        self._done = 0

    def close(self) -> None:
        """Clear the line. May be called twice."""
        self._stream.write("\r\x1b[K")
        self._stream.flush()


def fetch(
    name: str,
    folder: Path,
    report: Callable[[str], None],
    make_bar: Callable[[], Bar] | None = None,
) -> None:
    """Download the missing files of the data set `name` into `folder`. Raises FetchError.

    `report` receives lines for the user.
    """
    if name not in CATALOG:
        raise FetchError(unknown_name("data set", name, CATALOG))
    remote = CATALOG[name]
    target = folder / remote.folder
    try:
        if remote.unpacked and _is_unpacked(remote, target):
            report(f"{name}: already complete")
            return
        target.mkdir(parents=True, exist_ok=True)
        for file, sha256 in remote.files.items():
            path = target / file
            if path.is_file() and _sha256(path) == sha256:
                report(f"{name}: {file} already exists")
            else:
                report(f"{name}: {remote.url}{file}")
                _download(remote.url + file, path, sha256, make_bar and make_bar())
            if remote.unpacked:
                _unpack(path, target, remote.unpacked)
                path.unlink()
    except OSError as error:
        raise FetchError(f"cannot write {error.filename or target}: {error.strerror}") from error


def _is_unpacked(remote: Remote, target: Path) -> bool:
    return all(
        (path := target / name).is_file() and path.stat().st_size == size
        for name, size in remote.unpacked.items()
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _download(url: str, path: Path, sha256: str, bar: Bar | None) -> None:
    pooch = _import_pooch()
    import requests  # the library that pooch downloads with

    pooch.get_logger().setLevel("WARNING")
    downloader = pooch.HTTPDownloader(
        progressbar=bar or False, timeout=TIMEOUT, headers={"Accept-Encoding": "identity"}
    )
    try:
        pooch.retrieve(url, f"sha256:{sha256}", path.name, path.parent, downloader=downloader)
    except requests.RequestException as error:  # a subclass of OSError
        raise FetchError(
            f"cannot download {url}: {_reason(error, url)}. Try again when the network is "
            "available (complete files are kept), or get the file elsewhere, copy it to "
            f"{path.parent}, and run this command again"
        ) from error
    except ValueError as error:
        raise FetchError(
            f"{url} has changed: its SHA-256 is not {sha256}. The file was not kept; try again, "
            "and do not use it if the error persists"
        ) from error
    finally:
        if bar is not None:
            bar.close()
    path.chmod(0o644)  # temporary files are readable by their owner only


def _import_pooch() -> ModuleType:
    try:
        import pooch
    except ImportError as error:
        raise FetchError(missing_package("tuilab data fetch needs pooch", "pooch")) from error
    return pooch  # type: ignore[no-any-return]


def _reason(error: Any, url: str) -> str:
    """Return a short reason why a download failed; the messages of requests fill four lines."""
    from requests import exceptions

    if error.response is not None:
        return f"the server answered {error.response.status_code} {error.response.reason}"
    if isinstance(error, exceptions.Timeout):
        return f"no answer for {TIMEOUT:g} s"
    if isinstance(error, exceptions.ChunkedEncodingError):
        return "the connection was lost"
    if isinstance(error, exceptions.SSLError):
        return f"no secure connection ({error})"
    return f"no connection to {urlsplit(url).hostname}"


def _unpack(archive: Path, target: Path, sizes: Mapping[str, int]) -> None:
    """Extract the files in `sizes` (name → bytes), completely or not at all."""
    missing = set(sizes)
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                source = tar.extractfile(member) if member.name in missing else None
                if source is None or member.size != sizes[member.name]:
                    continue
                path = target / member.name
                path.parent.mkdir(parents=True, exist_ok=True)
                _write(path, source.read())
                missing.remove(member.name)
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise FetchError(f"{archive} cannot be unpacked: {error}") from error
    if missing:
        raise FetchError(f"{archive} lacks {', '.join(sorted(missing))}, or its size is wrong")


def _write(path: Path, content: bytes) -> None:
    scratch = path.with_name(f".{path.name}.part")
    try:
        scratch.write_bytes(content)
        scratch.replace(path)
    finally:
        with suppress(OSError):
            scratch.unlink(missing_ok=True)
