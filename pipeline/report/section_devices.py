"""The section on devices."""

import math
from collections import Counter
from collections.abc import Sequence
from html import escape

from pipeline.design.describe import design_columns
from pipeline.report.evaluated import (
    Evaluated,
    best_by,
    two_digits,
    useful,
)
from pipeline.report.findings import Findings
from pipeline.report.html import Cell, Number, details, section, table

_HARDWARE = (
    *("tech_node_nm", "crossbar_size", "adc_bits", "adc_type", "cols_per_adc"),
    *("cell_bits", "weight_bits", "input_bits", "weight_encoding", "mapping"),
)
_FEW = 10  # assumed: a device with fewer designs was hardly tried


def devices_section(findings: Findings) -> str:
    names = sorted({trial.device for trial in findings.evaluated})
    best = {name: best_by([t for t in findings.evaluated if t.device == name], "accuracy_mean") for name in names}
    accurate, frugal = (best_by(useful(findings.evaluated), name) for name in ("accuracy_mean", "tops_per_watt"))
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
            cells += [best_by(own, "accuracy_mean").show("accuracy_mean"), *_efficient(own, floors)]
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
    accurate, frugal = best_by(own, "accuracy_mean"), best_by(own, "tops_per_watt")
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
    return [best_by(group, "tops_per_watt").show("tops_per_watt") if group else "\N{EN DASH}" for group in reached]
