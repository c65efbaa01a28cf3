"""Transistors, wires, standard circuits and layout rules of a technology node.

The values are in `tables/technology.csv`, in SI units: one row per quantity, one column per node. The column `meaning`
explains a row; `at` is the abscissa of a row that is one point of a curve. Source of all values: DNN+NeuroSim V1.3
(Peng et al., IEDM 2019), low-standby-power transistors at 300 K.
"""

import csv
import dataclasses
import functools
import itertools
import math
from collections import defaultdict
from pathlib import Path
from typing import Any

TABLE = Path(__file__).parents[1] / "tables" / "technology.csv"
Points = tuple[tuple[float, float], ...]  # (abscissa, value), ascending


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)  # one object per node: compared by identity
class Technology:
    """One node. Each field is a row of `tables/technology.csv`; a `Points` field is all rows of that name."""

    node_m: float
    supply_v: float
    gate_cap_f_per_m: float
    ioff_n_a_per_m: float
    ioff_p_a_per_m: float
    pn_ratio: float
    junction_cap_f_per_m2: float
    sidewall_cap_f_per_m: float
    contact_cap_f_per_m: float
    wire_width_m: float
    wire_resistivity_ohm_m: float
    wire_aspect_ratio: float
    fin_height_m: float | None
    fin_width_m: float | None
    fin_pitch_m: float | None
    inverter_in_f: float
    inverter_out_f: float
    nand_in_f: float
    nand_out_f: float
    r_n_ohm: float
    r_p_ohm: float
    inverter_n_f: float
    inverter_p_f: float
    nand_n_f: float
    nand_p_f: float
    flipflop_clock_j: float
    flipflop_data_j: float
    flipflop_leak_w: float
    adder_first_j: float
    adder_next_j: float
    adder_leak_w: float
    encoder_j: Points
    encoder_s: Points
    encoder_leak_w: Points
    level_shifter_m2: float
    passgate_ohm: float
    row_switch_j: float
    precharger_out_f: float
    precharger_leak_w: float
    write_driver_leak_w: float
    decoder_j: Points
    decoder_leak_w: Points
    sar_w_per_bit: float
    sar_w: float
    sar_kappa: float
    csa_w_per_level: float
    csa_kappa: float
    vsa_w_per_level: float
    vsa_kappa: float
    column_exponent: float
    global_core_m2: float
    global_core_read_j: float
    global_core_write_j: float
    tile_core_m2: float
    tile_core_read_j: float
    tile_core_write_j: float
    tile_core_leak_w: float
    repeater_height_m: float
    repeater_width_m: float
    htree_j_per_m: float
    htree_s_per_m: float
    htree_long_ratio: float
    bus_j_per_m: float
    pool_m2: Points
    pool_j: Points
    slowdown: float = 1.0  # delays over those at the node's own supply

    @property
    def is_finfet(self) -> bool:
        """Whether the transistors are FinFETs (14 nm and below)."""
        return self.fin_height_m is not None

    @property
    def unit_width_m(self) -> float:
        """Channel width per unit of `gates.fins`: around a fin, or on planar nodes the node itself."""
        if self.fin_height_m is None or self.fin_width_m is None:
            return self.node_m
        return 2 * self.fin_height_m + self.fin_width_m

    @property
    def standard_fins(self) -> int:
        """Fins of each transistor of a standard inverter, from its input capacitance."""
        return round(self.inverter_in_f / (2 * self.gate_cap_f_per_m * self.unit_width_m))

    @property
    def gate_pitch_m(self) -> float:
        """Distance between two gates of a standard cell."""
        return (5.3 if self.is_finfet else 3.8) * self.node_m

    @property
    def cell_height_m(self) -> float:
        """Height of a standard cell."""
        return 28 * self.node_m

    @property
    def flipflop_width_m(self) -> float:
        """Width of a register bit: 12 inverters."""
        return 24 * self.gate_pitch_m

    @property
    def full_adder_m2(self) -> float:
        """Area of a full adder: nine 2-input NAND gates of three gate pitches."""
        return 27 * self.gate_pitch_m * self.cell_height_m

    @property
    def wire_ohm_per_m(self) -> float:
        """Resistance of a local wire."""
        return self.wire_resistivity_ohm_m / (self.wire_width_m**2 * self.wire_aspect_ratio)

    @property
    def register_access_j(self) -> float:
        """Energy of a register bit that toggles."""
        return self.flipflop_clock_j + self.flipflop_data_j


