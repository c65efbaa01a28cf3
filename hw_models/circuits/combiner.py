"""What weighs the columns of a weight and adds them before one conversion: current mirrors, or capacitors.

A column of significance 2**k takes 2**k unit elements, so that the mismatch of a unit is that of
`read_errors.COMBINER_SIGMA`. A unit of smaller mismatch is larger: a better combiner is never free.
"""

import dataclasses
import math

from hw_models.accelerator import Accelerator
from hw_models.circuits.technology import Technology
from hw_models.read_errors import COMBINER_SIGMA

_MATCHED_F, _MATCHED_SIGMA = 1.2e-15, 0.008  # metal fringe capacitor and its mismatch (Tripathi, Murmann, TCAS-I 2014)
_F_PER_M2 = 1.5e-3  # assumed: density of a metal fringe capacitor (1.5 fF/um2)
UNIT_F = _MATCHED_F * (_MATCHED_SIGMA / COMBINER_SIGMA) ** 2  # mismatch falls with the root of the area
_PELGROM_V_M, _OVERDRIVE_V = (
    1.2e-9,
    0.2,
)  # assumed: 1.2 mV um, for an oxide of 1.2 nm (Kinget, JSSC 2005); gate overdrive
MIRROR_M2 = (2 * _PELGROM_V_M / (_OVERDRIVE_V * COMBINER_SIGMA)) ** 2  # sigma(I) / I = 2 sigma(V_T) / overdrive
_GATE_F_PER_M2 = 0.02  # assumed: gate oxide of a long transistor (20 fF/um2)
_SETTLING = 2.3  # time constants until an error is a tenth, as for the multiplexers


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Combiner:
    """The combiner of one converter: its area, and energy and time that it adds to a conversion."""

    area_m2: float
    conversion_j: float
    settling_s: float


NO_COMBINER = Combiner(area_m2=0.0, conversion_j=0.0, settling_s=0.0)


def combiner(accelerator: Accelerator, tech: Technology, column_ohm: float) -> Combiner:
    """The combiner of an accelerator's columns, whose resistance is `column_ohm` with half of the read rows active.

    Mirrors copy currents (readout `current`): they take area and time, and the copied current is charged with the
    column's (`column_currents`). Capacitors take a charge from the supply at each conversion.
    """
    if not accelerator.combine_columns:
        return NO_COMBINER
    units = sum(2 ** (accelerator.cell_bits * k) for k in range(accelerator.slices()))
    if accelerator.readout == "current":
        amperes_per_volt = 2 / _OVERDRIVE_V * accelerator.device.read_voltage_v / column_ohm
        settling_s = _SETTLING * units * MIRROR_M2 * _GATE_F_PER_M2 / amperes_per_volt
        return Combiner(area_m2=units * MIRROR_M2, conversion_j=0.0, settling_s=settling_s)
    farad = units * UNIT_F
    return Combiner(
        area_m2=farad / _F_PER_M2,
        conversion_j=farad * tech.supply_v**2,
        settling_s=_SETTLING * tech.passgate_ohm * farad,
    )


def column_currents(cell_bits: int, columns: int) -> float:
    """Currents that flow while `columns` combined columns are converted, in those of one column.

    Each column conducts, and its mirror copies the current: the highest column's in full, the next 2**-cell_bits of it.
    """
    if columns == 1:
        return 1.0
    return columns + math.fsum(2.0 ** (-cell_bits * place) for place in range(columns))
