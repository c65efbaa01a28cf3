"""How several bits of an input reach a row in one cycle: as a voltage from a converter, or as a pulse of that width."""

import dataclasses

from hw_models.accelerator import Accelerator
from hw_models.circuits.digital import AND_PITCHES
from hw_models.circuits.technology import Technology

DAC_F_PER_BIT = 50e-15  # capacitance that a converter charges for each of its bits (ZigZag-IMC, KU Leuven)
_SWITCH_PITCHES, _NAND_PITCHES = 2, 3  # gate pitches of a transmission gate and of a NAND gate
_NANDS_PER_XOR, _NANDS_PER_ADDER = 4, 9  # two-input gates, as in a full adder


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class InputDrive:
    """What each row has for inputs of several bits.

    Attributes:
        cycle_j: Energy of each cycle of the input.
        drive_j: Energy of each time that the row is driven.
        area_m2, leakage_w: Of one row.
    """

    cycle_j: float = 0.0
    drive_j: float = 0.0
    area_m2: float = 0.0
    leakage_w: float = 0.0


def input_drive(accelerator: Accelerator, tech: Technology) -> InputDrive:
    """The drive of an accelerator's rows.

    * One bit at a time: nothing; the row's switch and register are there in any case.
    * `voltage`: a converter that selects one of 2**bits levels by transmission gates, with an AND gate for each
      (assumed; the levels come from a ladder that all rows share). It holds its level while columns take turns.
    * `pulse_width`: a comparator of the input with the count of unit pulses, which one counter sends along all rows,
      and a latch (assumed). At each count, two of the counter's lines toggle on average.

    Both have a register for each bit of the input, of which the first is that of the row's switch.
    """
    bits = accelerator.dac_bits
    if bits == 1:
        return InputDrive()
    gate_m2 = tech.gate_pitch_m * tech.cell_height_m
    register_m2 = tech.flipflop_width_m * tech.cell_height_m
    if accelerator.input_drive == "voltage":
        return InputDrive(
            cycle_j=DAC_F_PER_BIT * bits * tech.supply_v**2,
            area_m2=2**bits * (_SWITCH_PITCHES + AND_PITCHES) * gate_m2 + (bits - 1) * register_m2,
            leakage_w=(bits - 1) * tech.flipflop_leak_w,
        )
    toggle_j = _NANDS_PER_XOR * (tech.nand_in_f + tech.nand_out_f) * tech.supply_v**2
    return InputDrive(
        drive_j=2 * (2**bits - 1) * toggle_j + tech.register_access_j,
        area_m2=bits * _NANDS_PER_XOR * _NAND_PITCHES * gate_m2 + bits * register_m2,
        leakage_w=bits * _NANDS_PER_XOR / _NANDS_PER_ADDER * tech.adder_leak_w + bits * tech.flipflop_leak_w,
    )
