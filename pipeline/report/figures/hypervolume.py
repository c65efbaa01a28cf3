"""How the front grew."""

from collections.abc import Sequence

import plotly.graph_objects as go

from pipeline.design.pareto import hypervolume_history
from pipeline.report.evaluated import Evaluated
from pipeline.report.figures.style import COLOURS, hover_text, layout, rounded


def hypervolume_figure(objectives: Sequence[str], trials: Sequence[Evaluated]) -> go.Figure:
    """Hypervolume of the front after each evaluated trial."""
    history = hypervolume_history(objectives, [[trial.measured[name] for name in objectives] for trial in trials])
    numbers = [trial.number for trial in trials]
    grew = [i for i, value in enumerate(history) if value > (history[i - 1] if i else 0.0)]
    figure = go.Figure(layout=layout({"title": "trial"}, {"title": "hypervolume", "rangemode": "tozero"}, height=320))
    figure.add_scatter(
        x=numbers, y=rounded(history), mode="lines", line={"color": COLOURS[0], "shape": "hv"}, showlegend=False
    )
    figure.add_scatter(
        x=[numbers[i] for i in grew],
        y=rounded(history[i] for i in grew),
        mode="markers",
        marker={"color": COLOURS[0], "size": 7},
        hovertext=[hover_text(trials[i]) for i in grew],
        hoverinfo="text",
        showlegend=False,
    )
    return figure
