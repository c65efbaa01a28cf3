"""Accuracy against programming errors."""

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from pipeline.report.evaluated import Evaluated
from pipeline.report.figures.marks import error_bars
from pipeline.report.figures.style import Style, layout, mark, rounded


def sigma_figure(trials: Sequence[Evaluated], styles: Mapping[str, Style]) -> go.Figure:
    """Accuracy of designs that were measured again at other programming errors (`nacim evaluate --sigma-scale`)."""
    figure = go.Figure()
    for trial in trials:
        points = trial.over_sigma()
        style = styles[trial.device]
        figure.add_scatter(
            x=[sigma for sigma, _ in points],
            y=rounded(100 * report.mean for _, report in points),
            error_y=error_bars([(report.mean_low, report.mean, report.mean_high) for _, report in points], 100),
            mode="lines+markers",
            line={"color": style.colour},
            marker={"symbol": style.symbol, "size": 8},
            name=mark(trial),
        )
    x_axis = {"title": "programming errors relative to the card's", "rangemode": "tozero"}
    figure.update_layout(layout(x_axis, {"title": "accuracy [%]"}, height=400), showlegend=True)
    return figure
