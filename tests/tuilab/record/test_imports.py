"""Nothing that looks at runs loads the engine that trains them."""

import subprocess
import sys

import pytest

ALLOWED = {
    "engine",
    "engine.commands",
    "engine.errors",
    "engine.registry",
    "engine.states",
    "engine.statistics",
}
LOADED = "import sys, {}; print(*(name for name in sys.modules if name.split('.')[0] == 'engine'))"


@pytest.mark.parametrize(
    "module",
    [
        "tuilab.viewer.model.store",
        "tuilab.diagnosis",
        "tuilab.record",
        "tuilab.claims.expectations",
        "tuilab.export.csv",
        "tuilab.export.json",
    ],
)
def test_reading_a_run_loads_no_trainer(module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOADED.format(module)], capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.split())
    assert "engine.statistics.frames" in loaded
    assert {name for name in loaded if not name.startswith("engine.statistics.")} <= ALLOWED
