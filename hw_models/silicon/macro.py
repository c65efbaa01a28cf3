"""A computing-in-memory macro, described as measured chips can be described: by little, and per conversion."""

import dataclasses
import math
from typing import Literal, get_args

from hw_models.errors import shown

Family = Literal["charge", "discharge", "divider", "conducting", "digital"]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Macro:
    """A macro, or a processor built of macros. All bits are those of one conversion.

    Many macros convert once for several input bits (DAC or pulse width) and several columns of a weight (combined in
    analog). `input_bits` and `weight_bits` are what one conversion serves, not what the network has.

    Attributes:
        family: What happens in a column. `charge`: a capacitor per cell, whose charge is shared. `discharge`: cells
            discharge a bit line, or a delay is measured. `divider`: SRAM cells pull a line up and down against each
            other. `conducting`: cells conduct a steady current while they are read (non-volatile cells, and SRAM read
            by current mirrors). `digital`: adder trees, no converter.
        node_nm: Technology node, in nm.
        supply_v: Supply voltage, in V.
        inputs: Inputs of one dot product, which are the rows read at once.
        input_bits, weight_bits: Of one conversion; a ternary value counts as 1.5 bits.
        adc_bits: Resolution of the converter; None is one that loses nothing. Has no meaning for `digital`.
        use_s: Time of one use of the macro, in which cells conduct; None takes the median of the family.
        is_processor: Whether the energy includes a whole processor: buffers, control, digital units.
        stored_bits: Bits that one core stores; for the density only.
        converters: Converters (digital: adder trees) of one core that work at the same time; for the density only.
        cores: Cores of the chip; for the density only.

    Raises:
        ValueError: If a value is out of its range.
    """

    family: Family
    node_nm: float
    supply_v: float
    inputs: float
    input_bits: float
    weight_bits: float
    adc_bits: float | None = None
    use_s: float | None = None
    is_processor: bool = False
    stored_bits: float | None = None
    converters: float | None = None
    cores: float = 1

    def __post_init__(self) -> None:
        if self.family not in get_args(Family):
            raise ValueError(f"family must be one of {', '.join(get_args(Family))}, got {shown(self.family)}")
        if not isinstance(self.is_processor, bool):
            raise ValueError(f"is_processor must be true or false, got {shown(self.is_processor)}")
        for name, low, high in _RANGES:
            value = getattr(self, name)
            if value is None and name in _OPTIONAL:
                continue
            if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
                way_out = "; use None if it is not known" if name in _OPTIONAL else ""
                raise ValueError(f"{name} must be {low:g} to {high:g}, got {shown(value)}{way_out}")

    @property
    def converted_bits(self) -> float:
        """Bits that the converter resolves: `adc_bits`, at most those that tell all sums of a column apart."""
        sums = self.inputs * (2**self.input_bits - 1) * (2**self.weight_bits - 1) + 1
        lossless = math.log2(sums)
        return lossless if self.adc_bits is None else min(self.adc_bits, lossless)

    @property
    def operations(self) -> float:
        """Operations of one conversion: two per input."""
        return 2 * self.inputs

    @property
    def one_bit_operations(self) -> float:
        """Operations of one conversion, counted per bit of input and of weight."""
        return self.operations * self.input_bits * self.weight_bits


_OPTIONAL = ("adc_bits", "use_s", "stored_bits", "converters")
_RANGES = (
    ("node_nm", 1, 1000),
    ("supply_v", 0.1, 10),
    ("inputs", 1, 1e5),
    ("input_bits", 1, 16),
    ("weight_bits", 1, 16),
    ("adc_bits", 1, 32),
    ("use_s", 1e-12, 1e-2),
    ("stored_bits", 1, 1e13),
    ("converters", 1, 1e7),
    ("cores", 1, 1e6),
)
