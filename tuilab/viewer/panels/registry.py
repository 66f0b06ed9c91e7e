"""All panels of the dashboard, found in this package; see `tuilab.viewer.panels.base`."""

from typing import Final

from tuilab.viewer.discovery import discover
from tuilab.viewer.panels.base import PanelSpec

PANELS: Final = discover("tuilab.viewer.panels", PanelSpec)
"""In the order of the screen, from the left and from the top."""
BY_KEY: Final = tuple(sorted((spec for spec in PANELS if spec.key), key=lambda spec: spec.key))
"""Those that have a tab, in the order of their keys."""
TABS: Final = tuple(spec.name for spec in BY_KEY)
