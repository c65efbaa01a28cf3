"""Parallel coordinates: one line a design."""

import dataclasses
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import plotly.graph_objects as go

from pipeline.design.describe import design_columns
from pipeline.design.metrics import METRICS
from pipeline.report.evaluated import Evaluated
from pipeline.report.figures.style import FAINT, GREY, INK, LEGEND_BELOW, Style, by_device, hover_text, layout


def parallel_figure(
    trials: Sequence[Evaluated], front: Sequence[Evaluated], styles: Mapping[str, Style], objectives: Sequence[str]
) -> go.Figure:
    """One line a design through its choices to its objectives; what all designs share is left out."""
    axes = [*_choice_axes(trials), *(_metric_axis(trials, name) for name in objectives)]
    figure = go.Figure()
    on_front = {trial.number for trial in front}
    if others := [trial for trial in trials if trial.number not in on_front]:
        figure.add_trace(_lines(trials, others, axes, None).update(name="not on the front"))
    for device, style, own in by_device(front, styles):
        figure.add_trace(_lines(trials, own, axes, style).update(name=escape(f"{device}, front", quote=False)))
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
        repeats = None in choices and len(choices) == 2 and not name.endswith(("filters", "units"))
        if len(choices) > 1 and not repeats:  # only absent or not, which the layer's filters or units say
            place = {value: i / (len(choices) - 1) for i, value in enumerate(choices)}
            ticks = [(height, _choice(value)) for value, height in place.items()]
            axes.append(_Axis(name.replace("_", " "), [place[value] for value in values], ticks))
    return axes


def _choice(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "absent" if value is None else str(value)


def _metric_axis(trials: Sequence[Evaluated], name: str) -> _Axis:
    metric, values = METRICS[name], [trial.measured[name] for trial in trials]
    low, high = min(values), max(values)
    heights = [(value - low) / (high - low) if high > low else 0.5 for value in values]
    ticks = [(0.0, metric.show(low)), (1.0, metric.show(high))] if high > low else [(0.5, metric.show(low))]
    return _Axis(metric.title, heights, ticks)
