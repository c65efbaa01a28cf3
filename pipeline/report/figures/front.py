"""Figures of a study's findings, as plotly figures: for the report, and for whoever else shows them."""

import itertools
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import plotly.graph_objects as go

from pipeline.design.metrics import METRICS
from pipeline.design.pareto import hypervolume_history, nondominated, to_losses
from pipeline.report.evaluated import Evaluated, useful
from pipeline.report.figures.published import PAPER
from pipeline.report.figures.style import (
    COLOURS,
    FAINT,
    GREY,
    INK,
    LOG_FROM,
    Style,
    by_device,
    device_styles,
    hover_text,
    layout,
    rounded,
    values_of,
)

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
        shape = "vh" if METRICS[x].direction == "maximize" else "hv"
        line = {"color": GREY, "width": 1, "shape": shape}
        figure.add_scatter(
            x=values_of(edge, x), y=values_of(edge, y), mode="lines", line=line, hoverinfo="skip", showlegend=False
        )
    for device, style, own in by_device(trials, styles):
        others, best = ([t for t in own if (t.number in on_front) is wanted] for wanted in (False, True))
        if others:
            figure.add_trace(_marks(others, device, style, x, y, is_front=False).update(showlegend=not best))
        if best:
            figure.add_trace(_marks(best, device, style, x, y, is_front=True))
    figure.update_layout(layout(_axis(trials, x), _axis(trials, y), height=460))
    _look_at_front(figure, trials, front, x, y)
    if x == "tops_per_watt":
        _mark_paper(figure)
    return figure


def comparison_figure(fronts: Mapping[str, Sequence[Evaluated]], x: str | None, y: str) -> go.Figure:
    """The fronts of several studies over one another, with 95 % intervals; one colour and mark a study.

    A line joins what is a front in these two objectives; with more objectives the others hide behind it.
    """
    figure = go.Figure()
    everything = [trial for front in fronts.values() for trial in front]
    shape = "vh" if x and METRICS[x].direction == "maximize" else "hv"
    for (name, front), style in zip(fronts.items(), device_styles(fronts).values(), strict=True):
        edge = sorted(front, key=lambda trial: trial.measured[x] if x else trial.number)
        names = [x, y] if x else [y]
        joined = nondominated(to_losses(names, [[trial.measured[name] for name in names] for trial in edge])).all()
        figure.add_trace(_marks(edge, name, style, x, y, is_front=True))
        if joined:
            figure.data[-1].update(mode="lines+markers")
        figure.data[-1].update(line={"color": style.colour, "width": 1, "dash": "dot", "shape": shape})
    figure.update_layout(layout(_axis(everything, x), _axis(everything, y), height=460))
    return figure


def hypervolume_figure(objectives: Sequence[str], trials: Sequence[Evaluated]) -> go.Figure:
    """Hypervolume of the front after each evaluated trial."""
    history = hypervolume_history(objectives, [[trial.measured[name] for name in objectives] for trial in trials])
    numbers = [trial.number for trial in trials]
    grew = [i for i, value in enumerate(history) if value > (history[i - 1] if i else 0.0)]
    figure = go.Figure(layout=layout({"title": "trial"}, {"title": "hypervolume", "rangemode": "tozero"}, height=320))
    figure.add_scatter(
        x=numbers, y=rounded(history), mode="lines", line={"color": COLOURS[0], "shape": "hv"}, showlegend=False
    )
    figure.add_scatter(
        x=[numbers[i] for i in grew],
        y=rounded(history[i] for i in grew),
        mode="markers",
        marker={"color": COLOURS[0], "size": 7},
        hovertext=[hover_text(trials[i]) for i in grew],
        hoverinfo="text",
        showlegend=False,
    )
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


def _marks(group: Sequence[Evaluated], device: str, style: Style, x: str | None, y: str, is_front: bool) -> go.Scatter:
    marker = {
        "color": style.colour,
        "symbol": style.symbol,
        "size": 11 if is_front else 7,
        "opacity": 1.0 if is_front else FAINT,
        "line": {"width": 1 if is_front else 0, "color": INK},
    }
    return go.Scatter(
        x=values_of(group, x),
        y=values_of(group, y),
        error_x=_error_bars(group, x) if is_front else None,
        error_y=_error_bars(group, y) if is_front else None,
        mode="markers",
        marker=marker,
        name=escape(device, quote=False),
        legendgroup=device,
        hovertext=[hover_text(trial) for trial in group],
        hoverinfo="text",
    )


def _error_bars(group: Sequence[Evaluated], name: str | None) -> dict[str, Any] | None:
    if name is None or not (intervals := [i for trial in group if (i := trial.interval(name))]):
        return None
    scale = METRICS[name].scale
    values = [trial.measured[name] for trial in group]
    above = rounded(scale * (high - value) for value, (_, high) in zip(values, intervals, strict=True))
    below = rounded(scale * (value - low) for value, (low, _) in zip(values, intervals, strict=True))
    return {"type": "data", "array": above, "arrayminus": below, "thickness": 1, "width": 3, "color": INK}


def _look_at_front(
    figure: go.Figure, trials: Sequence[Evaluated], front: Sequence[Evaluated], x: str | None, y: str
) -> None:
    """Cut the axes where the front would be squeezed by a few designs far worse, and say so."""
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
        text = f"{len(hidden)} more outside this view: double-click shows all"
        place = {"xref": "paper", "yref": "paper", "x": 0.01, "y": 0.01, "xanchor": "left", "yanchor": "bottom"}
        figure.add_annotation(text=text, showarrow=False, font={"size": 12, "color": GREY}, **place)


def _axis(trials: Sequence[Evaluated], name: str | None) -> dict[str, Any]:
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
