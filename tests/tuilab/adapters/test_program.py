"""`tuilab watch --headless PROGRAM`: the program runs as always, and a run is recorded."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from engine.states import RunState
from tests.tuilab.support import command, environment
from tuilab.adapters.program import Program, ProgramOptions, interpreter
from tuilab.adapters.startup import sitecustomize
from tuilab.record import RunInfo, RunReader
from tuilab.record.run_folder import find_all

needs_torch = pytest.mark.skipif(find_spec("torch") is None, reason="PyTorch is not installed")

TRAIN = """
import sys
import torch
from torch import nn

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for step in range(4):
    x = torch.randn(16, 4)
    loss = nn.functional.cross_entropy(model(x), (x[:, 0] > 0).long())
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
"""


def watch(
    cwd: Path, *words: str, more: Mapping[str, str] | None = None, **settings: Any
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command("watch", "--headless", *words),
        cwd=cwd,
        env=environment() | dict(more or {}),
        capture_output=True,
        text=True,
        timeout=300,
        **({"stdin": subprocess.DEVNULL} | settings),
    )


def write(folder: Path, text: str, name: str = "train.py") -> str:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return str(path.relative_to(folder))


def recorded(folder: Path) -> RunInfo:
    with RunReader(folder / "run.db") as reader:
        return reader.info()


def tensors(folder: Path) -> list[set[str]]:
    """The tensors that were measured at step 0, for each layer."""
    with RunReader(folder / "run.db") as reader:
        snapshot = reader.snapshot(0)
    assert snapshot is not None
    finite = snapshot.statistics[..., 0] > 0
    return [{t for t, seen in zip(snapshot.tensors, row, strict=True) if seen} for row in finite]


SHOW = """
import json, os, pickle, sys
class Here: pass
print(json.dumps({
    "argv": sys.argv, "path": sys.path, "name": __name__, "file": __file__,
    "main": sys.modules["__main__"].__file__, "spec": __spec__ and __spec__.name,
    "package": __package__,
    "environment": dict(os.environ), "pickled": pickle.dumps(Here()).hex(),
    "finders": [type(finder).__name__ for finder in sys.meta_path], "flags": str(sys.flags),
    "hook": str(sys.excepthook), "executable": sys.executable, "stdin": sys.stdin.read(),
}))
"""


@pytest.mark.parametrize(
    "words", [("show.py", "--out", "x", "--", "-h"), ("-m", "package.show", "--every", "3", "--")]
)
def test_a_program_sees_what_python_would_show_it(tmp_path: Path, words: tuple[str, ...]) -> None:
    write(tmp_path, SHOW, "show.py")
    write(tmp_path, SHOW, "package/show.py")
    more = {"PYTHONPATH": os.pathsep.join([str(Path.cwd()), str(tmp_path / "other")])}
    plain = subprocess.run(
        [sys.executable, *words], cwd=tmp_path, env=environment() | more, input="a line",
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    watched = watch(tmp_path, *words, more=more, stdin=None, input="a line")

    expected, seen = (json.loads(r.stdout) for r in (plain, watched))
    ours = seen["finders"].pop(0)  # waits for torch
    assert ours == "TorchFinder"
    assert seen == expected
    assert watched.stderr == "tuilab: nothing was recorded: the program did not import torch\n"
    assert not find_all(tmp_path / "runs")


def test_options_end_where_the_program_begins(tmp_path: Path) -> None:
    write(tmp_path, "import sys; print(sys.argv)")
    after = watch(tmp_path, "--title", "x", "--", "train.py", "-m", "--headless", "--title")
    assert after.stdout == "['train.py', '-m', '--headless', '--title']\n"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("import sys; sys.exit(3)", 3),
        ("import sys; sys.exit('no data')", 1),
        ("raise SystemExit", 0),
        ("1 / 0", 1),
        ("import os; os._exit(9)", 9),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
        ("raise KeyboardInterrupt", -signal.SIGINT),
    ],
)
def test_the_exit_code_is_that_of_the_program(tmp_path: Path, text: str, code: int) -> None:
    write(tmp_path, text)
    result = watch(tmp_path, "train.py")
    assert result.returncode == code
    if "1 / 0" in text:
        assert result.stderr.startswith(
            f'Traceback (most recent call last):\n  File "{tmp_path}/train.py", line 1, in <module>'
        )


def test_a_missing_program_or_interpreter_is_one_line(tmp_path: Path) -> None:
    missing = watch(tmp_path, "absent.py")
    assert missing.returncode == 2
    assert "there is no program 'absent.py'" in missing.stderr
    write(tmp_path, "")
    python = watch(tmp_path, "--python", "/nowhere/python", "train.py")
    assert python.returncode == 127
    assert "tuilab: cannot run /nowhere/python: No such file or directory" in python.stderr


def test_a_hidden_sitecustomize_runs_too(tmp_path: Path) -> None:
    write(tmp_path, "print('customized')", "site/sitecustomize.py")
    write(tmp_path, "import sys; print(sys.modules['sitecustomize'].__file__)")
    more = {"PYTHONPATH": os.pathsep.join([str(tmp_path / "site"), str(Path.cwd())])}
    assert watch(tmp_path, "train.py", more=more).stdout.splitlines() == [
        "customized",  # in the process that became the program
        "customized",
        str(tmp_path / "site" / "sitecustomize.py"),
    ]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_reach_the_program(tmp_path: Path, number: int) -> None:
    write(
        tmp_path,
        "import signal, sys, time\n"
        f"signal.signal({int(number)}, lambda *_: sys.exit(5))\n"
        "print('ready', flush=True)\ntime.sleep(60)",
    )
    process = subprocess.Popen(
        command("watch", "--headless", "train.py"), cwd=tmp_path, env=environment(),
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        assert process.wait(60) == 5


def test_names_and_interpreters(tmp_path: Path) -> None:
    assert Program(["a/train.py"]).name == "train"
    assert Program(["-m", "package.train"]).name == "train"
    assert Program(["-m", "package.__main__"]).name == "package"
    python = write(tmp_path, "", "venv/bin/python")
    assert interpreter({"VIRTUAL_ENV": str(tmp_path / "venv")}) == str(tmp_path / python)
    assert interpreter({"VIRTUAL_ENV": sys.prefix}) == sys.executable
    assert interpreter({"CONDA_PREFIX": str(tmp_path / "absent")}) == sys.executable
    environment = Program(["x.py"]).environment(ProgramOptions(out=tmp_path), {})
    assert environment["PYTHONPATH"].endswith("startup")


@needs_torch
def test_what_a_program_trains_is_recorded_from_its_first_step(tmp_path: Path) -> None:
    write(tmp_path, TRAIN + "sys.exit(4)")
    result = watch(tmp_path, "--title", "mine", "--every", "1", "train.py")
    assert result.returncode == 4
    [run] = find_all(tmp_path / "runs")
    assert run.name.endswith("-train")
    assert result.stderr.startswith(
        f"tuilab: recording to {run.path}; watch it with: tuilab attach"
    )
    info = recorded(run.path)
    assert (info.title, info.step, info.source, info.state) == (
        "mine", 4, "torch", RunState.FINISHED,
    )  # fmt: skip
    assert [layer.path for layer in info.layers] == ["0", "2"]
    everything = {"activation", "activation_grad", "weight", "weight_grad", "update"}
    assert all(seen >= everything for seen in tensors(run.path))
    with RunReader(run.database) as reader:
        [first, *_] = reader.blocks(0, 9)
    assert first.first_step == 0
    assert 0 < first.series["loss"][0] < 2


@needs_torch
def test_an_error_while_training_names_only_frames_of_the_program(tmp_path: Path) -> None:
    fault = TRAIN.replace("model(x)", "model(x if step < 2 else x[:, :3])")
    write(tmp_path, fault)
    result = watch(tmp_path, "--every", "1", "train.py")
    assert result.returncode == 1
    assert "RuntimeError: mat1 and mat2 shapes cannot be multiplied" in result.stderr
    assert "tuilab/adapters" not in result.stderr.replace(str(Path.cwd()), "")
    [run] = find_all(tmp_path / "runs")
    info = recorded(run.path)
    assert (info.step, info.state) == (2, RunState.FAILED)
    assert "RuntimeError" in info.message


PACKAGES = (
    *("torch", "torchgen", "functorch", "numpy", "numpy.libs", "sympy", "mpmath", "networkx"),
    *("jinja2", "markupsafe", "fsspec", "filelock", "typing_extensions.py"),
)
"""What PyTorch needs; tuilab needs more."""


@needs_torch
def test_an_environment_without_tuilab_borrows_it(tmp_path: Path) -> None:
    base = Path(sys.base_prefix, "bin", f"python{sys.version_info.major}.{sys.version_info.minor}")
    if not base.exists():
        pytest.skip(f"there is no {base}")
    subprocess.run([base, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    [packages] = tmp_path.glob("venv/lib/python*/site-packages")
    torch = find_spec("torch")
    assert torch is not None
    assert torch.origin is not None
    for name in PACKAGES:
        if (path := Path(torch.origin).parents[1] / name).exists():
            (packages / name).symlink_to(path)
    seen = "for name in ('textual', 'optuna'):\n    assert find_spec(name) is None, name\n"
    write(tmp_path, "from importlib.util import find_spec\n" + TRAIN + seen)
    start = "import sys; sys.path.insert(0, sys.argv.pop(1)); import tuilab.cli.main as m; m.main()"
    result = subprocess.run(
        [sys.executable, "-c", start, str(Path.cwd()), "watch", "--headless", "--out", "run",
         "train.py"],
        cwd=tmp_path, env=environment() | {"PYTHONPATH": "", "VIRTUAL_ENV": str(tmp_path / "venv")},
        capture_output=True, text=True,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "no longer watching" not in result.stderr
    assert recorded(tmp_path / "run").step == 4


def test_another_version_of_python_cannot_borrow(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"interpreter": "cpython-27", "packages": {}, "logged": False}
    program = sitecustomize.Program(settings)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    program.watch()
    assert program.problem == (
        f"{sys.executable} cannot import tuilab;"
        f" install tuilab there: {sys.executable} -m pip install tuilab"
    )
