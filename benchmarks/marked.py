"""Tables in the documentation that a command writes, between two marks."""

from pathlib import Path


def write_block(page: Path, name: str, text: str) -> None:
    """Put `text` into a page, between the marks `<!-- name -->` and `<!-- end of name -->`."""
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
    before, rest = page.read_text().split(begin)
    page.write_text(before + begin + text + "\n" + end + rest.split(end)[1])
