"""`nacim cost` of a network that is no study's: of a function in a file, of a family, or of an ONNX file."""

import csv
import dataclasses
import io
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from rich.markup import escape
from rich.table import Table

from hw_models.accelerator import Accelerator
from hw_models.cost import DIGITAL, CostReport, estimate_cost
from hw_models.cost.activity import Activity
from hw_models.cost.column_energy import AdcModel
from hw_models.mapping import map_network
from hw_models.workload import Workload
from pipeline.cli.cost_tables import (
    components_table,
    narrow_table,
    notes,
    read_activity,
    silicon_notes,
    silicon_of,
    totals_table,
)
from pipeline.cli.options import console_of_tables, print_json, settings_by_name, sizes_by_name
from pipeline.design.describe import describe_network
from pipeline.design.design_point import ImageSpec
from pipeline.design.hardware_file import HardwareFile, load_hardware
from pipeline.files import write_whole
from pipeline.networks.builders import load_builder
from pipeline.networks.workload import traced_network

_CLASSES = 10  # outputs, unless the command or the hardware's file says how many


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """What the command was asked about; attributes as the options of `nacim cost`."""

    network: str
    hardware: Path | None
    inputs: tuple[str, ...]
    integers: bool
    classes: int | None
    settings: tuple[str, ...]
    allow_digital: tuple[str, ...]
    calibrate: Path | None


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class _Found:
    """A traced network: what it is, in words; its workload; and what a reader of its cost must know."""

    title: str
    workload: Workload
    notes: tuple[str, ...]


def network_cost(
    asked: Asked,
    activity_file: Path | None,
    adc_model: AdcModel | Literal["both"],
    out: Path | None,
    as_json: bool,
) -> None:
    """Estimate one network on one accelerator, with one ADC model or both.

    Raises:
        ValueError: If the network or the hardware cannot be read, or an option is missing or does not belong.
    """
    if asked.hardware is None:
        raise ValueError(
            "--hardware is missing: a design file, or one with the accelerator alone (docs/own_network.md)"
        )
    if out is not None and adc_model == "both":
        raise ValueError("--out has one energy per layer: choose the ADC model, reference or survey")
    hardware = load_hardware(asked.hardware)
    accelerator = hardware.accelerator
    found = _of_onnx(asked) if asked.network.endswith(".onnx") else _of_function(asked, hardware)
    layers = list(found.workload.layers)
    activity = read_activity(activity_file, accelerator, layers) if activity_file else None
    models: tuple[AdcModel, ...] = ("reference", "survey") if adc_model == "both" else (adc_model,)
    reports = {
        model: estimate_cost(accelerator, layers, digital=found.workload.digital, activity=activity, adc_model=model)
        for model in models
    }
    rows = layer_rows(next(iter(reports.values())), accelerator, found.workload)
    if out is not None:
        _write(out, rows)
    silicon = silicon_of(accelerator, layers, next(iter(reports.values())), asked.calibrate)
    if as_json:
        plain = {model: report.to_dict() for model, report in reports.items()}
        shown = plain if adc_model == "both" else plain[adc_model]
        print_json(shown | {"network": _plain(found), "silicon": silicon.to_dict()})
        return
    _print(found, rows, reports, accelerator, activity)
    silicon_notes(console_of_tables(), silicon)


def _print(
    found: _Found,
    rows: Sequence[Mapping[str, Any]],
    reports: Mapping[AdcModel, CostReport],
    accelerator: Accelerator,
    activity: Activity | None,
) -> None:
    console = console_of_tables()
    console.print(found.title, highlight=False, markup=False)
    console.print(_layers_table(rows))
    for model, report in reports.items():
        console.print(totals_table(report, model, found.workload))
        console.print(components_table(report))
    for note in found.notes:
        console.print("[yellow]note:[/yellow]", escape(note), highlight=False)
    notes(console, next(iter(reports.values())), accelerator, found.workload, activity)


