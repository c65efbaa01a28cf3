"""Estimate what one inference costs on an accelerator: map the network, size the chip, cost each layer.

`hw_models.cost.report` defines every result.
"""

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence

from hw_models.accelerator import Accelerator
from hw_models.circuits.chip import Chip, build_chip
from hw_models.circuits.periphery import column_bits
from hw_models.cost.activity import Activity, assumed_activity
from hw_models.cost.column_energy import SURVEY_FACTOR, AdcModel, ConversionEnergy
from hw_models.cost.digital_operations import DigitalCost, digital_cost
from hw_models.cost.layer import costs_of_layers
from hw_models.cost.report import COMPONENTS, DIGITAL, CostReport, LayerCost
from hw_models.cost.wires import ir_drop
from hw_models.layers import MvmLayer
from hw_models.mapping import NetworkMapping, map_network
from hw_models.workload import DigitalOperation

_REFERENCE_KNOWS: Mapping[str, object] = {
    "weight_encoding": "offset",
    "readout": "current",
    "dac_bits": 1,
    "combine_columns": False,
    "rows_at_once": None,
    "supply_v": None,
    "crossbar_columns": None,
}
_REFERENCE_HAS = {
    "combine_columns": "a conversion of each column",
    "rows_at_once": "all rows",
    "supply_v": "the node's supply",
    "crossbar_columns": "square crossbars",
}
_BITS_OF_8_BY_8 = 64
_OF_LAYERS = tuple(name for name in COMPONENTS if name != DIGITAL)


def estimate_cost(
    accelerator: Accelerator,
    layers: Sequence[MvmLayer],
    *,
    digital: Sequence[DigitalOperation] = (),
    activity: Activity | None = None,
    adc_model: AdcModel = "reference",
    survey_factor: float = SURVEY_FACTOR,
    accumulate_wide_weights: bool = True,
) -> CostReport:
    """Estimate area, latency and energy of one inference.

    Args:
        accelerator: The hardware. Its `adc_bits` must be a number, but of a digital macro, which has no converters.
        layers: The network, first layer first.
        digital: What digital units compute beside the layers (`hw_models.cost.digital_operations`).
        activity: Statistics of the data; None takes `assumed_activity`.
        adc_model: Where the energy of a conversion comes from: `reference` is NeuroSim; `survey` is the lower bound of
            published converters (`converters.survey_bound_j`) times `survey_factor`. Areas and times are NeuroSim's in
            both.
        accumulate_wide_weights: Whether to charge the accumulation over the input's bits for a weight that takes more
            columns than share a converter. NeuroSim does not (quirk 13); False agrees with it.

    Raises:
        ValueError: If the accelerator has no cost model, or `activity` does not fit the network.
    """
    _check(accelerator, layers, activity, adc_model)
    mapping = map_network(accelerator, layers)
    chip = build_chip(accelerator, mapping, accumulate_wide_weights)
    activity = activity or assumed_activity(accelerator, layers)
    conversions = ConversionEnergy(model=adc_model, factor=survey_factor, column_bits=column_bits(accelerator))
    costs = costs_of_layers(chip, activity, conversions)
    report = _report(chip, costs, _ir_drop(chip, activity), _outside_reference(chip, adc_model))
    beside = digital_cost(chip, digital)
    return report if beside is None else _with_digital(report, beside, accelerator.input_bits)


