"""Designs as marks on two axes: the Pareto front among all designs of a study, and the fronts of several studies."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from pipeline.design.metrics import METRICS
from pipeline.design.pareto import nondominated, to_losses
from pipeline.report.evaluated import Evaluated
from pipeline.report.figures.axes import error_bars, metric_axis, values_of
from pipeline.report.figures.published import DATASET, PAPER
from pipeline.report.figures.silicon import add_silicon_bars, axis_with_bars
from pipeline.report.figures.style import FAINT, GREY, INK, Style, by_device, device_styles, hover_text, layout


def front_figure(
    trials: Sequence[Evaluated],
    front: Sequence[Evaluated],
    styles: Mapping[str, Style],
    x: str | None,
    y: str,
    joined: bool,
    dataset: str = "",
) -> go.Figure:
    """All trials faint, the front in full colour with 95 % intervals.

    Args:
        trials, front: What to draw.
        styles: Of the devices.
        x: Metric across, or None for the trial's number.
        y: Metric upwards.
        joined: Whether a staircase joins the front; true only if x and y are all objectives.
        dataset: On the paper's, lines mark its TOPS/W.
    """
    on_front = {trial.number for trial in front}
    figure = go.Figure()
    if joined and x is not None:
        edge = sorted(front, key=lambda trial: trial.measured[x])
        line = {"color": GREY, "width": 1, "shape": _step_shape(x)}
        figure.add_scatter(
            x=values_of(edge, x), y=values_of(edge, y), mode="lines", line=line, hoverinfo="skip", showlegend=False
        )
    for device, style, own in by_device(trials, styles):
        others, best = ([t for t in own if (t.number in on_front) is wanted] for wanted in (False, True))
        if others:
            figure.add_trace(_marks(others, device, style, x, y, is_front=False).update(showlegend=not best))
        if best:
            figure.add_trace(_marks(best, device, style, x, y, is_front=True))
    figure.update_layout(layout(axis_with_bars(trials, front, x), metric_axis(trials, y), height=460))
    _look_at_front(figure, trials, front, x, y)
    add_silicon_bars(figure, front, x, y)
    if x == "tops_per_watt" and dataset == DATASET:
        _mark_paper(figure)
    return figure


def comparison_figure(fronts: Mapping[str, Sequence[Evaluated]], x: str | None, y: str) -> go.Figure:
    """The fronts of several studies over one another, with 95 % intervals; one colour and mark a study.

    A line joins the marks of a study where they are a front in these two objectives alone.
    """
    figure = go.Figure()
    everything = [trial for front in fronts.values() for trial in front]
    for (name, front), style in zip(fronts.items(), device_styles(fronts).values(), strict=True):
        edge = sorted(front, key=lambda trial: trial.measured[x] if x else trial.number)
        names = [x, y] if x else [y]
        joined = nondominated(to_losses(names, [[trial.measured[name] for name in names] for trial in edge])).all()
        line = {"color": style.colour, "width": 1, "dash": "dot", "shape": _step_shape(x)}
        marks = _marks(edge, name, style, x, y, is_front=True)
        figure.add_trace(marks.update(line=line, mode="lines+markers" if joined else "markers"))
    if x is not None and len(fronts) > 1:
        figure.add_trace(_joint_front(everything, x, y))
    figure.update_layout(layout(metric_axis(everything, x), metric_axis(everything, y), height=460))
    return figure


def _joint_front(trials: Sequence[Evaluated], x: str, y: str) -> go.Scatter:
    """A staircase along the front of all studies together, in two objectives."""
    stay = nondominated(to_losses([x, y], [[trial.measured[name] for name in (x, y)] for trial in trials]))
    edge = sorted((t for t, stays in zip(trials, stay, strict=True) if stays), key=lambda trial: trial.measured[x])
    line = {"color": GREY, "width": 2, "shape": _step_shape(x)}
    return go.Scatter(
        x=values_of(edge, x), y=values_of(edge, y), mode="lines", line=line, name="joint front", hoverinfo="skip"
    )


def pairs(objectives: Sequence[str]) -> list[tuple[str | None, str]]:
    """Axes (x, y) of the figures that show a front: one for each pair of objectives, the first objective upwards."""
    if len(objectives) == 1:
        return [(None, objectives[0])]
    return [(x, y) for y, x in itertools.combinations(objectives, 2)]


def _marks(trials: Sequence[Evaluated], name: str, style: Style, x: str | None, y: str, is_front: bool) -> go.Scatter:
    """Designs under one name in the legend: large marks with 95 % intervals on a front, else small and faint ones."""
    size, opacity, edge = (11, 1.0, 1) if is_front else (7, FAINT, 0)
    return go.Scatter(
        x=values_of(trials, x),
        y=values_of(trials, y),
        error_x=_intervals(trials, x) if is_front else None,
        error_y=_intervals(trials, y) if is_front else None,
        mode="markers",
        marker={"color": style.colour, "symbol": style.symbol, "size": size, "opacity": opacity}
        | {"line": {"width": edge, "color": INK}},
        name=style.label,
        legendgroup=name,
        hovertext=[hover_text(trial) for trial in trials],
        hoverinfo="text",
    )


def _intervals(trials: Sequence[Evaluated], name: str | None) -> dict[str, Any] | None:
    points = [(ends[0], t.measured[name], ends[1]) for t in trials if name and (ends := t.interval(name))]
    return error_bars(points, METRICS[name].scale) | {"color": INK} if name and points else None


def _step_shape(x: str | None) -> str:
    """Shape of a line that joins a front from left to right, so that it stays on the side that the front dominates."""
    return "vh" if x and METRICS[x].direction == "maximize" else "hv"


def _mark_paper(figure: go.Figure) -> None:
    """Dotted lines at the paper's TOPS/W; they do not widen the axes."""
    for at in (design.tops_per_watt for design in PAPER if design.tops_per_watt):
        label = {"text": f"paper {at:g}", "textposition": "end", "textangle": 0, "yanchor": "bottom"}
        label["font"] = {"size": 11, "color": GREY}
        line = {"color": GREY, "width": 1, "dash": "dot"}
        figure.add_shape(type="line", x0=at, x1=at, y0=0, y1=1, yref="paper", layer="below", line=line, label=label)


def _look_at_front(
    figure: go.Figure, trials: Sequence[Evaluated], front: Sequence[Evaluated], x: str | None, y: str
) -> None:
    """Cut the axes where a few far worse designs would squeeze the front, and say how many are outside."""
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
