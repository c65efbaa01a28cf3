"""Who leads without device errors, and who with them."""

import math
from collections.abc import Mapping, Sequence
from html import escape

import plotly.graph_objects as go

from pipeline.report.evaluated import Evaluated
from pipeline.report.figures.style import Style, by_device, hover_text, layout, mark

_LEADERS = 8  # designs of each list whose ranks are drawn


def rank_figure(trials: Sequence[Evaluated], styles: Mapping[str, Style]) -> go.Figure:
    """Ranks by accuracy without device errors (left) and with them (right) of the designs that lead either list."""
    names = ("accuracy_noiseless", "accuracy_mean")
    order = [sorted(trials, key=lambda trial: -trial.measured[name]) for name in names]
    ranks = [{trial.number: rank for rank, trial in enumerate(each, start=1)} for each in order]
    leaders = {trial.number: trial for each in order for trial in each[:_LEADERS]}
    figure = go.Figure()
    for device, style, own in by_device(list(leaders.values()), styles):
        for i, trial in enumerate(own):
            figure.add_scatter(
                x=[0, 1],
                y=[rank[trial.number] for rank in ranks],
                mode="lines+markers+text",
                text=[f"{trial.show('accuracy_noiseless')}  {mark(trial)}", f"{mark(trial)}  {trial.show(names[1])}"],
                textposition=["middle left", "middle right"],
                line={"color": style.colour, "width": 1.5},
                marker={"symbol": style.symbol, "size": 8},
                name=escape(device, quote=False),
                legendgroup=device,
                showlegend=i == 0,
                hovertext=[hover_text(trial)] * 2,
                hoverinfo="text",
            )
    last = max(rank[number] for rank in ranks for number in leaders)
    x_axis = {"tickvals": [0, 1], "ticktext": ["no device errors", "with device errors"], "range": [-0.6, 1.6]}
    y_axis = {"title": "rank", "showgrid": False} | (
        {"type": "log", "range": [math.log10(last * 1.3), math.log10(0.8)], "tickvals": _rank_ticks(last)}
        if last > 3 * _LEADERS
        else {"autorange": "reversed"}
    )
    figure.update_layout(layout(x_axis | {"side": "top", "showgrid": False}, y_axis, height=460))
    return figure


def _rank_ticks(last: int) -> list[int]:
    return [tick for tick in (1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000) if tick <= last]
