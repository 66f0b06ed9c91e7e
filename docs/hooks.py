"""What MkDocs calls while it builds the site: pictures, generated tables, and two pages more."""

import re
import sys
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # `mkdocs` is a script, so the working folder is not on the path

from docs import pictures, reference  # noqa: E402

FROM_ROOT: Final = {"contributing.md": "CONTRIBUTING.md", "changelog.md": "CHANGELOG.md"}
METRICS: Final = "reference/metrics.md"


def on_files(files: Any, config: Any) -> Any:
    """Add the pictures, and the pages that are kept at the top of the repository."""
    from mkdocs.structure.files import File

    for page, source in FROM_ROOT.items():
        content = local_links((ROOT / source).read_text(encoding="utf-8"))
        files.append(File.generated(config, page, content=content))
    for picture in (pictures.README_PICTURE, *pictures.make()):
        where = f"pictures/{picture.name}"
        files.append(File.generated(config, where, abs_src_path=str(picture)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Insert the generated tables."""
    if page.file.src_uri == METRICS:
        reference.check_metrics(markdown)
    return reference.fill(markdown)


def local_links(text: str) -> str:
    """Return a page from the top of the repository with its links as the site has them.

    Links to pages below docs/ lose that folder; those to other files become plain text.
    """
    text = re.sub(r"\]\(docs/", "](", text)
    return re.sub(r"\[([^\]]+)\]\((?!https?:|#)(?![\w/]+\.md(?:#[\w-]+)?\))[^)]*\)", r"\1", text)
