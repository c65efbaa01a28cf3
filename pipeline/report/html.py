"""Pieces of a report's page. Text is escaped here; what is called HTML is taken as it is."""

import json
from collections.abc import Sequence
from html import escape
from typing import Any, NamedTuple

import plotly.graph_objects as go


class Number(NamedTuple):
    """A table cell that is set right and sorted by `value`."""

    text: str
    value: float


Cell = str | Number
_NUMBER = ' class="number"'


def section(heading: str, note_html: str, *parts_html: str) -> str:
    """A section under a heading that says what one sees, with a quiet note."""
    note = f'<p class="quiet">{note_html}</p>' if note_html else ""
    return f"<section><h2>{escape(heading)}</h2>{note}{''.join(parts_html)}</section>"


class Plots:
    """Places for figures, and their data, which the page's script draws. Hover texts are kept once for all figures.

    Attributes:
        figures: What was placed, by name.
    """

    def __init__(self) -> None:
        self.figures: dict[str, go.Figure] = {}
        self._texts: dict[str, int] = {}
        self._uses: dict[str, int] = {}

    def place(self, name: str, label: str, figure: go.Figure) -> str:
        """A figure's place and data.

        Args:
            name: Of the figure; a second one of the same name, in another study's part, gets a number.
            label: What the figure shows, for those who cannot see it.
            figure: Its layout has a height.
        """
        self._uses[name] = self._uses.get(name, 0) + 1
        if self._uses[name] > 1:
            name = f"{name}-of-{self._uses[name]}"
        self.figures[name] = figure
        plain = json.loads(figure.to_json())
        for trace in plain["data"]:
            if "hovertext" in trace:
                trace["hovertext"] = [self._texts.setdefault(text, len(self._texts)) for text in trace["hovertext"]]
        return (
            f'<div class="plot" role="img" aria-label="{escape(label)}" id="plot-{name}" data-figure="data-{name}" '
            f'style="height:{figure.layout.height}px"></div>{_data(f"data-{name}", plain)}'
        )

    def texts(self) -> str:
        """The hover texts; stands in the page behind all places."""
        return _data("hover-texts", list(self._texts))


def _data(name: str, value: Any) -> str:
    text = json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")
    return f'<script type="application/json" id="{name}">{text}</script>'


def table(
    heads: Sequence[str],
    rows: Sequence[Sequence[Cell]],
    caption: str = "",
    sortable: bool = False,
    first_kind: int | None = None,
) -> str:
    """A table; no head if all of `heads` are empty.

    Args:
        heads: Of the columns.
        rows: One cell a column.
        caption: Above the table.
        sortable: A click on a column's head sorts by it.
        first_kind: So many rows at the top are of a kind of their own (`filtered` shows them alone); None: all.
    """
    numbers = [isinstance(cell, Number) for cell in rows[0]] if rows else [False] * len(heads)
    titles = "".join(_head(head, number, sortable) for head, number in zip(heads, numbers, strict=True))
    body = "".join(
        f"<tr{' hidden' if first_kind is not None and i >= first_kind else ''}>{''.join(map(_cell, row))}</tr>"
        for i, row in enumerate(rows)
    )
    kind = ' class="sortable"' if sortable else ""
    above = f"<caption>{escape(caption)}</caption>" if caption else ""
    above += f"<thead><tr>{titles}</tr></thead>" if any(heads) else ""
    return f'<div class="wide"><table{kind}>{above}<tbody>{body}</tbody></table></div>'


def filtered(table_html: str) -> str:
    """A sortable table under a field that narrows it down; rows hidden at first are shown when the field is used."""
    hint = "words and limits, such as: rram accuracy>95 tops>10"
    return (
        f'<div class="filtered"><p class="filter"><label>Show only <input type="search" placeholder="{hint}"></label> '
        '<label><input type="checkbox" checked> the front alone</label> <span role="status"></span></p>'
        f"{table_html}</div>"
    )


def details(title: str, content_html: str) -> str:
    """Content that opens when its title is clicked, and for printing."""
    return f"<details><summary>{escape(title)}</summary>{content_html}</details>"


def _head(head: str, number: bool, sortable: bool) -> str:
    text = f"<button>{escape(head)}</button>" if sortable else escape(head)
    return f'<th scope="col"{_NUMBER if number else ""}>{text}</th>'


def _cell(cell: Cell) -> str:
    if isinstance(cell, Number):
        return f'<td{_NUMBER} data-value="{cell.value!r}">{escape(cell.text)}</td>'
    return f"<td>{escape(cell)}</td>"


def count_of(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"
