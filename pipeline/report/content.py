"""What a report's page holds, as plain records; `templates/report.html` shows them. Texts are plain, not HTML."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import plotly.graph_objects as go


class Number(NamedTuple):
    """A right-aligned table cell; a sortable column is sorted by `value`."""

    text: str
    value: float = 0.0


Cell = str | Number


@dataclasses.dataclass(frozen=True, slots=True)
class Table:
    """Rows of one cell a column, and a caption above them; if all heads are empty, the table has no head.

    Attributes:
        folded_under: Title that unfolds the table when clicked; empty: it is open.
        first_shown: Number of rows shown at first. A search field filters them by words and limits, and a click on a
            column's head sorts them. None: all rows, no search field, no sorting.
    """

    heads: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    caption: str = ""
    folded_under: str = ""
    first_shown: int | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Plot:
    """A figure (its layout has a height), its name in page and file names, and the heading and note above it."""

    name: str
    figure: go.Figure
    heading: str = ""
    note: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Section:
    """Figures and tables under a heading that says what was found, and a grey note on how to read them."""

    heading: str
    note: str
    parts: Sequence[Plot | Table]


@dataclasses.dataclass(frozen=True, slots=True)
class Chapter:
    """All about one study, or about several studies side by side."""

    sections: Sequence[Section]
    title: str = ""
    question: str = ""
    summary: str = ""

    def plots(self) -> list[Plot]:
        """Its figures, in the page's order."""
        return [part for section in self.sections for part in section.parts if isinstance(part, Plot)]


def count_of(number: int, word: str) -> str:
    """Such as `1 design`, `2 designs`."""
    return f"{number} {word}{'' if number == 1 else 's'}"
