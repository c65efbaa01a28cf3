"""Evaluate a table of designs with NeuroSim's columns: one design per row in, its cost in NeuroSim's columns out."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hw_models.cost import CostReport, estimate_cost
from hw_models.cost.column_energy import AdcModel
from hw_models.layers import MvmLayer
from hw_models.mapping import NetworkMapping, map_network
from hw_models.validation.neurosim_input import (
    LayerDensities,
    Row,
    accelerator_from_row,
    activity_from_row,
    integer,
    layers_from_row,
)

# Component -> part of NeuroSim's breakdown of area, and of work (latency, energy); "other" if not listed.
_ACCUMULATION = {"shift_add": "accum", "adder_trees": "accum"}
AREA_PARTS = {"array": "array", "adc": "adc", "precharge": "adc", "interconnect": "ic"} | _ACCUMULATION
WORK_PARTS = {"array": "adc", "adc": "adc", "precharge": "adc"} | _ACCUMULATION
_WORK = ("adc", "accum", "other", "buffer", "ic")
OUTPUT_COLUMNS = (
    *("num_layers", "num_nm_layers", "tile_size_cm", "pe_size_cm", "pes_per_nm_tile", "pe_size_nm"),
    *("num_tiles_cm", "num_tiles_nm", "num_tiles", "num_subarrays", "num_adcs", "memory_utilization_pct"),
    *("area_um2", *(f"area_{part}_um2" for part in ("array", "adc", "accum", "ic", "other"))),
    *("clk_period_ns", "latency_ns", *(f"lat_{part}_ns" for part in _WORK)),
    *("dyn_energy_pJ", *(f"en_{part}_pJ" for part in _WORK)),
    *("leak_power_uW", "leak_energy_pJ", "tops_per_w", "tops", "fps", "tops_per_mm2"),
)
# Of a table that was a result before: the columns above, and others of NeuroSim's table that follow from them.
RESULT_COLUMNS = (*OUTPUT_COLUMNS, "design", "cells_per_weight", "outside_reference", "error")


def row_cost(
    row: Row,
    networks: Mapping[str, Sequence[MvmLayer]],
    densities: LayerDensities | None = None,
    adc_model: AdcModel = "reference",
) -> tuple[CostReport, NetworkMapping]:
    """The cost and the mapping of one row.

    Args:
        row: Design columns of NeuroSim's table. Missing columns take the values of the base design.
        networks: Layers by name; the column `network` holds such a name, or the path of a file.
        densities: Bit densities per layer. A row without them takes its mean_bit_density, else its activity_profile.
        adc_model: As in `estimate_cost`.

    Raises:
        ValueError: If the row does not describe a chip; the message names the column.
    """
    accelerator = accelerator_from_row(row)
    layers = layers_from_row(row, networks)
    activity = activity_from_row(row, accelerator, layers, densities)
    report = estimate_cost(accelerator, layers, activity=activity, adc_model=adc_model, accumulate_wide_weights=False)
    return report, map_network(accelerator, layers)


def neurosim_columns(report: CostReport, mapping: NetworkMapping, cols_per_adc: int) -> dict[str, float | int | None]:
    """`OUTPUT_COLUMNS` of a report, in NeuroSim's units."""
    area, latency, energy = (
        {name: factor * value for name, value in parts.items()}
        for parts, factor in (
            (report.area_by_component_m2, 1e12),
            (report.latency_by_component_s, 1e9),
            (report.energy_by_component_j, 1e12),
        )
    )
    return (
        _floorplan_columns(mapping, cols_per_adc)
        | {"area_um2": report.area_m2 * 1e12}
        | {f"area_{name}_um2": value for name, value in _parts(area, AREA_PARTS).items()}
        | {"clk_period_ns": report.clock_s * 1e9, "latency_ns": report.latency_s * 1e9}
        | {f"lat_{name}_ns": value for name, value in _parts(latency, WORK_PARTS).items()}
        | {"lat_buffer_ns": latency["buffers"] + latency["registers"], "lat_ic_ns": latency["interconnect"]}
        | {"dyn_energy_pJ": report.dynamic_energy_j * 1e12}
        | {f"en_{name}_pJ": value for name, value in _parts(energy, WORK_PARTS).items()}
        | {"en_buffer_pJ": energy["buffers"] + energy["registers"], "en_ic_pJ": energy["interconnect"]}
        | {
            "leak_power_uW": report.leakage_power_w * 1e6,
            "leak_energy_pJ": report.leakage_energy_j * 1e12,
            "tops_per_w": report.tops_per_watt,
            "tops": report.tops,
            "fps": report.frames_per_second,
            "tops_per_mm2": report.tops_per_mm2,
        }
    )


def _floorplan_columns(mapping: NetworkMapping, cols_per_adc: int) -> dict[str, float | int | None]:
    plan = mapping.floorplan
    novel = [mapped for mapped in mapping.layers if mapped.mapped_as == "novel"]
    novel_tiles = sum(mapped.tiles for mapped in novel)
    return {
        "num_layers": len(mapping.layers),
        "num_nm_layers": len(novel),
        "tile_size_cm": plan.tile_size,
        "pe_size_cm": plan.pe_size,
        "pes_per_nm_tile": plan.pes_per_novel_tile or None,
        "pe_size_nm": plan.novel_pe_size,
        "num_tiles_cm": mapping.tiles - novel_tiles,
        "num_tiles_nm": novel_tiles,
        "num_tiles": mapping.tiles,
        "num_subarrays": mapping.crossbars,
        "num_adcs": mapping.crossbars * plan.crossbar_size // cols_per_adc,
        "memory_utilization_pct": 100 * mapping.utilisation,
    }


def _parts(components: Mapping[str, float], part_of: Mapping[str, str]) -> dict[str, float]:
    parts = dict.fromkeys([*dict.fromkeys(part_of.values()), "other"], 0.0)
    for name, value in components.items():
        parts[part_of.get(name, "other")] += value
    return parts


def evaluate_rows(
    rows: Iterable[Row],
    networks: Mapping[str, Sequence[MvmLayer]],
    densities: LayerDensities | None = None,
    adc_model: AdcModel = "reference",
) -> list[dict[str, Any]]:
    """One output row per input row, in order: its columns, `OUTPUT_COLUMNS`, `outside_reference` and `error`.

    If a row does not describe a chip, `error` has the reason and `OUTPUT_COLUMNS` are None.
    """
    table: list[dict[str, Any]] = []
    for row in rows:
        try:
            report, mapping = row_cost(row, networks, densities, adc_model)
        except ValueError as error:
            table.append({**row, **dict.fromkeys(OUTPUT_COLUMNS), "outside_reference": "", "error": str(error)})
            continue
        cost = neurosim_columns(report, mapping, integer(row, "col_mux", 8))
        table.append({**row, **cost, "outside_reference": "; ".join(report.outside_reference), "error": ""})
    return table


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows as CSV, with nine significant digits."""
    last = ("outside_reference", "error")
    columns = sorted(dict.fromkeys(name for row in rows for name in row), key=last.__contains__)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, restval="", lineterminator="\n", extrasaction="ignore")
        writer.writeheader()
        for row in rows:
            texts = {name: f"{value:.9g}" if isinstance(value, float) else value for name, value in row.items()}
            writer.writerow(texts)
