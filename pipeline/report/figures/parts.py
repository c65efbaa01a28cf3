"""Figures of where cost comes from and which choices matter."""

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from pipeline.design.metrics import METRICS
from pipeline.report.cost_parts import component_parts, layer_components, mean_shares
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
    shares = mean_shares(parts)
    rest = [component for component in shares if component not in colours]
    groups = {component: [component] for component in shares if component in colours} | (
        {"other": rest} if rest else {}
    )
    figure = go.Figure()
    for group, members in groups.items():
        values = [sum(part.get(member, 0.0) for member in members) for part in parts]
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


def layers_figure(trials: Sequence[Evaluated], colours: Mapping[str, str]) -> go.Figure:
    """Energy and area of each layer by component, of a few designs; `shared` is what no layer owns."""
    totals = ("energy_j", "area_m2")
    by_layer = [[layer_components(trial, name) for trial in trials] for name in totals]
    names = [list(area) for area in by_layer[1]]  # with `shared`, which has no energy
    places = [(mark(trial), layer) for trial, own in zip(trials, names, strict=True) for layer in own]
    figure = make_subplots(cols=2, shared_yaxes=True, horizontal_spacing=0.03, column_widths=[0.55, 0.45])
    known: set[str] = set()
    for column, (total, designs) in enumerate(zip(totals, by_layer, strict=True), start=1):
        metric = METRICS[total]
        cells = [parts.get(layer, {}) for parts, own in zip(designs, names, strict=True) for layer in own]
        for group in [*colours, "other"]:
            members = {group} if group in colours else {key for parts in cells for key in parts} - set(colours)
            values = [metric.scale * sum(parts.get(key, 0.0) for key in members) for parts in cells]
            if not any(values):
                continue
            figure.add_bar(
                y=[list(axis) for axis in zip(*places, strict=True)],
                x=rounded(values),
                name=spoken(group),
                legendgroup=group,
                showlegend=group not in known,
                orientation="h",
                marker={"color": colours.get(group, GREY), "line": {"color": "#ffffff", "width": 0.5}},
                hovertemplate=f"%{{fullData.name}}: %{{x:.4g}} {metric.unit}<extra></extra>",
                col=column,
                row=1,
            )
            known.add(group)
    y_axis = {"autorange": "reversed", "showgrid": False, "type": "multicategory"}
    figure.update_layout(layout({"title": METRICS[totals[0]].title}, y_axis, height=170 + 30 * len(places)))
    axis, domain = figure.layout.xaxis.to_plotly_json(), figure.layout.xaxis2.domain
    figure.update_layout(
        xaxis2=axis | {"title": METRICS[totals[1]].title, "anchor": "y2", "title_standoff": 8, "domain": domain},
        yaxis2=y_axis,
        barmode="stack",
        bargap=0.25,
        legend=LEGEND_BELOW | {"traceorder": "normal"},
    )
    return figure


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
