"""Templates of the report's page and of the dashboard's notes, filled with what was found."""

import json
from collections.abc import Sequence
from functools import partial
from typing import Any

import jinja2
import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from pipeline.report.content import Chapter

TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader("pipeline.report"),
    autoescape=jinja2.select_autoescape(),  # of HTML, not of Markdown
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
TEMPLATES.filters["plain"] = lambda text: text.replace("|", r"\|").replace("<", "&lt;")  # as Markdown's tables show it
TEMPLATES.policies["json.dumps_kwargs"] = {"separators": (",", ":")}


def render_page(title: str, chapters: Sequence[Chapter]) -> str:
    """The whole page, plotly included. Hover texts, which many figures share, stand in it once."""
    texts: dict[str, int] = {}
    page = TEMPLATES.get_template("report.html")
    for_plotly = partial(_for_plotly, texts=texts)
    return page.render(title=title, chapters=chapters, for_plotly=for_plotly, hover_texts=texts, plotly=get_plotlyjs())


def _for_plotly(figure: go.Figure, texts: dict[str, int]) -> Any:
    """A figure's data for plotly.js, with places in `texts`, which grows, in place of hover texts."""
    plain = json.loads(figure.to_json())
    for trace in plain["data"]:
        if "hovertext" in trace:
            trace["hovertext"] = [texts.setdefault(text, len(texts)) for text in trace["hovertext"]]
    return plain
