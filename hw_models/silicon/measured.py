"""Measured chips as `Macro`s: what their source lists, what is assumed where it lists nothing, and what looks wrong.

Source: the in-memory-computing benchmark of UIUC (`Benchmarking_Data.csv`, MIT licence), which normalises to 1-bit
operands, and figures digitised from publications (`measured_curves.csv`). Rows of ordinary digital accelerators, which
do not compute in a memory array, are left out.
"""

import dataclasses
import math
import re
import statistics
from collections.abc import Callable, Mapping, Sequence

from hw_models.silicon.macro import Family, Macro
from hw_models.silicon.tables import covered

BENCHMARK, CURVES = "Benchmarking_Data.csv", "measured_curves.csv"
_NODE, _SUPPLY = "Tech (nm)", "Supply V(V)"
_COLUMNS = {
    "supply_v": _SUPPLY,
    "inputs": "N",
    "adc_bits": "B_ADC",
    "converters": "N_ADC",
}  # field of `Macro` -> column
# Papers on one chip, or on one macro design, by the benchmark's index: they count as one chip.
_SAME_CHIP = {"70": "33", "87": "38"}
_CURVE_CHIPS: dict[str, tuple[Family, str]] = {  # family, and index of the chip in the benchmark
    "NeuRRAM": ("conducting", "NeuRRAM"),
    "Jia-JSSC20": ("charge", "5"),
    "Sinangil-7nm": ("discharge", "2"),
    "HERMES-core": ("conducting", "49"),
    "HERMES-64": ("conducting", "49"),
}
# Paper 3 is "current-based" by its title, and its two figures, for uses of 5 and 155 ns, are one power to 0.1 %.
_CONDUCTING_SRAM = {"3"}
# Limits of the flags, all assumed: wide enough that only rows which contradict themselves are flagged.
_HIGHEST_SUPPLY_V = 2.5  # of logic, in the benchmark's nodes; above it, the voltage is that of its inputs and outputs
_TITLE_RANGE = 10.0  # best over worst TOPS/W of a title, at one setting of bits
_SAME_SETTING = 2.0  # factor between figures of a chip that should be equal
_SAME_QUANTITY = 3.0  # factor between a listed energy and the one that the listed TOPS/W means
_AREA_PER_BIT_F2 = (20.0, 1e5)  # below: less than a cell with a transistor; above: not a memory


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class MeasuredMacro:
    """A macro that was measured.

    Attributes:
        chip: Papers on one chip share it.
        tops_per_watt_1bit, tops_per_mm2_1bit: Measured, normalised to 1-bit operands; None if it is not listed.
        assumed: Fields of `macro` that the source does not list.
        flags: Why the efficiency looks wrong or depends on data, in words.
        density_flags: The same for the density.
    """

    chip: str
    title: str
    year: int
    macro: Macro
    tops_per_watt_1bit: float
    tops_per_mm2_1bit: float | None
    assumed: tuple[str, ...]
    flags: tuple[str, ...] = ()
    density_flags: tuple[str, ...] = ()

    @property
    def energy_per_conversion_j(self) -> float:
        """Measured energy of one conversion."""
        return self.macro.one_bit_operations / self.tops_per_watt_1bit / 1e12

    @property
    def supply_is_doubtful(self) -> bool:
        """Whether the listed voltage cannot be that of the logic."""
        return self.macro.supply_v > _HIGHEST_SUPPLY_V


def benchmark_macros(rows: Sequence[Mapping[str, str]]) -> list[MeasuredMacro | None]:
    """One per row of the benchmark; None for a row that is no macro of these families or lists no efficiency."""
    usual = _Usual(rows)
    found = [_of_row(row, usual) for row in rows]
    return [each and _flagged(each, row, [e for e in found if e]) for each, row in zip(found, rows, strict=True)]


def _number(text: str | None) -> float | None:
    match = re.match(r"\s*([0-9.]+)", text or "")
    return float(match[1]) if match else None


