"""Compare the cost model, and the silicon estimate, with measured chips.

A published macro is given by its rows, columns, bits, converters and node. The cost model, to which no chip was fitted,
covers square current-summing crossbars with SAR or flash converters at six nodes. A chip is modelled by the nearest
such macro, or left out with a reason. Only the macro counts: cells, drivers, multiplexers, converters and shift-adders.
The silicon estimate (`hw_models.silicon`) describes all of them; its constants were fitted to these chips.

Source of the chips: the in-memory-computing benchmark of UIUC (MIT licence, `Benchmarking_Data.csv`), and values
digitised from publications (`measured_curves.csv`); docs/cost_model.md, "Silicon".
"""

import dataclasses
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import get_args

from hw_models.accelerator import TECH_NODES_NM, Accelerator
from hw_models.circuits.converters import converters, survey_bound_j
from hw_models.cost import POST_LAYOUT_ENERGY, estimate_cost
from hw_models.cost.activity import Activity, LayerActivity, normal_levels
from hw_models.cost.column_energy import SURVEY_FACTOR, AdcModel
from hw_models.devices import load_card
from hw_models.errors import InfeasibleDesign
from hw_models.layers import MvmLayer
from hw_models.silicon.formulas import conversion_energy_j, converter_energy_j
from hw_models.silicon.measured import BENCHMARK, CURVES, MeasuredMacro, benchmark_macros, curve_macro
from hw_models.validation.neurosim_input import read_rows

NODE_TOLERANCE = 0.15  # assumed: largest relative distance of a chip's node from the nearest one of the model
LEAST_ACTIVE_SHARE = 0.25  # assumed: least share of rows read at once; fewer, almost row by row, are not modelled
_ASSUMED_CONVERTER_V = 1.0  # assumed: supply of a converter whose source lists none
MACRO = ("array", "precharge", "adc", "shift_add", "drivers", "multiplexers")
# word in the name of a cell -> card
_CARDS = {"sram": "sram", "mram": "stt_mram", "rram": "rram", "reram": "rram", "1t1r": "rram", "pcm": "pcm"}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class MeasuredChip:
    """A chip and one quantity that was measured on it.

    Attributes:
        chip: Name or title.
        metric: `energy_efficiency` (TOPS/W at the chip's own bits) or `adc_energy_per_conversion` (J).
        cell: The cell, in the words of the source.
        active_rows: Rows that are read at once.
        supply_v: None if the source lists none.
        described: The chip as the silicon estimate describes it; None for a converter alone, and for a row that is
            neither a macro of its families nor a processor built of them.
        benchmark_row: Its place in `Benchmarking_Data.csv`, from 0; None for a figure from the curves.
    """

    chip: str
    metric: str
    measured: float
    node_nm: float
    cell: str
    rows: int
    active_rows: int
    columns: int
    weight_bits: int
    input_bits: int
    adc_bits: int
    cols_per_adc: int
    supply_v: float | None = None
    described: MeasuredMacro | None = None
    benchmark_row: int | None = None

    @property
    def flags(self) -> tuple[str, ...]:
        """Why the figure looks wrong or depends on data, in words."""
        return self.described.flags if self.described else ()

    def estimated(self, constants: Mapping[str, float] | None = None) -> float | None:
        """The silicon estimate of `measured`; None if the chip is not described. Without `constants`, the table's."""
        if self.metric == "adc_energy_per_conversion":
            return converter_energy_j(self.node_nm, self.supply_v or _ASSUMED_CONVERTER_V, self.adc_bits, constants)
        if self.described is None:
            return None
        macro = self.described.macro
        return macro.operations / conversion_energy_j(macro, constants) / 1e12


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """A measured chip and the predictions.

    Attributes:
        node_nm: Node at which it is modelled; None if it is left out.
        predicted: Value of the cost model by ADC model; empty if it is left out.
        left_out: Why the cost model leaves it out; empty if it does not.
        estimated: Silicon estimate; None if the chip is not described.
    """

    silicon: MeasuredChip
    node_nm: int | None
    predicted: Mapping[AdcModel, float]
    left_out: str
    estimated: float | None


def read_measured_chips(folder: Path) -> list[MeasuredChip]:
    """All chips of a folder that their source describes completely.

    Raises:
        ValueError: If the folder holds neither of the two files.
    """
    curves, benchmark = folder / CURVES, folder / BENCHMARK
    if not curves.is_file() and not benchmark.is_file():
        raise ValueError(f"{folder}: holds neither {CURVES} nor {BENCHMARK}")
    rows = read_rows(benchmark) if benchmark.is_file() else []
    macros = benchmark_macros(rows)
    known = [each for each in macros if each]
    chips = [_from_curves(row, curve_macro(row, known)) for row in read_rows(curves)] if curves.is_file() else []
    for place, (row, described) in enumerate(zip(rows, macros, strict=True)):
        chips.append(_from_benchmark(row, described, place))
    return [chip for chip in chips if chip is not None]


def _from_curves(row: Mapping[str, str], described: MeasuredMacro | None) -> MeasuredChip | None:
    scale = {"TOPS/W": 1.0, "pJ": 1e-12}.get(row["unit"])
    if scale is None or (row["metric"] == "energy_efficiency" and not row["rows"]):
        return None
    rows = int(row["rows"] or 0)
    return MeasuredChip(
        chip=f"{row['chip']} ({row['vdd_v']} V)" if row["vdd_v"] else row["chip"],
        metric=row["metric"],
        measured=scale * float(row["value"]),
        node_nm=float(row["node_nm"]),
        cell=row["cell"],
        rows=rows,
        active_rows=rows,
        columns=int(row["cols"] or 0),
        weight_bits=int(row["weight_bits"] or 1),
        input_bits=int(row["input_bits"] or 1),
        adc_bits=int(row["output_bits"]),
        cols_per_adc=1,
        supply_v=float(row["vdd_v"]) if row["vdd_v"] else None,
        described=described,
    )


