"""The cost of one inference, with the definition of every quantity.

One inference is one input through all layers, one layer after the other. The weights are in place: nothing is written,
and there is no memory outside the chip. One multiply-accumulate counts as two operations.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

DIGITAL = "digital"  # the component of digital operations; a report without them leaves it out
COMPONENTS = (
    *("array", "precharge", "adc", "shift_add", "adder_trees", "drivers", "multiplexers"),
    *("registers", "buffers", "interconnect", "activation", "pooling", DIGITAL),
)
POST_LAYOUT_ENERGY = 1.22  # energy after layout, with its wires, over the formulas' (NeuroSim's factor zeta)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class LayerCost:
    """One layer's share of a `CostReport`.

    Attributes:
        mapped_as: `novel` or `conventional`.
        tiles, speedup, utilisation, conversions: See `LayerMapping`.
        area_m2: Of the layer's tiles; sum over `area_by_component_m2`.
        latency_s, dynamic_energy_j (without wiring): Sums over `latency_by_component_s` and `energy_by_component_j`.
        area_by_component_m2: Of the layer's tiles, by component (`COMPONENTS`).
        latency_by_component_s, energy_by_component_j: Only of components that the layer uses; energy is dynamic.
        leakage_power_w: Of the layer's own tiles.
        leakage_energy_j: Of all other tiles while the layer runs.
    """

    name: str
    mapped_as: str
    tiles: int
    speedup: int
    utilisation: float
    conversions: int
    area_m2: float
    latency_s: float
    dynamic_energy_j: float
    area_by_component_m2: Mapping[str, float]
    latency_by_component_s: Mapping[str, float]
    energy_by_component_j: Mapping[str, float]
    leakage_power_w: float
    leakage_energy_j: float

    @property
    def energy_j(self) -> float:
        """Dynamic and leakage energy with the wiring's share."""
        return POST_LAYOUT_ENERGY * (self.dynamic_energy_j + self.leakage_energy_j)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class CostReport:
    """The cost of one inference and of the chip it runs on.

    Attributes:
        area_m2: Of the chip; sum over components, and sum of the layers' areas and `shared_area_m2`.
        clock_s: Clock period: the time to read and convert one column.
        latency_s: Of one inference; sum over components, and over layers and digital operations.
        dynamic_energy_j: Of one inference, without wiring; sum over components, layers and digital operations.
        leakage_energy_j: Of one inference, without wiring; sum over layers and, with digital operations, of all tiles
            while these run and of the digital units.
        leakage_power_w: Of all tiles, and of digital units if there are any.
        ops: Operations of one inference at the design's own bits, two per multiply-accumulate on crossbars or digital.
            Other digital operations cost energy, but do not count.
        ops_8bit: The same in operations on 8-bit numbers: each counts as input bits x weight bits / 64; the digital
            ones, whose operands have the input's bits, as input bits squared / 64.
        cells, crossbars, tiles: Number on the chip, used or not.
        conversions: Column conversions of one inference.
        utilisation: Share of cells that hold weights, copies included; mean over tiles.
        shared_area_m2: Area that belongs to no layer: global buffer, bus and adder trees between tiles, ReLU, pooling
            and digital units.
        area_by_component_m2, latency_by_component_s, energy_by_component_j: By component (`COMPONENTS`); energy is
            dynamic energy. `digital` is there only if there are digital operations.
        layers: One record per layer.
        ir_drop: Mean share of a column's current that wires take, 0 to 1, in the layer that loses most
            (`hw_models.cost.wires`). The energy does not know of it, and accuracy only with `Accelerator.wires`
            resistive.
        outside_reference: Why NeuroSim refuses this design, or which settings its table does not cover; empty if none.
    """

    area_m2: float
    clock_s: float
    latency_s: float
    dynamic_energy_j: float
    leakage_energy_j: float
    leakage_power_w: float
    ops: int
    ops_8bit: float
    cells: int
    crossbars: int
    tiles: int
    conversions: int
    utilisation: float
    shared_area_m2: float
    area_by_component_m2: Mapping[str, float]
    latency_by_component_s: Mapping[str, float]
    energy_by_component_j: Mapping[str, float]
    layers: tuple[LayerCost, ...]
    ir_drop: float
    outside_reference: tuple[str, ...]

    @property
    def energy_j(self) -> float:
        """Energy of one inference: dynamic, leakage and wiring."""
        return POST_LAYOUT_ENERGY * (self.dynamic_energy_j + self.leakage_energy_j)

    @property
    def wiring_energy_j(self) -> float:
        """What wires add after layout: NeuroSim's factor on all other energy."""
        return (POST_LAYOUT_ENERGY - 1) * (self.dynamic_energy_j + self.leakage_energy_j)

    @property
    def power_w(self) -> float:
        """Mean power when inferences follow each other without pause."""
        return self.energy_j / self.latency_s

    @property
    def frames_per_second(self) -> float:
        """Inferences per second, one after the other."""
        return 1 / self.latency_s

    @property
    def tops(self) -> float:
        """Tera-operations per second."""
        return self.ops / self.latency_s / 1e12

    @property
    def tops_per_watt(self) -> float:
        """Tera-operations per joule of `energy_j`."""
        return self.ops / self.energy_j / 1e12

    @property
    def tops_per_watt_8bit(self) -> float:
        """Tera-operations on 8-bit numbers per joule: `ops_8bit` per `energy_j`."""
        return self.ops_8bit / self.energy_j / 1e12

    @property
    def tops_per_mm2(self) -> float:
        """Tera-operations per second and square millimetre."""
        return self.tops / (self.area_m2 * 1e6)

    @property
    def edp_js(self) -> float:
        """Energy-delay product of one inference."""
        return self.energy_j * self.latency_s

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, with the derived quantities."""
        derived = (
            *("energy_j", "wiring_energy_j", "power_w", "frames_per_second"),
            *("tops", "tops_per_watt", "tops_per_watt_8bit", "tops_per_mm2", "edp_js"),
        )
        plain = {name: getattr(self, name) for name in derived} | dataclasses.asdict(self)
        return plain | {name: list(plain[name]) for name in ("layers", "outside_reference")}
