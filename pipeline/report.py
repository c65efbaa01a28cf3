"""A study's findings as one HTML page that opens anywhere, offline, and a table for further work. Loads no torch."""

import csv
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from html import escape
from pathlib import Path
from string import Template
from typing import Any, NamedTuple

import optuna
import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from pipeline import figures
from pipeline.evaluated import Evaluated, Findings, components, design_columns, half_width, read_findings
from pipeline.metrics import METRICS
from pipeline.progress import describe

_PAGE = Path(__file__).with_name("report.html")
_MOST_BARS = 24  # designs in figures that give each one a bar of its own


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
    _replace(path, report_page(findings))
    return path


def report_page(findings: Findings) -> str:
    """The whole page, plotly included."""
    sections = [_head(findings)]
    if findings.evaluated:
        styles = figures.device_styles([*findings.identity["devices"], *(t.device for t in findings.evaluated)])
        sections += [
            _front(findings, styles),
            _devices(findings),
            _breakdown(findings),
            _chips(findings, styles),
            _noise(findings, styles),
            _progress(findings),
            _designs(findings, styles),
        ]
    sections += [_definitions(findings), _provenance(findings)]
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
    reports = {"validation": trial.validation, "test": trial.test}
    interval = {
        f"{split}_accuracy_mean_{side}_fraction": getattr(report, f"mean_{side}")
        for split, report in reports.items()
        for side in ("low", "high")
    }
    return (
        {"trial": trial.number, "on_front": int(on_front)}
        | {_csv_name(name): value for name, value in trial.measured.items()}
        | interval
        | {"chips": len(trial.validation.per_chip)}
        | {f"{phase}_wall_s": seconds for phase, seconds in trial.phase_s.items()}
        | design_columns(trial.design)
    )


def _csv_name(name: str) -> str:
    return f"{name}_fraction" if "accuracy" in name else name


# Sections of the page


def _head(findings: Findings) -> str:
    counts = findings.pareto.counts
    others = ", ".join(f"{count} {state}" for state, count in counts.items() if count and state != "evaluated")
    done = f"{_count(counts['evaluated'], 'design')} evaluated{f' ({others})' if others else ''}"
    if not findings.evaluated:
        return f"<h1>{escape(findings.name)}</h1>{_question(findings)}<p>No design has been evaluated yet: {done}.</p>"
    best = ", ".join(_best(findings.evaluated, name) for name in findings.pareto.objectives)
    text = f"{done}, {len(findings.front)} on the Pareto front. {best[0].upper()}{best[1:]}."
    return f"<h1>{escape(findings.name)}</h1>{_question(findings)}<p>{text}</p>"


def _question(findings: Findings) -> str:
    return f'<p class="question">{escape(findings.question)}</p>' if findings.question else ""


def _best(trials: Iterable[Evaluated], name: str) -> str:
    best = _winner(trials, name)
    return f"best {METRICS[name].label} {_with_unit(best, name)} (trial {best.number}, {escape(best.device)})"


def _front(findings: Findings, styles: Mapping[str, figures.Style]) -> str:
    objectives = findings.pareto.objectives
    names = " and ".join(METRICS[name].label for name in objectives)
    n_front, n_all = len(findings.front), len(findings.evaluated)
    heading = f"{_count(n_front, 'design')} of {n_all}: nothing found is better in {names} at once"
    if len(objectives) == 1:
        heading = f"Trial {findings.front[0].number} has the best {names} of {_count(n_all, 'design')}"
    note = (
        "Large marks with an outline are the Pareto front, their bars 95 % intervals of the mean accuracy over simulated "
        "chips; faint marks are all other designs. Point at a mark to see the design; click a device in the legend to hide it."
    )
    plots = [
        _plot(f"front-{i}", figures.front_figure(findings.evaluated, findings.front, styles, x, y, len(objectives) == 2))
        for i, (x, y) in enumerate(figures.pairs(objectives))
    ]
    return _section(heading, note, *plots, _front_table(findings))


