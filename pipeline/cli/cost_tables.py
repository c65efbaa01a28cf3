"""What `nacim cost` prints: of one design, of a table of designs, of measured chips."""

import contextlib
import dataclasses
import json
import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from rich import box
from rich.console import Console
from rich.table import Column, Table

from hw_models.accelerator import Accelerator
from hw_models.cost import DIGITAL, POST_LAYOUT_ENERGY, CostReport, estimate_cost
from hw_models.cost.activity import (
    Activity,
    LayerActivity,
    assumed_activity,
    assumed_levels,
    rectified_planes,
    spread_density,
    tilt_levels,
)
from hw_models.cost.column_energy import SURVEY_FACTOR, AdcModel
from hw_models.cost.wires import in_words
from hw_models.errors import shown
from hw_models.layers import MvmLayer
from hw_models.silicon import NetworkEstimate, silicon_estimate_of
from hw_models.validation.neurosim_input import read_densities, read_networks, read_rows, unread_columns
from hw_models.validation.neurosim_table import RESULT_COLUMNS, evaluate_rows, write_rows
from hw_models.validation.silicon import (
    Comparison,
    compare,
    estimate_factors,
    geometric_mean_factor,
    read_measured_chips,
)
from hw_models.workload import Workload
from pipeline.cli.options import print_json
from pipeline.design.design_point import load_design
from pipeline.files import did_you_mean
from pipeline.networks.workload import workload_of
from pipeline.study.calibrate_spec import load_calibration

_LEAST_WIDTH = 100  # of the table of measured chips; narrower ones cut their names


def _existing(path: Path) -> Path:
    if not path.exists():
        raise ValueError(f"{path}: no such file or folder")
    return path


def table_of_designs(
    table: Path, out: Path, networks: Path | None, activity: Path | None, adc_model: AdcModel, as_json: bool
) -> None:
    """Estimate every row of `table` and write the results to `out`."""
    if _is_network(_existing(table)):
        raise ValueError(
            f"{table}: a network, as nacim export and NeuroSim write it, not a table of designs; write a table that "
            "names this file in its column network (docs/design_file.md)"
        )
    rows = read_rows(table)
    if not rows:
        raise ValueError(f"{table}: no row; a table needs a header line and one design per line")
    try:
        notes = unread_columns(rows[0], RESULT_COLUMNS)
    except ValueError as error:
        raise ValueError(f"{table}: {error}") from error
    known = read_networks(_existing(networks)) if networks else {}
    densities = read_densities(_existing(activity)) if activity else None
    evaluated = evaluate_rows(rows, known, densities, adc_model)
    failed = [index for index, row in enumerate(evaluated, start=1) if row["error"]]
    if len(failed) == len(rows):
        raise ValueError(f"{table}: none of the {len(rows)} rows has a cost; the first one: {evaluated[0]['error']}")
    write_rows(out, evaluated)
    outside = sum(bool(row["outside_reference"]) for row in evaluated)
    if as_json:
        summary = {"rows": len(evaluated), "failed_rows": failed, "outside_reference": outside, "out": str(out)}
        print(json.dumps(summary | {"columns_not_read": notes}))
        return
    print(f"{out}: {len(evaluated)} rows, {outside} outside NeuroSim's range, {len(failed)} with an error")
    for index in failed[:5]:
        print(f"  row {index}: {evaluated[index - 1]['error']}")
    if notes:
        print(f"  columns copied, not read: {', '.join(notes)[:200]}")


def _is_network(table: Path) -> bool:
    """Whether a file is a network's own table, which has no header: eight whole numbers a line."""
    with contextlib.suppress(ValueError):
        return bool(read_networks(table)) if table.suffix == ".csv" else False
    return False


def one_design(
    path: Path,
    activity_file: Path | None,
    adc_model: AdcModel | Literal["both"],
    as_json: bool,
    calibrate: Path | None = None,
) -> None:
    """Estimate one design, with one ADC model or both; `activity_file` has measured activity, `calibrate` a macro."""
    design = load_design(path)
    workload = workload_of(design)
    layers = list(workload.layers)
    activity = read_activity(activity_file, design.accelerator, layers) if activity_file else None
    models: tuple[AdcModel, ...] = ("reference", "survey") if adc_model == "both" else (adc_model,)
    reports = {
        model: estimate_cost(design.accelerator, layers, digital=workload.digital, activity=activity, adc_model=model)
        for model in models
    }
    first = next(iter(reports.values()))
    silicon = silicon_of(design.accelerator, layers, first, calibrate)
    if as_json:
        plain = {model: report.to_dict() for model, report in reports.items()}
        print_json((plain if adc_model == "both" else plain[adc_model]) | {"silicon": silicon.to_dict()})
        return
    console = Console()
    for model, report in reports.items():
        for table in (totals_table(report, model, workload), components_table(report), _layers(report)):
            console.print(table)
    notes(console, first, design.accelerator, workload, activity)
    silicon_notes(console, silicon)


