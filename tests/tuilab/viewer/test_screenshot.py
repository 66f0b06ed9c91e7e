"""Pictures of the screen and of panels: by key, from the palette, and from a recording."""

import builtins
import xml.etree.ElementTree as ElementTree
from collections import Counter
from typing import Any

import pytest
from rich.segment import Segment
from rich.style import Style

from engine.errors import TuilabError
from tests.tuilab.support import write_scenario
from tests.tuilab.viewer.conftest import FakeClient, Record
from tests.tuilab.viewer.visits import settle, text, viewing
from tuilab.export import PictureOptions
from tuilab.export.picture import draw
from tuilab.viewer.panels.layers import Layers
from tuilab.viewer.terminal.screenshot import NoPngError, panels, png, save, take
from tuilab.viewer.terminal.svg import CELL, svg

SVG = "{http://www.w3.org/2000/svg}"
PNG = b"\x89PNG\r\n"


def parts(picture: str) -> list[ElementTree.Element]:
    return list(ElementTree.fromstring(picture).iter())


def words(picture: str) -> str:
    return " ".join(element.text or "" for element in parts(picture) if element.tag == f"{SVG}text")


def size(picture: str) -> tuple[int, int]:
    _, _, width, height = ElementTree.fromstring(picture).attrib["viewBox"].split()
    return int(width) // CELL[0], int(height) // CELL[1]


def drawn(line: str, style: str = "") -> list[ElementTree.Element]:
    found = parts(
        svg([[Segment(line, Style.parse(style or "none"))]], 10, "#ffffff", "#000000", "")
    )
    return [e for e in found if e.tag in (f"{SVG}rect", f"{SVG}path", f"{SVG}text")][1:]


@pytest.mark.parametrize(
    ("line", "box"),
    [
        ("█", ("0", "0", "10", "20")),
        ("▄", ("0", "10", "10", "10")),
        ("▂", ("0", "15", "10", "5")),
        ("▌", ("0", "0", "5", "20")),
        (" ▐", ("15", "0", "5", "20")),
        ("▝", ("5", "0", "5", "10")),
        ("─", ("0", "9.5", "10", "1")),
        ("│", ("4.5", "0", "1", "20")),
        ("━", ("0", "9", "10", "2")),
        ("╸", ("0", "9", "5", "2")),
    ],
)
def test_blocks_and_lines_are_shapes(line: str, box: tuple[str, ...]) -> None:
    (shape,) = drawn(line)
    assert tuple(shape.attrib[key] for key in ("x", "y", "width", "height")) == box


def test_each_braille_dot_is_a_circle_in_its_place() -> None:
    (path,) = drawn("⡈")  # the lowest on the left, the highest on the right
    assert path.attrib["d"].count("M") == 2
    assert path.attrib["d"].startswith("M5.8 2.5")
    assert "M0.8 17.5" in path.attrib["d"]
    assert drawn("⠀") == drawn(" ") == []


def test_corners_and_crossings_meet_their_neighbours() -> None:
    assert drawn("╭")[0].attrib["d"] == "M10 10Q5 10 5 15V20"
    assert drawn("╯")[0].attrib["d"] == "M0 10Q5 10 5 5V0"
    assert [(e.attrib["x"], e.attrib["width"]) for e in drawn("├")] == [
        ("4.5", "5.5"),
        ("4.5", "1"),
    ]
    assert len(drawn("╌")) == 2


def test_letters_stand_in_their_cells_with_their_style() -> None:
    (shown,) = drawn("a & ⁻", "bold #ff0000 underline")
    assert (shown.text, shown.attrib["x"]) == ("a&⁻", "0 20 40")
    assert (shown.attrib["fill"], shown.attrib["font-weight"]) == ("#ff0000", "bold")
    assert shown.attrib["text-decoration"] == "underline"
    ground, shown = drawn("x", "reverse")
    assert (ground.attrib["fill"], shown.attrib["fill"]) == ("#ffffff", "#000000")
    assert drawn("x", "dim")[0].attrib["opacity"] == "0.6"
    wide, _ = drawn("日本", "on #111111")
    assert wide.attrib["width"] == "40"


