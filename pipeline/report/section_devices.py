"""The section on devices."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from markupsafe import Markup

from pipeline.design.describe import design_columns, show_choice
from pipeline.design.metrics import METRICS
from pipeline.report.content import Cell, Number, Section, Table
from pipeline.report.evaluated import Evaluated, best_by, two_digits
from pipeline.report.findings import Findings

_HARDWARE = (
    *("tech_node_nm", "crossbar_size", "adc_bits", "adc_type", "cols_per_adc"),
    *("cell_bits", "weight_bits", "input_bits", "weight_encoding", "mapping"),
    *("readout", "dac_bits", "input_drive", "combine_columns", "rows_at_once", "supply_v", "crossbar_columns"),
)
_FEW = 10  # assumed: a device with fewer designs was hardly tried


def devices_section(findings: Findings) -> Section:
    """The best that each device reached, of the designs above the accuracy floor, and each choice of hardware."""
    names = sorted({trial.device for trial in findings.counted})
    groups = {name: [trial for trial in findings.counted if trial.device == name] for name in names}
    floors = _floors(best_by(findings.counted, "accuracy_mean").measured["accuracy_mean"])
    title = METRICS[second_metric(findings)].title
    heads = ["device", "designs", "on the front", "best accuracy [%]", f"its {title}", "trial"]
    heads += [f"best {title}", "its accuracy [%]", "trial", "lost to device errors [points]"]
    heads += _floor_heads(findings, floors)
    rows = [_device_row(findings, name, own, floors) for name, own in groups.items()]
    tables = [Table(heads, rows), _choices(findings, floors)]
    return Section(_heading(findings, groups), _note(findings, groups), [table for table in tables if table.rows])


def second_metric(findings: Findings) -> str:
    """What is compared beside accuracy: the first objective that is none, else TOPS/W."""
    return next((name for name in findings.pareto.objectives if not METRICS[name].is_accuracy), "tops_per_watt")


def _heading(findings: Findings, groups: Mapping[str, list[Evaluated]]) -> str:
    accurate, metric = best_by(findings.counted, "accuracy_mean"), second_metric(findings)
    efficient = best_by(findings.counted, metric).device
    highest = {name: best_by(own, "accuracy_mean").validation.mean_high for name, own in groups.items()}
    lowest = accurate.validation.mean_low
    near = [name for name, high in highest.items() if name != accurate.device and high >= lowest]
    tied = f" (its 95 % interval overlaps that of {', '.join(near)})" if near else ""
    second = " and" if efficient == accurate.device else f", {efficient}"
    return (
        f"{accurate.device} reaches the best accuracy{tied}{second} the best {METRICS[metric].label} of designs with "
        f"{100 * findings.pareto.floor:.3g} % accuracy or more"
    )


def _note(findings: Findings, groups: Mapping[str, list[Evaluated]]) -> str:
    note = (
        "The best that the search found with each device. A dash means that it found no design that accurate, not that "
        "none exists. Lost to device errors: accuracy without device errors minus accuracy with them (median design)."
    )
    if few := [name for name, own in groups.items() if len(own) < _FEW]:
        note += Markup(" <b>Hardly tried: {}</b> (fewer than {} designs each).").format(", ".join(few), _FEW)
        note += " To learn what such a device can do, run a study of it alone."
    if assumed := [name for name in groups if name in findings.assumed]:
        note += f" Programming errors are assumed, not measured, for {', '.join(assumed)}."
    return note


def _choices(findings: Findings, floors: Sequence[float]) -> Table:
    """What was reached with each crossbar size, converter and so on: choices of hardware that vary."""
    groups: dict[tuple[str, str], list[Evaluated]] = {}
    for trial in findings.counted:
        for name, value in design_columns(trial.design).items():
            if name in _HARDWARE:
                groups.setdefault((name, show_choice(name, value)), []).append(trial)
    varies = Counter(name for name, _ in groups)
    rows: list[list[Cell]] = []
    for name, value in sorted(groups, key=lambda choice: (_HARDWARE.index(choice[0]), _size(choice[1]))):
        if varies[name] > 1:
            own = groups[name, value]
            best = best_by(own, "accuracy_mean").show("accuracy_mean")
            cells = [*_counts(findings, own), best, *_efficient(findings, own, floors)]
            rows.append([name.replace("_", " "), value, *map(Number, cells)])
    heads = ["choice", "value", "designs", "on the front", "best accuracy [%]", *_floor_heads(findings, floors)]
    return Table(heads, rows, folded_under="The same by crossbar size, converter and bits")


def _size(value: str) -> tuple[float, str]:
    """Numbers by size, then words."""
    return (float(value), "") if value.isdecimal() else (math.inf, value)


def _floors(best: float) -> list[float]:
    """Accuracies that a device may or may not reach: 1, 3 and 10 points below the best, to the next half point."""
    return [math.floor(200 * (best - points)) / 200 for points in (0.01, 0.03, 0.1) if best > points]


def _floor_heads(findings: Findings, floors: Sequence[float]) -> list[str]:
    return [f"best {METRICS[second_metric(findings)].title} at {100 * floor:.4g} % or more" for floor in floors]


def _device_row(findings: Findings, name: str, own: Sequence[Evaluated], floors: Sequence[float]) -> list[Cell]:
    metric = second_metric(findings)
    accurate, efficient = best_by(own, "accuracy_mean"), best_by(own, metric)
    lost = sorted(100 * (trial.validation.noiseless - trial.validation.mean) for trial in own)[len(own) // 2]
    cells = [*_counts(findings, own), *map(accurate.show, ("accuracy_mean", metric)), str(accurate.number)]
    cells += [*map(efficient.show, (metric, "accuracy_mean")), str(efficient.number), two_digits(lost)]
    return [name, *map(Number, [*cells, *_efficient(findings, own, floors)])]


def _counts(findings: Findings, own: Sequence[Evaluated]) -> list[str]:
    return [str(len(own)), str(sum(trial in findings.front for trial in own))]


def _efficient(findings: Findings, own: Sequence[Evaluated], floors: Sequence[float]) -> list[str]:
    """The best value beside accuracy at or above each accuracy."""
    metric = second_metric(findings)
    reached = [[trial for trial in own if trial.measured["accuracy_mean"] >= floor] for floor in floors]
    return [best_by(group, metric).show(metric) if group else "\N{EN DASH}" for group in reached]
