"""Digital blocks between crossbars: adder trees and H-trees.

Source: DNN+NeuroSim V1.3 (Peng et al., IEDM 2019); docs/cost_model.md, "PE, tile and chip".
"""

import dataclasses
import functools
import math

from hw_models.circuits.gates import NEUROSIM_CLOCK_HZ, addition_cycles, addition_j
from hw_models.circuits.technology import Technology

LONG_SEGMENT_F = 1e5  # longer segments of an H-tree have wires of four times the normal width, shorter ones of twice


@functools.lru_cache(maxsize=4096)
def ceil_log2(value: int) -> int:
    """Smallest n for which 2**n is at least `value`."""
    return (value - 1).bit_length()


AND_PITCHES = 5  # gate pitches of a 2-input NAND gate (3, as in a full adder) and an inverter (2)


def full_adders_of_tree(inputs: float, bits: float) -> float:
    """Full adders of a ripple adder tree over `inputs` numbers of `bits` bits: N (B + 1) - (B + log2 N + 1).

    Source: ZigZag-IMC (KU Leuven). It is what `AdderTree` counts if `inputs` is a power of two.
    """
    return inputs * (bits + 1) - (bits + math.log2(inputs) + 1)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class AdderTree:
    """`trees` equal adder trees side by side, each of which can add `inputs` numbers of `width` bits.

    The stages of a tree work one after the other; each widens the sum by one bit.
    """

    tech: Technology
    inputs: int
    width: int
    trees: int

    def full_adders(self, inputs: int) -> int:
        """Full adders of all trees that take part in adding `inputs` numbers."""
        return self.trees * sum(adders * width for adders, width in _stages(inputs, self.width))

    def use_j(self, inputs: int) -> float:
        """Energy of adding `inputs` numbers once in every tree."""
        return self.trees * _tree_j(self.tech, inputs, self.width)

    def use_cycles(self, inputs: int) -> int:
        """Clock cycles of adding `inputs` numbers once."""
        return _tree_cycles(self.tech, inputs, self.width)

    def area_m2(self) -> float:
        """Area of all trees."""
        return self.full_adders(self.inputs) * self.tech.full_adder_m2

    def leakage_w(self, inputs: int) -> float:
        """Leakage of the full adders that `inputs` numbers use. Quirk: the others do not leak."""
        return self.full_adders(inputs) * self.tech.adder_leak_w


def _stages(inputs: int, width: int) -> list[tuple[int, int]]:
    """(adders, bits of an adder) of each stage. Quirk: adders are rounded down, so an odd number is dropped."""
    return [(inputs >> stage, width + stage - 1) for stage in range(1, ceil_log2(inputs) + 1)]


@functools.lru_cache(maxsize=4096)
def _tree_j(tech: Technology, inputs: int, width: int) -> float:
    return sum(adders * addition_j(tech, bits) for adders, bits in _stages(inputs, width))


@functools.lru_cache(maxsize=4096)
def _tree_cycles(tech: Technology, inputs: int, width: int) -> int:
    return sum(addition_cycles(tech, bits) for _, bits in _stages(inputs, width))


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Route:
    """The cost of sending bits through an H-tree, `bus_bits` in each transfer."""

    bus_bits: float
    bit_j: float
    transfer_cycles: int


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class HTree:
    """An H-shaped bus over a grid (rows, columns) of square leaves, with `folding` rows of repeaters along it."""

    tech: Technology
    grid: tuple[int, int]
    leaf_m: float
    bus_bits: float
    folding: int

    def route(self) -> Route:
        """Energy and time of a transfer."""
        return Route(
            bus_bits=self.bus_bits,
            bit_j=self.tech.htree_j_per_m * self.length_m,
            transfer_cycles=self._transfer_cycles(),
        )

    @property
    def levels(self) -> int:
        """Branch points from the root to a leaf."""
        return ceil_log2(max(self.grid))

    @property
    def _straight(self) -> int:
        """Length of the bus at the lowest level, in leaves."""
        short = min(self.grid).bit_length() - 1
        columns = self.grid[1]
        if columns - short < 1:
            short -= 1
        return min(columns - short, short)

    @property
    def length_m(self) -> float:
        """Wire length from the root to a leaf, by which energy is counted."""
        top = sum(2 * self.leaf_m * 2.0 ** (self.levels - 1 - level) for level in range(1, self.levels + 1))
        return top + self._straight * self.leaf_m

    def _transfer_cycles(self) -> int:
        """Quirk: branches are twice as long as in `length_m`, and cycles count at 1 GHz."""
        total = self._straight * self._segment_s(self.leaf_m)
        for level in range(1, self.levels + 1):
            total += 2 * self._segment_s(self.leaf_m * (1 << self.levels - level))
        return math.ceil(NEUROSIM_CLOCK_HZ * total)

    def _segment_s(self, length_m: float) -> float:
        wide = self.tech.htree_long_ratio if length_m > LONG_SEGMENT_F * self.tech.node_m else 1.0
        return wide * self.tech.htree_s_per_m * length_m

    def area_m2(self) -> float:
        """Area of the repeaters along the bus."""
        tech, lines = self.tech, self.bus_bits / self.folding
        across = tech.repeater_width_m * self.leaf_m + tech.repeater_height_m * self.leaf_m
        branches = sum(level * lines * across * 2.0 ** (self.levels - 2 - level) for level in range(1, self.levels))
        return branches + lines * tech.repeater_height_m * self._straight * self.leaf_m
