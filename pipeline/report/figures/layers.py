"""Energy and area layer by layer."""

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from pipeline.design.metrics import METRICS
from pipeline.report.cost_parts import grouped, layer_components
from pipeline.report.evaluated import Evaluated
from pipeline.report.figures.style import GREY, LEGEND_BELOW, layout, mark, rounded, spoken

_TOTALS = ("energy_j", "area_m2")


def layers_figure(trials: Sequence[Evaluated], colours: Mapping[str, str]) -> go.Figure:
    """Energy and area of each layer by component, of a few designs; `shared` is what no layer owns."""
    by_layer = [[layer_components(trial, name) for trial in trials] for name in _TOTALS]
    names = [list(area) for area in by_layer[1]]  # with `shared`, which has area but no energy
    places = [(mark(trial), layer) for trial, own in zip(trials, names, strict=True) for layer in own]
    figure = make_subplots(cols=2, shared_yaxes=True, horizontal_spacing=0.03, column_widths=[0.55, 0.45])
    in_legend: set[str] = set()
    for column, (total, designs) in enumerate(zip(_TOTALS, by_layer, strict=True), start=1):
        cells = [parts.get(layer, {}) for parts, own in zip(designs, names, strict=True) for layer in own]
        for group, values in grouped(cells, colours):
            figure.add_bar(
                y=[list(axis) for axis in zip(*places, strict=True)],
                x=rounded(METRICS[total].scale * value for value in values),
                name=spoken(group),
                legendgroup=group,
                showlegend=group not in in_legend,
                orientation="h",
                marker={"color": colours.get(group, GREY), "line": {"color": "#ffffff", "width": 0.5}},
                hovertemplate=f"%{{fullData.name}}: %{{x:.4g}} {METRICS[total].unit}<extra></extra>",
                col=column,
                row=1,
            )
            in_legend.add(group)
    _lay_out(figure, height=170 + 30 * len(places))
    return figure


def _lay_out(figure: go.Figure, height: int) -> None:
    energy, area = (METRICS[name].title for name in _TOTALS)
    y_axis = {"autorange": "reversed", "showgrid": False, "type": "multicategory"}
    figure.update_layout(layout({"title": energy}, y_axis, height))
    axis, domain = figure.layout.xaxis.to_plotly_json(), figure.layout.xaxis2.domain
    figure.update_layout(
        xaxis2=axis | {"title": area, "anchor": "y2", "title_standoff": 8, "domain": domain},
        yaxis2=y_axis,
        barmode="stack",
        bargap=0.25,
        legend=LEGEND_BELOW | {"traceorder": "normal"},
    )
