"""The Pareto front among all designs."""

import itertools
from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from pipeline.design.metrics import METRICS
from pipeline.report.evaluated import Evaluated, useful
from pipeline.report.figures.marks import design_marks, metric_axis, step_shape
from pipeline.report.figures.published import PAPER
from pipeline.report.figures.style import GREY, Style, by_device, layout, values_of

_SMALL = {"size": 11, "color": GREY}


def front_figure(
    trials: Sequence[Evaluated],
    front: Sequence[Evaluated],
    styles: Mapping[str, Style],
    x: str | None,
    y: str,
    joined: bool,
) -> go.Figure:
    """All trials faint, the front in full colour with 95 % intervals.

    Args:
        trials, front: What to draw.
        styles: Of the devices.
        x: Metric across, or None for the trial's number.
        y: Metric upwards.
        joined: Whether a staircase joins the front: right if x and y are all objectives.
    """
    on_front = {trial.number for trial in front}
    figure = go.Figure()
    if joined and x is not None:
        edge = sorted(front, key=lambda trial: trial.measured[x])
        line = {"color": GREY, "width": 1, "shape": step_shape(x)}
        figure.add_scatter(
            x=values_of(edge, x), y=values_of(edge, y), mode="lines", line=line, hoverinfo="skip", showlegend=False
        )
    for device, style, own in by_device(trials, styles):
        others, best = ([t for t in own if (t.number in on_front) is wanted] for wanted in (False, True))
        if others:
            figure.add_trace(design_marks(others, device, style, x, y, is_front=False).update(showlegend=not best))
        if best:
            figure.add_trace(design_marks(best, device, style, x, y, is_front=True))
    figure.update_layout(layout(metric_axis(trials, x), metric_axis(trials, y), height=460))
    _look_at_front(figure, trials, front, x, y)
    if x == "tops_per_watt":
        _mark_paper(figure)
    return figure


def pairs(objectives: Sequence[str]) -> list[tuple[str | None, str]]:
    """Axes (x, y) of the figures that show a front: one for each pair of objectives, the first objective upwards."""
    if len(objectives) == 1:
        return [(None, objectives[0])]
    return [(x, y) for y, x in itertools.combinations(objectives, 2)]


def _mark_paper(figure: go.Figure) -> None:
    """Dotted lines at the paper's TOPS/W; they do not widen the axes."""
    for design in PAPER:
        if design.tops_per_watt:
            text = f"paper {design.tops_per_watt:g}"
            label = {"text": text, "textposition": "end", "textangle": 0, "yanchor": "bottom", "font": _SMALL}
            line = {"color": GREY, "width": 1, "dash": "dot"}
            figure.add_shape(
                type="line", x0=design.tops_per_watt, x1=design.tops_per_watt, y0=0, y1=1, yref="paper",
                layer="below", line=line, label=label,
            )  # fmt: skip


def _look_at_front(
    figure: go.Figure, trials: Sequence[Evaluated], front: Sequence[Evaluated], x: str | None, y: str
) -> None:
    """Cut the axes where a few far worse designs would squeeze the front, and say how many are outside."""
    front = useful(front)
    hidden: set[int] = set()
    for name, axis in ((x, figure.layout.xaxis), (y, figure.layout.yaxis)):
        if name is None or axis.type == "log":
            continue
        sign = 1 if METRICS[name].direction == "maximize" else -1  # so that more is better
        everything, best = ([sign * value for value in values_of(group, name)] for group in (trials, front))
        ends = [sign * METRICS[name].scale * end for trial in front for end in trial.interval(name) or ()]
        span, high = max(best) - min(best), max([*everything, *ends])
        low = min(min([*best, *ends]) - 3 * span, sorted(everything)[len(everything) // 4])
        if span and high - low < 0.7 * (high - min(everything)):
            margin = 0.05 * (high - low)
            axis.range = sorted([sign * (low - margin), sign * (high + margin)])
            hidden |= {trial.number for trial, value in zip(trials, everything, strict=True) if value < low - margin}
    if hidden:
        text = f"{len(hidden)} more outside this view; double-click to see all"
        place = {"xref": "paper", "yref": "paper", "x": 0.01, "y": 0.01, "xanchor": "left", "yanchor": "bottom"}
        figure.add_annotation(text=text, showarrow=False, font={"size": 12, "color": GREY}, **place)
