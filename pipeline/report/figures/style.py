"""What all figures share: colours, marks, axes and the text that hovering shows."""

import dataclasses
import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence
from html import escape
from typing import Any

from pipeline.design.describe import describe
from pipeline.design.metrics import METRICS
from pipeline.report import silicon
from pipeline.report.evaluated import Evaluated

# Okabe and Ito, "Color Universal Design", 2008: told apart by colour-blind people. Yellow, weak on white, comes last.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "star", "pentagon", "triangle-down")
# Places in `COLOURS`, so that a card looks the same in all reports; other cards take free places. Above 8 a colour
# comes again with another mark.
_PLACES = {"fefet": 0, "pcm": 1, "rram": 2, "rram_wan_crosssim": 3, "sram": 4, "stt_mram": 5} | {
    "sram_charge": 12,
    "sram_current": 28,
    "sram_discharge": 20,
}
# Of components, the same in all figures. Told apart by colour-blind people too: the large ones are Okabe and Ito's, the
# others of Paul Tol's muted scheme (https://personal.sron.nl/~pault/); what is left is grey and hatched.
COMPONENT_COLOURS = {
    "adc": "#0072B2",
    "shift_add": "#E69F00",
    "drivers": "#D55E00",
    "interconnect": "#009E73",
    "wiring": "#EBC3DC",
    "buffers": "#56B4E9",
    "array": "#F0E442",
    "registers": "#000000",
    "leakage": "#882255",
    "digital": "#332288",
    "adder_trees": "#44AA99",
    "precharge": "#999933",
    "multiplexers": "#DDCC77",
    "activation": "#AA4499",
    "pooling": "#117733",
}
INK, GREY, _GRID = "#222222", "#8a8a8a", "#e8e8e8"
FAINT = 0.5  # opacity of what is not on the front
LEGEND_BELOW = {"orientation": "h", "y": 0, "yref": "container", "yanchor": "bottom", "x": 0, "xanchor": "left"}


@dataclasses.dataclass(frozen=True, slots=True)
class Style:
    """How the marks of one device look, and its name in legends."""

    colour: str
    symbol: str
    label: str


def device_styles(devices: Iterable[str], assumed: Collection[str] = ()) -> dict[str, Style]:
    """A colour and a symbol for each device, in the order given; no two alike among up to 64.

    Legends say of devices in `assumed` that their programming errors are not measured.
    """
    names = list(dict.fromkeys(devices))
    taken = {_PLACES[name] for name in names if name in _PLACES}
    free = (place for place in itertools.count() if place not in taken)
    places = [_PLACES[name] if name in _PLACES else next(free) for name in names]
    looks = [(COLOURS[i % len(COLOURS)], _SYMBOLS[(i + i // len(COLOURS)) % len(_SYMBOLS)]) for i in places]
    labels = [escape(f"{name} (assumed)" if name in assumed else name, quote=False) for name in names]
    return {name: Style(*look, label) for name, look, label in zip(names, looks, labels, strict=True)}


def mark(trial: Evaluated) -> str:
    """Short label of a design on an axis."""
    return f"#{trial.number} {escape(trial.device, quote=False)}"


def by_device(trials: Sequence[Evaluated], styles: Mapping[str, Style]) -> Iterable[tuple[str, Style, list[Evaluated]]]:
    """Each device that has designs among `trials`, its style and these designs."""
    for device, style in styles.items():
        if own := [trial for trial in trials if trial.device == device]:
            yield device, style, own


def spoken(component: str) -> str:
    """A component's name for people."""
    return {"adc": "ADC"}.get(component, component.replace("_", " "))


def hover_text(trial: Evaluated) -> str:
    """Text shown when hovering over a design."""
    costs = [
        ", ".join(f"{METRICS[n].label} {trial.with_unit(n)}" for n in names)
        for names in (("accuracy_mean", "tops_per_watt"), ("energy_j", "latency_s", "area_m2"))
    ]
    test, noiseless = (f"{100 * value:.4g} %" for value in (trial.test.mean, trial.validation.noiseless))
    lines = [f"<b>trial {trial.number}</b>", *costs, f"test images {test}, no device errors {noiseless}"]
    lines += [line] if (line := silicon.hover_line(trial)) else []
    return "<br>".join([*lines, *(escape(part, quote=False) for part in describe(trial.design).split(" | ", 1))])


def layout(x_axis: dict[str, Any], y_axis: dict[str, Any], height: int) -> dict[str, Any]:
    """A figure's layout in the report's look; `height` in pixels, axes as plotly has them."""
    axis = {"gridcolor": _GRID, "zeroline": False, "linecolor": GREY, "ticks": "outside", "tickcolor": GREY}
    more = {"automargin": True, "title_standoff": 8}
    look = {"template": "none", "paper_bgcolor": "#ffffff", "plot_bgcolor": "#ffffff", "hovermode": "closest"}
    return look | {
        "height": height,
        "font": {"family": "system-ui, sans-serif", "size": 13, "color": INK},
        "margin": {"l": 70, "r": 20, "t": 30, "b": 60},
        "hoverlabel": {"align": "left", "bgcolor": "#ffffff", "font": {"color": INK, "size": 12}},
        "xaxis": axis | x_axis | more,
        "yaxis": axis | y_axis | more,
    }