def _from_benchmark(row: Mapping[str, str], described: MeasuredMacro | None, place: int) -> MeasuredChip | None:
    """The list normalises efficiencies to 1-bit operands: the chip's own is the listed one / (B_x B_w)."""
    try:
        weight_bits, input_bits = float(row["B_w"]), float(row["B_x"])
        return MeasuredChip(
            chip=f"{row['Paper Title'].strip()[:44]} ({row['Year']})",
            metric="energy_efficiency",
            measured=float(row["TOPS/W"]) / (weight_bits * input_bits),
            node_nm=float(row["Tech (nm)"]),
            cell=f"{row['Architecture'].strip()} {row['Cell Type'].strip()}",
            rows=int(row["N_row"]),
            active_rows=int(row["R_C"]),
            columns=int(row["N_col"]),
            weight_bits=math.ceil(weight_bits),
            input_bits=math.ceil(input_bits),
            adc_bits=int(row["B_ADC"]),
            cols_per_adc=int(row["C"]),
            supply_v=described.macro.supply_v if described else None,
            described=described,
            benchmark_row=place,
        )
    except ValueError:
        return None


def compare(chip: MeasuredChip) -> Comparison:
    """Predict one chip with both ADC models, or leave it out with the reason; and estimate it."""
    node = min(TECH_NODES_NM, key=lambda node_nm: abs(math.log(node_nm / chip.node_nm)))
    left_out, predicted = _why_not(chip, node), {}
    try:
        if not left_out:
            predicted = _predicted(chip, node)
    except InfeasibleDesign as error:
        left_out = str(error)
    return Comparison(
        silicon=chip,
        node_nm=None if left_out else node,
        predicted=predicted,
        left_out=left_out,
        estimated=chip.estimated(),
    )


def _why_not(chip: MeasuredChip, node: int) -> str:
    if abs(node / chip.node_nm - 1) > NODE_TOLERANCE:
        return f"node {chip.node_nm:g} nm (the model has {', '.join(map(str, TECH_NODES_NM))})"
    if chip.metric == "adc_energy_per_conversion":
        return ""
    if _card_name(chip) is None:
        return f"cell {chip.cell}"
    if not 32 <= chip.rows <= 1024 or not 1 <= chip.adc_bits <= 14:
        return f"{chip.rows} rows, {chip.adc_bits}-bit converters"
    if chip.active_rows < LEAST_ACTIVE_SHARE * chip.rows:
        return f"reads {chip.active_rows} of {chip.rows} rows at once"
    return ""


def _card_name(chip: MeasuredChip) -> str | None:
    return next((card for word, card in _CARDS.items() if word in chip.cell.lower()), None)


def _predicted(chip: MeasuredChip, node: int) -> dict[AdcModel, float]:
    if chip.metric != "adc_energy_per_conversion":
        return {model: _efficiency(chip, node, model) for model in get_args(AdcModel)}
    adc = converters(node, "sar", chip.adc_bits, 1, 1e-5)
    return {"reference": adc.constant_w * adc.conversion_s, "survey": SURVEY_FACTOR * survey_bound_j(chip.adc_bits)}


def _efficiency(chip: MeasuredChip, node: int, adc_model: AdcModel) -> float:
    """TOPS/W of one use of the macro: half of the input bits are 1, weights are normal."""
    name = _card_name(chip)
    assert name is not None
    device = load_card(name).device
    accelerator = Accelerator(
        device=device,
        tech_node_nm=node,
        crossbar_size=_power_of_two(chip.rows),
        cell_bits=min(chip.weight_bits, device.max_cell_bits) if name == "pcm" else 1,
        weight_bits=max(2, chip.weight_bits),
        input_bits=chip.input_bits,
        adc_bits=chip.adc_bits,
        cols_per_adc=min(_power_of_two(chip.cols_per_adc), _power_of_two(chip.rows)),
        mapping="conventional",
    )
    layer = MvmLayer(
        name="macro",
        in_height=1,
        in_width=1,
        in_channels=chip.active_rows,
        kernel=1,
        out_channels=max(1, chip.columns // accelerator.columns_per_weight(chip.weight_bits)),
        windows=1,
        weight_bits=chip.weight_bits,
    )
    activity = LayerActivity(plane_densities=(0.5,) * chip.input_bits, level_shares=normal_levels(accelerator))
    report = estimate_cost(accelerator, [layer], activity=Activity(layers=(activity,)), adc_model=adc_model)
    energy_j = POST_LAYOUT_ENERGY * sum(report.energy_by_component_j[name] for name in MACRO)
    return report.ops / energy_j / 1e12


def _power_of_two(value: int) -> int:
    return int(2 ** round(math.log2(value)))


def geometric_mean_factor(comparisons: Iterable[Comparison], adc_model: AdcModel) -> float:
    """Geometric mean of the factor (1 or more) between prediction and measurement; nan without a prediction."""
    logs = [abs(math.log(each.predicted[adc_model] / each.silicon.measured)) for each in comparisons if each.predicted]
    return math.exp(sum(logs) / len(logs)) if logs else math.nan


def estimate_factors(comparisons: Iterable[Comparison]) -> list[float]:
    """Factors (1 or more) between silicon estimate and measurement, in order."""
    pairs = [(each.estimated, each.silicon.measured) for each in comparisons]
    return sorted(max(ours / measured, measured / ours) for ours, measured in pairs if ours is not None)
