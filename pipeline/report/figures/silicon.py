"""What silicon would reach: bars on the front, and designs that are tied."""

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

import plotly.graph_objects as go

from hw_models.silicon import Figure
from pipeline.design.metrics import METRICS
from pipeline.report.evaluated import Evaluated
from pipeline.report.figures.axes import error_bars, log_axis, metric_axis, rounded, values_of
from pipeline.report.figures.style import GREY, INK, Style, by_device, hover_text, layout, mark

_ROW, _MARGIN = 24, 110  # pixels of a design, and of axis and legend
_ON_TOPS_PER_WATT = ("tops_per_watt", "tops_per_watt_silicon", "tops_per_watt_silicon_low")


def axis_with_bars(trials: Sequence[Evaluated], front: Sequence[Evaluated], x: str | None) -> dict[str, Any]:
    """The axis of a metric; logarithmic if it is TOPS/W and `add_silicon_bars` adds bars, which span much."""
    reached = [_reached(trial) for trial in front if trial.silicon]
    if x not in _ON_TOPS_PER_WATT or not reached:
        return metric_axis(trials, x)
    values = [trial.measured[x] for trial in trials]
    return log_axis(METRICS[x].title, min(_lowest(reached), *values), max(_highest(reached), *values))


def add_silicon_bars(figure: go.Figure, front: Sequence[Evaluated], x: str | None, y: str) -> None:
    """Draw a grey bar at the height of each design of a front whose x axis is TOPS/W: estimate and 80 % of chips."""
    shown = [trial for trial in front if trial.silicon]
    if x not in _ON_TOPS_PER_WATT or not shown:
        return
    reached = [_reached(trial) for trial in shown]
    bars = error_bars([(each.low(80), each.value, each.high(80)) for each in reached], 1.0)
    figure.add_scatter(
        x=rounded(each.value for each in reached),
        y=values_of(shown, y),
        error_x=bars | {"color": GREY, "width": 0},
        mode="markers",
        marker={"symbol": "line-ns-open", "size": 9, "color": GREY, "line": {"width": 1.5}},
        name="silicon, 80 % of chips",
        legendrank=2000,
        zorder=-1,
        hovertext=[hover_text(trial) for trial in shown],
        hoverinfo="text",
    )


def told_apart_figure(trials: Sequence[Evaluated], styles: Mapping[str, Style]) -> go.Figure:
    """One row a design, best estimate on top: what silicon would reach, with both bars, and the cost model's TOPS/W.

    The thick bar reaches the square root of the ratio that tells two designs of one family apart, up and down: where
    two of them overlap, they are tied.
    """
    shown = sorted((trial for trial in trials if trial.silicon), key=lambda trial: _reached(trial).value)
    figure, rows = go.Figure(), {trial.number: row for row, trial in enumerate(shown)}
    for device, style, own in by_device(shown, styles):
        _add_device(figure, device, style, own, [rows[trial.number] for trial in own])
    figure.add_scatter(
        x=values_of(shown, "tops_per_watt"),
        y=list(rows.values()),
        mode="markers",
        marker={"symbol": "x-thin-open", "size": 8, "color": INK, "line": {"width": 1.5}},
        name="cost model",
        hoverinfo="skip",
    )
    ticks = {"tickvals": list(rows.values()), "ticktext": [mark(trial) for trial in shown], "showgrid": False}
    low, high = (end([_reached(trial) for trial in shown]) for end in (_lowest, _highest))
    axis = log_axis(METRICS["tops_per_watt_silicon"].title, low, high)
    figure.update_layout(layout(axis, ticks | {"title": ""}, height=_MARGIN + _ROW * len(shown)), showlegend=True)
    return figure


def _add_device(figure: go.Figure, device: str, style: Style, own: Sequence[Evaluated], heights: list[int]) -> None:
    """The designs of a device: against silicon a thin bar, between designs of a family a thick one."""
    found = [trial.silicon for trial in own if trial.silicon]
    values = [each.tops_per_watt.value for each in found]
    halves = [math.sqrt(each.between_designs.factor(80)) for each in found]
    thick = [(value / half, value, value * half) for value, half in zip(values, halves, strict=True)]
    thin = [(each.tops_per_watt.low(80), each.tops_per_watt.value, each.tops_per_watt.high(80)) for each in found]
    for points, width, opacity in ((thin, 1, 1.0), (thick, 7, 0.45)):
        bars = error_bars(points, 1.0) | {"color": style.colour, "thickness": width, "width": 0}
        hidden = {"mode": "markers", "marker": {"opacity": 0}, "showlegend": False, "hoverinfo": "skip"}
        figure.add_scatter(x=rounded(values), y=heights, error_x=bars, opacity=opacity, **hidden)
    figure.add_scatter(
        x=rounded(values),
        y=heights,
        mode="markers",
        marker={"color": style.colour, "symbol": style.symbol, "size": 9, "line": {"width": 1, "color": INK}},
        name=f"{escape(device, quote=False)} ({found[0].family})",
        hovertext=[hover_text(trial) for trial in own],
        hoverinfo="text",
    )


def _reached(trial: Evaluated) -> Figure:
    assert trial.silicon is not None, "designs without an estimate are not drawn"
    return trial.silicon.tops_per_watt


def _lowest(reached: Iterable[Figure]) -> float:
    return min(each.low(80) for each in reached)


def _highest(reached: Iterable[Figure]) -> float:
    return max(each.high(80) for each in reached)
