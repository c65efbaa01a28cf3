"""What device errors do to accuracy: values, ranks, chip by chip, and at other programming errors."""

import math
from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from pipeline.report.evaluated import Evaluated
from pipeline.report.figures.axes import error_bars, rounded, values_of
from pipeline.report.figures.front import front_figure
from pipeline.report.figures.published import DATASET, PAPER
from pipeline.report.figures.style import GREY, INK, Style, by_device, hover_text, layout, mark

_LEADERS = 8  # best designs of each list, whose ranks are drawn
_RANK_TICKS = (1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000)


def noise_figure(
    trials: Sequence[Evaluated], front: Sequence[Evaluated], styles: Mapping[str, Style], dataset: str = ""
) -> go.Figure:
    """Accuracy without device errors (x) and with them (y); a design on the diagonal loses nothing.

    On the paper's data set, the paper's designs are marked too.
    """
    figure = front_figure(trials, front, styles, "accuracy_noiseless", "accuracy_mean", joined=False)
    across = values_of(trials, "accuracy_noiseless")
    ends, line = [min(across), max(across)], {"color": GREY, "width": 1, "dash": "dot"}
    figure.add_scatter(x=ends, y=ends, mode="lines", line=line, hoverinfo="skip", name="no loss")
    if dataset == DATASET:
        both = [design for design in PAPER if design.accuracy_noiseless and design.accuracy_mean]
        figure.add_scatter(
            x=[100 * (design.accuracy_noiseless or 0.0) for design in both],
            y=[100 * (design.accuracy_mean or 0.0) for design in both],
            mode="markers",
            marker={"symbol": "x-thin-open", "size": 12, "color": INK, "line": {"width": 2}},
            hovertext=[design.name for design in both],
            hoverinfo="text",
            name="published",
        )
    return figure


def rank_figure(trials: Sequence[Evaluated], styles: Mapping[str, Style]) -> go.Figure:
    """Ranks by accuracy without device errors (left) and with them (right) of the designs that lead either list."""
    names = ("accuracy_noiseless", "accuracy_mean")
    order = [sorted(trials, key=lambda trial: -trial.measured[name]) for name in names]
    ranks = [{trial.number: rank for rank, trial in enumerate(each, start=1)} for each in order]
    leaders = {trial.number: trial for each in order for trial in each[:_LEADERS]}
    tied = {trial.number for trial in leaders.values() if _is_within_noise(trial, order[1], ranks)}
    figure = go.Figure()
    for device, style, own in by_device(list(leaders.values()), styles):
        for i, trial in enumerate(own):
            figure.add_scatter(
                x=[0, 1],
                y=[rank[trial.number] for rank in ranks],
                mode="lines+markers+text",
                text=[f"{trial.show(names[0])}  {mark(trial)}", f"{mark(trial)}  {trial.show(names[1])}"],
                textposition=["middle left", "middle right"],
                line={"color": style.colour, "width": 1.5, "dash": "dot" if trial.number in tied else "solid"},
                marker={"symbol": style.symbol, "size": 8},
                name=style.label,
                legendgroup=device,
                showlegend=i == 0,
                hovertext=[hover_text(trial)] * 2,
                hoverinfo="text",
            )
    last = max(rank[number] for rank in ranks for number in leaders)
    x_axis = {"tickvals": [0, 1], "ticktext": ["no device errors", "with device errors"], "range": [-0.6, 1.6]}
    y_axis = {"title": "rank", "showgrid": False, "autorange": "reversed"}
    if last > 3 * _LEADERS:
        ends, ticks = [math.log10(last * 1.3), math.log10(0.8)], [tick for tick in _RANK_TICKS if tick <= last]
        y_axis = {"title": "rank", "showgrid": False, "type": "log", "range": ends, "tickvals": ticks}
    figure.update_layout(layout(x_axis | {"side": "top", "showgrid": False}, y_axis, height=460))
    return figure


def _is_within_noise(trial: Evaluated, order: Sequence[Evaluated], ranks: Sequence[Mapping[int, int]]) -> bool:
    """Whether a design's rank changes no further than among designs whose 95 % intervals overlap with its own."""
    own = trial.validation
    alike = [
        ranks[1][other.number]
        for other in order
        if other.validation.mean_high >= own.mean_low and other.validation.mean_low <= own.mean_high
    ]
    return min(alike) <= ranks[0][trial.number] <= max(alike)


def chips_figure(trials: Sequence[Evaluated], styles: Mapping[str, Style]) -> go.Figure:
    """Accuracy of every simulated chip of each design, and the accuracy without device errors."""
    figure = go.Figure()
    for _, style, own in by_device(trials, styles):
        for trial in own:
            figure.add_box(
                x=[mark(trial)] * len(trial.validation.per_chip),
                y=rounded(100 * accuracy for accuracy in trial.validation.per_chip),
                boxpoints="all",
                pointpos=0,
                jitter=0.5,
                fillcolor="rgba(0,0,0,0)",
                line={"color": style.colour, "width": 1},
                marker={"color": style.colour, "symbol": style.symbol, "size": 5, "opacity": 0.6},
                hovertemplate="%{x}, one chip: %{y:.2f} %<extra></extra>",
                hoveron="points",
                showlegend=False,
            )
    marks = [mark(trial) for trial in trials]
    figure.add_scatter(
        x=marks,
        y=rounded(100 * trial.validation.noiseless for trial in trials),
        mode="markers",
        name="no device errors",
        marker={"symbol": "line-ew-open", "size": 24, "color": INK, "line": {"width": 2}},
        hovertemplate="%{x}, no device errors: %{y:.2f} %<extra></extra>",
    )
    x_axis = {"categoryorder": "array", "categoryarray": marks, "type": "category"}
    figure.update_layout(layout(x_axis, {"title": "accuracy of a chip [%]"}, height=400))
    return figure


def sigma_figure(trials: Sequence[Evaluated], styles: Mapping[str, Style]) -> go.Figure:
    """Accuracy of designs that were measured again at other programming errors (`nacim evaluate --sigma-scale`)."""
    figure = go.Figure()
    for trial in trials:
        points, style = trial.over_sigma(), styles[trial.device]
        figure.add_scatter(
            x=[sigma for sigma, _ in points],
            y=rounded(100 * report.mean for _, report in points),
            error_y=error_bars([(report.mean_low, report.mean, report.mean_high) for _, report in points], 100),
            mode="lines+markers",
            line={"color": style.colour},
            marker={"symbol": style.symbol, "size": 8},
            name=mark(trial),
        )
    x_axis = {"title": "programming errors relative to the card's", "rangemode": "tozero"}
    figure.update_layout(layout(x_axis, {"title": "accuracy [%]"}, height=400), showlegend=True)
    return figure