_ACTIVITY_COLUMNS = ("layer", "bit_density", "mean_level")


def read_activity(path: Path, accelerator: Accelerator, layers: list[MvmLayer]) -> Activity:
    """Read measured statistics: a CSV row per layer, with bit_density and, if known, layer and mean_level.

    `layer` is the layer's number from 1, or its name. Codes are unsigned.
    """
    rows = read_rows(_existing(path))
    for column in rows[0] if rows else ():
        if column not in _ACTIVITY_COLUMNS:
            known = f"{did_you_mean(column, _ACTIVITY_COLUMNS)}; known are {', '.join(_ACTIVITY_COLUMNS)}"
            raise ValueError(f"{path}: unknown column {shown(column)}{known}")
    if len(rows) != len(layers):
        raise ValueError(f"{path}: {len(rows)} rows for {len(layers)} layers; give one row per layer, in order")
    records = []
    for number, (row, layer) in enumerate(zip(rows, layers, strict=True), start=1):
        where = f"{path} line {number + 1}"
        if row.get("layer", "") not in ("", str(number), layer.name):
            named = f"this row is that of layer {number}, {layer.name}, got {shown(row['layer'])}"
            raise ValueError(f"{where}: {named}; put the rows into the network's order")
        levels = assumed_levels(accelerator, layer)
        planes = spread_density(_share(row, "bit_density", where), accelerator.input_bits)
        if row.get("mean_level"):
            levels = tilt_levels(levels, _share(row, "mean_level", where))
        records.append(LayerActivity.of_planes(planes, accelerator.dac_bits, levels))
    return Activity(layers=tuple(records))


def _share(row: Mapping[str, str], column: str, where: str) -> float:
    text = row.get(column, "")
    with contextlib.suppress(ValueError):
        if 0 <= float(text) <= 1:
            return float(text)
    raise ValueError(f"{where}: {column} must be a number from 0 to 1, got {shown(text)}")


def totals_table(report: CostReport, adc_model: AdcModel, workload: Workload) -> Table:
    """Area, latency, energy and what follows from them, each with its definition."""
    heads = ("quantity", Column("value", justify="right"), Column("definition", style="dim"))
    table = Table(*heads, title=f"One inference, ADC model: {adc_model}", title_justify="left")
    for name, value, definition in (
        ("area", f"{report.area_m2 * 1e6:.4g} mm2", "of the chip, without pads and external memory"),
        ("clock period", f"{report.clock_s * 1e9:.4g} ns", "to read and convert one column"),
        ("latency", f"{report.latency_s * 1e6:.4g} us", "layer after layer, one image"),
        ("energy", f"{report.energy_j * 1e9:.4g} nJ", "dynamic, leakage and wiring, no weight writes"),
        ("  dynamic", f"{report.dynamic_energy_j * 1e9:.4g} nJ", ""),
        ("  leakage", f"{report.leakage_energy_j * 1e9:.4g} nJ", "of idle tiles"),
        (
            "  wiring",
            f"{report.wiring_energy_j * 1e9:.4g} nJ",
            f"{POST_LAYOUT_ENERGY - 1:.2g} of these two, post-layout",
        ),
        ("leakage power", f"{report.leakage_power_w * 1e6:.4g} uW", "of all tiles"),
        ("power", f"{report.power_w * 1e3:.4g} mW", "energy over latency"),
        ("operations", f"{report.ops / 1e6:.4g} M", "2 per multiply-accumulate, at the design's own bits"),
        ("TOPS", f"{report.tops:.4g}", "operations over latency"),
        ("TOPS/W", f"{report.tops_per_watt:.4g}", "operations over energy"),
        ("TOPS/W, 8 b", f"{report.tops_per_watt_8bit:.4g}", "the same, an operation counts as its bits / (8 x 8)"),
        ("TOPS/mm2", f"{report.tops_per_mm2:.4g}", "TOPS over area"),
        ("EDP", f"{report.edp_js * 1e12:.4g} pJ s", "energy times latency"),
        ("images per second", f"{report.frames_per_second:.4g}", ""),
        ("cells", f"{report.cells:,}", f"on {report.tiles} tiles, {report.crossbars:,} crossbars, used or not"),
        ("utilisation", f"{report.utilisation:.1%}", "of the cells, copies included; mean over tiles"),
        ("conversions", f"{report.conversions:,}", "ADC results of one inference"),
    ):
        table.add_row(name, value, definition)
    for row in _digital_rows(report, workload):
        table.add_row(*row)
    return table