THRESHOLD_V = 0.4  # assumed: threshold of transistors, at all nodes
_ALPHA = 1.3  # of the alpha-power law; assumed for delays (mismatch on the cards: 1.8, fitted at 65 nm)
_ENERGIES = (
    *("flipflop_clock_j", "flipflop_data_j", "adder_first_j", "adder_next_j", "encoder_j", "row_switch_j", "decoder_j"),
    *("global_core_read_j", "global_core_write_j", "tile_core_read_j", "tile_core_write_j"),
    *("htree_j_per_m", "bus_j_per_m", "pool_j"),
)
_LEAKAGES = (
    *("flipflop_leak_w", "adder_leak_w", "encoder_leak_w", "precharger_leak_w", "write_driver_leak_w"),
    *("decoder_leak_w", "tile_core_leak_w"),
)
_DELAYS = ("r_n_ohm", "r_p_ohm", "passgate_ohm", "encoder_s", "htree_s_per_m")
WIRE_F_PER_M = 0.2e-15 / 1e-6  # 0.2 fF/um for every wire
METAL_F_PER_M2 = 2e-3  # assumed: metal fringe capacitors above circuits, 2 fF/um2
SINGLE_TYPE_MARGIN_F = 3.6  # margins along a side of a cell whose transistors are of one type
PASSGATE_GAP_F = 7.1  # 3.5 F gap between the NMOS and PMOS halves of a cell, and 3.6 F margins


def technology(node_nm: int, supply_v: float | None = None) -> Technology:
    """A node, at its own supply or another; `node_nm` is one of `hw_models.accelerator.TECH_NODES_NM`.

    With the supply V, energies go with V^2, leakage with V, and delays with V / (V - threshold)^1.3. The power of
    converters is that at the node's own supply (`converters.converters` says what another one does to them).

    Source of the delays: alpha-power law (Sakurai, Newton, JSSC 1990), exponent 1.3 of short channels.
    """
    return _node(node_nm) if supply_v is None else _at_supply(node_nm, supply_v)


@functools.lru_cache(maxsize=256)
def _at_supply(node_nm: int, supply_v: float) -> Technology:
    own = _node(node_nm)
    ratio = supply_v / own.supply_v
    slowdown = ratio * ((own.supply_v - THRESHOLD_V) / (supply_v - THRESHOLD_V)) ** _ALPHA
    changes: dict[str, Any] = {"supply_v": supply_v, "slowdown": slowdown}
    for names, factor in ((_ENERGIES, ratio**2), (_LEAKAGES, ratio), (_DELAYS, slowdown)):
        for name in names:
            changes[name] = _times(getattr(own, name), factor)
    return dataclasses.replace(own, **changes)


def _times(value: float | Points, factor: float) -> float | Points:
    return tuple((at, factor * each) for at, each in value) if isinstance(value, tuple) else factor * value


@functools.cache
def _node(node_nm: int) -> Technology:
    curves: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
    values: dict[str, Any] = {"node_m": node_nm * 1e-9}
    with TABLE.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            text = row[str(node_nm)]
            if row["at"]:
                curves[row["quantity"]].append((float(row["at"]), float(text)))
            else:
                values[row["quantity"]] = float(text) if text else None
    values.update({name: tuple(points) for name, points in curves.items()})
    return Technology(**values)


def linear_curve(points: Points, at: float) -> float:
    """Interpolate a tabulated curve linearly, and extrapolate it along its first and last segments.

    A quantity with a constant part and a part proportional to the inputs (or levels) follows such a line.
    """
    segments = list(itertools.pairwise(points))
    (x0, y0), (x1, y1) = next((segment for segment in segments if at <= segment[1][0]), segments[-1])
    return y0 + (y1 - y0) * (at - x0) / (x1 - x0)


def rows_needed(count: int, per_row: float) -> int:
    """Rows that `count` things need if `per_row` of them, rounded down and at least one, fit in a row."""
    return math.ceil(count / max(1, math.floor(per_row + 1e-9)))
