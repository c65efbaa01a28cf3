"""Tables in Markdown, and the blocks of documentation pages that a command writes, between two marks."""

from collections.abc import Iterable, Sequence
from pathlib import Path


def row(cells: Iterable[object]) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def table(heads: Sequence[str], rows: Iterable[Iterable[object]] = ()) -> str:
    return "\n".join(map(row, [heads, ["---"] * len(heads), *rows]))


def write_block(page: Path, name: str, text: str) -> None:
    """Put `text` into a page, between the marks `<!-- name -->` and `<!-- end of name -->`."""
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
    before, rest = page.read_text().split(begin)
    page.write_text(before + begin + text + "\n" + end + rest.split(end)[1])