def _digital_rows(report: CostReport, workload: Workload) -> list[tuple[str, str, str]]:
    """Operations on crossbars and beside them, if there are any beside."""
    kinds: Counter[str] = Counter()
    for each in workload.digital:
        kinds[each.kind] += each.count
    if not kinds:
        return []
    share = report.energy_by_component_j[DIGITAL] / report.dynamic_energy_j
    counts = [(f"  {kind.replace('_', '-')}", f"{count:,}", "") for kind, count in kinds.most_common()]
    return [
        ("MACs on crossbars", f"{workload.macs:,}", "multiply-accumulates of the layers"),
        ("digital operations", f"{kinds.total():,}", "of all kinds, beside the layers"),
        *counts,
        ("digital energy", f"{share:.1%}", "of the dynamic energy"),
    ]


def narrow_table(title: str) -> Table:
    """An empty table for many columns."""
    return Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))


def components_table(report: CostReport) -> Table:
    """Area, latency and energy of each part of the chip; the parts of the energy with leakage and wiring."""
    table = narrow_table("By component (dynamic energy; then leakage and wiring)")
    for heading in ("component", "area mm2", "%", "latency us", "%", "energy nJ", "%"):
        table.add_column(heading, justify="left" if heading == "component" else "right", overflow="fold")
    others = {"leakage": report.leakage_energy_j, "wiring": report.wiring_energy_j}
    for name in (*report.area_by_component_m2, *others):
        cells = [name]
        for parts, total, scale in (
            (report.area_by_component_m2, report.area_m2, 1e6),
            (report.latency_by_component_s, report.latency_s, 1e6),
            ({**report.energy_by_component_j, **others}, report.energy_j, 1e9),
        ):
            cells += [f"{parts[name] * scale:.4g}", f"{parts[name] / total:.1%}"] if name in parts else ["", ""]
        table.add_row(*cells)
    return table


def _layers(report: CostReport) -> Table:
    table = narrow_table("By layer")
    for heading in ("layer", "mapping", "tiles", "copies", "used", "area mm2", "latency us", "%", "energy nJ", "%"):
        is_name = heading in ("layer", "mapping")
        table.add_column(heading, justify="left" if is_name else "right", overflow="fold", no_wrap=is_name)
    for layer in report.layers:
        energy_j = layer.energy_j
        counts = (str(layer.tiles), str(layer.speedup), f"{layer.utilisation:.1%}", f"{layer.area_m2 * 1e6:.3g}")
        latency = (f"{layer.latency_s * 1e6:.3g}", f"{layer.latency_s / report.latency_s:.1%}")
        energy = (f"{energy_j * 1e9:.3g}", f"{energy_j / report.energy_j:.1%}")
        table.add_row(layer.name, layer.mapped_as, *counts, *latency, *energy)
    table.add_row("shared", *[""] * 4, f"{report.shared_area_m2 * 1e6:.3g}")
    if DIGITAL in report.energy_by_component_j:
        latency_s = report.latency_by_component_s[DIGITAL]
        energy_j = report.energy_j - math.fsum(each.energy_j for each in report.layers)
        latency = (f"{latency_s * 1e6:.3g}", f"{latency_s / report.latency_s:.1%}")
        table.add_row(DIGITAL, *[""] * 5, *latency, f"{energy_j * 1e9:.3g}", f"{energy_j / report.energy_j:.1%}")
    return table


def notes(
    console: Console, report: CostReport, accelerator: Accelerator, workload: Workload, activity: Activity | None
) -> None:
    """Print what is outside the reference's range, and what the energy would be with other data."""
    for reason in report.outside_reference:
        console.print(f"[yellow]outside NeuroSim's range:[/yellow] {reason}")
    if wires := in_words(report.ir_drop, accelerator.wires):
        console.print(f"[yellow]{wires}[/yellow]", highlight=False)
    layers = list(workload.layers)
    scaled = [_scaled(accelerator, layers, factor) for factor in (0.5, 2.0)]
    spread = [estimate_cost(accelerator, layers, digital=workload.digital, activity=each).energy_j for each in scaled]
    source = "measured" if activity else "assumed (half of the hidden activations are zero; see docs/cost_model.md)"
    console.print(
        f"activity: {source}. If hidden activations had half or twice as many ones as assumed, the energy would be "
        f"{spread[0] * 1e9:.4g} or {spread[1] * 1e9:.4g} nJ.",
        highlight=False,
    )