def _front_table(findings: Findings) -> str:
    names = list(dict.fromkeys([*findings.pareto.objectives, "area_m2", "latency_s", "energy_j"]))
    objectives, totals = names[: len(findings.pareto.objectives)], names[len(findings.pareto.objectives) :]
    heads = ["trial", "device", *map(figures.axis_title, objectives), "accuracy, test images [%]", *map(figures.axis_title, totals)]
    rows = [
        [
            _Number(str(trial.number), trial.number),
            trial.device,
            *(_Number(trial.show(name), trial.measured[name]) for name in objectives),
            _Number(f"{100 * trial.test.mean:.4g} ± {100 * half_width(trial.test):.2g}", trial.test.mean),
            *(_Number(trial.show(name), trial.measured[name]) for name in totals),
            describe(trial.design),
        ]
        for trial in findings.front
    ]
    caption = "The front. Click a column to sort by it; all designs are in trials.csv beside this page."
    return _table(caption, [*heads, "design"], rows, sortable=True)


def _devices(findings: Findings) -> str:
    names = [d for d in figures.device_styles(t.device for t in findings.evaluated)]
    accurate, frugal = (_winner(findings.evaluated, name) for name in ("accuracy_mean", "tops_per_watt"))
    heading = f"{accurate.device} is the most accurate device and the most efficient"
    if accurate.device != frugal.device:
        heading = f"{accurate.device} is the most accurate device, {frugal.device} the most efficient"
    rows = [_device_row(findings, device) for device in sorted(names)]
    heads = ["device", "designs", "on the front", "best accuracy [%]", "at TOPS/W", "trial", "best TOPS/W", "at accuracy [%]", "trial"]
    note = "The best that the search found with each device, and how much accuracy its errors cost the middle (median) design."
    return _section(heading, note, _table("", [*heads, "lost to device errors [points]"], rows))


