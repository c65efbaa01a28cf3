"""A memory cell in its crossbar: its layout, access transistor, wires and conductance.

Source: DNN+NeuroSim V1.3 (Peng et al., IEDM 2019); docs/cost_model.md, "Converters" and "Crossbar".
"""

import dataclasses
import functools
import math
from collections.abc import Iterator

from hw_models.accelerator import Accelerator
from hw_models.circuits.gates import LINEAR_REGION, drain_f, fin_drain_f, gate_f
from hw_models.circuits.technology import METAL_F_PER_M2, SINGLE_TYPE_MARGIN_F, Technology, technology
from hw_models.devices import CellDevice, CellKind

ACCESS_SHARE = 0.25  # resistance of an access transistor or switch over that of the path in series with it
_ACCESS_OVER_R_ON: dict[CellKind, float] = {"1t1r": ACCESS_SHARE, "fefet": 0.0}  # a FeFET is its own access transistor
_8T1C_OVER_6T, _8T_OVER_6T = 1.41, 1.30  # Chen et al., MC2-RAM, ISLPED 2021; Chang et al., VLSI 2005
_SRAM_CELL_F = {45: (10, 28), 32: (10, 28), 22: (10, 28), 14: (10, 30), 10: (10, 40), 7: (10, 60)}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)  # one object per accelerator
class Cell:
    """A memory cell at a technology node.

    `access_ohm` is in series with the memory element on the read path. The access transistor loads its wordline by
    `access_gate_f` and its bitline by `access_drain_f`; the cell `is_widened` if that transistor did not fit. The wire
    resistances are from one cell to the next, along a row and along a column.
    """

    device: CellDevice
    height_m: float
    width_m: float
    is_widened: bool
    access_ohm: float
    access_gate_f: float
    access_drain_f: float
    row_wire_ohm: float
    column_wire_ohm: float


@functools.lru_cache(maxsize=512)
def cell_in_crossbar(accelerator: Accelerator) -> Cell:
    """The memory cell of an accelerator, at the accelerator's node."""
    tech, device = technology(accelerator.tech_node_nm), accelerator.device
    node, wire = tech.node_m, tech.wire_ohm_per_m * tech.wire_width_m
    if device.cell == "sram":
        sram_height_f, sram_width_f = _SRAM_CELL_F[accelerator.tech_node_nm]
        height_f, width_f = device.cell_height_f or sram_height_f, device.cell_width_f or sram_width_f * _growth(device)
        needed_f = 0.0
        if device.capacitor_f is not None:
            needed_f = device.capacitor_f / METAL_F_PER_M2 / (height_f * node**2)
        access_ohm, gate, drain = tech.r_n_ohm, _row_gates_f(tech, accelerator), drain_f(tech, 1)
    else:
        assert device.cell_height_f is not None
        assert device.cell_width_f is not None
        height_f, width_f = device.cell_height_f, device.cell_width_f
        access_ohm = _ACCESS_OVER_R_ON[device.cell] * device.r_on_ohm
        strength = tech.r_n_ohm * LINEAR_REGION / (ACCESS_SHARE * device.r_on_ohm)
        needed_f, gate, drain = _access_transistor(tech, strength, width_f)
    return Cell(
        device=device,
        height_m=height_f * node,
        width_m=max(width_f, needed_f) * node,
        is_widened=needed_f > width_f,
        access_ohm=access_ohm,
        access_gate_f=gate,
        access_drain_f=drain,
        row_wire_ohm=wire * height_f,  # quirk: along a row the cell's height counts, along a column its width
        column_wire_ohm=wire * max(width_f, needed_f),
    )


def _row_gates_f(tech: Technology, accelerator: Accelerator) -> float:
    """Gates of a cell on its row. Quirk: of the current readout, an SRAM row's driver bears no load."""
    return {"charge": 2.0, "discharge": 1.0}.get(accelerator.readout, 0.0) * gate_f(tech, 1)


def _growth(device: CellDevice) -> float:
    """Area of a cell over that of the 6T cell."""
    if device.capacitor_f is not None:
        return _8T1C_OVER_6T
    return 1.0 if device.discharge_sigma is None else _8T_OVER_6T


def _access_transistor(tech: Technology, strength: float, cell_width_f: float) -> tuple[float, float, float]:
    """(width in units of the node, gate and drain capacitance) of a transistor of `strength` x 1 F, or fins."""
    if tech.fin_pitch_m is not None:
        fins = math.ceil(strength)
        gate = tech.gate_cap_f_per_m * fins * tech.unit_width_m
        return fins * tech.fin_pitch_m / tech.node_m, gate, fin_drain_f(tech, fins)
    folds = math.ceil(strength / max(1.0, cell_width_f - SINGLE_TYPE_MARGIN_F))
    return strength, gate_f(tech, strength), drain_f(tech, strength, folds)


@functools.lru_cache(maxsize=4096)
def mean_conductance(cell: Cell, level_shares: tuple[float, ...], rows: int, columns: int) -> float:
    """Mean conductance of the cells of a block, access transistors and wires included, in siemens.

    The mean over positions takes two points per direction, one standard deviation on each side of the middle. This is
    exact up to the third order in the wires' resistance.
    """
    device = cell.device
    if device.cell == "sram":  # quirk: all active cells conduct the same, whatever they store
        return 1 / (cell.access_ohm + cell.column_wire_ohm)
    series = [
        cell.access_ohm + along_row * cell.row_wire_ohm + along_column * cell.column_wire_ohm
        for along_row in _two_points(columns)
        for along_column in _two_points(rows)
    ]
    assert device.g_on_siemens is not None
    cell_bits = len(level_shares).bit_length() - 1
    total = 0.0
    for level, share in enumerate(level_shares):
        ohm = 1 / (device.g_on_siemens * device.relative_conductance(level, cell_bits))
        total += share * sum(1 / (ohm + extra) for extra in series)
    return total / len(series)


def element_siemens(cell: Cell, level_shares: tuple[float, ...]) -> float:
    """Mean conductance of the memory elements alone, in siemens, of a resistive cell."""
    assert cell.device.g_on_siemens is not None, "an sram cell has no conductance of its own"
    cell_bits = len(level_shares).bit_length() - 1
    levels = enumerate(level_shares)
    shares = math.fsum(share * cell.device.relative_conductance(level, cell_bits) for level, share in levels)
    return cell.device.g_on_siemens * shares


def _two_points(count: int) -> Iterator[float]:
    spread = math.sqrt((count**2 - 1) / 12)
    yield (count + 1) / 2 - spread
    yield (count + 1) / 2 + spread
