"""Make the pictures of the documentation from runs that are recorded for it.

    python -m docs.pictures             # those of the site, as SVG, into build/pictures
    python -m docs.pictures --readme    # .github/screen.png, which is committed

The site's pictures are made when it is built, so they show what the program draws today; only the
README's, which is seen without building anything, is kept in the repository. Runs and pictures are
reused until a source file of the program changes. No terminal is needed.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
BUILD: Final = ROOT / "build" / "pictures"
README_PICTURE: Final = ROOT / ".github" / "screen.png"
SOURCES: Final = ("engine/**/*.py", "tuilab/**/*.py", "tuilab/**/*.tcss", "docs/pictures.py")
FEW: Final = 2
"""Steps of a run of which only step 0 is shown."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture: a run, cut short after `steps`, and what `tuilab export` is to show of it."""

    name: str
    scenario: str
    size: str
    panel: str = ""
    steps: int = FEW
    at: int | None = 0


DEMOS: Final = ("std001_tanh", "std1_tanh", "xavier_relu", "he_relu", "batchnorm_relu")
PICTURES: Final = (
    *(Picture(f"{demo}_layers", demo, "120x28", "layers") for demo in DEMOS),
    Picture("he_relu_gain", "he_relu", "120x20", "gain"),
    Picture("digits_small", "digits_mlp", "80x24", steps=1500, at=None),
)
README: Final = Picture("screen", "xavier_relu", "160x44", steps=480)


def make() -> list[Path]:
    """Return the pictures of the site, drawn again where the program has changed since."""
    stamp, current = BUILD / "stamp", _fingerprint()
    if not stamp.exists() or stamp.read_text() != current:
        shutil.rmtree(BUILD, ignore_errors=True)
        BUILD.mkdir(parents=True)
        for picture in PICTURES:
            draw(picture, BUILD / f"{picture.name}.svg")
        stamp.write_text(current)
    return sorted(BUILD.glob("*.svg"))


def draw(picture: Picture, to: Path) -> None:
    """Write one picture; the ending of `to` is its format."""
    run = BUILD / "runs" / f"{picture.scenario}-{picture.steps}" / picture.scenario
    if not run.exists():
        steps = ("--headless", "--seed", "0", "--steps", str(picture.steps))
        _tuilab("run", picture.scenario, *steps, "--out", str(run), accept=(0, 1))
    options = ["--to", to.suffix[1:], "--size", picture.size, "--out", str(to)]
    if picture.panel:
        options += ["--panel", picture.panel]
    if picture.at is not None:
        options += ["--at", str(picture.at)]
    _tuilab("export", str(run), *options)


def _tuilab(*arguments: str, accept: tuple[int, ...] = (0,)) -> None:
    """Run a command; 1 is the exit code of a run that is cut before its claims can hold."""
    command = [sys.executable, "-m", "tuilab.cli.main", *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    if done.returncode not in accept:
        raise SystemExit(f"{' '.join(arguments)} failed with exit code {done.returncode}")


def _fingerprint() -> str:
    digest = hashlib.sha256()
    for pattern in SOURCES:
        for path in sorted(ROOT.glob(pattern)):
            digest.update(path.read_bytes())
    return digest.hexdigest()


if __name__ == "__main__":
    if "--readme" in sys.argv[1:]:
        draw(README, README_PICTURE)
    else:
        make()
