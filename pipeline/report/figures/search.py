"""Figures of the search: how the front grew, which choice matters most, and all designs in parallel coordinates."""

import dataclasses
from collections.abc import Mapping, Sequence
from html import escape

import plotly.graph_objects as go

from pipeline.design.describe import design_columns, show_choice
from pipeline.design.metrics import METRICS
from pipeline.design.pareto import hypervolume_history, hypervolume_scale
from pipeline.report.evaluated import Evaluated
from pipeline.report.figures.axes import rounded
from pipeline.report.figures.style import COLOURS, FAINT, GREY, INK, LEGEND_BELOW, Style, by_device, hover_text, layout

_MAY_BE_NONE = ("filters", "units", "rows_at_once", "supply_v", "crossbar_columns")  # without a column that says so


def hypervolume_figure(
    objectives: Sequence[str], trials: Sequence[Evaluated], counted: Sequence[bool] | None = None
) -> go.Figure:
    """Hypervolume of the front after each evaluated trial, of those `counted`, in the units shown."""
    values = [[trial.measured[name] for name in objectives] for trial in trials]
    scale = hypervolume_scale(objectives)
    history = [scale * volume for volume in hypervolume_history(objectives, values, counted)]
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
    """How important each choice is for each objective, most important on top.

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


def parallel_figure(
    trials: Sequence[Evaluated], front: Sequence[Evaluated], styles: Mapping[str, Style], objectives: Sequence[str]
) -> go.Figure:
    """One line a design through its choices to its objectives; what all designs share is left out."""
    axes = [*_choice_axes(trials), *(_metric_axis(trials, name) for name in objectives)]
    figure = go.Figure()
    on_front = {trial.number for trial in front}
    if others := [trial for trial in trials if trial.number not in on_front]:
        figure.add_trace(_lines(trials, others, axes, None).update(name="not on the front"))
    for _, style, own in by_device(front, styles):
        figure.add_trace(_lines(trials, own, axes, style).update(name=f"{style.label}, front"))
    for position, axis in enumerate(axes):
        for height, label in axis.ticks:
            figure.add_annotation(
                x=position, y=height, text=escape(label, quote=False), showarrow=False, xanchor="right", xshift=-5,
                font={"size": 10, "color": INK}, bgcolor="rgba(255,255,255,0.8)", borderpad=1,
            )  # fmt: skip
    x_axis = {"tickvals": [*range(len(axes))], "ticktext": [axis.title for axis in axes], "tickangle": -30}
    x_axis |= {"range": [-0.2, len(axes) - 0.8], "side": "top", "gridcolor": "#cccccc"}
    figure.update_layout(layout(x_axis, {"visible": False, "range": [-0.06, 1.06]}, height=520))
    figure.update_layout(legend=LEGEND_BELOW, margin={"t": 90, "l": 60, "r": 50})
    return figure


@dataclasses.dataclass(frozen=True, slots=True)
class _Axis:
    """One axis of the parallel coordinates: heights from 0 to 1, one for each trial, and where labels stand."""

    title: str
    heights: list[float]
    ticks: list[tuple[float, str]]


def _lines(
    trials: Sequence[Evaluated], group: Sequence[Evaluated], axes: Sequence[_Axis], style: Style | None
) -> go.Scatter:
    """Lines of the designs in `group`, drawn as one trace with gaps; faint and without hover text if without style."""
    places = {trial.number: i for i, trial in enumerate(trials)}
    upwards: list[float | None] = []
    for i in (places[trial.number] for trial in group):
        shift = 0.02 * ((i * 0.618) % 1 - 0.5)  # lines through the same choice lie side by side
        upwards += [*(round(axis.heights[i] + shift, 4) for axis in axes), None]
    lines = go.Scatter(x=[*range(len(axes)), None] * len(group), y=upwards, mode="lines")
    if style is None:
        return lines.update(line={"color": GREY, "width": 0.8}, opacity=FAINT, hoverinfo="skip")
    texts = [text for trial in group for text in [*[hover_text(trial)] * len(axes), None]]
    return lines.update(line={"color": style.colour, "width": 2}, opacity=0.9, hovertext=texts, hoverinfo="text")


def _choice_axes(trials: Sequence[Evaluated]) -> list[_Axis]:
    columns = [design_columns(trial.design) for trial in trials]
    axes = []
    for name in dict.fromkeys(key for column in columns for key in column):
        values = [column.get(name) for column in columns]
        choices = sorted(set(values), key=lambda value: (value is not None, value))
        repeats = None in choices and len(choices) == 2 and not name.endswith(_MAY_BE_NONE)
        if len(choices) > 1 and not repeats:  # repeats: only absent or not, as filters or units show
            place = {value: i / (len(choices) - 1) for i, value in enumerate(choices)}
            ticks = [(height, show_choice(name, value)) for value, height in place.items()]
            axes.append(_Axis(name.replace("_", " "), [place[value] for value in values], ticks))
    return axes


def _metric_axis(trials: Sequence[Evaluated], name: str) -> _Axis:
    metric, values = METRICS[name], [trial.measured[name] for trial in trials]
    low, high = min(values), max(values)
    heights = [(value - low) / (high - low) if high > low else 0.5 for value in values]
    ticks = [(0.0, metric.show(low)), (1.0, metric.show(high))] if high > low else [(0.5, metric.show(low))]
    return _Axis(metric.title, heights, ticks)
