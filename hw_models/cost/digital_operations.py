"""The cost of a network's digital operations, on units beside the chip's global buffer.

The chip has as many units as ReLU units (assumed); each has the circuits for all kinds of operations of the network.
The kinds take turns, and so do layers and operations.

An operation reads one activation from the global buffer, as layers do, and writes its result, which a
multiply-accumulate does not: its sum stays. The other operand is in a register: one row of attention serves all units,
and softmax and normalisation follow on what was just computed (assumed).
"""

import dataclasses
import math
from collections.abc import Sequence

from hw_models.circuits.chip import GLOBAL_CORE_SIDE, Chip
from hw_models.circuits.digital_unit import DigitalUnit
from hw_models.workload import DigitalOperation


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class DigitalCost:
    """All digital operations of one inference.

    Attributes:
        macs: Multiply-accumulate operations among them.
        area_m2, leakage_w: Of all units.
        energy_j, latency_s: With the traffic to and from the global buffer; dynamic energy.
    """

    macs: int
    area_m2: float
    leakage_w: float
    energy_j: float
    latency_s: float


def digital_cost(chip: Chip, operations: Sequence[DigitalOperation]) -> DigitalCost | None:
    """The cost of `operations` on a chip; None if there are none."""
    operations = [operation for operation in operations if operation.count]
    if not operations:
        return None
    bits, units, tech = chip.accelerator.input_bits, chip.activation_units, chip.tech
    unit = DigitalUnit(tech=tech, bits=bits, kinds=frozenset(operation.kind for operation in operations))
    macs = sum(operation.count for operation in operations if operation.kind == "multiply_accumulate")
    bits_read = bits * sum(operation.count for operation in operations)
    bits_written = bits_read - bits * macs
    cycles = sum(math.ceil(each.count / units) * unit.operation_cycles(each.kind) for each in operations)
    buffer_cycles = (bits_read + bits_written) / _buffer_bits_per_cycle(chip)
    traffic_j = bits_read * tech.global_core_read_j + bits_written * tech.global_core_write_j
    return DigitalCost(
        macs=macs,
        area_m2=units * unit.area_m2(),
        leakage_w=units * unit.leakage_w(),
        energy_j=traffic_j + math.fsum(each.count * unit.operation_j(each.kind) for each in operations),
        latency_s=(cycles + buffer_cycles) * chip.crossbar.sensing_s,
    )


def _buffer_bits_per_cycle(chip: Chip) -> int:
    bus_cores = math.ceil(chip.routes["conventional"].bus_bits / GLOBAL_CORE_SIDE)
    return GLOBAL_CORE_SIDE * min(chip.global_cores, bus_cores)
