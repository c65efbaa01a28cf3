"""The sections of a report about one study."""

from collections.abc import Iterable, Sequence
from html import escape

from pipeline.design.metrics import METRICS
from pipeline.report.cost_parts import component_parts, mean_shares
from pipeline.report.evaluated import Evaluated, best_by, two_digits, useful
from pipeline.report.figures.front import hypervolume_figure
from pipeline.report.figures.noise import chips_figure, noise_figure, rank_figure, sigma_figure
from pipeline.report.figures.parallel import parallel_figure
from pipeline.report.figures.parts import (
    breakdown_figure,
    component_colours,
    importance_figure,
    layers_figure,
)
from pipeline.report.figures.style import Styles, device_styles, spoken
from pipeline.report.findings import Findings
from pipeline.report.html import Cell, Plots, count_of, details, section, table
from pipeline.report.section_devices import devices_section
from pipeline.report.section_front import front_section

_MOST_BARS = 24  # designs in figures that give each one a bar of its own
_MOST_BY_LAYER = 3  # designs that are shown layer by layer


def study_sections(findings: Findings, plots: Plots) -> list[str]:
    """Headings, figures and tables of a study; only the first of them if nothing has been evaluated."""
    if not findings.evaluated:
        return [_head(findings)]
    cards = [card["name"] for card in findings.identity["devices"].values()]
    styles = device_styles([*cards, *(trial.device for trial in findings.evaluated)])
    return [
        _head(findings),
        front_section(findings, styles, plots),
        devices_section(findings),
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
    text = f"{count_of(counts['evaluated'], 'design')} evaluated{f' ({others})' if others else ''}"
    if findings.evaluated:
        best = ", ".join(_best(findings.evaluated, name) for name in findings.pareto.objectives)
        text += f", {len(findings.front)} on the Pareto front. {best[0].upper()}{best[1:]}."
    else:
        text = f"No design has been evaluated yet: {text}."
    question = f'<p class="question">{escape(findings.question)}</p>' if findings.question else ""
    return f"<h1>{escape(findings.name)}</h1>{question}<p>{escape(text)}</p>"


def _best(trials: Iterable[Evaluated], name: str) -> str:
    best, metric = best_by(trials, name), METRICS[name]
    unit = "" if metric.unit == metric.label else f" {metric.unit}"
    at = "" if metric.is_accuracy else f", at {best.show('accuracy_mean')} % accuracy"
    return f"best {metric.label} {best.show(name)}{unit} (trial {best.number}, {best.device}{at})"


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
        f"{len(outside)} of {count_of(len(trials), 'design')} outside what the cost model's reference tool vouches for"
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
    without, with_errors = (best_by(findings.evaluated, name) for name in ("accuracy_noiseless", "accuracy_mean"))
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


def _spread(trials: Sequence[Evaluated], most: int = _MOST_BARS) -> list[Evaluated]:
    """At most `most` of the trials, evenly over their order, first and last among them."""
    if len(trials) <= most:
        return list(trials)
    step = (len(trials) - 1) / (most - 1)
    return [trials[round(i * step)] for i in range(most)]


def _looked_at(findings: Findings) -> list[Evaluated]:
    """Designs for figures that look into each one."""
    return list(findings.chosen) or useful(findings.front)


def _where(findings: Findings) -> str:
    return "among the chosen" if findings.chosen else "on the front"


def _shown(findings: Findings, trials: Sequence[Evaluated]) -> str:
    """What of `_looked_at` and of the front is left out."""
    everything = _looked_at(findings)
    text = ""
    if len(trials) < len(everything):
        text = f" Shown: {len(trials)} of {len(everything)} designs {_where(findings)}, evenly along it."
    if not findings.chosen and (useless := len(findings.front) - len(everything)):
        text += f" Left out: {count_of(useless, 'design')} less than half as accurate as the best one."
    return text
