"""Measured values on a figure's axes: in the unit shown, linear or logarithmic, and their error bars."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import plotly.graph_objects as go

from pipeline.design.metrics import METRICS
from pipeline.report.evaluated import Evaluated

_LEAST_ERROR = 0.05  # assumed, in percent: of the smallest error that a scale of errors tells apart
_ERRORS = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 50, 70, 90)  # its ticks, in percent
_LOG_FROM = 30.0  # an axis whose largest value is this many times its smallest is logarithmic


def values_of(trials: Iterable[Evaluated], name: str | None) -> list[float]:
    """Values of a metric in the unit shown, or the trials' numbers."""
    if name is None:
        return [trial.number for trial in trials]
    return rounded(trial.measured[name] * METRICS[name].scale for trial in trials)


def metric_axis(trials: Sequence[Evaluated], name: str | None) -> dict[str, Any]:
    """An axis of a metric, or of the trials' numbers; logarithmic with ticks at 1, 2 and 5 where values span much."""
    if name is None:
        return {"title": "trial"}
    metric, values = METRICS[name], [trial.measured[name] for trial in trials]
    if not values or min(values) <= 0 or max(values) <= _LOG_FROM * min(values):
        return {"title": metric.title, "type": "linear"}
    return log_axis(metric.title, metric.scale * min(values), metric.scale * max(values))


def log_axis(title: str, low: float, high: float) -> dict[str, Any]:
    """A logarithmic axis for values from `low` to `high`, with ticks at 1, 2 and 5."""
    ticks = [float(f"{digit}e{power}") for power in range(-30, 31) for digit in (1, 2, 5)]
    near = [tick for tick in ticks if low / 2.5 <= tick <= high * 2.5]
    return {"title": title, "type": "log", "tickvals": near, "ticktext": [f"{tick:.10g}" for tick in near]}


def error_bars(points: Sequence[tuple[float, float, float]], scale: float) -> dict[str, Any]:
    """Error bars of (low, middle, high), each times `scale`."""
    above = rounded(scale * (high - middle) for _, middle, high in points)
    below = rounded(scale * (middle - low) for low, middle, _ in points)
    return {"type": "data", "array": above, "arrayminus": below, "thickness": 1, "width": 3}


def rounded(values: Iterable[float]) -> list[float]:
    """Six significant digits: exact enough for a figure, and a small file."""
    return [float(f"{value:.6g}") for value in values]


def on_error_scale(figure: go.Figure) -> go.Figure:
    """A figure of accuracies upwards, in percent, on a logarithmic scale of the error: 95, 99 and 99.9 % stand apart.

    What is within `_LEAST_ERROR` of 100 % stands at its edge.
    """
    shown: list[float] = []
    for trace in figure.data:
        values, bars = list(trace.y), trace.error_y
        above, below = (
            list(each if each is not None else [0.0] * len(values)) for each in (bars.array, bars.arrayminus)
        )
        errors = [_error(value) for value in values]
        if bars.array is not None:
            less = [error - _error(v + up) for error, v, up in zip(errors, values, above, strict=True)]
            more = [_error(v - down) - error for error, v, down in zip(errors, values, below, strict=True)]
            trace.error_y.update(array=rounded(more), arrayminus=rounded(less))
            shown += [error - part for error, part in zip(errors, less, strict=True)]
        trace.y = rounded(errors)
        shown += errors
    axis = figure.layout.yaxis
    low = axis.range[0] if axis.range else 100 - 1.1 * max(shown)
    ends = [math.log10(_error(low)), math.log10(max(0.8 * min(shown), 0.8 * _LEAST_ERROR))]
    ticks = [tick for tick in _ERRORS if ends[1] <= math.log10(tick) <= ends[0]]
    title = f"{axis.title.text}, log scale of the error"
    axis.update(type="log", range=ends, tickvals=ticks, ticktext=[f"{100 - tick:g}" for tick in ticks], title=title)
    return figure


def _error(accuracy: float) -> float:
    return max(100 - accuracy, _LEAST_ERROR)
