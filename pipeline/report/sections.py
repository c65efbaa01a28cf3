"""A report's sections in order, and the short ones. A new figure is a function in `figures`, drawn in a section."""

import math
from collections.abc import Sequence

from pipeline.design.metrics import METRICS
from pipeline.design.pareto import hypervolume_history
from pipeline.report.content import Cell, Chapter, Number, Plot, Section, Table, count_of
from pipeline.report.evaluated import best_by
from pipeline.report.figures.errors import noise_figure, rank_figure, sigma_figure
from pipeline.report.figures.search import hypervolume_figure, importance_figure, parallel_figure
from pipeline.report.findings import Findings
from pipeline.report.purposes import NEAR, picks
from pipeline.report.score_words import in_words_of
from pipeline.report.section_designs import chips_section, cost_section
from pipeline.report.section_devices import devices_section
from pipeline.report.section_front import front_section
from pipeline.report.section_silicon import silicon_sections

_ENOUGH_TO_TELL = 20  # assumed: designs from which a second half says something
_MORE = 100  # trials whose gain is estimated
_PAYS = 0.02  # assumed: share of the hypervolume that is worth that many trials


def study_chapter(findings: Findings) -> Chapter:
    """What was found in a study; a summary alone if no design has been evaluated."""
    sections = _sections(findings) if findings.evaluated else []
    chapter = Chapter(sections, findings.name, findings.question, _summary(findings))
    return in_words_of(findings.dataset.score_name, chapter)


def _sections(findings: Findings) -> list[Section]:
    return [
        front_section(findings),
        purposes_section(findings),
        *silicon_sections(findings),
        devices_section(findings),
        cost_section(findings),
        chips_section(findings),
        noise_section(findings),
        *([importance_section(findings)] if findings.importance else []),
        common_section(findings),
        progress_section(findings),
    ]


def _summary(findings: Findings) -> str:
    counts = findings.pareto.counts
    others = ", ".join(f"{count} {kind}" for kind, count in counts.items() if count and kind != "evaluated")
    text = f"{count_of(counts['evaluated'], 'design')} evaluated{f' ({others})' if others else ''}"
    if not findings.evaluated:
        return f"No design has been evaluated yet: {text}."
    best = ", ".join(_best(findings, name) for name in findings.pareto.objectives)
    limits = f" Constraints: {', '.join(limits)}." if (limits := findings.identity["constraints"]) else ""
    text = f"{text}, {len(findings.front)} on the Pareto front. {best[0].upper()}{best[1:]}."
    return f"{text} {floor_note(findings)}{limits}"


def _best(findings: Findings, name: str) -> str:
    best, metric = best_by(findings.counted, name), METRICS[name]
    value = best.show(name) if metric.unit == metric.label else best.with_unit(name)
    at = "" if metric.is_accuracy else f", at {best.with_unit('accuracy_mean')} accuracy"
    return f"best {metric.label} {value} (trial {best.number}, {best.device}{at})"


def floor_note(findings: Findings) -> str:
    """Which designs count, and why."""
    below = len(findings.evaluated) - len(findings.counted)
    if findings.pareto.floor_missed:
        return "No design reaches the accuracy floor of the study file, so all count."
    left_out = f"{count_of(below, 'design')} below {'it counts' if below == 1 else 'it count'} for nothing"
    why = "half-way from chance to the best" if findings.floor_is_default else "the study file's floor"
    return f"Accuracy floor: {100 * findings.pareto.floor:.3g} % ({why}); {left_out}."


def purposes_section(findings: Findings) -> Section:
    """A design for each purpose."""
    chosen = picks(findings.counted)
    numbers = list(dict.fromkeys(pick.design.number for pick in chosen))
    if len(numbers) == 1:
        heading = f"Which design for which purpose: trial {numbers[0]} for all"
    else:
        heading = f"Which design for which purpose: {len(numbers)} designs for {len(chosen)} purposes"
    heads = ["purpose", "trial", "device", "accuracy [%]", "why this one", "the next one", "how sure the order is"]
    rows: list[list[Cell]] = [
        [
            pick.purpose,
            Number(str(pick.design.number), pick.design.number),
            pick.design.device,
            Number(pick.design.show("accuracy_mean"), 100 * pick.design.measured["accuracy_mean"]),
            pick.reason,
            pick.against_next,
            pick.sureness,
        ]
        for pick in chosen
    ]
    note = (
        f"Of the designs within {100 * NEAR:g} points of the best accuracy. Safety: the accuracy that 95 of 100 chips "
        "reach. Where an order is tied, take the design that suits you otherwise."
    )
    return Section(heading, note, [Table(heads, rows)])


