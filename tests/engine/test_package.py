"""What `import engine` gives, and that it costs next to nothing until something is asked for."""

import subprocess
import sys

import pytest

import engine


def test_every_name_is_there() -> None:
    for name in engine.__all__:
        assert getattr(engine, name).__name__ == name


def test_another_name_is_refused_as_by_any_module() -> None:
    with pytest.raises(AttributeError, match="module 'engine' has no attribute 'Trainr'"):
        _ = engine.Trainr


def test_importing_it_loads_no_numpy() -> None:
    code = "import sys, engine; assert 'numpy' not in sys.modules; from engine import Trainer"
    subprocess.run([sys.executable, "-c", code], check=True)
