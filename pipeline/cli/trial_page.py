"""One trial as a page in the terminal. Loads no torch."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from optuna.trial import FrozenTrial
from rich import box
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from hw_models.cost.wires import in_words
from hw_models.silicon import silicon_estimate_of
from pipeline.database.trials import describe_settings
from pipeline.design.built_network import BuiltNetwork
from pipeline.design.describe import describe_network, design_columns, show_choice
from pipeline.design.metrics import METRICS
from pipeline.design.results import VariationReport
from pipeline.design.topology import mvm_layers, topology
from pipeline.follow_up.stored import design_of
from pipeline.networks.workload import workload_of
from pipeline.report.cost_parts import component_parts, layer_parts
from pipeline.report.evaluated import Evaluated, show_mean
from pipeline.study.study_spec import StudySpec

_TOTALS = ("energy_j", "area_m2", "latency_s")


def trial_page(spec: StudySpec, trial: FrozenTrial, again: Sequence[dict[str, Any]] = ()) -> RenderableType:
    """Design, cost, accuracy, times and origin of an evaluated trial, with its later measurements (`remeasured`)."""
    shown = dataclasses.replace(Evaluated.from_trial(trial), design=design_of(spec, trial))
    return Group(
        Text.assemble((f"Trial {shown.number}", "bold"), f" of study {spec.name}: {shown.device}"),
        _design(shown),
        _layers(shown),
        _accuracy(shown, spec.dataset.score_name),
        *([_again(again)] if again else []),
        _totals(shown),
        _shares("Cost by component", [component_parts(shown, name) for name in _TOTALS]),
        _shares("Cost by layer", [layer_parts(shown, name) for name in _TOTALS]),
        _outside(shown),
        _silicon(shown),
        _origin(spec, shown, trial.user_attrs["design_hash"]),
    )


def _design(shown: Evaluated) -> Table:
    table = _table("Hardware", "", "")
    if shown.design.network is None:
        layer_columns = tuple(f"{layer.name}_" for layer in mvm_layers(shown.design))
    else:
        layer_columns = ("network", "weight_bits[")
    for name, value in design_columns(shown.design).items():
        if not name.startswith(layer_columns):
            table.add_row(name, escape(show_choice(name, value)))
    return table


def _layers(shown: Evaluated) -> RenderableType:
    if shown.design.network is not None:
        return _built_layers(shown, shown.design.network)
    heads = ("layer", "inputs", "kernel", "stride", "outputs", "pooled", "weights", "MACs", "mapped as")
    table = _table("Network", *heads)
    chip = shown.design.accelerator
    for whole, cost in zip(topology(shown.design), shown.cost["layers"], strict=True):
        layer, fixed = whole.mvm, whole.weight_format
        inputs = f"{layer.in_channels}x{layer.in_height}x{layer.in_width}"
        kernel = "" if layer.kernel == layer.in_height == 1 else "x".join(map(str, layer.kernel_sides))
        stride = str(whole.stride) if whole.is_conv else ""
        bits = f"{fixed.bits} b ({fixed.integer_bits}.{fixed.fraction_bits})" if fixed else f"{chip.weight_bits} b"
        outputs = (str(layer.out_channels), "2x2" if layer.pooled else "")
        table.add_row(layer.name, inputs, kernel, stride, *outputs, bits, f"{layer.macs:,}", cost["mapped_as"])
    return table


def _built_layers(shown: Evaluated, network: BuiltNetwork) -> RenderableType:
    """The layers of a network that a function builds; why there are none if it cannot be built here."""
    title = f"Network: {describe_network(network)}"
    try:
        workload = workload_of(shown.design)
    except ValueError as error:
        return Text(f"{title}\nIts layers cannot be listed: {error}\n")
    heads = ("layer", "inputs", "kernel", "groups", "outputs", "vectors", "weights", "MACs", "mapped as")
    table = _table(escape(title), *heads)
    for layer, cost in zip(workload.layers, shown.cost["layers"], strict=True):
        inputs = f"{layer.in_channels}x{layer.in_height}x{layer.in_width}"
        kernel = "" if layer.kernel == 1 else "x".join(map(str, layer.kernel_sides))
        outputs = (str(layer.groups) if layer.groups > 1 else "", str(layer.out_channels), f"{layer.windows:,}")
        bits = f"{layer.weight_bits or shown.design.accelerator.weight_bits} b"
        table.add_row(escape(layer.name), inputs, kernel, *outputs, bits, f"{layer.macs:,}", cost["mapped_as"])
    return table


def _accuracy(shown: Evaluated, score: str) -> Table:
    table = _table(f"{score[0].upper()}{score[1:]} over simulated chips [%]", "", "validation", "test")
    reports = (shown.validation, shown.test)
    table.add_row("mean, 95 % interval", *map(show_mean, reports))
    for label, name in (
        ("standard deviation", "std"),
        ("5th percentile", "p05"),
        ("worst chip", "worst"),
        ("no device errors", "noiseless"),
        ("float, no hardware", "float_accuracy"),
    ):
        table.add_row(label, *(_percent(getattr(report, name)) for report in reports))
    if shown.validation.required is not None:
        label = f"chips with {_percent(shown.validation.required)} or more"
        table.add_row(label, *(_percent(report.fraction_good or 0.0) for report in reports))
    table.add_row("chips, images", *(_chips(report) for report in reports))
    return table


def _again(entries: Sequence[dict[str, Any]]) -> Table:
    table = _table("Measured again, mean accuracy and 95 % interval [%]", "", "validation", "test")
    for entry in entries:
        reports = (VariationReport.from_dict(entry[split]) for split in ("validation", "test"))
        cells = [f"{_percent(r.mean)} ({_percent(r.mean_low)} to {_percent(r.mean_high)})" for r in reports]
        table.add_row(describe_settings(entry["settings"]), *cells)
    return table


def _totals(shown: Evaluated) -> Table:
    table = _table("Cost", "", "", "")
    for name, metric in METRICS.items():
        if not metric.is_accuracy:
            table.add_row(metric.label, shown.show(name), metric.unit)
    return table


def _shares(title: str, parts: Iterable[Mapping[str, float]]) -> Table:
    """Rows are components or layers, largest share of the energy first."""
    columns = list(parts)
    table = _table(title, "", *(rf"{METRICS[name].label} \[{METRICS[name].unit}]" for name in _TOTALS))
    totals = [sum(column.values()) for column in columns]
    for key in sorted({k for column in columns for k in column}, key=lambda k: -columns[0].get(k, 0.0)):
        values = [column.get(key) for column in columns]
        table.add_row(escape(key.replace("_", " ")), *map(_share, values, totals, _TOTALS))
    return table


def _share(value: float | None, total: float, name: str) -> str:
    return "" if value is None else f"{METRICS[name].show(value)}  {value / (total or 1.0):>4.0%}"


def _outside(shown: Evaluated) -> Text:
    reasons = shown.cost["outside_reference"]
    wires = in_words(shown.cost.get("ir_drop", 0.0), shown.design.accelerator.wires)  # earlier databases have none
    told = ["Outside NeuroSim's range:", *(f"- {reason}" for reason in reasons)]
    lines = [*(told if reasons else ["This design is inside NeuroSim's range."]), wires]
    return Text("\n".join(line for line in lines if line) + "\n")


def _silicon(shown: Evaluated) -> Text:
    """What silicon would reach; nothing if it was not stored and the network cannot be built here."""
    found = shown.silicon
    if found is None:
        try:
            layers = workload_of(shown.design).layers
        except ValueError:
            return Text()
        found = silicon_estimate_of(shown.design.accelerator, layers, clock_s=shown.cost["clock_s"])
    reasons = (f"- outside measured chips: {reason}" for reason in found.reasons)
    return Text("\n".join([f"{found.sentence[0].upper()}{found.sentence[1:]}", *reasons, ""]))


def _origin(spec: StudySpec, shown: Evaluated, design_hash: str) -> Table:
    table = _table("Origin", "", "")
    table.add_row("study seed, trial", f"{spec.seed}, {shown.number}")
    table.add_row("design", str(design_hash))
    table.add_row("wall time", ", ".join(f"{phase} {seconds:.3g} s" for phase, seconds in shown.phase_s.items()))
    if shown.finished:
        table.add_row("finished", f"{shown.finished:%Y-%m-%d %H:%M}")
    table.add_row("versions", ", ".join(f"{name} {version}" for name, version in shown.versions.items()))
    return table


def _table(title: str, *heads: str) -> Table:
    """A table whose first column names the rows; numbers are right-aligned."""
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    table.show_header = any(heads)
    table.add_column(heads[0])
    for head in heads[1:]:
        table.add_column(head, justify="right" if len(heads) > 2 else "left")
    return table


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.4g}"


def _chips(report: VariationReport) -> str:
    return f"{len(report.per_chip)}, {report.n_images} ({report.fidelity})"