def noise_section(findings: Findings) -> Section:
    """Accuracy with device errors against accuracy without: values, ranks, and at other programming errors."""
    styles, dataset = findings.styles, findings.dataset.title
    parts = [Plot("noise", noise_figure(findings.evaluated, findings.front, styles, dataset))]
    if len(findings.evaluated) > 1:
        title = "Ranks by accuracy: without device errors on the left, with them on the right; dotted: within noise"
        parts += [Plot("ranks", rank_figure(findings.evaluated, styles), title)]
    if trials := [trial for trial in findings.evaluated if len(trial.over_sigma()) > 1]:
        title = "Designs measured again with other programming errors"
        parts += [Plot("sigma", sigma_figure(trials, styles), title)]
    note = (
        "The further a mark lies below the line, the more accuracy its device errors cost. Converters and bit widths "
        "lower both accuracies."
    )
    return Section(_noise_heading(findings), note, parts)


def _noise_heading(findings: Findings) -> str:
    without, with_errors = (best_by(findings.counted, name) for name in ("accuracy_noiseless", "accuracy_mean"))
    if without.number == with_errors.number:
        return f"Trial {with_errors.number} is the most accurate, with device errors and without"
    level = without.measured["accuracy_mean"]
    rank = 1 + sum(trial.measured["accuracy_mean"] > level for trial in findings.evaluated)
    tied = without.validation.mean_high >= with_errors.validation.mean_low
    return (
        f"Without device errors trial {without.number} ({without.device}) is the most accurate. With them it is number "
        f"{rank}, and trial {with_errors.number} ({with_errors.device}) leads"
        f"{', but their 95 % intervals overlap' if tied else ''}"
    )


def importance_section(findings: Findings) -> Section:
    """Which choices distinguish the best tenth of the designs."""
    first = {name: next(iter(shares)) for name, shares in findings.importance.items()}
    parts = ", ".join(f"{choice.replace('_', ' ')} for {METRICS[name].label}" for name, choice in first.items())
    note = (
        "How well each choice predicts whether a design is among the best tenth in an objective (PED-ANOVA over the "
        f"{len(findings.counted)} designs above the accuracy floor; shares of 100 %). A search does not sample evenly, "
        "and with few designs the shares are noisy: read the order, not the digits."
    )
    return Section(
        f"Which choice matters most: {parts}", note, [Plot("importance", importance_figure(findings.importance))]
    )


def common_section(findings: Findings) -> Section:
    """What the designs on the front have in common."""
    note = (
        "One line is one design: its choices on the left, what it reaches on the right. Choices that all designs share "
        "are left out."
    )
    styles, objectives = findings.styles, findings.pareto.objectives
    figure = parallel_figure(findings.evaluated, findings.front, styles, objectives)
    return Section("What the designs on the front have in common", note, [Plot("designs", figure)])


def progress_section(findings: Findings) -> Section:
    """Whether more trials still pay."""
    newest, last = max(trial.number for trial in findings.front), findings.evaluated[-1].number
    heading = f"The front last changed with trial {newest}; the last evaluated trial is {last}"
    counted = [trial.number in findings.pareto.counted for trial in findings.evaluated]
    note = (
        "Hypervolume: how much of the objectives' space the front dominates, in the product of the units shown "
        "(accuracies as fractions). A flat curve can hide gains of tenths of a point of accuracy. "
        f"{_worth(findings, counted)}"
    )
    figure = hypervolume_figure(findings.pareto.objectives, findings.evaluated, counted)
    return Section(heading, note, [Plot("progress", figure)])


def _worth(findings: Findings, counted: Sequence[bool]) -> str:
    """Whether it is worth going on, by what the second half of the trials added."""
    objectives, trials = findings.pareto.objectives, len(findings.evaluated)
    if trials < _ENOUGH_TO_TELL:
        return f"Whether more trials pay cannot be told from {count_of(trials, 'design')}."
    values = [[trial.measured[name] for name in objectives] for trial in findings.evaluated]
    history = hypervolume_history(objectives, values, counted)
    half, last = history[trials // 2 - 1], history[-1]
    added = (last - half) / last if last > 0 else 0.0
    likely = added * math.log1p(_MORE / trials) / math.log(2)
    going_on = "Going on is worth it" if likely >= _PAYS else "Going on is hardly worth it"
    return (
        f"The second half of the {trials} designs added {added:.1%} of the hypervolume. If gains go on falling as 1 / "
        f"trials (assumed), another {_MORE} would add about {likely:.1%}. {going_on}."
    )
