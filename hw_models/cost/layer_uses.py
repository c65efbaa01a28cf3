"""The pieces of a layer on the chip, how often it uses each block, and how many bits it moves.

Energy and clock cycles both follow from these counts. Equal pieces are listed once.

Source: DNN+NeuroSim V1.3 (Peng et al., IEDM 2019); docs/cost_model.md, "Layer". Its quirks are functions of their own.
"""

import dataclasses
import math

from hw_models.circuits.chip import Chip
from hw_models.circuits.periphery import sums_per_weight, weights_per_scan
from hw_models.mapping import LayerMapping

POOL_WINDOW = 4  # pixels of a 2 x 2 max pooling


@dataclasses.dataclass(frozen=True, slots=True)
class Piece:
    """A part of a pack's weight matrix on one tile or PE, the number of equal parts, and the packs on the same tile."""

    rows: int
    columns: int
    count: int
    packs: int = 1


def cut(length: int, size: int) -> list[tuple[int, int]]:
    """Cut `length` at multiples of `size`: (length, count) of the whole pieces, then of the rest."""
    whole, rest = divmod(length, size)
    return ([(size, whole)] if whole else []) + ([(rest, 1)] if rest else [])


def pieces(rows: int, columns: int, most_rows: int, most_columns: int) -> list[Piece]:
    """Cut a matrix into pieces of `most_rows` x `most_columns`; whole pieces come first."""
    return [Piece(r, c, n * m) for r, n in cut(rows, most_rows) for c, m in cut(columns, most_columns)]


def tiles_of(mapped: LayerMapping) -> list[Piece]:
    """The pieces on the tiles, the fullest and largest first. All places of a tile are filled before the next one's."""
    parts = pieces(mapped.rows_per_position, mapped.pack_columns, mapped.tile_size, mapped.tile_columns)
    if mapped.packs == 1:
        return parts
    return [
        Piece(p.rows, p.columns, n * p.count, packs) for packs, n in cut(mapped.packs, mapped.places) for p in parts
    ]


def pes_of(mapped: LayerMapping, tile: Piece, side: int) -> list[Piece]:
    """The pieces of a pack on the PEs of a tile; a conventional tile has `side` x `side` PEs."""
    if mapped.mapped_as == "novel":
        return [Piece(tile.rows, tile.columns, mapped.kernel_positions)]
    used = pieces(tile.rows, tile.columns, mapped.pe_size, mapped.pe_columns)
    return used + _phantom_pes(mapped, tile, side) if mapped.packs == mapped.speedup == 1 else used


def _phantom_pes(mapped: LayerMapping, tile: Piece, side: int) -> list[Piece]:
    """Quirk: without copies, each PE without weights costs the energy of the last PE before it that has weights."""
    rows, columns = cut(tile.rows, mapped.pe_size), cut(tile.columns, mapped.pe_columns)
    used_rows, used_columns = (sum(count for _, count in lengths) for lengths in (rows, columns))
    beside = [Piece(r, columns[-1][0], n * (side - used_columns)) for r, n in rows]
    below = Piece(rows[-1][0], columns[-1][0], (side - used_rows) * side)
    return [piece for piece in (*beside, below) if piece.count]