def silicon_of(
    accelerator: Accelerator, layers: Sequence[MvmLayer], report: CostReport, calibrate: Path | None
) -> NetworkEstimate:
    """What silicon would reach; `calibrate` is a file with a measured macro."""
    measured = load_calibration(calibrate) if calibrate else None
    return silicon_estimate_of(accelerator, layers, clock_s=report.clock_s, calibrated_by=measured)


def silicon_notes(console: Console, silicon: NetworkEstimate) -> None:
    """Print what silicon would reach, and where no measured chip is like the design."""
    console.print(silicon.sentence, highlight=False)
    for reason in silicon.reasons:
        console.print(f"[yellow]outside measured chips:[/yellow] {reason}", highlight=False)


def _scaled(accelerator: Accelerator, layers: list[MvmLayer], factor: float) -> Activity:
    first, *hidden = assumed_activity(accelerator, layers).layers
    bits = accelerator.input_bits
    planes = spread_density(min(1.0, factor * sum(rectified_planes(bits, 0.0)) / bits), bits)
    scaled = [LayerActivity.of_planes(planes, accelerator.dac_bits, each.level_shares) for each in hidden]
    return Activity(layers=(first, *scaled))


def measured_chips(folder: Path, as_json: bool) -> None:
    """Compare the cost model and the silicon estimate with the measured chips of a folder."""
    comparisons = [compare(chip) for chip in read_measured_chips(_existing(folder))]
    predicted = [each for each in comparisons if each.predicted]
    factors = {model: geometric_mean_factor(predicted, model) for model in ("reference", "survey")}
    silicon = {
        which: estimate_factors(each for each in comparisons if bool(each.silicon.flags) == is_flagged)
        for which, is_flagged in (("not flagged", False), ("flagged", True))
    }
    medians = {which: statistics.median(each) for which, each in silicon.items() if each}
    if as_json:
        print_json(
            {
                "anchors": [_plain(each) for each in comparisons],
                "geometric_mean_factor": factors,
                "silicon_median_factor": medians,
            }
        )
        return
    console = Console()
    console.width = max(console.width, _LEAST_WIDTH)
    console.print(_silicon_table(comparisons))
    for model, factor in factors.items():
        if not math.isnan(factor):
            print(f"geometric-mean factor, ADC model {model}: {factor:.3g} over {len(predicted)} measurements")
    print(f"left out: {len(comparisons) - len(predicted)} measurements beyond the model (--json gives the reasons)")
    for which, median in medians.items():
        print(f"silicon estimate, {which}: median factor {median:.3g} over {len(silicon[which])} measurements")
    print("These chips are in the fit of the silicon estimate; benchmarks/silicon_fit.py leaves each out in turn.")
    for reason in sorted({f"{each.silicon.chip}: {flag}" for each in comparisons for flag in each.silicon.flags}):
        print(f"flagged: {reason}")


def _plain(comparison: Comparison) -> dict[str, Any]:
    chip = comparison.silicon
    found = {"predicted": dict(comparison.predicted), "left_out": comparison.left_out}
    plain = dataclasses.asdict(chip) | {"model_node_nm": comparison.node_nm, "flags": chip.flags} | found
    return plain | {"silicon_estimate": comparison.estimated}


def _silicon_table(comparisons: list[Comparison]) -> Table:
    """All chips; ratios are estimated / measured, and empty where the cost model leaves a chip out."""
    table = narrow_table(
        f"Measured chips: TOPS/W, or pJ of a conversion (survey: bound x {SURVEY_FACTOR:g}; ! flagged)"
    )
    table.add_column("chip", no_wrap=True, ratio=1, min_width=16)
    for heading in ("nm", "W/I/ADC", "measured", "reference", "ratio", "survey", "ratio", "silicon", "ratio"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.expand = True
    for each in comparisons:
        silicon = each.silicon
        is_converter = silicon.metric == "adc_energy_per_conversion"
        scale, unit = (1e12, " pJ") if is_converter else (1.0, "")
        cells = [_short(silicon.measured * scale) + unit]
        for value in (each.predicted.get("reference"), each.predicted.get("survey"), each.estimated):
            cells += ["", ""] if value is None else [_short(value * scale), f"{value / silicon.measured:.2f}"]
        bits = f"{silicon.weight_bits}/{silicon.input_bits}/{silicon.adc_bits}"
        table.add_row("! " * bool(silicon.flags) + silicon.chip, f"{silicon.node_nm:g}", bits, *cells)
    return table


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 1000 else f"{value:.3g}"