class _Usual:
    """What is assumed where a row lists nothing: the median of the other rows that list it."""

    def __init__(self, rows: Sequence[Mapping[str, str]]) -> None:
        self._rows = [row for row in rows if _family(row)]

    def of(self, field: str, node_nm: float) -> float:
        """The median of a field of `Macro`; of a supply, that at the node, or at the nearest one that lists any.

        Raises:
            ValueError: If no row lists it.
        """
        column = _COLUMNS[field]
        listed = [(_number(row[_NODE]), value) for row in self._rows if (value := _number(row[column])) is not None]
        if not listed:
            raise ValueError(f"no row of the benchmark lists {column!r}, so that nothing can be assumed for it")
        if field == "supply_v":
            distances = [abs(math.log((node or math.inf) / node_nm)) for node, _ in listed]
            listed = [each for each, far in zip(listed, distances, strict=True) if far <= min(distances) + 1e-9]
        return statistics.median(value for _, value in listed)


def _family(row: Mapping[str, str]) -> Family | None:
    architecture, model, cell = (row[name].strip() for name in ("Architecture", "Compute Model", "Cell Type"))
    if model == "DIMC" or (not model and "+D" in cell):
        return "digital"
    if architecture == "Digital":
        return None
    if architecture in ("eNVM", "eFlash") or row["Index"].strip() in _CONDUCTING_SRAM:
        return "conducting"
    if model == "QR" or (not model and cell.endswith("1C")):
        return "charge"
    return "divider" if model == "IS" else "discharge"


def _of_row(row: Mapping[str, str], usual: _Usual) -> MeasuredMacro | None:
    family, measured, node = _family(row), _number(row["TOPS/W"]), _number(row[_NODE])
    if family is None or measured is None or node is None:
        return None
    listed = {field: _number(row[column]) for field, column in _COLUMNS.items()}
    assumed = [field for field, value in listed.items() if value is None and (field, family) != ("adc_bits", "digital")]
    known = {field: usual.of(field, node) if value is None else value for field, value in listed.items()}
    use_ns, kilobits = _number(row["T_core(ns)"]), _number(row["Core Size(Kb)"])
    if use_ns is None:
        assumed.append("use_s")
    macro = Macro(
        family=family,
        node_nm=node,
        supply_v=known["supply_v"],
        inputs=known["inputs"],
        input_bits=float(row["B_x"]),
        weight_bits=float(row["B_w"]),
        adc_bits=None if family == "digital" else known["adc_bits"],
        use_s=None if use_ns is None else use_ns * 1e-9,
        is_processor=row["IMC_Processor"].strip() == "Y",
        stored_bits=None if kilobits is None else kilobits * 1024,
        converters=known["converters"],
        cores=_number(row["N_core"]) or 1.0,
    )
    index = row["Index"].strip()
    return MeasuredMacro(
        chip=_SAME_CHIP.get(index, index),
        title=" ".join(row["Paper Title"].split()),
        year=int(row["Year"]),
        macro=macro,
        tops_per_watt_1bit=measured,
        tops_per_mm2_1bit=_number(row["TOPS/mm2"]),
        assumed=tuple(assumed),
    )


def measured_area_m2(row: Mapping[str, str]) -> float | None:
    """Area of all cores that the listed throughput and density (both of 1-bit operands) imply."""
    tops, density = _number(row["TOPS_a "]), _number(row["TOPS/mm2"])
    return tops / density * 1e-6 if tops and density else None


def _flagged(each: MeasuredMacro, row: Mapping[str, str], all_of_them: Sequence[MeasuredMacro]) -> MeasuredMacro:
    rules: tuple[Callable[[], str], ...] = (
        lambda: _wrong_supply(each),
        lambda: _wrong_column(each, row),
        lambda: _wide_title(each, all_of_them),
        lambda: _unlike_itself(each, all_of_them),
    )
    flags = tuple(text for text in (rule() for rule in rules) if text)
    density = _wrong_area(each.macro, measured_area_m2(row))
    return dataclasses.replace(each, flags=flags, density_flags=(density,) if density else ())


def _wrong_supply(each: MeasuredMacro) -> str:
    if not each.supply_is_doubtful:
        return ""
    return f"supply {each.macro.supply_v:g} V at {each.macro.node_nm:g} nm: above that of any logic of the node"