class LayerUses:
    """One layer on its chip: its kind of tile, and the bus from the global buffer to it.

    Attributes:
        is_copied_on_every_pe: Whether each PE of a conventional tile has a place for the whole matrix.
        windows: Input vectors of one inference.
        planes: Cycles of all inputs of one inference: windows x input cycles.
        input_bits: Bits that one inference sends along a row: windows x bits of an input.
        steps, weight_steps: Steps of one read of a crossbar (`Accelerator.steps`), and the clock cycles of a read to
            add up the conversions of each weight.
        drives: How often a row is driven in a read.
        has_cell_energies: Whether single cells or columns take energy beside the reads (`Reading`).
        read_j: Energy of one read of a crossbar with all its steps, by component.
        tiles: Pieces of a pack on the tiles, the largest first. On a novel tile, each PE holds such a piece.
    """

    def __init__(self, chip: Chip, mapped: LayerMapping) -> None:
        self.chip, self.mapped = chip, mapped
        self.tile, self.route = chip.tiles[mapped.mapped_as], chip.routes[mapped.mapped_as]
        self.is_novel = mapped.mapped_as == "novel"
        self.is_copied_on_every_pe = not self.is_novel and min(mapped.pe_places) >= self.tile.side
        self.windows = mapped.layer.windows
        self.planes = self.windows * mapped.input_cycles
        self.input_bits = self.windows * chip.accelerator.input_bits
        self.weights_per_scan = weights_per_scan(
            chip.accelerator.cols_per_adc, mapped.columns_per_weight, chip.accumulate_wide_weights
        )
        self.tiles = tiles_of(mapped)
        unit, self.steps = chip.crossbar, chip.accelerator.steps(mapped.layer.weight_bits)
        self.weight_steps = self.steps if sums_per_weight(chip.accelerator) > 1 else 0
        reading = unit.reading
        self.drives = self.steps if reading.drives_each_step else 1
        self.has_cell_energies = bool(reading.one_j or reading.cell_j or reading.column_j)
        self.read_j = {name: self.steps * value + unit.read_j.get(name, 0.0) for name, value in unit.step_j.items()}
        self.read_j |= {name: value for name, value in unit.read_j.items() if name not in unit.step_j}

    # A processing element

    def pe_tree_charges(self, occupied: int) -> float:
        """Uses of a PE's adder trees for a pack; packs side by side on a PE share a use.

        Quirk: if every PE holds several copies of the layer's only pack, each occupied crossbar counts.
        """
        uses, places = self.windows * self.weights_per_scan, self.mapped.crossbar_places
        if self.mapped.packs > 1:
            return uses / min(places[1], self.packs_per_pe)
        return uses * occupied if self.is_copied_on_every_pe and math.prod(places) > 1 else uses

    @property
    def packs_per_pe(self) -> int:
        """Packs on the fullest PE: the packs of a tile are spread over its PEs."""
        return math.ceil(self.tiles[0].packs / math.prod(self.mapped.pe_places))

    def last_pe_tree_inputs(self) -> int | None:
        """Numbers that the adder trees of the last PE add; None if each copy fits one crossbar: they are idle."""
        mapped = self.mapped
        fits_one = mapped.rows_per_position <= mapped.crossbar_size and mapped.pack_columns <= mapped.crossbar_columns
        if self.is_copied_on_every_pe and fits_one:
            return None
        rows_of_last_pe = (mapped.rows_per_position - 1) % mapped.pe_size + 1
        return math.ceil(rows_of_last_pe / mapped.crossbar_size)

    def register_accesses(self, pe: Piece) -> tuple[int, int]:
        """Accesses of a PE's input register and of its output register for a pack."""
        inputs = pe.rows * self.input_bits // self.tile.pe.input_register_bits
        outputs = pe.columns // self.mapped.columns_per_weight * self.tile.pe.tree.width * self.windows
        return inputs, outputs // self.tile.pe.output_register_bits

    # A tile

    def tile_tree_inputs(self, tile: Piece) -> int:
        """Numbers that the adder trees of a tile add."""
        if self.is_novel or self.mapped.packs == self.mapped.speedup == 1:
            return self.tile.side
        return math.ceil(tile.rows / self.mapped.pe_size)

    def tile_tree_uses(self) -> int:
        """Uses of a tile's adder trees, one after the other. Trees of one input cost nothing."""
        if self.is_novel:
            return self.windows * self.weights_per_scan
        return self.windows * math.ceil(self.chip.accelerator.cols_per_adc / self.mapped.columns_per_weight)

    def pack_rows_of(self, tile: Piece) -> int:
        """Rows of packs on a tile: each takes adders of its own, which work at the same time."""
        return math.ceil(tile.packs / (self.mapped.pe_places[1] * self.mapped.crossbar_places[1]))

    def tile_traffic_bits(self, tile: Piece) -> tuple[float, float]:
        """Bits into and out of a tile. A novel tile reuses inputs between neighbouring windows."""
        kernel = self.mapped.layer.square_kernel if self.is_novel else 1
        bits_in = tile.packs * tile.rows * self.mapped.kernel_positions * self.input_bits / kernel
        weights = tile.packs * (tile.columns // self.mapped.columns_per_weight)
        bits_out = weights * (1 + self.tile.tree.width) * self.windows / kernel**2
        return bits_in, bits_out

    # The chip

    def chip_traffic_bits(self) -> tuple[float, float]:
        """Bits read from and written to the global buffer."""
        bits_read = (
            self.mapped.layer.inputs * self.input_bits / (self.mapped.layer.square_kernel if self.is_novel else 1)
        )
        bits_written = (
            self.mapped.layer.out_channels * self.input_bits / (POOL_WINDOW if self.mapped.layer.pooled else 1)
        )
        return bits_read, bits_written

    def chip_transfers(self) -> int:
        """Transfers over the bus between the tiles."""
        return math.ceil(sum(self.chip_traffic_bits()) / self.route.bus_bits)

    def chip_tree_uses(self) -> int:
        """Uses of the adder trees over the partial sums of tiles. Trees of one input cost nothing."""
        return math.ceil(self.mapped.columns * self.windows / self.chip.tree.trees)

    def activation_uses(self) -> int:
        """Uses of the ReLU units."""
        layer = self.mapped.layer
        return math.ceil(self.windows * layer.out_channels / self.chip.activation_units) if layer.relu else 0

    def pool_uses(self) -> int:
        """Uses of the pooling units."""
        if not self.mapped.layer.pooled:
            return 0
        per_unit = self.windows / POOL_WINDOW / self.mapped.tile_size
        return math.ceil(per_unit * self.mapped.layer.square_kernel if self.is_novel else per_unit)
