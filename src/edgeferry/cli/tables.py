"""Tables that stay readable on a narrow terminal: what has no room in a row goes below it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.markup import escape
from rich.table import Table
from rich.text import Text

_NARROW = 16
"""Cells up to so many characters stay on one line."""
_READABLE = 24
"""A column of longer texts is at least so wide, or goes below the row."""
_LONGEST_WORD = 40
"""Up to so many characters a word is not broken, and the first column's never: names are copied."""
_GAP = 2
_INDENT = "    "
_DIGEST = re.compile(r"(sha256:[0-9a-f]{12})[0-9a-f]{52}")
_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(?:\.\d+)?(?:Z|\+00:00)")


class FittedTable(Table):
    """A table of plain texts. Where its columns would become too narrow to be read, rows are lines, and below
    each stands what takes more room. Digests are short, and times UTC to the second: JSON has them whole."""

    def __init__(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        super().__init__(title=title, header_style="bold")
        self.names = list(columns)
        self.cells = [[_DIGEST.sub(r"\1…", _MOMENT.sub(r"\1 \2", cell)) for cell in row] for row in rows]
        for place, name in enumerate(columns):
            need = self._need(place)
            self.add_column(name, overflow="fold", min_width=need, no_wrap=need == self._width(place))
        for row in self.cells:
            self.add_row(*map(escape, row))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if self._fits(options.max_width):
            yield from super().__rich_console__(console, options)
            return
        shown, below = self._divide(options.max_width)
        yield self._line([self.names[place] for place in shown], shown, "bold")
        for row in self.cells:
            yield self._line([row[place] for place in shown], shown)
            told = [f"{self.names[place]}: {row[place]}" for place in below if row[place]]
            for text in _pack(told, options.max_width - len(_INDENT)):
                for line in Text(text).wrap(console, options.max_width - len(_INDENT)):
                    yield Text(_INDENT + line.plain.rstrip())

    def _fits(self, width: int) -> bool:
        """Whether each column has what it needs, between lines of the box or without one."""
        around = 3 * len(self.names) + 1 if self.box else len(self.names)
        return sum(map(self._need, range(len(self.names)))) + around <= width

    def _divide(self, width: int) -> tuple[list[int], list[int]]:
        """The columns of a line, and those below it: the widest, until the others fit. The first stays."""
        shown = list(range(len(self.names)))
        while len(shown) > 1 and sum(self._width(place) + _GAP for place in shown) - _GAP > width:
            shown.remove(max(reversed(shown[1:]), key=self._width))
        return shown, [place for place in range(len(self.names)) if place not in shown]

    def _line(self, texts: Sequence[str], shown: Sequence[int], style: str = "") -> Text:
        cells = (
            text + " " * (self._width(place) - cell_len(text) + _GAP)
            for place, text in zip(shown, texts, strict=True)
        )
        return Text("".join(cells).rstrip(), style=style, overflow="fold")

    def _width(self, place: int) -> int:
        """Of the column when nothing in it is broken."""
        return max(cell_len(row[place]) for row in (self.names, *self.cells))

    def _need(self, place: int) -> int:
        """How wide the column must be to be read."""
        width = self._width(place)
        if width <= _NARROW:
            return width
        word = max((cell_len(word) for row in self.cells for word in row[place].split()), default=0)
        return min(width, max(_READABLE, word if place == 0 else min(word, _LONGEST_WORD)))


def _pack(texts: Sequence[str], width: int) -> list[str]:
    """The texts in lines: as many on one as it has room for."""
    lines: list[str] = []
    for text in texts:
        joined = f"{lines[-1]}, {text}" if lines else text
        if lines and cell_len(joined) <= width:
            lines[-1] = joined
        else:
            lines.append(text)
    return lines