def _check(accelerator: Accelerator, layers: Sequence[MvmLayer], activity: Activity | None, adc_model: str) -> None:
    column_bits(accelerator)  # refuses ideal converters
    if adc_model not in ("reference", "survey"):
        raise ValueError(f"adc_model must be reference or survey, got {adc_model!r}")
    if activity is None:
        return
    if len(activity.layers) != len(layers):
        raise ValueError(f"activity has {len(activity.layers)} layers, the network {len(layers)}; give one per layer")
    cycles = accelerator.input_cycles
    expected = {"plane_densities": cycles, "means": cycles, "squares": cycles, "level_shares": 2**accelerator.cell_bits}
    for layer, each in zip(layers, activity.layers, strict=True):
        for name, count in expected.items():
            if (got := len(getattr(each, name))) != count:
                raise ValueError(f"{name} of layer {layer.name} must have {count} values, got {got}")
        if accelerator.dac_bits > 1 and None in (each.mean_inputs, each.mean_squares):
            raise ValueError(
                f"activity of layer {layer.name} must have mean_inputs and mean_squares for cycles of "
                f"{accelerator.dac_bits} bits; LayerActivity.of_planes makes them of bit-planes"
            )


def _report(chip: Chip, costs: Sequence[LayerCost], ir_drop: float, outside_reference: tuple[str, ...]) -> CostReport:
    mapping, area_m2 = chip.mapping, sum(chip.area_m2.values())
    return CostReport(
        area_m2=area_m2,
        clock_s=chip.crossbar.sensing_s,
        latency_s=math.fsum(cost.latency_s for cost in costs),
        dynamic_energy_j=math.fsum(cost.dynamic_energy_j for cost in costs),
        leakage_energy_j=math.fsum(cost.leakage_energy_j for cost in costs),
        leakage_power_w=math.fsum(cost.leakage_power_w for cost in costs),
        ops=2 * sum(mapped.layer.macs for mapped in mapping.layers),
        ops_8bit=_ops_8bit(chip.accelerator, mapping),
        cells=mapping.cells,
        crossbars=mapping.crossbars,
        tiles=mapping.tiles,
        conversions=mapping.conversions,
        utilisation=mapping.utilisation,
        shared_area_m2=area_m2 - math.fsum(cost.area_m2 for cost in costs),
        area_by_component_m2={name: chip.area_m2[name] for name in _OF_LAYERS},
        latency_by_component_s=_sum_parts([cost.latency_by_component_s for cost in costs]),
        energy_by_component_j=_sum_parts([cost.energy_by_component_j for cost in costs]),
        layers=tuple(costs),
        ir_drop=ir_drop,
        outside_reference=outside_reference,
    )


def _ir_drop(chip: Chip, activity: Activity) -> float:
    """That of the layer that loses most."""
    layers = zip(chip.mapping.layers, activity.layers, strict=True)
    return max([ir_drop(chip.crossbar.cell, mapped, data) for mapped, data in layers])


def _ops_8bit(accelerator: Accelerator, mapping: NetworkMapping) -> float:
    weights = ((mapped.layer.macs, mapped.layer.weight_bits or accelerator.weight_bits) for mapped in mapping.layers)
    return 2 * accelerator.input_bits * sum(macs * bits for macs, bits in weights) / _BITS_OF_8_BY_8


def _sum_parts(parts: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: math.fsum(part.get(name, 0.0) for part in parts) for name in _OF_LAYERS}


def _with_digital(report: CostReport, digital: DigitalCost, input_bits: int) -> CostReport:
    """The report with digital operations, during which all tiles leak; their units leak during the whole inference."""
    latency_s = report.latency_s + digital.latency_s
    return dataclasses.replace(
        report,
        area_m2=report.area_m2 + digital.area_m2,
        latency_s=latency_s,
        dynamic_energy_j=report.dynamic_energy_j + digital.energy_j,
        leakage_energy_j=report.leakage_energy_j
        + report.leakage_power_w * digital.latency_s
        + digital.leakage_w * latency_s,
        leakage_power_w=report.leakage_power_w + digital.leakage_w,
        ops=report.ops + 2 * digital.macs,
        ops_8bit=report.ops_8bit + 2 * digital.macs * input_bits**2 / _BITS_OF_8_BY_8,
        shared_area_m2=report.shared_area_m2 + digital.area_m2,
        area_by_component_m2={**report.area_by_component_m2, DIGITAL: digital.area_m2},
        latency_by_component_s={**report.latency_by_component_s, DIGITAL: digital.latency_s},
        energy_by_component_j={**report.energy_by_component_j, DIGITAL: digital.energy_j},
        outside_reference=(*report.outside_reference, "digital operations, which the reference does not know"),
    )