def _wrong_column(each: MeasuredMacro, row: Mapping[str, str]) -> str:
    listed_fj, implied_fj = _number(row["E_col (fJ)"]), each.energy_per_conversion_j * 1e15
    if not listed_fj or abs(math.log(listed_fj / implied_fj)) < math.log(_SAME_QUANTITY):
        return ""
    return f"inconsistent row: a conversion takes {listed_fj:g} fJ as listed, {implied_fj:.3g} fJ by its TOPS/W"


def _wide_title(each: MeasuredMacro, all_of_them: Sequence[MeasuredMacro]) -> str:
    match = re.search(r"([0-9.]+)\s*(?:-to-|[-\u2013]|\s-\s| to )\s*([0-9.]+)\s*-?\s*TOPS/W", each.title)
    settings = {(e.macro.input_bits, e.macro.weight_bits) for e in all_of_them if e.chip == each.chip}
    if not match or len(settings) > 1 or float(match[2]) < _TITLE_RANGE * float(match[1]):
        return ""
    return f"best of {match[1]} to {match[2]} TOPS/W of its title, at one setting of bits: sparse data"


def _unlike_itself(each: MeasuredMacro, all_of_them: Sequence[MeasuredMacro]) -> str:
    """Two figures of a chip that differ in supply (and time) alone should differ by the square of the supply."""

    def setting(macro: Macro) -> Macro:
        return dataclasses.replace(macro, supply_v=1.0, use_s=None)

    scaled = [
        e.energy_per_conversion_j / e.macro.supply_v**2
        for e in all_of_them
        if e.title == each.title and setting(e.macro) == setting(each.macro)
    ]
    if each.macro.family == "conducting" or max(scaled) < _SAME_SETTING * min(scaled):
        return ""
    return f"figures of the chip at this setting differ {max(scaled) / min(scaled):.2g}x beyond the supply: sparse data"


def _wrong_area(macro: Macro, area_m2: float | None) -> str:
    if area_m2 is None or macro.stored_bits is None:
        return ""
    per_bit = area_m2 / (macro.stored_bits * macro.cores * (macro.node_nm * 1e-9) ** 2)
    low, high = _AREA_PER_BIT_F2
    return "" if low <= per_bit <= high else f"{per_bit:.3g} F2 per stored bit: size or density is not as listed"


def curve_macro(row: Mapping[str, str], benchmark: Sequence[MeasuredMacro] = ()) -> MeasuredMacro | None:
    """A row of `measured_curves.csv`; None if it is not TOPS/W or lists no rows.

    The time of one use is that of the same chip in the `benchmark`, at the nearest supply. For another chip, the
    family's median time for each input bit is assumed.
    """
    if row["unit"] != "TOPS/W" or not row["rows"] or row["chip"] not in _CURVE_CHIPS:
        return None
    family, chip = _CURVE_CHIPS[row["chip"]]
    input_bits, weight_bits, supply_v = (float(row[name]) for name in ("input_bits", "weight_bits", "vdd_v"))
    same = [each.macro for each in benchmark if each.chip == chip and each.macro.use_s is not None]
    nearest = min(same, key=lambda macro: abs(macro.supply_v - supply_v), default=None)
    use_s = nearest.use_s if nearest else None
    if use_s is None and family != "charge":
        use_s = covered()[family, "use_s"][1] * input_bits
    if use_s is not None and "4-phase" in row["source"]:
        use_s *= 4
    macro = Macro(
        family=family,
        node_nm=float(row["node_nm"]),
        supply_v=supply_v,
        inputs=float(row["rows"]),
        input_bits=input_bits,
        weight_bits=weight_bits,
        adc_bits=float(row["output_bits"]),
        use_s=use_s,
    )
    return MeasuredMacro(
        chip=chip,
        title=row["chip"],
        year=int(re.findall(r"\d{4}", row["source"])[0]),
        macro=macro,
        tops_per_watt_1bit=float(row["value"]) * input_bits * weight_bits,
        tops_per_mm2_1bit=None,
        assumed=() if nearest or family == "charge" else ("use_s",),
    )


def curve_chip(name: str) -> str:
    """The chip of a name in `measured_curves.csv`; its own name if it is no chip of the benchmark."""
    return _CURVE_CHIPS[name][1] if name in _CURVE_CHIPS else name
