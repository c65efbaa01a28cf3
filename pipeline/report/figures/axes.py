"""Measured values on a figure's axes: in the unit shown, linear or logarithmic, and their error bars."""

from collections.abc import Iterable, Sequence
from typing import Any

from pipeline.design.metrics import METRICS
from pipeline.report.evaluated import Evaluated

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