@functools.lru_cache(maxsize=512)
def _accelerator_outside(accelerator: Accelerator) -> tuple[str, ...]:
    """Settings of an accelerator that NeuroSim's table does not cover."""
    ranges = (
        ("crossbar_size", 64, 256),
        ("adc_bits", 4, 8),
        ("cols_per_adc", 4, 32),
        ("cell_bits", 1, 4),
        ("weight_bits", 4, 8),
        ("input_bits", 4, 8),
    )
    reasons = [
        f"{name} {getattr(accelerator, name)} is outside the reference table ({low} to {high})"
        for name, low, high in ranges
        if not low <= (getattr(accelerator, name) or low) <= high
    ]
    for name, known in _REFERENCE_KNOWS.items():
        if (value := getattr(accelerator, name)) not in (known, None):
            reasons.append(f"{name} {str(value).lower()}: the reference knows {_REFERENCE_HAS.get(name, known)} only")
    ratio = accelerator.device.on_off_ratio
    if ratio is not None and not 2 <= ratio <= 150:
        reasons.append(f"on_off_ratio {ratio:g} is outside the reference table (2 to 150)")
    if accelerator.device.read_voltage_v != 0.5:
        reasons.append(f"read_voltage_v {accelerator.device.read_voltage_v}: the converters' figures are for 0.5 V")
    return tuple(reasons)


_MOST_COUNTED = 4  # counted windows for each that runs, in the networks of the reference table


def _windows_outside(layers: Sequence[MvmLayer]) -> list[str]:
    """What quirk 3 (docs/cost_model.md) makes of small maps: it counts windows that do not run."""
    reasons = []
    for layer in layers:
        if layer.counted_windows is None:
            continue
        sides, size = layer.kernel_sides, (layer.in_height, layer.in_width)
        if any(side > length for side, length in zip(sides, size, strict=False)):
            kernel, image = ("x".join(map(str, each)) for each in (sides, size))
            reasons.append(f"kernel {kernel} of layer {layer.name} is larger than its map {image}")
        if layer.counted_windows > _MOST_COUNTED * layer.windows:
            counted = f"counts {layer.counted_windows} windows and runs {layer.windows}"
            reasons.append(f"layer {layer.name} {counted}; in the reference table at most {_MOST_COUNTED} to 1")
    return reasons


def _outside_reference(chip: Chip, adc_model: AdcModel) -> tuple[str, ...]:
    """Why NeuroSim refuses this design, or why the design lies outside NeuroSim's table."""
    accelerator = chip.accelerator
    reasons = [*_accelerator_outside(accelerator), *chip.mapping.floorplan.outside_reference]
    if chip.crossbar.cell.is_widened:
        needs = "capacitor" if accelerator.readout == "charge" else "access transistor of this cell's low resistance"
        reasons.append(f"the {needs} is wider than the cell, which is widened")
    if any(mapped.layer.weight_bits not in (None, accelerator.weight_bits) for mapped in chip.mapping.layers):
        reasons.append("weight_bits differ between layers")
    if any(mapped.layer.groups > 1 for mapped in chip.mapping.layers):
        reasons.append("layers with groups, which the reference does not know")
    if any(not isinstance(mapped.layer.kernel, int) for mapped in chip.mapping.layers):
        reasons.append("kernels that are not square, which no network of the reference has")
    reasons += _windows_outside([mapped.layer for mapped in chip.mapping.layers])
    if chip.accumulate_wide_weights and accelerator.cells_per_weight > accelerator.cols_per_adc:
        reasons.append("a weight has more columns than share a converter, whose accumulation the reference leaves out")
    if adc_model != "reference":
        reasons.append("energy of a conversion from the ADC survey")
    return tuple(reasons)
