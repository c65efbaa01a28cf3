"""Accuracy chip by chip."""

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from pipeline.report.evaluated import Evaluated
from pipeline.report.figures.style import INK, Style, by_device, layout, mark, rounded


def chips_figure(trials: Sequence[Evaluated], styles: Mapping[str, Style]) -> go.Figure:
    """Accuracy of every simulated chip of each design, and the accuracy without device errors."""
    figure = go.Figure()
    for _, style, own in by_device(trials, styles):
        for trial in own:
            figure.add_box(
                x=[mark(trial)] * len(trial.validation.per_chip),
                y=rounded(100 * accuracy for accuracy in trial.validation.per_chip),
                boxpoints="all",
                pointpos=0,
                jitter=0.5,
                fillcolor="rgba(0,0,0,0)",
                line={"color": style.colour, "width": 1},
                marker={"color": style.colour, "symbol": style.symbol, "size": 5, "opacity": 0.6},
                hovertemplate="%{x}, one chip: %{y:.2f} %<extra></extra>",
                hoveron="points",
                showlegend=False,
            )
    figure.add_scatter(
        x=[mark(trial) for trial in trials],
        y=rounded(100 * trial.validation.noiseless for trial in trials),
        mode="markers",
        name="no device errors",
        marker={"symbol": "line-ew-open", "size": 24, "color": INK, "line": {"width": 2}},
        hovertemplate="%{x}, no device errors: %{y:.2f} %<extra></extra>",
    )
    x_axis = {
        "categoryorder": "array",
        "categoryarray": [mark(trial) for trial in trials],
        "type": "category",
    }
    figure.update_layout(layout(x_axis, {"title": "accuracy of a chip [%]"}, height=400))
    return figure
