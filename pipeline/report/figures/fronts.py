"""The fronts of several studies over one another."""

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from pipeline.design.pareto import nondominated, to_losses
from pipeline.report.evaluated import Evaluated
from pipeline.report.figures.marks import design_marks, metric_axis, step_shape
from pipeline.report.figures.style import device_styles, layout


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
        figure.add_trace(design_marks(edge, name, style, x, y, is_front=True))
        if joined:
            figure.data[-1].update(mode="lines+markers")
        figure.data[-1].update(line={"color": style.colour, "width": 1, "dash": "dot", "shape": step_shape(x)})
    figure.update_layout(layout(metric_axis(everything, x), metric_axis(everything, y), height=460))
    return figure