def _of_function(asked: Asked, hardware: HardwareFile) -> _Found:
    load_builder(asked.network, Path())  # its message about a wrong name comes first
    if len(asked.inputs) > 1:
        raise ValueError(f"--input is given {len(asked.inputs)} times; the function gets the size of one input")
    network = hardware.network_of(asked.network, settings_by_name(asked.settings), asked.allow_digital)
    image = hardware.image
    if asked.inputs:
        ((name, size),) = sizes_by_name(asked.inputs).items()
        if name:
            raise ValueError(f"--input {asked.inputs[0]}: only inputs of ONNX files have names; give the size alone")
        outputs = asked.classes or (image.outputs if image else _CLASSES)
        image = _image(size, outputs, asked.integers)
    elif asked.integers or image is None:
        raise ValueError("--input is missing: the size of one input without the batch, such as --input 3x32x32")
    elif asked.classes:
        image = dataclasses.replace(image, classes=asked.classes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is not charged is told in a note
        traced = traced_network(network, image)
    shown = "x".join(map(str, image.input_shape))
    title = f"{describe_network(network)}: input {shown}, {image.outputs} outputs"
    return _Found(title=title, workload=traced.workload, notes=_uncharged(traced.uncounted, traced.digital))


def _image(size: tuple[int, ...], outputs: int, integers: bool) -> ImageSpec:
    if len(size) == 3 and not integers:
        return ImageSpec(channels=size[0], height=size[1], width=size[2], classes=outputs)
    return ImageSpec.of_shape(size, outputs, integers)


def _of_onnx(asked: Asked) -> _Found:
    from pipeline.networks.onnx_file import trace_onnx

    for option, value in (("--set", asked.settings), ("--classes", asked.classes), ("--integers", asked.integers)):
        if value:
            raise ValueError(f"{option} belongs to a function that builds a network, not to an ONNX file; remove it")
    found = trace_onnx(Path(asked.network), sizes_by_name(asked.inputs), asked.allow_digital)
    sizes = ", ".join(f"{name} {'x'.join(map(str, shape))}" for name, shape in found.inputs.items())
    batches = [
        f"{name} has a fixed first size above 1: if that is a batch, the cost is that of the whole batch"
        for name in found.batches
    ]
    known = _uncharged(found.traced.uncounted, found.traced.digital)
    title = f"{asked.network}: input {sizes}"
    return _Found(title=title, workload=found.traced.workload, notes=(*batches, *known))


def _uncharged(uncounted: Sequence[str], digital: Sequence[str]) -> tuple[str, ...]:
    found = []
    if uncounted:
        found.append(f"operations whose cost is not known, and not charged: {', '.join(uncounted)}")
    if digital:
        found.append(f"matrices that stay digital, as allowed: {', '.join(digital)}")
    return tuple(found)


def layer_rows(report: CostReport, accelerator: Accelerator, workload: Workload) -> list[dict[str, Any]]:
    """One row per layer, and one for the digital operations: what it is, its place on the chip, and its cost."""
    mapping = map_network(accelerator, workload.layers)
    rows: list[dict[str, Any]] = []
    for layer, mapped, cost in zip(workload.layers, mapping.layers, report.layers, strict=True):
        rows.append(
            {
                "layer": layer.name,
                "kernel": "" if layer.kernel == 1 else "x".join(map(str, layer.kernel_sides)),
                "groups": layer.groups,
                "in_channels": layer.in_channels,
                "out_channels": layer.out_channels,
                "vectors": layer.windows,
                "macs": layer.macs,
                "mapping": mapped.mapped_as,
                "tiles": mapped.tiles,
                "crossbars": mapped.cells // mapped.crossbar_size**2,
                "utilisation": mapped.utilisation,
                "conversions": mapped.conversions,
                "area_m2": cost.area_m2,
                "latency_s": cost.latency_s,
                "energy_j": cost.energy_j,
            }
        )
    if workload.digital:
        energy_j = report.energy_j - sum(row["energy_j"] for row in rows)
        latency_s = report.latency_by_component_s[DIGITAL]
        area_m2 = report.area_by_component_m2[DIGITAL]
        rows.append({"layer": DIGITAL, "area_m2": area_m2, "latency_s": latency_s, "energy_j": energy_j})
    return rows


def _layers_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    table = narrow_table("By layer (vectors and energy of one inference; utilisation of the layer's tiles)")
    heads = (
        "layer",
        "kernel",
        "groups",
        "in",
        "out",
        "vectors",
        "tiles",
        "crossbars",
        "used",
        "conversions",
        "nJ",
        "%",
    )
    for head in heads:
        table.add_column(head, justify="left" if head == "layer" else "right", overflow="fold")
    total_j = sum(row["energy_j"] for row in rows)
    for row in rows:
        counts = [f"{row[name]:,}" if name in row else "" for name in ("in_channels", "out_channels", "vectors")]
        place = [f"{row[name]:,}" if name in row else "" for name in ("tiles", "crossbars")]
        used = f"{row['utilisation']:.1%}" if "utilisation" in row else ""
        conversions = f"{row['conversions']:,}" if "conversions" in row else ""
        groups = str(row["groups"]) if row.get("groups", 1) > 1 else ""
        energy = (f"{row['energy_j'] * 1e9:.3g}", f"{row['energy_j'] / total_j:.1%}")
        name = escape(row["layer"])
        table.add_row(name, row.get("kernel", ""), groups, *counts, *place, used, conversions, *energy)
    return table


def _write(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_whole(path, text.getvalue())


def _plain(found: _Found) -> dict[str, Any]:
    """What the cost is of, as plain values."""
    return {
        "title": found.title,
        "macs": found.workload.macs,
        "layers": [dataclasses.asdict(each) for each in found.workload.layers],
        "digital": [dataclasses.asdict(each) for each in found.workload.digital],
        "notes": list(found.notes),
    }
