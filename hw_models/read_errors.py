"""Errors of reading a column that follow from the circuit, beside those of the cell (`CellDevice`).

The forward pass draws them, and nothing in the cost model makes them smaller for free: more supply voltage, fewer rows
at once or a larger capacitor all have a price there.

Sums are in *levels*: one level is what a cell of digit 1 adds for an input of 1. Derived in docs/noise_model.md,
"Readouts".
"""

import dataclasses
import functools
import math
from typing import Any

from hw_models.accelerator import Accelerator
from hw_models.circuits.cell import cell_in_crossbar
from hw_models.circuits.technology import THRESHOLD_V, WIRE_F_PER_M
from hw_models.devices import CellDevice

THERMAL_J = 1.380649e-23 * 300  # Boltzmann's constant (SI) x 300 K, the temperature of the technology table
DISCHARGE_SWING = 0.5  # assumed: largest drop of a bitline over the supply, so that cells stay current sources
COMBINER_SIGMA = 0.01  # assumed: mismatch of a unit element (mirror or capacitor) that weighs a column
_DRIFT = ("drift_nu", "drift_nu_sigma", "drift_nu_law", "drift_nu_sigma_law")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ReadErrors:
    """What reading adds to a column's sum.

    Attributes:
        cell_sigma: Standard deviation of what a cell of digit 1 adds, relative to it: mismatch of capacitors or of
            discharge currents, drawn once per chip. A cell of digit 0 adds nothing.
        conversion_sigma: Standard deviation of thermal noise in levels, drawn at every conversion, of one column.
        combiner_sigmas: Standard deviation of the gain of each column of a weight in the analog sum, relative to its
            gain, lowest significance first, drawn once per chip for each column of a crossbar; empty where columns are
            not combined.
    """

    cell_sigma: float = 0.0
    conversion_sigma: float = 0.0
    combiner_sigmas: tuple[float, ...] = ()


@functools.lru_cache(maxsize=512)
def read_errors(accelerator: Accelerator, weight_bits: int | None = None) -> ReadErrors:
    """The errors of an accelerator's readout, for weights of `weight_bits`; None takes the accelerator's.

    * `charge`: capacitors C of all rows of a column share their charge. Thermal noise kT / (rows C) on a voltage of
      supply / rows for each level; a level is 2**dac_bits - 1 times smaller if inputs have that many steps.
    * `discharge`: cells discharge a bitline of capacitance C by at most `DISCHARGE_SWING` x supply, for the rows that
      are read together. Thermal noise kT / C. Mismatch of currents grows with the threshold's share of the supply:
      sigma x (node's supply - threshold) / (supply - threshold).
    * `current`, `digital`: none beyond those of the cell.

    A column of significance 2**(cell_bits k) is weighed by as many unit elements, whose mismatch averages:
    `COMBINER_SIGMA` / sqrt(2**(cell_bits k)).
    """
    supply_v, steps = accelerator.supply_v or accelerator.node_supply_v, 2**accelerator.dac_bits - 1
    device, cell_sigma, conversion_sigma = accelerator.device, 0.0, 0.0
    if accelerator.readout == "charge":
        assert device.capacitor_f is not None
        assert device.capacitor_sigma is not None
        rows = accelerator.crossbar_size
        cell_sigma = device.capacitor_sigma
        conversion_sigma = steps * math.sqrt(rows * THERMAL_J / device.capacitor_f) / supply_v
    elif accelerator.readout == "discharge":
        assert device.discharge_sigma is not None
        cell_sigma = device.discharge_sigma * _mismatch_growth(accelerator)
        level_v = DISCHARGE_SWING * supply_v / (accelerator.rows_read * steps)
        conversion_sigma = math.sqrt(THERMAL_J / bitline_f(accelerator)) / level_v
    return ReadErrors(
        cell_sigma=cell_sigma,
        conversion_sigma=conversion_sigma,
        combiner_sigmas=_combiner_sigmas(accelerator, weight_bits),
    )


def _mismatch_growth(accelerator: Accelerator) -> float:
    """Mismatch of a transistor's current over that at the node's supply."""
    node_v = accelerator.node_supply_v
    return (node_v - THRESHOLD_V) / ((accelerator.supply_v or node_v) - THRESHOLD_V)


def _combiner_sigmas(accelerator: Accelerator, weight_bits: int | None) -> tuple[float, ...]:
    if not accelerator.combine_columns:
        return ()
    slices = range(accelerator.slices(weight_bits))
    return tuple(COMBINER_SIGMA / math.sqrt(2 ** (accelerator.cell_bits * k)) for k in slices)


def bitline_f(accelerator: Accelerator) -> float:
    """Capacitance of a bitline: its wire and the drains of all its cells."""
    cell = cell_in_crossbar(accelerator)
    return accelerator.crossbar_size * (cell.height_m * WIRE_F_PER_M + cell.access_drain_f)


@functools.lru_cache(maxsize=512)
def device_as_read(accelerator: Accelerator) -> CellDevice:
    """The cell with those errors that its readout sees.

    Digital sums see which bits are stored, so only stuck ones. Currents of SRAM cells differ more as the supply falls.
    """
    device = accelerator.device
    if accelerator.readout == "current" and device.cell == "sram" and accelerator.supply_v:
        growth = min(_mismatch_growth(accelerator), 1 / max(device.sigma_at(0), device.sigma_at(1), 1e-9))
        return dataclasses.replace(device, programming_sigma=tuple(growth * c for c in device.programming_sigma))
    if accelerator.readout != "digital":
        return device
    still = {name: None if name.endswith("law") else 0.0 for name in _DRIFT}
    nothing: dict[str, Any] = {"programming_sigma": (0.0,), "read_sigma": 0.0} | still
    return dataclasses.replace(device, **nothing)


def is_noisy(accelerator: Accelerator) -> bool:
    """Whether cells or reading err at random, so that chips differ."""
    device, errors = device_as_read(accelerator), read_errors(accelerator)
    programming = device.error_curves or device.programming_sigma
    of_cells = (*programming, device.read_sigma, device.drift_nu, device.drift_nu_sigma)
    stuck = device.stuck_on_rate, device.stuck_off_rate
    return any((*of_cells, *stuck, errors.cell_sigma, errors.conversion_sigma, *errors.combiner_sigmas))
