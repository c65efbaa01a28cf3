"""Energy and area by component, and layer by layer."""

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from pipeline.design.metrics import METRICS
from pipeline.report.cost_parts import component_parts, grouped, layer_components, mean_shares
from pipeline.report.evaluated import Evaluated
from pipeline.report.figures.axes import rounded
from pipeline.report.figures.style import COMPONENT_COLOURS, GREY, LEGEND_BELOW, layout, mark, spoken

_TOTALS = ("energy_j", "area_m2")
_STACKED = {"barmode": "stack", "bargap": 0.25, "legend": LEGEND_BELOW | {"traceorder": "normal"}}
_COLOURED = 8  # components with a colour of their own in one figure
_LABELLED = 0.1  # share of a bar from which a segment has its name inside
_THIN_EDGE = {"color": "#ffffff", "width": 0.5}


def breakdown_figure(trials: Sequence[Evaluated], name: str, colours: Mapping[str, str]) -> go.Figure:
    """Share of each component in a total, one bar a design.

    Args:
        trials: Designs, first on top.
        name: The total: `energy_j`, `area_m2` or `latency_s`.
        colours: Of the components that get a colour of their own (`component_colours`); the rest is `other`.
    """
    metric = METRICS[name]
    parts = [component_parts(trial, name) for trial in trials]
    figure = go.Figure()
    for group, values in grouped(parts, [component for component in mean_shares(parts) if component in colours]):
        shares = [value / sum(part.values()) for value, part in zip(values, parts, strict=True)]
        figure.add_bar(
            y=[f"{mark(trial)}  {metric.show(trial.measured[name])} {metric.unit}" for trial in trials],
            x=rounded(100 * share for share in shares),
            name=spoken(group),
            orientation="h",
            marker=_look(group, colours),
            text=[spoken(group) if share >= _LABELLED else "" for share in shares],
            textposition="inside",
            insidetextanchor="middle",
            textangle=0,
            constraintext="inside",
            customdata=[f"{metric.show(value)} {metric.unit}" for value in values],
            hovertemplate="%{y}<br>%{fullData.name}: %{x:.1f} %, %{customdata}<extra></extra>",
        )
    x_axis = {"title": f"share of the {metric.label} [%]", "range": [0, 100]}
    y_axis = {"autorange": "reversed", "showgrid": False, "type": "category"}
    figure.update_layout(layout(x_axis, y_axis, height=170 + 28 * len(trials)), **_STACKED)
    return figure


def _look(group: str, colours: Mapping[str, str]) -> dict[str, Any]:
    """How a component's bars look; all others together are hatched."""
    hatched = {} if group in colours else {"pattern": {"shape": "/", "size": 5, "bgcolor": GREY, "fgcolor": "#ffffff"}}
    return {"color": colours.get(group, GREY), "line": _THIN_EDGE} | hatched


def component_colours(trials: Sequence[Evaluated], names: Sequence[str]) -> dict[str, str]:
    """The colours of the largest components of all totals in `names`, the same in all reports."""
    shares = mean_shares([component_parts(trial, name) for name in names for trial in trials])
    return {name: COMPONENT_COLOURS[name] for name in list(shares)[:_COLOURED]}


def layers_figure(trials: Sequence[Evaluated], colours: Mapping[str, str]) -> go.Figure:
    """Energy and area of each layer by component, of a few designs; `shared` belongs to no layer."""
    by_layer = [[layer_components(trial, name) for trial in trials] for name in _TOTALS]
    names = [list(area) for area in by_layer[1]]  # with `shared`, which has area but no energy
    marks, layers = zip(*((mark(t), layer) for t, own in zip(trials, names, strict=True) for layer in own), strict=True)
    figure = make_subplots(cols=2, shared_yaxes=True, horizontal_spacing=0.03, column_widths=[0.55, 0.45])
    in_legend: set[str] = set()
    for column, (total, designs) in enumerate(zip(_TOTALS, by_layer, strict=True), start=1):
        cells = [parts.get(layer, {}) for parts, own in zip(designs, names, strict=True) for layer in own]
        for group, values in grouped(cells, colours):
            figure.add_bar(
                y=[marks, layers],
                x=rounded(METRICS[total].scale * value for value in values),
                name=spoken(group),
                legendgroup=group,
                showlegend=group not in in_legend,
                orientation="h",
                marker=_look(group, colours),
                hovertemplate=f"%{{fullData.name}}: %{{x:.4g}} {METRICS[total].unit}<extra></extra>",
                col=column,
                row=1,
            )
            in_legend.add(group)
    energy, area = (METRICS[name].title for name in _TOTALS)
    y_axis = {"autorange": "reversed", "showgrid": False, "type": "multicategory"}
    figure.update_layout(layout({"title": energy}, y_axis, height=170 + 30 * len(layers)), yaxis2=y_axis, **_STACKED)
    axis, domain = figure.layout.xaxis.to_plotly_json(), figure.layout.xaxis2.domain
    figure.update_layout(xaxis2=axis | {"title": area, "anchor": "y2", "title_standoff": 8, "domain": domain})
    return figure