def _device_row(findings: Findings, device: str) -> list["str | _Number"]:
    own = [trial for trial in findings.evaluated if trial.device == device]
    accurate, frugal = _winner(own, "accuracy_mean"), _winner(own, "tops_per_watt")
    lost = sorted(100 * (trial.validation.noiseless - trial.validation.mean) for trial in own)[len(own) // 2]
    shown = [
        *(accurate.show(name) for name in ("accuracy_mean", "tops_per_watt")),
        str(accurate.number),
        *(frugal.show(name) for name in ("tops_per_watt", "accuracy_mean")),
        str(frugal.number),
        f"{lost:.2g}",
    ]
    counts = [str(len(own)), str(sum(trial.device == device for trial in findings.front))]
    return [device, *(_Number(text, 0) for text in [*counts, *shown])]


def _breakdown(findings: Findings) -> str:
    trials = _spread(findings.front)
    plots, largest = [], []
    for name in ("energy_j", "area_m2"):
        parts = [components(trial.cost, name) for trial in trials]
        shares = {key: sum(p.get(key, 0.0) / sum(p.values()) for p in parts) / len(parts) for p in parts for key in p}
        top = max(shares, key=lambda key: shares[key])
        largest.append(f"{METRICS[name].label} goes into the {top.replace('_', ' ')} ({100 * shares[top]:.0f} %)")
        plots += [f"<h3>{METRICS[name].label.capitalize()}</h3>", _plot(f"parts-{name}", figures.breakdown_figure(trials, parts, name))]
    heading = f"On the front, most {largest[0]}, most {largest[1]}"
    note = f"Share of each component, designs from the best {METRICS[findings.pareto.objectives[0]].label} down. {_shown(findings, trials)}"
    return _section(heading, note, *plots)


def _chips(findings: Findings, styles: Mapping[str, figures.Style]) -> str:
    trials = _spread(findings.front)
    widest = max(trials, key=lambda trial: max(trial.validation.per_chip) - min(trial.validation.per_chip))
    spread = 100 * (max(widest.validation.per_chip) - min(widest.validation.per_chip))
    heading = f"Two chips of one design on the front differ by up to {spread:.2g} points of accuracy (trial {widest.number})"
    note = f"Each mark is one simulated chip on the validation images; boxes hold the middle half. {_shown(findings, trials)}"
    return _section(heading, note, _plot("chips", figures.chips_figure(trials, styles)))


def _noise(findings: Findings, styles: Mapping[str, figures.Style]) -> str:
    without, with_errors = (_winner(findings.evaluated, name) for name in ("accuracy_noiseless", "accuracy_mean"))
    heading = f"Trial {with_errors.number} is the most accurate with device errors and without"
    if without.number != with_errors.number:
        better = [t for t in findings.evaluated if t.measured["accuracy_mean"] > without.measured["accuracy_mean"]]
        heading = (
            f"Without device errors trial {without.number} ({without.device}) wins; with them it is number "
            f"{len(better) + 1}, and trial {with_errors.number} ({with_errors.device}) wins"
        )
    note = "The further below the diagonal, the more accuracy the device's errors cost. Converters and bit widths count on both axes."
    return _section(heading, note, _plot("noise", figures.noise_figure(findings.evaluated, findings.front, styles)))


def _progress(findings: Findings) -> str:
    last = max(trial.number for trial in findings.front)
    heading = f"The newest design on the front is trial {last}; the last trial is {findings.evaluated[-1].number}"
    note = "Hypervolume: how much of the objective space the front dominates. A curve that still climbs says that more trials will pay."
    return _section(heading, note, _plot("progress", figures.hypervolume_figure(findings.pareto.objectives, findings.evaluated)))


def _designs(findings: Findings, styles: Mapping[str, figures.Style]) -> str:
    plot = figures.parallel_figure(findings.evaluated, findings.front, styles, findings.pareto.objectives)
    note = "One line is one design, from its choices on the left to what it reaches on the right. Choices that all designs share are left out."
    return _section("What the designs on the front have in common", note, f'<div class="wide">{_plot("designs", plot)}</div>')


def _definitions(findings: Findings) -> str:
    rows = [[m.label, name, m.unit, m.direction.removesuffix("imize") + ".", m.meaning] for name, m in METRICS.items()]
    heads = ["shown as", "stored as", "unit shown", "better", "meaning"]
    note = "One multiply-accumulate (MAC) counts as 2 operations. Costs are those of one inference, one image at a time."
    return _section("What the numbers mean", f"{note} {_images(findings)}", _table("", heads, rows))


def _images(findings: Findings) -> str:
    if not findings.evaluated:
        return ""
    reports = [(trial.validation, trial.test) for trial in findings.evaluated]
    chips = sorted(len(validation.per_chip) for validation, _ in reports)
    validation, test = reports[0]
    return (
        f"Images: {escape(findings.identity['dataset']['name'])}. The search sees the accuracy on {validation.n_images} "
        f"validation images; the accuracy on {test.n_images} test images is reported beside it and steers nothing. "
        f"{chips[0]} to {chips[-1]} simulated chips a design, the same chips for all; ± and bars are 95 % intervals of the "
        "mean over chips (Student's t), images taken as they are."
    )


def _provenance(findings: Findings) -> str:
    identity = findings.identity
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]
    facts = [
        ["study", findings.name],
        ["identity (space, objectives, settings, cards)", digest],
        ["seed", str(identity["seed"])],
        ["objectives", ", ".join(f"{METRICS[name].direction} {name}" for name in findings.pareto.objectives)],
        *_when(findings.evaluated),
        *([key, value] for key, value in _versions(findings.evaluated)),
    ]
    settings = [[key, value] for part in ("dataset", "hardware", "network", "training", "variation", "sampler") for key, value in _flat(identity[part], part)]
    cards = [
        _details(
            f"Device card: {name}",
            _table("", ["field", "value", "source"], [[k, _plain(v), findings.device_sources.get(name, {}).get(k, "")] for k, v in card.items()]),
        )
        for name, card in identity["devices"].items()
    ]
    return _section("Where this comes from", "", _table("", ["", ""], facts), _details("Study file", _table("", ["key", "value"], settings)), *cards)


def _when(trials: Sequence[Evaluated]) -> list[list[str]]:
    phases = dict.fromkeys(phase for trial in trials for phase in trial.phase_s)
    seconds = {phase: sum(trial.phase_s.get(phase, 0.0) for trial in trials) for phase in phases}
    spent = ", ".join(f"{phase} {value:.3g} s" for phase, value in seconds.items())
    started = [trial.started for trial in trials if trial.started]
    finished = [trial.finished for trial in trials if trial.finished]
    span = [["trials ran", f"{min(started):%Y-%m-%d %H:%M} to {max(finished):%Y-%m-%d %H:%M}"]] if started and finished else []
    return [*span, *([["time of all trials", spent]] if spent else []), ["report written", f"{datetime.now():%Y-%m-%d %H:%M}"]]


