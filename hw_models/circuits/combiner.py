"""What weighs the columns of a weight and adds them before one conversion: capacitors that share their charge.

A column of significance 2**k is sampled by 2**k unit capacitors, so that the mismatch of a unit is that of
`read_errors.COMBINER_SIGMA`. A unit of smaller mismatch is larger: a better combiner is never free.
"""

import dataclasses

from hw_models.accelerator import Accelerator
from hw_models.circuits.technology import METAL_F_PER_M2, Technology
from hw_models.read_errors import COMBINER_SIGMA

_MATCHED_F, _MATCHED_SIGMA = 1.2e-15, 0.008  # assumed: the capacitor of the card sram_charge, as a test holds
UNIT_F = _MATCHED_F * (_MATCHED_SIGMA / COMBINER_SIGMA) ** 2  # mismatch falls with the root of the area
_SETTLING = 2.3  # ln 10: time constants until an error is a tenth, as for the multiplexers


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Combiner:
    """The combiner of one converter: its area, and energy and time that it adds to a conversion."""

    area_m2: float
    conversion_j: float
    settling_s: float


def combiner(accelerator: Accelerator, tech: Technology) -> Combiner:
    """The combiner of an accelerator's columns, whose capacitors take a charge from the supply at each conversion."""
    if not accelerator.combine_columns:
        return Combiner(area_m2=0.0, conversion_j=0.0, settling_s=0.0)
    farad = UNIT_F * sum(2 ** (accelerator.cell_bits * k) for k in range(accelerator.slices()))
    return Combiner(
        area_m2=farad / METAL_F_PER_M2,
        conversion_j=farad * tech.supply_v**2,
        settling_s=_SETTLING * tech.passgate_ohm * farad,
    )
