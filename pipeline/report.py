"""A study's findings as one HTML page that opens anywhere, offline, and a table for further work. Loads no torch."""

import csv
import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from html import escape
from pathlib import Path
from string import Template
from typing import Any

import optuna
from plotly.offline import get_plotlyjs

from pipeline import figures
from pipeline.evaluated import (
    Evaluated,
    Findings,
    component_parts,
    design_columns,
    half_width,
    read_findings,
    two_digits,
)
from pipeline.metrics import METRICS
from pipeline.progress import describe
from pipeline.report_html import Cell, Number, Plots, details, section, table

_PAGE = Path(__file__).with_name("report.html")
_MOST_BARS = 24  # designs in figures that give each one a bar of its own

Styles = Mapping[str, figures.Style]


def write_report(opened: optuna.Study, folder: Path) -> Path:
    """Write `report.html` and `trials.csv` from what the database holds; nothing is computed again.

    Args:
        opened: Study with any number of measured trials, none included.
        folder: Where to; made if missing.

    Returns:
        The path of the page.
    """
    findings = read_findings(opened)
    folder.mkdir(parents=True, exist_ok=True)
    write_trials_csv(findings, folder / "trials.csv")
    path = folder / "report.html"
    unfinished = path.with_suffix(".part")
    unfinished.write_text(report_page(findings), encoding="utf-8")
    unfinished.replace(path)
    return path


def report_page(findings: Findings) -> str:
    """The whole page, plotly included."""
    plots = Plots()
    sections = [_head(findings)]
    if findings.evaluated:
        styles = figures.device_styles([*findings.identity["devices"], *(t.device for t in findings.evaluated)])
        sections += [
            _front(findings, styles, plots),
            _devices(findings),
            _breakdown(findings, plots),
            _chips(findings, styles, plots),
            _noise(findings, styles, plots),
            _progress(findings, plots),
            _designs(findings, styles, plots),
        ]
    sections += [_definitions(findings), _provenance(findings), plots.texts()]
    page = Template(_PAGE.read_text(encoding="utf-8"))
    return page.substitute(title=escape(f"nacim: {findings.name}"), body="\n".join(sections), plotly=get_plotlyjs())


def write_trials_csv(findings: Findings, path: Path) -> None:
    """All measured trials: SI values with the unit in the column's name, accuracies as fractions; then the design."""
    rows = [_csv_row(trial, trial in findings.front) for trial in findings.evaluated]
    columns = dict.fromkeys(name for row in rows for name in row) or {"trial": None}
    unfinished = path.with_suffix(".part")
    with unfinished.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(columns), restval="")
        writer.writeheader()
        writer.writerows(rows)
    unfinished.replace(path)


def _csv_row(trial: Evaluated, on_front: bool) -> dict[str, Any]:
    reports = {"": trial.validation, "test_": trial.test}
    intervals = {
        f"{split}accuracy_mean_{side}_fraction": getattr(report, f"mean_{side}")
        for split, report in reports.items()
        for side in ("low", "high")
    }
    return (
        {"trial": trial.number, "on_front": int(on_front)}
        | {f"{name}_fraction" if "accuracy" in name else name: value for name, value in trial.measured.items()}
        | intervals
        | {"chips": len(trial.validation.per_chip)}
        | {f"{phase}_wall_s": seconds for phase, seconds in trial.phase_s.items()}
        | design_columns(trial.design)
    )


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
    best, metric = _winner(trials, name), METRICS[name]
    unit = "" if metric.unit == metric.label else f" {metric.unit}"
    return f"best {metric.label} {best.show(name)}{unit} (trial {best.number}, {best.device})"


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
    is_pair = len(objectives) == 2
    views = [
        plots.place(
            f"front-{i}", heading, figures.front_figure(findings.evaluated, findings.front, styles, x, y, is_pair)
        )
        for i, (x, y) in enumerate(figures.pairs(objectives))
    ]
    return section(heading, note, *views, _front_table(findings))


def _front_table(findings: Findings) -> str:
    objectives = findings.pareto.objectives
    totals = [name for name in ("area_m2", "latency_s", "energy_j") if name not in objectives]
    heads = ["trial", "device", *map(figures.axis_title, objectives), "accuracy on test images [%]"]
    rows: list[list[Cell]] = [
        [
            Number(str(trial.number), trial.number),
            trial.device,
            *(Number(trial.show(name), trial.measured[name]) for name in objectives),
            Number(f"{100 * trial.test.mean:.4g} ± {two_digits(100 * half_width(trial.test))}", trial.test.mean),
            *(Number(trial.show(name), trial.measured[name]) for name in totals),
            describe(trial.design),
        ]
        for trial in findings.front
    ]
    caption = (
        "The front. Click a column to sort by it; all designs are in trials.csv beside this page. The best of many "
        "accuracies is a little too good, because it was chosen; the one on test images, which the search never saw, "
        "is not."
    )
    return table([*heads, *map(figures.axis_title, totals), "design"], rows, caption, sortable=True)


