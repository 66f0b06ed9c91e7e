"""The walls of the viewer: registries, one table of symbols, and what knows no Textual."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import tuilab
from tuilab.charts import symbols
from tuilab.viewer.actions import ACTIONS
from tuilab.viewer.curves import KINDS
from tuilab.viewer.panels.layer.views import VIEWS
from tuilab.viewer.panels.registry import BY_KEY, PANELS, TABS

ROOT = Path(tuilab.__file__).parent
TABLE = ROOT / "charts" / "symbols.py"
TRANSLATION = ROOT / "viewer" / "terminal" / "glyphs.py"  # from any glyph to ASCII


def sources(*folders: str) -> list[Path]:
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def test_symbols_have_one_meaning_each() -> None:
    glyphs = [symbol.glyph for symbol in symbols.SINGULAR]
    assert len(glyphs) == len(set(glyphs))
    assert {glyph for glyph, _ in symbols.RUN_STATES.values()} & set(glyphs) == {
        symbols.OK.glyph,
        symbols.SEVERITIES["error"].glyph,
    }


def literals(path: Path) -> list[str]:
    """Return the strings of a file, parts of f-strings too, but no docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose
    ]


def test_no_other_file_writes_a_symbol_out() -> None:
    glyphs = {symbol.glyph for symbol in symbols.SINGULAR}
    for path in sources("."):
        if path not in (TABLE, TRANSLATION):
            written = [text for text in literals(path) if glyphs & set(text)]
            assert not written, path


def modules() -> list[str]:
    names = []
    for path in sources("charts", "viewer/model", "viewer/curves"):
        parts = path.relative_to(ROOT.parent).with_suffix("").parts
        names.append(".".join(part for part in parts if part != "__init__"))
    return names


def test_charts_and_the_view_model_work_without_textual() -> None:
    imports = "; ".join(f"import {name}" for name in [*modules(), "tuilab.viewer.layout"])
    code = f"import sys; sys.modules['textual'] = None; {imports}"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_charts_import_nothing_of_the_viewer() -> None:
    for path in sources("charts"):
        lines = path.read_text(encoding="utf-8").splitlines()
        assert not [line for line in lines if "import" in line and "tuilab.viewer" in line], path


def test_the_style_sheet_names_no_panel() -> None:
    style = (ROOT / "viewer" / "tuilab.tcss").read_text(encoding="utf-8")
    for spec in PANELS:
        assert f"#{spec.name}" not in style


def test_every_panel_has_a_tab_and_an_action_or_shares_them() -> None:
    actions = {action.id: action for action in ACTIONS}
    for spec in PANELS:
        assert spec.of_tab in TABS
        assert spec.key or spec.tab
    for spec in BY_KEY:
        assert actions[spec.name].keys == spec.key
        assert actions[spec.name].scope == "panels"
        assert all(actions[action.id].keys == action.keys for action in spec.actions)


@pytest.mark.parametrize("family", [PANELS, VIEWS, KINDS], ids=["panels", "views", "kinds"])
def test_members_have_names_and_an_order(family: tuple[object, ...]) -> None:
    orders = [member.order for member in family]  # type: ignore[attr-defined]
    names = [member.name for member in family]  # type: ignore[attr-defined]
    assert orders == sorted(set(orders))
    assert len(names) == len(set(names))