async def test_a_key_keeps_the_screen_in_the_run_folder(record: Record, client: FakeClient) -> None:
    recording = record(steps=1)
    recording.steps(30)
    async with viewing(recording.folder, client, size=(120, 36)) as (app, pilot):
        for _ in range(2):
            await pilot.press("P")
            await app.workers.wait_for_complete()
        await pilot.pause()
        messages = " ".join(n.message for n in app._notifications)
        shown = text(app)
    place = recording.folder.path / "pictures"
    assert {p.name for p in place.iterdir()} == {
        "step-31.svg", "step-31.png", "step-31-2.svg", "step-31-2.png",
    }  # fmt: skip
    assert "pictures/step-31" in messages
    picture = (place / "step-31.svg").read_text(encoding="utf-8")
    assert size(picture) == (120, 36)
    assert "xavier_relu" in words(picture)
    dots = sum(e.attrib["d"].count("a1.7") // 2 for e in parts(picture) if "a1.7" in e.get("d", ""))
    # the notification of the first picture may have come meanwhile, but over no curve of the left
    assert (
        dots >= sum((ord(c) - 0x2800).bit_count() for c in shown if 0x2800 < ord(c) < 0x2900) > 20
    )
    assert (place / "step-31.png").read_bytes().startswith(PNG)


async def test_each_panel_in_sight_alone(record: Record, client: FakeClient) -> None:
    recording = record(steps=1)
    async with viewing(recording.folder, client) as (app, pilot):
        assert {"loss", "accuracy", "explanation", "layers"} <= set(panels(app.screen))
        offered = {command.title for command in app.get_system_commands(app.screen)}
        assert "picture of layers" in offered
        picture = take(app, "layers")
        assert size(picture) == tuple(app.dashboard.panel(Layers).region.size)
        assert "10" in words(picture)
        assert "xavier_relu" not in words(picture)
        app.screenshots.take("layers")
        await app.workers.wait_for_complete()
        await pilot.press("1")
        await settle(app, pilot)
        assert "layers" not in panels(app.screen)
        with pytest.raises(TuilabError, match="unknown panel 'layers'"):
            take(app, "layers")
    assert (recording.folder.path / "pictures" / "step-1-layers.svg").is_file()


async def test_where_nothing_can_be_written_it_is_told(record: Record, client: FakeClient) -> None:
    recording = record(steps=1)
    (recording.folder.path / "pictures").write_text("in the way")
    async with viewing(recording.folder, client) as (app, pilot):
        await pilot.press("P")
        await app.workers.wait_for_complete()
        await pilot.pause()
        assert "cannot write into" in " ".join(n.message for n in app._notifications)


@pytest.fixture
def no_resvg(monkeypatch: pytest.MonkeyPatch) -> None:
    load = builtins.__import__

    def without(name: str, *more: Any) -> Any:
        if name == "resvg_py":
            raise ImportError(name)
        return load(name, *more)

    monkeypatch.setattr(builtins, "__import__", without)


def test_without_the_library_there_is_svg_and_the_extra_is_named(
    record: Record, no_resvg: None
) -> None:
    folder = record(steps=0).folder
    assert [file.suffix for file in save("<svg/>", folder, "screen")] == [".svg"]
    with pytest.raises(NoPngError, match="-m pip install resvg-py"):
        png("<svg/>")


def test_a_png_holds_what_was_drawn() -> None:
    image = png(svg([[Segment("█⣿")]], 2, "#ffffff", "#000000", ""))
    assert image.startswith(PNG)
    assert (int.from_bytes(image[16:20]), int.from_bytes(image[20:24])) == (40, 40)


async def test_a_recording_at_a_step_in_a_size_and_a_theme(record: Record) -> None:
    recording = record(steps=1)
    for _ in range(3):
        recording.steps(10)
    folder = recording.folder
    write_scenario(folder.scenario)
    recording.end("finished")
    whole = await draw(folder, PictureOptions(size=(100, 30)))
    assert size(whole) == (100, 30)
    grounds = Counter(
        e.attrib["fill"]
        for e in parts(await draw(folder, PictureOptions(theme="light")))
        if "fill" in e.attrib
    )
    assert "#fbfbfa" in grounds
    early = await draw(folder, PictureOptions(panel="layers", at=12, size=(120, 36)))
    late = await draw(folder, PictureOptions(panel="layers", size=(120, 36)))
    assert "10" in words(early).split("relu")[0]  # at step 10, the newest up to 12
    assert words(early) != words(late)
    with pytest.raises(TuilabError, match="unknown panel 'layer'; did you mean 'layers'"):
        await draw(folder, PictureOptions(panel="layer"))


async def test_a_panel_is_found_by_the_name_that_it_had_before(record: Record) -> None:
    folder = record(steps=13).folder
    reading = await draw(folder, PictureOptions(panel="reading"))
    assert reading == await draw(folder, PictureOptions(panel="explanation"))


async def test_a_run_without_statistics_can_be_drawn(record: Record) -> None:
    recording = record(steps=0)
    write_scenario(recording.folder.scenario)
    recording.end("failed", "no data")
    assert "failed" in words(await draw(recording.folder, PictureOptions()))
    with pytest.raises(TuilabError, match="no statistics yet"):
        await draw(recording.folder, PictureOptions(at=3))