def _devices(findings: Findings) -> str:
    names = sorted({trial.device for trial in findings.evaluated})
    best = {name: _winner([t for t in findings.evaluated if t.device == name], "accuracy_mean") for name in names}
    accurate, frugal = (_winner(findings.evaluated, name) for name in ("accuracy_mean", "tops_per_watt"))
    near = [
        name
        for name, trial in best.items()
        if name != accurate.device and trial.validation.mean_high >= accurate.validation.mean_low
    ]
    tied = f" ({', '.join(near)} within its 95 % interval)" if near else ""
    heading = f"{accurate.device} reaches the best accuracy{tied}, {frugal.device} the best TOPS/W"
    heads = ["device", "designs", "on the front", "best accuracy [%]", "its TOPS/W", "trial"]
    heads += ["best TOPS/W", "its accuracy [%]", "trial", "lost to device errors [points]"]
    note = (
        "The best that the search found with each device. The last column is what device errors cost the middle "
        "(median) design: accuracy without them less the mean over simulated chips."
    )
    return section(heading, note, table(heads, [_device_row(findings, name) for name in names]))


def _device_row(findings: Findings, device: str) -> list[Cell]:
    own = [trial for trial in findings.evaluated if trial.device == device]
    accurate, frugal = _winner(own, "accuracy_mean"), _winner(own, "tops_per_watt")
    lost = sorted(100 * (trial.validation.noiseless - trial.validation.mean) for trial in own)[len(own) // 2]
    cells = [
        str(len(own)),
        str(sum(trial.device == device for trial in findings.front)),
        *(accurate.show("accuracy_mean"), accurate.show("tops_per_watt"), str(accurate.number)),
        *(frugal.show("tops_per_watt"), frugal.show("accuracy_mean"), str(frugal.number)),
        two_digits(lost),
    ]
    return [device, *(Number(text, 0) for text in cells)]


def _breakdown(findings: Findings, plots: Plots) -> str:
    trials = _spread(findings.front)
    totals = ("energy_j", "area_m2")
    colours = figures.component_colours(trials, totals)
    largest, bars = [], []
    for name in totals:
        label = METRICS[name].label
        component, share = next(iter(figures.mean_shares([component_parts(t, name) for t in trials]).items()))
        largest.append(f"{figures.spoken(component)} {100 * share:.0f} % of the {label}")
        bars += [
            f"<h3>{label.capitalize()}</h3>",
            plots.place(f"parts-{name}", f"Shares of the {label}", figures.breakdown_figure(trials, name, colours)),
        ]
    note = f"Best {METRICS[findings.pareto.objectives[0]].label} on top. Grey: all components but the eight largest."
    outside: list[list[Cell]] = [
        [str(trial.number), "; ".join(reasons)] for trial in trials if (reasons := trial.cost["outside_reference"])
    ]
    doubts = (
        f"{len(outside)} of {_count(len(trials), 'design')} outside what the cost model's reference tool vouches for"
    )
    why = details(doubts, table(["trial", "why"], outside)) if outside else ""
    heading = f"What takes most on the front: {', '.join(largest)}"
    return section(heading, f"{note}{_shown(findings, trials)}", *bars, why)


def _chips(findings: Findings, styles: Styles, plots: Plots) -> str:
    trials = _spread(findings.front)
    widest = max(trials, key=_chip_spread)
    points = two_digits(100 * _chip_spread(widest))
    heading = f"Chips of one design on the front differ by up to {points} points of accuracy (trial {widest.number})"
    note = "Each mark is one simulated chip on the validation images; boxes hold the middle half of them."
    return section(
        heading,
        f"{note}{_shown(findings, trials)}",
        plots.place("chips", heading, figures.chips_figure(trials, styles)),
    )


def _chip_spread(trial: Evaluated) -> float:
    return max(trial.validation.per_chip) - min(trial.validation.per_chip)


def _noise(findings: Findings, styles: Styles, plots: Plots) -> str:
    without, with_errors = (_winner(findings.evaluated, name) for name in ("accuracy_noiseless", "accuracy_mean"))
    heading = f"Trial {with_errors.number} is the most accurate with device errors and without"
    if without.number != with_errors.number:
        level = without.measured["accuracy_mean"]
        rank = 1 + sum(trial.measured["accuracy_mean"] > level for trial in findings.evaluated)
        heading = (
            f"Without device errors trial {without.number} ({without.device}) wins; with them it is number {rank}, "
            f"and trial {with_errors.number} ({with_errors.device}) wins"
        )
    note = "The further below the line, the more device errors cost. Converters and bit widths count on both axes."
    figure = figures.noise_figure(findings.evaluated, findings.front, styles)
    return section(heading, note, plots.place("noise", heading, figure))


def _progress(findings: Findings, plots: Plots) -> str:
    newest, last = max(trial.number for trial in findings.front), findings.evaluated[-1].number
    heading = f"The front last changed with trial {newest}; the last trial evaluated is {last}"
    note = "Hypervolume: how much of the objectives' space the front dominates. While it climbs, more trials pay."
    figure = figures.hypervolume_figure(findings.pareto.objectives, findings.evaluated)
    return section(heading, note, plots.place("progress", heading, figure))


def _designs(findings: Findings, styles: Styles, plots: Plots) -> str:
    heading = "What the designs on the front have in common"
    note = (
        "One line is one design, from its choices on the left to what it reaches on the right. Choices that all "
        "designs share are left out."
    )
    figure = figures.parallel_figure(findings.evaluated, findings.front, styles, findings.pareto.objectives)
    return section(heading, note, plots.place("designs", heading, figure))


def _definitions(findings: Findings) -> str:
    rows = [[m.label, name, m.unit, m.direction.removesuffix("imize") + ".", m.meaning] for name, m in METRICS.items()]
    heads = ["shown as", "stored as", "unit shown", "better", "meaning"]
    note = "One multiply-accumulate (MAC) counts as 2 operations. Costs are those of one inference."
    return section("What the numbers mean", f"{note} {_images(findings)}", table(heads, rows))


def _images(findings: Findings) -> str:
    if not findings.evaluated:
        return ""
    first = findings.evaluated[0]
    chips = sorted({len(trial.validation.per_chip) for trial in findings.evaluated})
    best = _winner(findings.evaluated, "accuracy_mean").validation
    from_images = two_digits(196 * math.sqrt(best.mean * (1 - best.mean) / best.n_images))
    range_of_chips = f"{chips[0]}" if len(chips) == 1 else f"{chips[0]} to {chips[-1]}"
    return (
        f"Images: {escape(findings.identity['dataset']['name'])}. The search sees the accuracy on "
        f"{first.validation.n_images} validation images; that on {first.test.n_images} test images is reported beside "
        f"it and steers nothing. Each design is tried on {range_of_chips} simulated chips, the same ones for all "
        "designs; ± and bars are 95 % intervals of the mean over chips (Student's t), images taken "
        f"as they are: other {best.n_images} images would move the best accuracy by about ± {from_images} points."
    )


def _provenance(findings: Findings) -> str:
    identity = findings.identity
    facts: list[list[Cell]] = [
        ["study", findings.name],
        ["identity", hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]],
        ["seed", str(identity["seed"])],
        ["objectives", ", ".join(f"{METRICS[name].direction} {name}" for name in findings.pareto.objectives)],
        *_times(findings.evaluated),
        *_versions(findings.evaluated),
        ["report written", f"{datetime.now():%Y-%m-%d %H:%M}"],
    ]
    parts = ("dataset", "hardware", "network", "training", "variation", "sampler")
    settings = [[key, value] for part in parts for key, value in _flat(identity[part], part)]
    cards = [
        details(f"Device card: {name}", _card(card, findings.device_sources.get(name, {})))
        for name, card in identity["devices"].items()
    ]
    study_file = details("Study file", table(["key", "value"], settings))
    return section("Where this comes from", "", table(["", ""], facts), study_file, *cards)


