"""Colours by the run's own thresholds, and no green beside a finding of the same thing."""

from pathlib import Path

from tests.tuilab.viewer.conftest import Follow, Record
from tuilab.charts.text import plain
from tuilab.diagnosis.finding import Finding
from tuilab.record.run_folder import RunFolder
from tuilab.viewer.actions import ACTIONS
from tuilab.viewer.model.claims import Claims
from tuilab.viewer.model.layer_table import Table
from tuilab.viewer.model.thresholds import DEFAULTS, thresholds_of
from tuilab.viewer.panels.explanation import explanation_lines
from tuilab.viewer.panels.gain import gain_lines
from tuilab.viewer.panels.layers import subtitle
from tuilab.viewer.screens.dialogs import help_text

OWN = """
[diagnosis]
saturation = 0.9
[diagnosis.shrinking_activations]
warning = 0.5
error = 0.25
[diagnosis.dead_units]
warning = 0.3
"""


def test_a_run_has_the_thresholds_of_its_scenario(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert thresholds_of(folder) is DEFAULTS
    folder.scenario.write_text(OWN)
    own = thresholds_of(folder)
    assert (DEFAULTS.gain(0.7), own.gain(0.7), own.gain(0.4), own.gain(0.2)) == (
        *("warning", "", "warning"),
        "error",
    )
    assert (DEFAULTS.dead(0.2), own.dead(0.2)) == ("warning", "")
    assert (DEFAULTS.saturated(0.6), own.saturated(0.6)) == ("warning", "")
    assert own.update_ratio(1e-3) == DEFAULTS.update_ratio(1e-3) == ""


def test_a_scenario_that_cannot_be_read_has_the_defaults(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.scenario.write_text("[diagnosis]\nno_such_rule = 1\n")
    assert thresholds_of(folder) == DEFAULTS


def test_table_help_and_words_go_by_them(record: Record, follow: Follow) -> None:
    recording = record(units=100)
    recording.folder.scenario.write_text(OWN)
    store = follow(recording.folder)
    store.poll()
    table = Table.of_store(store)
    assert table is not None
    assert "healthy 0.5…1.25" in subtitle(table, "", 100)
    assert table.gain_role(0.7) == ""
    text = [plain(line) for line in explanation_lines(store, Claims(), 60)]
    assert text[0].startswith("✓ activations keep their size")
    help_lines = help_text(ACTIONS, table.thresholds, 200)
    shown = " ".join(" ".join(plain(line) for line in help_lines).split())
    assert "a warning above 30%, an error above 40%" in shown


def test_green_never_stands_beside_a_finding_of_the_same_thing(
    record: Record, follow: Follow
) -> None:
    recording = record(units=200, gain=2**0.5)
    finding = Finding(
        "shrinking_activations", "info", (), 0, 0.9, 0.8, "they shrink", "another initialiser"
    )
    recording.steps(1, events=[finding.event(1, 0.1)])
    store = follow(recording.folder)
    store.poll()
    table = Table.of_store(store)
    assert table is not None
    lines = [line for line in explanation_lines(store, Claims(), 60) if line]
    assert not any("activations keep" in plain(line) for line in lines)
    (forward, *_) = gain_lines(table, store.info, store.first_snapshot, 116, 40, store.findings)
    assert forward[0] == ("○", "muted")
    (healthy, *_) = gain_lines(table, store.info, store.first_snapshot, 116, 40)
    assert healthy[0] == ("✓", "success")
