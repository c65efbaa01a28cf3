"""What the search says: how the front grew, and which choice matters most."""

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from pipeline.design.metrics import METRICS
from pipeline.design.pareto import hypervolume_history
from pipeline.report.evaluated import Evaluated
from pipeline.report.figures.axes import rounded
from pipeline.report.figures.style import COLOURS, hover_text, layout


def hypervolume_figure(objectives: Sequence[str], trials: Sequence[Evaluated]) -> go.Figure:
    """Hypervolume of the front after each evaluated trial."""
    history = hypervolume_history(objectives, [[trial.measured[name] for name in objectives] for trial in trials])
    numbers = [trial.number for trial in trials]
    grew = [i for i, value in enumerate(history) if value > (history[i - 1] if i else 0.0)]
    line, marker = {"color": COLOURS[0], "shape": "hv"}, {"color": COLOURS[0], "size": 7}
    figure = go.Figure(layout=layout({"title": "trial"}, {"title": "hypervolume", "rangemode": "tozero"}, height=320))
    figure.add_scatter(x=numbers, y=rounded(history), mode="lines", line=line, showlegend=False)
    figure.add_scatter(
        x=[numbers[i] for i in grew],
        y=rounded(history[i] for i in grew),
        mode="markers",
        marker=marker,
        hovertext=[hover_text(trials[i]) for i in grew],
        hoverinfo="text",
        showlegend=False,
    )
    return figure


def importance_figure(importance: Mapping[str, Mapping[str, float]]) -> go.Figure:
    """How much each choice says about each objective, most telling choice on top.

    Args:
        importance: Objective -> choice -> share; the shares of an objective sum to 1.
    """
    choices = next(iter(importance.values()))
    names = sorted(choices, key=lambda name: sum(shares.get(name, 0.0) for shares in importance.values()))
    figure = go.Figure()
    for (objective, shares), colour in zip(importance.items(), COLOURS, strict=False):
        figure.add_bar(
            y=[name.replace("_", " ") for name in names],
            x=rounded(100 * shares.get(name, 0.0) for name in names),
            orientation="h",
            name=METRICS[objective].label,
            marker={"color": colour},
            hovertemplate="%{y}: %{x:.1f} %<extra>%{fullData.name}</extra>",
        )
    height = 120 + (14 + 12 * len(importance)) * len(names)
    figure.update_layout(layout({"title": "importance [%]"}, {"showgrid": False, "type": "category"}, height=height))
    figure.update_layout(barmode="group", bargap=0.3, legend={"traceorder": "normal"})
    return figure
