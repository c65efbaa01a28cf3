"""What device errors cost in accuracy."""

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from pipeline.report.evaluated import Evaluated
from pipeline.report.figures.front import front_figure
from pipeline.report.figures.published import DATASET, PAPER
from pipeline.report.figures.style import GREY, INK, Style, values_of


def noise_figure(
    trials: Sequence[Evaluated], front: Sequence[Evaluated], styles: Mapping[str, Style], dataset: str = ""
) -> go.Figure:
    """Accuracy without device errors (x) and with them (y); a design on the diagonal loses nothing.

    On the paper's data set, the paper's designs are marked too.
    """
    figure = front_figure(trials, front, styles, "accuracy_noiseless", "accuracy_mean", joined=False)
    across = values_of(trials, "accuracy_noiseless")
    ends = [min(across), max(across)]
    line = {"color": GREY, "width": 1, "dash": "dot"}
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
