"""The sections of a report about one study."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from html import escape

from pipeline.evaluated import (
    Evaluated,
    Findings,
    component_parts,
    design_columns,
    half_width,
    serving,
    two_digits,
    winner,
)
from pipeline.figure_style import Style, device_styles, spoken
from pipeline.figures import front_figure, hypervolume_figure, pairs
from pipeline.figures_noise import chips_figure, noise_figure, rank_figure, sigma_figure
from pipeline.figures_parallel import parallel_figure
from pipeline.figures_parts import (
    breakdown_figure,
    component_colours,
    importance_figure,
    layers_figure,
    mean_shares,
)
from pipeline.metrics import METRICS
from pipeline.pareto import nondominated, to_losses
from pipeline.progress import describe
from pipeline.report_html import Cell, Number, Plots, details, filtered, section, table
from pipeline.report_provenance import other_images

_MOST_BARS = 24  # designs in figures that give each one a bar of its own
_HARDWARE = (
    *("tech_node_nm", "crossbar_size", "adc_bits", "adc_type", "cols_per_adc"),
    *("cell_bits", "weight_bits", "input_bits", "weight_encoding", "mapping"),
)
_FEW = 10  # assumed: a device with fewer designs was hardly tried
_MOST_BY_LAYER = 3  # designs that are shown layer by layer

Styles = Mapping[str, Style]


def study_sections(findings: Findings, plots: Plots) -> list[str]:
    """Headings, figures and tables of a study; only the first of them if nothing has been evaluated."""
    if not findings.evaluated:
        return [_head(findings)]
    cards = [card["name"] for card in findings.identity["devices"].values()]
    styles = device_styles([*cards, *(trial.device for trial in findings.evaluated)])
    return [
        _head(findings),
        _front(findings, styles, plots),
        _devices(findings),
        _breakdown(findings, plots),
        _chips(findings, styles, plots),
        _noise(findings, styles, plots),
        _importance(findings, plots),
        _designs(findings, styles, plots),
        _progress(findings, plots),
    ]


def _head(findings: Findings) -> str:
    counts = findings.pareto.counts
    others = ", ".join(f"{count} {state}" for state, count in counts.items() if count and state != "evaluated")
    text = f"{_count(counts['evaluated'], 'design')} evaluated{f' ({others})' if others else ''}"
    if findings.evaluated:
        best = ", ".join(_best(findings.evaluated, name) for name in findings.pareto.objectives)
        text += f", {len(findings.front)} on the Pareto front. {best[0].upper()}{best[1:]}."
    else:
        text = f"No design has been evaluated yet: {text}."
    question = f'<p class="question">{escape(findings.question)}</p>' if findings.question else ""
    return f"<h1>{escape(findings.name)}</h1>{question}<p>{escape(text)}</p>"


def _best(trials: Iterable[Evaluated], name: str) -> str:
    best, metric = winner(trials, name), METRICS[name]
    unit = "" if metric.unit == metric.label else f" {metric.unit}"
    at = "" if name.startswith("accuracy") else f", at {best.show('accuracy_mean')} % accuracy"
    return f"best {metric.label} {best.show(name)}{unit} (trial {best.number}, {best.device}{at})"


def _front(findings: Findings, styles: Styles, plots: Plots) -> str:
    objectives = findings.pareto.objectives
    names = " and ".join(METRICS[name].label for name in objectives)
    n_front, n_all = len(findings.front), len(findings.evaluated)
    heading = f"{n_front} of {_count(n_all, 'design')} on the front: nothing else found is as good in {names} at once"
    if len(objectives) == 1:
        heading = f"Trial {findings.front[0].number} has the best {names} of {_count(n_all, 'design')}"
    note = (
        "Large marks with an outline are the Pareto front, bars 95 % intervals of the mean accuracy over simulated "
        "chips; faint marks are all other designs. Point at a mark to see the design; click a device in the legend to "
        "hide it."
    )
    if "tops_per_watt" in objectives[1:]:  # where the figure has it on its x axis
        note += " Dotted lines: NACIM (Jiang et al., 2021) on CIFAR-10, under its own models, for orientation."
    outside = sum(bool(trial.cost["outside_reference"]) for trial in findings.front)
    note += (
        f" Bars leave out that {other_images(findings)}, and what another training would change: designs closer than "
        f"that are not told apart. Costs of {outside} of the {_count(n_front, 'design')} on the front are beyond what "
        "the cost model's reference tool vouches for, and that tool is a simulator: measured chips lie several times "
        "off (docs/cost_model.md)."
    )
    is_pair = len(objectives) == 2
    views = [
        plots.place(f"front-{i}", heading, front_figure(findings.evaluated, findings.front, styles, x, y, is_pair))
        for i, (x, y) in enumerate(pairs(objectives))
    ]
    if "tops_per_watt" in objectives and "energy_j" not in objectives and n_all > 1:
        views += _by_energy(findings, styles, plots)
    return section(heading, note, *views, _trial_table(findings))


def _by_energy(findings: Findings, styles: Styles, plots: Plots) -> list[str]:
    """The same designs by energy per inference, which compares designs of other bits and sizes."""
    names = ("accuracy_mean", "energy_j")
    losses = to_losses(names, [[trial.measured[name] for name in names] for trial in findings.evaluated])
    front = [trial for trial, stays in zip(findings.evaluated, nondominated(losses), strict=True) if stays]
    both = sum(trial in findings.front for trial in front)
    title = (
        f"By energy of an inference {_count(len(front), 'design')} lead, {both} of them from the front above: TOPS/W "
        "counts operations of any width, so that large networks of few bits look good in it"
    )
    figure = front_figure(findings.evaluated, front, styles, "energy_j", "accuracy_mean", joined=True)
    return [f"<h3>{title}</h3>", plots.place("energy", title, figure)]


def _trial_table(findings: Findings) -> str:
    """All designs, those on the front first; the page shows the front until asked for more."""
    objectives = findings.pareto.objectives
    totals = [name for name in ("area_m2", "latency_s", "energy_j") if name not in objectives]
    heads = ["trial", "device", *(METRICS[name].title for name in objectives), "accuracy on test images [%]"]
    heads += [METRICS[name].title for name in totals]
    best = {trial.number for trial in findings.front}
    others = [trial for trial in findings.evaluated if trial.number not in best]
    rows: list[list[Cell]] = [
        [
            Number(str(trial.number), trial.number),
            trial.device,
            *(_value(trial, name) for name in objectives),
            Number(f"{100 * trial.test.mean:.4g} ± {two_digits(100 * half_width(trial.test))}", 100 * trial.test.mean),
            *(_value(trial, name) for name in totals),
            describe(trial.design),
        ]
        for trial in [*findings.front, *others]
    ]
    caption = (
        "Click a column to sort by it. The best of many accuracies is a little too good, because it was chosen; the "
        "one on test images, which the search never saw, is not."
    )
    return filtered(table([*heads, "design"], rows, caption, sortable=True, first_kind=len(findings.front)))


def _value(trial: Evaluated, name: str) -> Number:
    return Number(trial.show(name), trial.measured[name] * METRICS[name].scale)


def _devices(findings: Findings) -> str:
    names = sorted({trial.device for trial in findings.evaluated})
    best = {name: winner([t for t in findings.evaluated if t.device == name], "accuracy_mean") for name in names}
    accurate, frugal = (winner(serving(findings.evaluated), name) for name in ("accuracy_mean", "tops_per_watt"))
    near = [
        name
        for name, trial in best.items()
        if name != accurate.device and trial.validation.mean_high >= accurate.validation.mean_low
    ]
    tied = f" ({', '.join(near)} within its 95 % interval)" if near else ""
    efficient = "and also" if frugal.device == accurate.device else frugal.device
    heading = (
        f"{accurate.device} reaches the best accuracy{tied}, {efficient} the best TOPS/W among designs of at least "
        "half that accuracy"
    )
    heads = ["device", "designs", "on the front", "best accuracy [%]", "its TOPS/W", "trial"]
    heads += ["best TOPS/W", "its accuracy [%]", "trial", "lost to device errors [points]"]
    floors = _floors(accurate.measured["accuracy_mean"])
    heads += [f"best TOPS/W at {100 * floor:.4g} % or more" for floor in floors]
    note = (
        "The best that the search found with each device; &ndash; where it found no design so accurate, which does not "
        "mean that there is none. The column on device errors is what they cost the middle (median) design: accuracy "
        "without them less the mean over chips."
    )
    if few := [escape(name) for name in names if sum(t.device == name for t in findings.evaluated) < _FEW]:
        note += (
            f" <b>Hardly tried: {', '.join(few)}</b>, with fewer than {_FEW} designs each; a study of that device "
            "alone tells what it can do."
        )
    if assumed := [escape(name) for name in names if _assumed(findings, name)]:
        note += f" Programming errors are assumed, not measured, for {', '.join(assumed)}."
    rows = [_device_row(findings, name, floors) for name in names]
    return section(heading, note, table(heads, rows), _choices(findings, floors))


def _choices(findings: Findings, floors: Sequence[float]) -> str:
    """What was reached with each crossbar size, converter and so on: choices of hardware that vary."""
    groups: dict[tuple[str, str], list[Evaluated]] = {}
    for trial in findings.evaluated:
        for name, value in design_columns(trial.design).items():
            if name in _HARDWARE:
                groups.setdefault((name, str(value)), []).append(trial)
    varies = Counter(name for name, _ in groups)
    heads = ["choice", "value", "designs", "on the front", "best accuracy [%]"]
    heads += [f"best TOPS/W at {100 * floor:.4g} % or more" for floor in floors]
    rows: list[list[Cell]] = []
    for (name, value), own in sorted(
        groups.items(), key=lambda group: (_HARDWARE.index(group[0][0]), _size(group[0][1]))
    ):
        if varies[name] > 1:
            cells = [str(len(own)), str(sum(trial in findings.front for trial in own))]
            cells += [winner(own, "accuracy_mean").show("accuracy_mean"), *_efficient(own, floors)]
            rows.append([name.replace("_", " "), value, *(Number(text, 0) for text in cells)])
    return details("The same by crossbar size, converters and bits", table(heads, rows)) if rows else ""


def _size(value: str) -> tuple[float, str]:
    """Numbers by size, then words."""
    return (float(value), "") if value.isdecimal() else (math.inf, value)


def _assumed(findings: Findings, device: str) -> bool:
    for path, card in findings.identity["devices"].items():  # a card of one's own is known by its path
        if card["name"] == device:
            source = findings.device_sources.get(path, {}).get("programming_sigma", "")
            return any(card["programming_sigma"]) and source.lower().startswith("assumed")
    return False


def _floors(best: float) -> list[float]:
    """Accuracies that a device may or may not reach: 1, 3 and 10 points below the best, to the next half point."""
    return [math.floor(200 * (best - points)) / 200 for points in (0.01, 0.03, 0.1) if best > points]


def _device_row(findings: Findings, device: str, floors: Sequence[float]) -> list[Cell]:
    own = [trial for trial in findings.evaluated if trial.device == device]
    accurate, frugal = winner(own, "accuracy_mean"), winner(own, "tops_per_watt")
    lost = sorted(100 * (trial.validation.noiseless - trial.validation.mean) for trial in own)[len(own) // 2]
    cells = [
        str(len(own)),
        str(sum(trial.device == device for trial in findings.front)),
        *(accurate.show("accuracy_mean"), accurate.show("tops_per_watt"), str(accurate.number)),
        *(frugal.show("tops_per_watt"), frugal.show("accuracy_mean"), str(frugal.number)),
        two_digits(lost),
    ]
    return [device, *(Number(text, 0) for text in [*cells, *_efficient(own, floors)])]


def _efficient(own: Sequence[Evaluated], floors: Sequence[float]) -> list[str]:
    """The best TOPS/W at each accuracy."""
    reached = [[trial for trial in own if trial.measured["accuracy_mean"] >= floor] for floor in floors]
    return [winner(group, "tops_per_watt").show("tops_per_watt") if group else "\N{EN DASH}" for group in reached]


def _breakdown(findings: Findings, plots: Plots) -> str:
    trials = _spread(_looked_at(findings))
    totals = ("energy_j", "area_m2")
    colours = component_colours(trials, totals)
    largest, bars = [], []
    for name in totals:
        label = METRICS[name].label
        component, share = next(iter(mean_shares([component_parts(t, name) for t in trials]).items()))
        largest.append(f"{spoken(component)} {100 * share:.0f} % of the {label}")
        bars += [
            f"<h3>{label.capitalize()}</h3>",
            plots.place(f"parts-{name}", f"Shares of the {label}", breakdown_figure(trials, name, colours)),
        ]
    order = "" if findings.chosen else f"Best {METRICS[findings.pareto.objectives[0]].label} on top. "
    note = f"{order}Grey: all components but the eight largest."
    by_layer = trials if findings.chosen else _spread(trials, _MOST_BY_LAYER)
    which = "the chosen designs" if findings.chosen else "the ends and the middle of the front"
    layers = f"Energy and area by layer and component: {which}"
    bars += [f"<h3>{layers}</h3>", plots.place("layers", layers, layers_figure(by_layer, colours))]
    outside: list[list[Cell]] = [
        [str(trial.number), "; ".join(reasons)] for trial in trials if (reasons := trial.cost["outside_reference"])
    ]
    doubts = (
        f"{len(outside)} of {_count(len(trials), 'design')} outside what the cost model's reference tool vouches for"
    )
    why = details(doubts, table(["trial", "why"], outside)) if outside else ""
    heading = f"What takes most {_where(findings)}: {', '.join(largest)}"
    return section(heading, f"{note}{_shown(findings, trials)}", *bars, why)


def _chips(findings: Findings, styles: Styles, plots: Plots) -> str:
    trials = _spread(_looked_at(findings))
    widest = max(trials, key=_chip_spread)
    points = two_digits(100 * _chip_spread(widest))
    heading = f"Chips of one design {_where(findings)} differ by up to {points} points (trial {widest.number})"
    note = "Each mark is one simulated chip on the validation images; boxes hold the middle half of them."
    return section(
        heading,
        f"{note}{_shown(findings, trials)}",
        plots.place("chips", heading, chips_figure(trials, styles)),
    )


def _chip_spread(trial: Evaluated) -> float:
    return max(trial.validation.per_chip) - min(trial.validation.per_chip)


def _noise(findings: Findings, styles: Styles, plots: Plots) -> str:
    without, with_errors = (winner(findings.evaluated, name) for name in ("accuracy_noiseless", "accuracy_mean"))
    heading = f"Trial {with_errors.number} is the most accurate with device errors and without"
    if without.number != with_errors.number:
        level = without.measured["accuracy_mean"]
        rank = 1 + sum(trial.measured["accuracy_mean"] > level for trial in findings.evaluated)
        heading = (
            f"Without device errors trial {without.number} ({without.device}) wins; with them it is number {rank}, "
            f"and trial {with_errors.number} ({with_errors.device}) wins"
        )
        if without.validation.mean_high >= with_errors.validation.mean_low:
            heading += ", within its 95 % interval"
    note = "The further below the line, the more device errors cost. Converters and bit widths count on both axes."
    dataset = findings.identity["dataset"]["name"]
    parts = [plots.place("noise", heading, noise_figure(findings.evaluated, findings.front, styles, dataset))]
    if len(findings.evaluated) > 1:
        ranks = "Ranks by accuracy: without device errors on the left, with them on the right"
        parts += [f"<h3>{ranks}</h3>", plots.place("ranks", ranks, rank_figure(findings.evaluated, styles))]
    if again := [trial for trial in findings.evaluated if len(trial.over_sigma()) > 1]:
        title = "Designs measured again at other programming errors"
        parts += [f"<h3>{title}</h3>", plots.place("sigma", title, sigma_figure(again, styles))]
    return section(heading, note, *parts)


def _progress(findings: Findings, plots: Plots) -> str:
    newest, last = max(trial.number for trial in findings.front), findings.evaluated[-1].number
    heading = f"The front last changed with trial {newest}; the last trial evaluated is {last}"
    note = (
        "Hypervolume: how much of the objectives' space the front dominates. While it climbs, more trials pay; where "
        "it is flat, a design may still have won tenths of a point, which hardly change it."
    )
    figure = hypervolume_figure(findings.pareto.objectives, findings.evaluated)
    return section(heading, note, plots.place("progress", heading, figure))


def _designs(findings: Findings, styles: Styles, plots: Plots) -> str:
    heading = "What the designs on the front have in common"
    note = (
        "One line is one design, from its choices on the left to what it reaches on the right. Choices that all "
        "designs share are left out."
    )
    figure = parallel_figure(findings.evaluated, findings.front, styles, findings.pareto.objectives)
    return section(heading, note, plots.place("designs", heading, figure))


def _importance(findings: Findings, plots: Plots) -> str:
    if not findings.importance:
        return ""
    first = {name: next(iter(shares)) for name, shares in findings.importance.items()}
    parts = ", ".join(f"{choice.replace('_', ' ')} for {METRICS[name].label}" for name, choice in first.items())
    note = (
        "How much each choice tells whether a design is among the best tenth in an objective (PED-ANOVA over the "
        f"{len(findings.evaluated)} designs evaluated; shares of 100 %). A search does not draw evenly, and few "
        "designs are noisy: read the order, not the digits."
    )
    heading = f"Which choice matters most: {parts}"
    return section(heading, note, plots.place("importance", heading, importance_figure(findings.importance)))


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def _spread(trials: Sequence[Evaluated], most: int = _MOST_BARS) -> list[Evaluated]:
    """At most `most` of the trials, evenly over their order, first and last among them."""
    if len(trials) <= most:
        return list(trials)
    step = (len(trials) - 1) / (most - 1)
    return [trials[round(i * step)] for i in range(most)]


def _looked_at(findings: Findings) -> list[Evaluated]:
    """Designs for figures that look into each one."""
    return list(findings.chosen) or serving(findings.front)


def _where(findings: Findings) -> str:
    return "among the chosen" if findings.chosen else "on the front"


def _shown(findings: Findings, trials: Sequence[Evaluated]) -> str:
    """What of `_looked_at` and of the front is left out."""
    everything = _looked_at(findings)
    text = ""
    if len(trials) < len(everything):
        text = f" Shown: {len(trials)} of {len(everything)} designs {_where(findings)}, evenly along it."
    if not findings.chosen and (useless := len(findings.front) - len(everything)):
        text += f" Left out: {_count(useless, 'design')} less than half as accurate as the best one."
    return text
