"""Shares of the components in a total."""

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from pipeline.design.metrics import METRICS
from pipeline.report.cost_parts import component_parts, grouped, mean_shares
from pipeline.report.evaluated import Evaluated
from pipeline.report.figures.style import COLOURS, GREY, LEGEND_BELOW, layout, mark, rounded, spoken


def breakdown_figure(trials: Sequence[Evaluated], name: str, colours: Mapping[str, str]) -> go.Figure:
    """Share of each component in a total, one bar a design.

    Args:
        trials: Designs, first on top.
        name: The total: `energy_j`, `area_m2` or `latency_s`.
        colours: Of the components that get a colour of their own (`component_colours`); the rest becomes one part.
    """
    metric = METRICS[name]
    bars = [f"{mark(trial)}  {metric.show(trial.measured[name])} {metric.unit}" for trial in trials]
    parts = [component_parts(trial, name) for trial in trials]
    figure = go.Figure()
    for group, values in grouped(parts, [component for component in mean_shares(parts) if component in colours]):
        figure.add_bar(
            y=bars,
            x=rounded(100 * value / sum(part.values()) for value, part in zip(values, parts, strict=True)),
            name=spoken(group),
            orientation="h",
            marker={"color": colours.get(group, GREY), "line": {"color": "#ffffff", "width": 0.5}},
            customdata=[f"{metric.show(value)} {metric.unit}" for value in values],
            hovertemplate="%{y}<br>%{fullData.name}: %{x:.1f} %, %{customdata}<extra></extra>",
        )
    x_axis = {"title": f"share of the {metric.label} [%]", "range": [0, 100]}
    y_axis = {"autorange": "reversed", "showgrid": False, "type": "category"}
    figure.update_layout(layout(x_axis, y_axis, height=170 + 28 * len(trials)))
    figure.update_layout(barmode="stack", bargap=0.25, legend=LEGEND_BELOW | {"traceorder": "normal"})
    return figure


def component_colours(trials: Sequence[Evaluated], names: Sequence[str]) -> dict[str, str]:
    """A colour for each of the largest components, the same for all totals in `names`."""
    shares = mean_shares([component_parts(trial, name) for name in names for trial in trials])
    return dict(zip(shares, COLOURS, strict=False))
