"""Which choice matters most."""

from collections.abc import Mapping

import plotly.graph_objects as go

from pipeline.design.metrics import METRICS
from pipeline.report.figures.style import COLOURS, layout, rounded


def importance_figure(importance: Mapping[str, Mapping[str, float]]) -> go.Figure:
    """How much each choice says about each objective, most telling choice on top.

    Args:
        importance: Objective -> choice -> share; the shares of an objective sum to 1.
    """
    total = {
        name: sum(shares.get(name, 0.0) for shares in importance.values()) for name in next(iter(importance.values()))
    }
    names = sorted(total, key=lambda name: total[name])
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