def _card(card: Mapping[str, Any], sources: Mapping[str, str]) -> str:
    rows = [[field, _plain(value), sources.get(field, "")] for field, value in card.items()]
    return table(["field", "value", "source"], rows)


def _times(trials: Sequence[Evaluated]) -> list[list[Cell]]:
    times = [time for trial in trials for time in (trial.started, trial.finished) if time]
    phases = dict.fromkeys(phase for trial in trials for phase in trial.phase_s)
    spent = [f"{phase} {sum(trial.phase_s.get(phase, 0.0) for trial in trials):.3g} s" for phase in phases]
    when: list[list[Cell]] = (
        [["trials ran", f"{min(times):%Y-%m-%d %H:%M} to {max(times):%Y-%m-%d %H:%M}"]] if times else []
    )
    return [*when, ["time of all trials", ", ".join(spent)]] if spent else when


def _versions(trials: Sequence[Evaluated]) -> list[list[Cell]]:
    texts = dict.fromkeys(", ".join(f"{name} {v}" for name, v in trial.versions.items()) for trial in trials)
    return [["versions", text] for text in texts]


def _winner(trials: Iterable[Evaluated], name: str) -> Evaluated:
    sign = 1 if METRICS[name].direction == "maximize" else -1
    return max(trials, key=lambda trial: sign * trial.measured[name])


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def _spread(trials: Sequence[Evaluated]) -> list[Evaluated]:
    """At most `_MOST_BARS` of the trials, evenly over their order, first and last among them."""
    if len(trials) <= _MOST_BARS:
        return list(trials)
    step = (len(trials) - 1) / (_MOST_BARS - 1)
    return [trials[round(i * step)] for i in range(_MOST_BARS)]


def _shown(findings: Findings, trials: Sequence[Evaluated]) -> str:
    n_front = len(findings.front)
    return "" if len(trials) == n_front else f" Shown: {len(trials)} of the front's {n_front} designs, evenly along it."


def _flat(value: Any, key: str) -> list[tuple[str, str]]:
    """Dotted keys and their values as text."""
    if isinstance(value, dict):
        return [item for name, inner in value.items() for item in _flat(inner, f"{key}.{name}")]
    if isinstance(value, list) and any(isinstance(inner, dict) for inner in value):
        return [item for i, inner in enumerate(value, start=1) for item in _flat(inner, f"{key}{i}")]
    return [(key, _plain(value))]


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_plain, value))
    return "none" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
