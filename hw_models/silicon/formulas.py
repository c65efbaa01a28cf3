"""Energy and area of a macro as sums of constant x term. The fit and the estimate read the same terms.

With s = node / 28 nm, V the supply, N inputs, T the time of one use and B the bits that are converted, the energy of
one conversion is

    all but digital      V^2 s (converter_bit_f B + converter_level_f 4^B)
    charge             + V^2 s charge_cell_f    N B_w B_x^g
    discharge          + V^2 s discharge_cell_f N B_w B_x^g + column_a V T
    divider            + V^2 s divider_cell_f   N B_w B_x^g + column_a V T
    conducting         + (column_a + conducting_cell_a N sqrt(s)) V T
    digital              V^2 digital_product_f N B_x B_w

and `processor_factor` times that in a processor. Charging a line takes C V^2, and a current takes V I T: it comes from
the supply, whatever the voltage across the cell. A converter takes an energy per bit (logic, comparator) and one per
4^B (thermal noise), as in ZigZag-IMC (KU Leuven).
"""

import math
from collections.abc import Mapping

from hw_models.silicon.macro import Family, Macro
from hw_models.silicon.tables import constants, covered

REFERENCE_NODE_NM = 28.0
INPUT_EXPONENT, PROCESSOR = "input_exponent", "processor_factor"
TIMED = ("column_a", "conducting_cell_a")  # their terms are proportional to the time of one use
GROWS_WITH_INPUT_BITS = ("charge_cell_f", "discharge_cell_f", "divider_cell_f")  # their terms get a factor B_x^g
AREA_PROCESSOR = "area_processor_factor"
_LARGEST_AREA_BITS = 8  # the area of a converter grows as 2^B up to 8 bits; assumed


def energy_terms(macro: Macro, use_s: float) -> dict[str, float]:
    """Constant -> term of the energy of one conversion, without B_x^g and without the processor's factor."""
    scale, square = macro.node_nm / REFERENCE_NODE_NM, macro.supply_v**2
    if macro.family == "digital":
        return {"digital_product_f": square * macro.inputs * macro.input_bits * macro.weight_bits}
    bits = macro.converted_bits
    terms = {"converter_bit_f": square * scale * bits, "converter_level_f": square * scale * 4**bits}
    if macro.family != "charge":
        terms["column_a"] = macro.supply_v * use_s
    if macro.family == "conducting":
        terms["conducting_cell_a"] = macro.supply_v * use_s * macro.inputs * math.sqrt(scale)
    else:
        terms[f"{macro.family}_cell_f"] = square * scale * macro.inputs * macro.weight_bits
    return terms


def use_s(macro: Macro) -> float:
    """Time of one use of the macro: its own, else the median of its family's chips; 0 if no current flows in it."""
    if macro.family in ("charge", "digital"):
        return 0.0
    return covered()[macro.family, "use_s"][1] if macro.use_s is None else macro.use_s


def conversion_energy_j(macro: Macro, values: Mapping[str, float] | None = None) -> float:
    """Energy of one conversion (digital: of one dot product), in J. `values` are the constants; None: the table's."""
    values = constants() if values is None else values
    by_input_bits = macro.input_bits ** values[INPUT_EXPONENT]
    parts = (
        values[name] * term * (by_input_bits if name in GROWS_WITH_INPUT_BITS else 1)
        for name, term in energy_terms(macro, use_s(macro)).items()
    )
    return math.fsum(parts) * (values[PROCESSOR] if macro.is_processor else 1)


def converter_energy_j(
    node_nm: float, supply_v: float, bits: float, values: Mapping[str, float] | None = None
) -> float:
    """What the constants give for a converter alone, in J. Totals are identified, parts are not: it comes out low."""
    values = constants() if values is None else values
    scale = supply_v**2 * node_nm / REFERENCE_NODE_NM
    return scale * (values["converter_bit_f"] * bits + values["converter_level_f"] * 4**bits)


def area_terms(macro: Macro) -> dict[str, float]:
    """Constant -> term of the macro's area, without the processor's factor.

    Raises:
        ValueError: If `stored_bits` or `converters` is not known.
    """
    if macro.stored_bits is None or macro.converters is None:
        raise ValueError("stored_bits and converters must be known for an area, got None")
    scale = macro.node_nm / REFERENCE_NODE_NM
    terms = {
        area_name(macro.family): macro.cores * macro.stored_bits * (macro.node_nm * 1e-9) ** 2,
        "area_core_m2": macro.cores * scale,
    }
    if macro.family != "digital":
        levels = 2 ** min(macro.converted_bits if macro.adc_bits is None else macro.adc_bits, _LARGEST_AREA_BITS)
        terms["area_converter_level_m2"] = macro.cores * macro.converters * levels * scale
    return terms


def area_name(family: Family) -> str:
    """Name of the constant of a family's area per stored bit, in squares of the node."""
    return f"area_{family}_bit_f2"


def area_m2(macro: Macro, values: Mapping[str, float] | None = None) -> float:
    """Area of a macro, in m2."""
    values = constants() if values is None else values
    total = math.fsum(values[name] * term for name, term in area_terms(macro).items())
    return total * (values[AREA_PROCESSOR] if macro.is_processor else 1)
