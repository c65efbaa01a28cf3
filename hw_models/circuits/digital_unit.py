"""A digital unit, which computes what no crossbar does, such as attention: its circuits, and each operation's cost.

Its gates are those of the chip's other digital circuits. Widths, of activations of n bits (`input_bits`):

* factors of products, arguments and results of tables: n;
* products and sums, and what is compared, divided or rooted: 2 n;
* the sum of a multiply-accumulate: 2 n + 8.

A unit is not pipelined. Its circuits are textbook ones (assumed): a ripple-carry adder, which also compares; an array
multiplier of n rows of n full adders, whose last row stands for the gates of its partial products; a divider that
subtracts once per bit of the result, which also takes square roots; and a table of values and slopes, between which
multiplier and adder interpolate.
"""

import dataclasses
import math
from collections.abc import Collection, Mapping

from hw_models.circuits.gates import REGISTER_ACTIVITY, addition_cycles, addition_j
from hw_models.circuits.technology import Technology
from hw_models.circuits.tile import TILE_CORE_SIDE
from hw_models.workload import OperationKind

GUARD_BITS = 8  # of a multiply-accumulate's sum: 256 products cannot overflow it (assumed)
_CIRCUITS: Mapping[OperationKind, tuple[str, ...]] = {
    "add": ("adder",),
    "compare": ("adder",),
    "multiply": ("multiplier",),
    "multiply_accumulate": ("multiplier", "accumulator"),
    "divide": ("divider",),
    "square_root": ("divider",),
    "lookup": ("table", "multiplier", "adder"),
}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class DigitalUnit:
    """A unit that has the circuits for `kinds`, for activations of `bits` bits."""

    tech: Technology
    bits: int
    kinds: frozenset[OperationKind]

    def area_m2(self) -> float:
        """Area of full adders, registers and table."""
        tech = self.tech
        registers = self._register_bits() * tech.flipflop_width_m * tech.cell_height_m
        return self._full_adders() * tech.full_adder_m2 + registers + self._table_cores() * tech.tile_core_m2

    def leakage_w(self) -> float:
        """Leakage of full adders, registers and table."""
        tech = self.tech
        registers = self._register_bits() * tech.flipflop_leak_w
        return self._full_adders() * tech.adder_leak_w + registers + self._table_cores() * tech.tile_core_leak_w

    def operation_j(self, kind: OperationKind) -> float:
        """Mean energy of an operation, from its operands' registers to the register of its result."""
        tech, n = self.tech, self.bits
        product_j, sum_j = n * addition_j(tech, n), addition_j(tech, 2 * n)
        step_j = sum_j + self._toggling_j(2 * n + n)  # the remainder, and the result so far
        return {
            "add": sum_j + self._toggling_j(3 * 2 * n),
            "compare": sum_j + self._toggling_j(3 * 2 * n),
            "multiply": product_j + self._toggling_j(n + n + 2 * n),
            "multiply_accumulate": product_j
            + addition_j(tech, 2 * n + GUARD_BITS)
            + self._toggling_j(n + n + 2 * n + GUARD_BITS),
            "divide": n * step_j + self._toggling_j(2 * 2 * n),
            "square_root": n * step_j + self._toggling_j(2 * n),
            "lookup": product_j + sum_j + 2 * n * tech.tile_core_read_j + self._toggling_j(n + 2 * n + n),
        }[kind]

    def operation_cycles(self, kind: OperationKind) -> int:
        """Clock cycles of an operation: those of its carry chain, for each step, and one to read the table."""
        sum_cycles = addition_cycles(self.tech, 2 * self.bits)
        return {
            "add": sum_cycles,
            "compare": sum_cycles,
            "multiply": sum_cycles,
            "multiply_accumulate": addition_cycles(self.tech, 2 * self.bits + GUARD_BITS),
            "divide": self.bits * sum_cycles,
            "square_root": self.bits * sum_cycles,
            "lookup": 1 + sum_cycles,
        }[kind]

    def _toggling_j(self, register_bits: int) -> float:
        return REGISTER_ACTIVITY * register_bits * self.tech.register_access_j

    def _circuits(self) -> Collection[str]:
        return {circuit for kind in self.kinds for circuit in _CIRCUITS[kind]}

    def _full_adders(self) -> int:
        n = self.bits
        sizes = {"adder": 2 * n, "multiplier": n**2, "accumulator": 2 * n + GUARD_BITS, "divider": 2 * n, "table": 0}
        return sum(sizes[circuit] for circuit in self._circuits())

    def _register_bits(self) -> int:
        """Two operands and a result, and what accumulator and divider keep."""
        n = self.bits
        kept = {"accumulator": 2 * n + GUARD_BITS, "divider": 3 * n}
        return 3 * 2 * n + sum(kept.get(circuit, 0) for circuit in self._circuits())

    def _table_cores(self) -> float:
        """Register-file cores of the table, which has a value and a slope for each of its segments.

        Interpolation over a segment of length h is at most h**2 max|f''| / 8 off, so that 2**(n / 2) segments of
        [0, 1) suffice for n bits.
        """
        if "table" not in self._circuits():
            return 0.0
        table_bits: int = 2 ** math.ceil(self.bits / 2) * 2 * self.bits
        return table_bits / TILE_CORE_SIDE**2
