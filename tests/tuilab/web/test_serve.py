"""The view in a browser: real servers and views, a client that speaks as a page does, Chromium."""

import asyncio
import json
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.tuilab.conftest import Cli, prepare
from tests.tuilab.screen import Screen
from tests.tuilab.support import (
    FOREVER,
    command,
    environment,
    kill_workers,
    small,
    steps_made,
    wait_for,
    write_scenario,
)
from tuilab.errors import RunError
from tuilab.record.run_folder import RunFolder
from tuilab.web.serve import full_command

aiohttp = pytest.importorskip("aiohttp", reason="textual-serve is not installed")
pytest.importorskip("textual_serve")

from tuilab.web.server import LARGEST, SMALLEST, limited_size  # noqa: E402 - after what it needs

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished run."""
    folder = tmp_path_factory.mktemp("finished")
    write_scenario(folder / "small.toml")
    prepare(folder, ("run", "small.toml", "--headless", "--json", "--out", "run"))
    return folder


@pytest.fixture
def run(prepared: Path, lab: Path) -> RunFolder:
    """That run, of which each test has a copy."""
    shutil.copytree(prepared, lab, dirs_exist_ok=True)
    return RunFolder(lab / "run")


@pytest.fixture
def live(lab: Path) -> Iterator[RunFolder]:
    """A run that goes on."""
    folder = RunFolder(lab / "live")
    write_scenario(lab / "endless.toml", small(train={"steps": FOREVER}))
    training = subprocess.Popen(
        command("run", "endless.toml", "--headless", "--out", folder.path),
        cwd=lab,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_for(lambda: folder.is_alive() and steps_made(folder) > 0)
    yield folder
    kill_workers(lab)
    training.kill()
    training.wait()


class Site:
    """A server that runs, and the views that it has started."""

    def __init__(self, lab: Path, *words: str | Path) -> None:
        with socket.socket() as free:
            free.bind(("localhost", 0))
            self.port = free.getsockname()[1]
        self.process = subprocess.Popen(
            command("serve", "--port", str(self.port), *words),
            cwd=lab,
            env=environment(),
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stderr is not None
        self.said = self.process.stderr.readline()

    @property
    def views(self) -> list[int]:
        found = subprocess.run(
            ["pgrep", "-P", str(self.process.pid)], capture_output=True, text=True, check=False
        )
        return [int(pid) for pid in found.stdout.split()]

    @asynccontextmanager
    async def visit(self, origin: str | None = None, size: str = "") -> AsyncIterator[Any]:
        origin = f"http://localhost:{self.port}" if origin is None else origin
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(
                f"http://localhost:{self.port}/ws{size}",
                headers={"Origin": origin} if origin else {},
            ) as page,
        ):
            yield page


Serve = Callable[..., Site]


@pytest.fixture
def serve(lab: Path) -> Iterator[Serve]:
    sites: list[Site] = []

    def start(*words: str | Path) -> Site:
        sites.append(Site(lab, *words))
        return sites[-1]

    yield start
    for site in sites:
        site.process.kill()
        site.process.communicate()


async def shown(page: Any, text: str) -> None:
    """Read what a page gets until `text` is on it."""
    screen = page.__dict__.setdefault("screen", Screen())
    async with asyncio.timeout(30):
        while text not in screen.text:
            message = await page.receive()
            assert message.type == aiohttp.WSMsgType.BINARY, message
            screen.feed(message.data)


def is_gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


def test_what_a_visitor_gets_can_be_said_shortly(run: RunFolder, live: RunFolder) -> None:
    assert full_command([]) == ["tour"]
    assert full_command(["replay", "run"]) == ["replay", "run"]
    assert full_command(["small.toml", "--steps", "3"]) == ["run", "small.toml", "--steps", "3"]
    assert full_command(["small"]) == ["run", "small.toml"]
    assert full_command([str(run.path)]) == ["replay", str(run.path)]
    assert full_command([str(live.path)]) == ["attach", str(live.path)]
    with pytest.raises(RunError, match="'nothing' is not a scenario, a run or one of tour, run"):
        full_command(["nothing"])


def test_where_nobody_can_listen_it_is_port_file(cli: Cli, run: RunFolder) -> None:
    with socket.create_server(("localhost", 0)) as taken:
        code, _, err = cli("serve", "--port", str(taken.getsockname()[1]), "replay", "run")
    assert code == 2
    assert "cannot listen on localhost:" in err


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        ((133, 44), (133, 44)),
        ((10**7, 10**6), LARGEST),
        ((0, -3), SMALLEST),
        ((99.7, 20.2), (99, 20)),
    ],
)
def test_sizes_are_kept_limited_size(asked: tuple[int, int], given: tuple[int, int]) -> None:
    assert limited_size(*asked) == given


async def test_a_visitor_looks_presses_keys_and_leaves(serve: Serve, run: RunFolder) -> None:
    site = serve(run.path)
    assert f"http://localhost:{site.port} shows tuilab replay" in site.said
    async with site.visit(size="?width=120&height=36") as page:
        await shown(page, "finished")
        (view,) = site.views
        for size in ((None, None), (1e9, 1e9), (100, 30)):
            await page.send_json(["resize", {"width": size[0], "height": size[1]}])
        await page.send_str('["resize", {"width": Infinity, "height": NaN}]')
        await page.send_json(["stdin", "?"])
        await shown(page, "fwd →")
        async with site.visit() as other:
            await shown(other, "finished")
            assert len(site.views) == 2  # each has one of their own
        await page.send_json(["stdin", "\x1b"])
        await asyncio.sleep(0.5)
        await page.send_json(["stdin", "q"])
        async with asyncio.timeout(30):
            while (message := await page.receive()).type == aiohttp.WSMsgType.BINARY:
                pass
        assert message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSING)
    wait_for(lambda: is_gone(view) and not site.views)


async def test_a_visitor_who_vanishes_takes_the_view_along_and_not_the_run(
    serve: Serve, live: RunFolder
) -> None:
    site = serve(live.path)
    async with site.visit() as page:
        await shown(page, "running")
        (view,) = site.views
        page._response.connection.transport.abort()  # as a lost network: no word of farewell
    await asyncio.to_thread(wait_for, lambda: is_gone(view))
    before = steps_made(live)
    await asyncio.to_thread(wait_for, lambda: steps_made(live) > before)


@pytest.mark.parametrize("end", ["interrupt", "kill"])
async def test_a_server_that_ends_leaves_no_view_behind(
    serve: Serve, live: RunFolder, end: str
) -> None:
    site = serve(live.path)
    async with site.visit() as page:
        await shown(page, "running")
        (view,) = site.views
        site.process.send_signal(2 if end == "interrupt" else 9)
        code = await asyncio.to_thread(site.process.wait, 30)
        await asyncio.to_thread(wait_for, lambda: is_gone(view))
    assert code == (0 if end == "interrupt" else -9)
    assert live.is_alive()


async def test_pages_of_other_sites_may_not_connect(serve: Serve, run: RunFolder) -> None:
    site = serve(run.path)
    for origin in ("", "http://evil.example", "http://localhost:1", "null"):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            async with site.visit(origin):
                pass
        assert refused.value.status == 403, origin
        assert site.views == []


@asynccontextmanager
async def browser(lab: Path, address: str) -> AsyncIterator[Callable[..., Any]]:
    """Open a page in a browser without a window; yield what evaluates JavaScript in it."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"no browser here: none of {', '.join(BROWSERS)}")
    arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1000,700"]
    arguments += ["--remote-debugging-port=0", f"--user-data-dir={lab / 'browser'}"]
    process = subprocess.Popen(
        [found, *arguments, address], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        port_file = lab / "browser" / "DevToolsActivePort"
        await asyncio.to_thread(
            wait_for, lambda: port_file.exists() and port_file.read_text().count("\n")
        )
        port = int(port_file.read_text().split()[0])
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://127.0.0.1:{port}/json") as answer:
                page = next(one for one in await answer.json() if one["type"] == "page")
            async with session.ws_connect(page["webSocketDebuggerUrl"], max_msg_size=0) as tools:

                async def call(method: str, **parameters: Any) -> Any:
                    await tools.send_json({"id": 1, "method": method, "params": parameters})
                    while (message := await tools.receive_json(timeout=30)).get("id") != 1:
                        pass
                    return message["result"]

                yield call
    finally:
        process.kill()
        process.wait()


async def holds(call: Callable[..., Any], condition: str) -> None:
    """Wait until a JavaScript expression is true."""
    for _ in range(100):
        answer = await call("Runtime.evaluate", expression=condition, returnByValue=True)
        if answer["result"].get("value"):
            return
        await asyncio.sleep(0.2)
    raise AssertionError(f"never true: {condition}: {json.dumps(answer)}")


async def test_a_real_browser_shows_it_and_a_closed_one_ends_it(
    serve: Serve, live: RunFolder, lab: Path
) -> None:
    site = serve(live.path)
    body = "document.body.classList.contains"
    async with browser(lab, f"http://localhost:{site.port}/") as call:
        await holds(call, f"{body}('-first-byte')")
        (view,) = site.views
        for width in (700, 1400, 900):  # a window that is dragged about
            size = {"width": width, "height": 600, "deviceScaleFactor": 1, "mobile": False}
            await call("Emulation.setDeviceMetricsOverride", **size)
            await asyncio.sleep(0.3)
        before = (await call("Page.captureScreenshot"))["data"]
        await call("Input.insertText", text="3")
        await asyncio.sleep(2)
        assert (await call("Page.captureScreenshot"))["data"] != before
        assert not is_gone(view)
    await asyncio.to_thread(wait_for, lambda: is_gone(view))
    assert live.is_alive()
