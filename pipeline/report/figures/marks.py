"""Designs as marks on two axes."""

from collections.abc import Sequence
from html import escape
from typing import Any

import plotly.graph_objects as go

from pipeline.design.metrics import METRICS
from pipeline.report.evaluated import Evaluated
from pipeline.report.figures.style import FAINT, INK, LOG_FROM, Style, hover_text, rounded, values_of


def design_marks(
    trials: Sequence[Evaluated], name: str, style: Style, x: str | None, y: str, is_front: bool
) -> go.Scatter:
    """Marks of designs under one name in the legend: large and with 95 % intervals on a front, else small and faint."""
    marker = {
        "color": style.colour,
        "symbol": style.symbol,
        "size": 11 if is_front else 7,
        "opacity": 1.0 if is_front else FAINT,
        "line": {"width": 1 if is_front else 0, "color": INK},
    }
    return go.Scatter(
        x=values_of(trials, x),
        y=values_of(trials, y),
        error_x=_metric_bars(trials, x) if is_front else None,
        error_y=_metric_bars(trials, y) if is_front else None,
        mode="markers",
        marker=marker,
        name=escape(name, quote=False),
        legendgroup=name,
        hovertext=[hover_text(trial) for trial in trials],
        hoverinfo="text",
    )


def metric_axis(trials: Sequence[Evaluated], name: str | None) -> dict[str, Any]:
    """An axis of a metric, or of the trials' numbers; logarithmic with ticks at 1, 2 and 5 where values span much."""
    if name is None:
        return {"title": "trial"}
    values = [trial.measured[name] for trial in trials]
    spans = bool(values) and min(values) > 0 and max(values) > LOG_FROM * min(values)
    if not spans:
        return {"title": METRICS[name].title, "type": "linear"}
    ticks = [float(f"{digit}e{power}") for power in range(-30, 31) for digit in (1, 2, 5)]
    near = [tick for tick in ticks if min(values) / 2.5 <= tick / METRICS[name].scale <= max(values) * 2.5]
    texts = [f"{tick:.10g}" for tick in near]
    return {"title": METRICS[name].title, "type": "log", "tickvals": near, "ticktext": texts}


def step_shape(x: str | None) -> str:
    """Shape of a line that joins a front from left to right, so that it stays on the side that the front dominates."""
    return "vh" if x and METRICS[x].direction == "maximize" else "hv"


def error_bars(points: Sequence[tuple[float, float, float]], scale: float) -> dict[str, Any]:
    """Error bars of (low, middle, high), each times `scale`."""
    above = rounded(scale * (high - middle) for _, middle, high in points)
    below = rounded(scale * (middle - low) for low, middle, _ in points)
    return {"type": "data", "array": above, "arrayminus": below, "thickness": 1, "width": 3}


def _metric_bars(trials: Sequence[Evaluated], name: str | None) -> dict[str, Any] | None:
    if name is None:
        return None
    points = [(ends[0], t.measured[name], ends[1]) for t in trials if (ends := t.interval(name))]
    return error_bars(points, METRICS[name].scale) | {"color": INK} if points else None