def _versions(trials: Sequence[Evaluated]) -> list[tuple[str, str]]:
    sets = dict.fromkeys(", ".join(f"{name} {version}" for name, version in trial.versions.items()) for trial in trials)
    return [("versions", text) for text in sets]


# Pieces of HTML


class _Number(NamedTuple):
    """A cell that is set right and sorted by `value`."""

    text: str
    value: float


def _section(heading: str, note: str, *parts: str) -> str:
    """A section; `note` and `parts` are HTML, `heading` is text."""
    note = f'<p class="quiet">{note}</p>' if note else ""
    return f"<section><h2>{escape(heading)}</h2>{note}{''.join(parts)}</section>"


def _plot(name: str, figure: go.Figure) -> str:
    """A place for a figure, and its data, which the page's script draws."""
    data = figure.to_json(engine="json").replace("<", "\\u003c")
    height = figure.layout.height
    return (
        f'<div class="plot" id="plot-{name}" data-figure="data-{name}" style="height:{height}px"></div>'
        f'<script type="application/json" id="data-{name}">{data}</script>'
    )


def _table(caption: str, heads: Sequence[str], rows: Sequence[Sequence[str | _Number]], sortable: bool = False) -> str:
    is_number = [bool(rows) and isinstance(cell, _Number) for cell in (rows[0] if rows else heads)]
    titles = "".join(
        f'<th scope="col"{_NUMBER if number else ""}>{f"<button>{escape(head)}</button>" if sortable else escape(head)}</th>'
        for head, number in zip(heads, is_number, strict=True)
    )
    body = "".join(f"<tr>{''.join(_cell(cell) for cell in row)}</tr>" for row in rows)
    kind = ' class="sortable"' if sortable else ""
    caption = f"<caption>{escape(caption)}</caption>" if caption else ""
    head = f"<thead><tr>{titles}</tr></thead>" if any(heads) else ""
    return f'<div class="wide"><table{kind}>{caption}{head}<tbody>{body}</tbody></table></div>'


_NUMBER = ' class="number"'


def _cell(cell: str | _Number) -> str:
    if isinstance(cell, _Number):
        return f'<td{_NUMBER} data-value="{cell.value!r}">{escape(cell.text)}</td>'
    return f"<td>{escape(cell)}</td>"


def _details(title: str, content: str) -> str:
    return f"<details><summary>{escape(title)}</summary>{content}</details>"


# Words and numbers


def _winner(trials: Iterable[Evaluated], name: str) -> Evaluated:
    sign = 1 if METRICS[name].direction == "maximize" else -1
    return max(trials, key=lambda trial: sign * trial.measured[name])


def _with_unit(trial: Evaluated, name: str) -> str:
    unit = METRICS[name].unit
    return trial.show(name) if unit == METRICS[name].label else f"{trial.show(name)} {unit}"


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def _spread(trials: Sequence[Evaluated]) -> list[Evaluated]:
    """At most `_MOST_BARS` of the trials, evenly over their order, first and last among them."""
    if len(trials) <= _MOST_BARS:
        return list(trials)
    step = (len(trials) - 1) / (_MOST_BARS - 1)
    return [trials[round(i * step)] for i in range(_MOST_BARS)]


def _shown(findings: Findings, trials: Sequence[Evaluated]) -> str:
    everything = len(trials) == len(findings.front)
    return "" if everything else f"{len(trials)} of the front's {len(findings.front)} designs, evenly along it."


def _flat(value: Any, key: str) -> list[tuple[str, str]]:
    """Dotted keys and their values as text."""
    if isinstance(value, dict):
        return [item for name, inner in value.items() for item in _flat(inner, f"{key}.{name}")]
    if isinstance(value, list) and any(isinstance(inner, dict) for inner in value):
        return [item for i, inner in enumerate(value, start=1) for item in _flat(inner, f"{key}{i}")]
    return [(key, _plain(value))]


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(_plain(inner) for inner in value)
    return "none" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)


def _replace(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    unfinished = path.with_suffix(".part")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(path)
