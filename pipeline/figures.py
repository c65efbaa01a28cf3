"""Figures of a study's findings, as plotly figures: for the report, and for whoever else shows them."""

import dataclasses
import itertools
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

import plotly.graph_objects as go

from pipeline.evaluated import Evaluated, component_parts, design_columns
from pipeline.metrics import METRICS
from pipeline.pareto import hypervolume_history
from pipeline.progress import describe

# Okabe and Ito, "Color Universal Design", 2008: told apart by colour-blind people. Yellow, weak on white, comes last.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "star", "pentagon", "triangle-down")
INK, GREY, GRID = "#222222", "#8a8a8a", "#e8e8e8"
FAINT = 0.35  # opacity of what is not on the front
_LEGEND_BELOW = {"orientation": "h", "y": 0, "yref": "container", "yanchor": "bottom", "x": 0, "xanchor": "left"}
LOG_FROM = 30.0  # an axis whose largest value is this many times its smallest is logarithmic


@dataclasses.dataclass(frozen=True, slots=True)
class Style:
    """How the marks of one device look."""

    colour: str
    symbol: str


def device_styles(devices: Iterable[str]) -> dict[str, Style]:
    """A colour and a symbol for each device, the same in all figures of a study."""
    names = list(dict.fromkeys(devices))
    return {
        name: Style(COLOURS[i % len(COLOURS)], SYMBOLS[(i + i // len(COLOURS)) % len(SYMBOLS)])
        for i, name in enumerate(names)
    }


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
            x=_values(edge, x), y=_values(edge, y), mode="lines", line=line, hoverinfo="skip", showlegend=False
        )
    for device, style, own in _by_device(trials, styles):
        others, best = ([t for t in own if (t.number in on_front) is wanted] for wanted in (False, True))
        if others:
            figure.add_trace(_marks(others, device, style, x, y, is_front=False).update(showlegend=not best))
        if best:
            figure.add_trace(_marks(best, device, style, x, y, is_front=True))
    figure.update_layout(_layout(_axis(trials, x), _axis(trials, y), height=460))
    _look_at_front(figure, trials, front, x, y)
    return figure


def hypervolume_figure(objectives: Sequence[str], trials: Sequence[Evaluated]) -> go.Figure:
    """Hypervolume of the front after each evaluated trial."""
    history = hypervolume_history(objectives, [[trial.measured[name] for name in objectives] for trial in trials])
    numbers = [trial.number for trial in trials]
    grew = [i for i, value in enumerate(history) if value > (history[i - 1] if i else 0.0)]
    figure = go.Figure(layout=_layout({"title": "trial"}, {"title": "hypervolume", "rangemode": "tozero"}, height=320))
    figure.add_scatter(
        x=numbers, y=_round(history), mode="lines", line={"color": COLOURS[0], "shape": "hv"}, showlegend=False
    )
    figure.add_scatter(
        x=[numbers[i] for i in grew],
        y=_round(history[i] for i in grew),
        mode="markers",
        marker={"color": COLOURS[0], "size": 7},
        hovertext=[_card(trials[i]) for i in grew],
        hoverinfo="text",
        showlegend=False,
    )
    return figure


def breakdown_figure(trials: Sequence[Evaluated], name: str, colours: Mapping[str, str]) -> go.Figure:
    """Share of each component in a total, one bar a design.

    Args:
        trials: Designs, first on top.
        name: The total: `energy_j`, `area_m2` or `latency_s`.
        colours: Of the components that get a colour of their own (`component_colours`); the rest becomes one part.
    """
    metric = METRICS[name]
    bars = [f"{mark(trial)}  {metric.show(trial.measured[name])} {metric.unit}" for trial in trials]
    parts = [component_parts(trial, name) for trial in trials]
    shares = mean_shares(parts)
    rest = [component for component in shares if component not in colours]
    groups = {component: [component] for component in shares if component in colours} | (
        {"other": rest} if rest else {}
    )
    figure = go.Figure()
    for group, members in groups.items():
        values = [sum(part.get(member, 0.0) for member in members) for part in parts]
        figure.add_bar(
            y=bars,
            x=_round(100 * value / sum(part.values()) for value, part in zip(values, parts, strict=True)),
            name=spoken(group),
            orientation="h",
            marker={"color": colours.get(group, GREY), "line": {"color": "#ffffff", "width": 0.5}},
            customdata=[f"{metric.show(value)} {metric.unit}" for value in values],
            hovertemplate="%{y}<br>%{fullData.name}: %{x:.1f} %, %{customdata}<extra></extra>",
        )
    x_axis = {"title": f"share of the {metric.label} [%]", "range": [0, 100]}
    y_axis = {"autorange": "reversed", "showgrid": False, "type": "category"}
    figure.update_layout(_layout(x_axis, y_axis, height=170 + 28 * len(trials)))
    figure.update_layout(barmode="stack", bargap=0.25, legend=_LEGEND_BELOW | {"traceorder": "normal"})
    return figure


def component_colours(trials: Sequence[Evaluated], names: Sequence[str]) -> dict[str, str]:
    """A colour for each of the largest components, the same for all totals in `names`."""
    shares = mean_shares([component_parts(trial, name) for name in names for trial in trials])
    return dict(zip(shares, COLOURS, strict=False))


def spoken(component: str) -> str:
    """A component's name for people."""
    return {"adc": "ADC"}.get(component, component.replace("_", " "))


def mean_shares(parts: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Component -> its share of the total, mean over designs, largest first."""
    shares = dict.fromkeys((key for part in parts for key in part), 0.0)
    for part in parts:
        for key, value in part.items():
            shares[key] += value / sum(part.values()) / len(parts)
    return dict(sorted(shares.items(), key=lambda item: -item[1]))


def chips_figure(trials: Sequence[Evaluated], styles: Mapping[str, Style]) -> go.Figure:
    """Accuracy of every simulated chip of each design, and the accuracy without device errors."""
    figure = go.Figure()
    for _, style, own in _by_device(trials, styles):
        for trial in own:
            figure.add_box(
                x=[mark(trial)] * len(trial.validation.per_chip),
                y=_round(100 * accuracy for accuracy in trial.validation.per_chip),
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
    figure.add_scatter(
        x=[mark(trial) for trial in trials],
        y=_round(100 * trial.validation.noiseless for trial in trials),
        mode="markers",
        name="no device errors",
        marker={"symbol": "line-ew-open", "size": 24, "color": INK, "line": {"width": 2}},
        hovertemplate="%{x}, no device errors: %{y:.2f} %<extra></extra>",
    )
    x_axis = {
        "categoryorder": "array",
        "categoryarray": [mark(trial) for trial in trials],
        "type": "category",
    }
    figure.update_layout(_layout(x_axis, {"title": "accuracy of a chip [%]"}, height=400))
    return figure


def noise_figure(trials: Sequence[Evaluated], front: Sequence[Evaluated], styles: Mapping[str, Style]) -> go.Figure:
    """Accuracy without device errors across, under variation upwards; the diagonal loses nothing."""
    figure = front_figure(trials, front, styles, "accuracy_noiseless", "accuracy_mean", joined=False)
    across = _values(trials, "accuracy_noiseless")
    ends = [min(across), max(across)]
    line = {"color": GREY, "width": 1, "dash": "dot"}
    figure.add_scatter(x=ends, y=ends, mode="lines", line=line, hoverinfo="skip", name="nothing lost")
    return figure


def parallel_figure(
    trials: Sequence[Evaluated], front: Sequence[Evaluated], styles: Mapping[str, Style], objectives: Sequence[str]
) -> go.Figure:
    """One line a design through its choices to its objectives; what all designs share is left out."""
    axes = [*_choice_axes(trials), *(_metric_axis(trials, name) for name in objectives)]
    index = {trial.number: i for i, trial in enumerate(trials)}
    figure = go.Figure()
    for name, style, group in _line_groups(trials, front, styles):
        across: list[float | None] = []
        upwards: list[float | None] = []
        text: list[str | None] = []
        for trial in group:
            i = index[trial.number]
            shift = 0.02 * ((i * 0.618) % 1 - 0.5)  # lines through the same choice lie side by side
            across += [*range(len(axes)), None]
            upwards += [*(round(axis.heights[i] + shift, 4) for axis in axes), None]
            text += [*[_card(trial)] * len(axes), None] if style else []
        figure.add_scatter(
            x=across,
            y=upwards,
            mode="lines",
            line={"color": style.colour if style else GREY, "width": 2 if style else 0.8},
            opacity=0.9 if style else FAINT,
            name=name,
            hovertext=text if style else None,
            hoverinfo="text" if style else "skip",
        )
    for position, axis in enumerate(axes):
        for height, label in axis.ticks:
            figure.add_annotation(
                x=position, y=height, text=escape(label, quote=False), showarrow=False, xanchor="right", xshift=-5,
                font={"size": 10, "color": INK}, bgcolor="rgba(255,255,255,0.8)", borderpad=1,
            )  # fmt: skip
    x_axis = {
        "tickvals": [*range(len(axes))],
        "ticktext": [axis.title for axis in axes],
        "range": [-0.2, len(axes) - 0.8],
        "side": "top",
        "gridcolor": "#cccccc",
        "tickangle": -30,
    }
    figure.update_layout(_layout(x_axis, {"visible": False, "range": [-0.06, 1.06]}, height=520))
    figure.update_layout(legend=_LEGEND_BELOW, margin={"t": 90, "l": 60, "r": 50})
    return figure


def mark(trial: Evaluated) -> str:
    """Short label of a design on an axis."""
    return f"#{trial.number} {escape(trial.device, quote=False)}"


def axis_title(name: str) -> str:
    """Label and unit of a metric, such as `area [mm2]`; a label that is its unit stands alone."""
    metric = METRICS[name]
    return metric.label if metric.label == metric.unit else f"{metric.label} [{metric.unit}]"


@dataclasses.dataclass(frozen=True, slots=True)
class _Axis:
    """One axis of the parallel coordinates: heights from 0 to 1, one for each trial, and where labels stand."""

    title: str
    heights: list[float]
    ticks: list[tuple[float, str]]


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
    return _Axis(axis_title(name), heights, ticks)


def _line_groups(
    trials: Sequence[Evaluated], front: Sequence[Evaluated], styles: Mapping[str, Style]
) -> Iterable[tuple[str, Style | None, list[Evaluated]]]:
    """Name, style and designs of each bundle of lines; None for designs that are not on the front."""
    on_front = {trial.number for trial in front}
    if others := [trial for trial in trials if trial.number not in on_front]:
        yield "not on the front", None, others
    for device, style, own in _by_device(front, styles):
        yield escape(f"{device}, front", quote=False), style, own


def _by_device(
    trials: Sequence[Evaluated], styles: Mapping[str, Style]
) -> Iterable[tuple[str, Style, list[Evaluated]]]:
    for device, style in styles.items():
        if own := [trial for trial in trials if trial.device == device]:
            yield device, style, own


def _marks(group: Sequence[Evaluated], device: str, style: Style, x: str | None, y: str, is_front: bool) -> go.Scatter:
    marker = {
        "color": style.colour,
        "symbol": style.symbol,
        "size": 11 if is_front else 7,
        "opacity": 1.0 if is_front else FAINT,
        "line": {"width": 1 if is_front else 0, "color": INK},
    }
    return go.Scatter(
        x=_values(group, x),
        y=_values(group, y),
        error_x=_error_bars(group, x) if is_front else None,
        error_y=_error_bars(group, y) if is_front else None,
        mode="markers",
        marker=marker,
        name=escape(device, quote=False),
        legendgroup=device,
        hovertext=[_card(trial) for trial in group],
        hoverinfo="text",
    )


def _error_bars(group: Sequence[Evaluated], name: str | None) -> dict[str, Any] | None:
    if name is None or not (intervals := [i for trial in group if (i := trial.interval(name))]):
        return None
    scale = METRICS[name].scale
    values = [trial.measured[name] for trial in group]
    above = _round(scale * (high - value) for value, (_, high) in zip(values, intervals, strict=True))
    below = _round(scale * (value - low) for value, (low, _) in zip(values, intervals, strict=True))
    return {"type": "data", "array": above, "arrayminus": below, "thickness": 1, "width": 3, "color": INK}


def _card(trial: Evaluated) -> str:
    """What hovering shows."""
    lines = [f"<b>trial {trial.number}</b>"]
    for names in (("accuracy_mean", "tops_per_watt"), ("energy_j", "latency_s", "area_m2")):
        lines.append(", ".join(f"{METRICS[n].label} {trial.show(n)} {METRICS[n].unit}" for n in names))
    lines.append(
        f"test images {100 * trial.test.mean:.4g} %, no device errors {100 * trial.validation.noiseless:.4g} %"
    )
    return "<br>".join([*lines, *(escape(part, quote=False) for part in describe(trial.design).split(" | ", 1))])


def _look_at_front(
    figure: go.Figure, trials: Sequence[Evaluated], front: Sequence[Evaluated], x: str | None, y: str
) -> None:
    """Cut the axes where the front would be squeezed by a few designs far worse, and say so."""
    hidden: set[int] = set()
    for name, axis in ((x, figure.layout.xaxis), (y, figure.layout.yaxis)):
        if name is None or axis.type == "log":
            continue
        sign = 1 if METRICS[name].direction == "maximize" else -1  # so that more is better
        everything, best = ([sign * value for value in _values(group, name)] for group in (trials, front))
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


def _values(trials: Iterable[Evaluated], name: str | None) -> list[float]:
    if name is None:
        return [trial.number for trial in trials]
    return _round(trial.measured[name] * METRICS[name].scale for trial in trials)


def _axis(trials: Sequence[Evaluated], name: str | None) -> dict[str, Any]:
    if name is None:
        return {"title": "trial"}
    values = [trial.measured[name] for trial in trials]
    spans = bool(values) and min(values) > 0 and max(values) > LOG_FROM * min(values)
    if not spans:
        return {"title": axis_title(name), "type": "linear"}
    ticks = [float(f"{digit}e{power}") for power in range(-30, 31) for digit in (1, 2, 5)]
    near = [tick for tick in ticks if min(values) / 2.5 <= tick / METRICS[name].scale <= max(values) * 2.5]
    texts = [f"{tick:.10g}" for tick in near]
    return {"title": axis_title(name), "type": "log", "tickvals": near, "ticktext": texts}


def _round(values: Iterable[float]) -> list[float]:
    """Six significant digits: exact enough for a figure, and a small file."""
    return [float(f"{value:.6g}") for value in values]


def _layout(x_axis: dict[str, Any], y_axis: dict[str, Any], height: int) -> dict[str, Any]:
    axis = {
        "gridcolor": GRID,
        "zeroline": False,
        "linecolor": GREY,
        "ticks": "outside",
        "tickcolor": GREY,
        "automargin": True,
    }
    return {
        "template": "none",
        "height": height,
        "font": {"family": "system-ui, sans-serif", "size": 13, "color": INK},
        "paper_bgcolor": "#ffffff",
        "plot_bgcolor": "#ffffff",
        "margin": {"l": 70, "r": 20, "t": 30, "b": 60},
        "hoverlabel": {"align": "left", "bgcolor": "#ffffff", "font": {"color": INK, "size": 12}},
        "hovermode": "closest",
        "xaxis": axis | x_axis,
        "yaxis": axis | y_axis,
        "xaxis_title_standoff": 8,
        "yaxis_title_standoff": 8,
    }


def pairs(objectives: Sequence[str]) -> list[tuple[str | None, str]]:
    """Axes (x, y) of the figures that show a front: one for each pair of objectives, the first objective upwards."""
    if len(objectives) == 1:
        return [(None, objectives[0])]
    return [(x, y) for y, x in itertools.combinations(objectives, 2)]
