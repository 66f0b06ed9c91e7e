"""What a terminal shows: as much of one as what we send needs."""

import re
from codecs import getincrementaldecoder

from rich.cells import cell_len

_TOKEN = re.compile(
    r"\x1b\[(?P<place>\d+;\d+)H|\x1b\[(?P<style>[\d;]*)m|\x1b\[[0-?]*[ -/]*[@-~]"
    r"|\x1b[P\]].*?(?:\x07|\x1b\\)|\x1b[^[P\]]|(?P<text>[^\x1b])",
    re.DOTALL,
)
_CODE = re.compile(r"[34]8;2;\d+;\d+;\d+|[34]8;5;\d+|\d+")
_HUE = re.compile(r"(?:10|[349])\d")

Look = frozenset[str]


def _kind(code: str) -> str:
    """Return "ink" or "ground" of a colour's code, "" of any other."""
    if not _HUE.match(code):
        return ""
    return "ground" if code.startswith(("4", "10")) else "ink"


class Screen:
    """Cells as (character, codes that are on); right of a wide character there is ""."""

    def __init__(self) -> None:
        self.cells: dict[tuple[int, int], tuple[str, Look]] = {}
        self._decoder = getincrementaldecoder("utf-8")("replace")
        self._row = self._column = 0
        self._look: Look = frozenset()
        self._rest = ""

    def feed(self, data: bytes) -> None:
        """Take what was sent; a sequence may be cut anywhere."""
        text = self._rest + self._decoder.decode(data)
        end = 0
        while found := _TOKEN.match(text, end):
            if found["place"]:
                self._row, self._column = (int(part) - 1 for part in found["place"].split(";"))
            elif found["style"] is not None:
                self._restyle(found["style"])
            elif found["text"]:
                self._put(found["text"])
            end = found.end()
        self._rest = text[end:]

    def _restyle(self, codes: str) -> None:
        for code in _CODE.findall(codes or "0"):
            if code == "0":
                self._look = frozenset()
            else:
                hue = _kind(code)
                self._look = frozenset(
                    {c for c in self._look if _kind(c) != hue or not hue} | {code}
                )

    def _put(self, character: str) -> None:
        if character in "\r\n":
            self._column = 0
            self._row += character == "\n"
            return
        self.cells[self._row, self._column] = character, self._look
        for _ in range(cell_len(character) - 1):
            self._column += 1
            self.cells[self._row, self._column] = "", self._look
        self._column += 1

    @property
    def text(self) -> str:
        """Return the text of the screen, line by line."""
        cells = self.cells.copy()  # another thread may be writing
        if not cells:
            return ""
        rows = range(max(row for row, _ in cells) + 1)
        columns = range(max(column for _, column in cells) + 1)
        blank = (" ", frozenset[str]())
        return "\n".join(
            "".join(cells.get((row, column), blank)[0] for column in columns) for row in rows
        )
