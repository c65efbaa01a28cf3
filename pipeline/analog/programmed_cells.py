"""The cells of one layer on one chip, and the layer's outputs with every slice, cycle and conversion."""

import dataclasses
import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from hw_models.mapping import LayerMapping
from pipeline.analog import adc
from pipeline.analog.cells import CellCode, is_kernel_major, program, with_column_gains
from pipeline.analog.input_vectors import InputVectors, Rows
from pipeline.analog.kernels import bit_serial as kernels
from pipeline.analog.kernels import vector_code
from pipeline.analog.kernels import windows as window_kernels
from pipeline.analog.read_noise import ReadNoise
from pipeline.analog.simulated_chip import SimulatedChip
from pipeline.analog.wires import with_wires

_SUMS_IN_MEMORY = 2**23  # column sums held at once by the torch path (32 MiB), 16 times as many on a GPU


@dataclasses.dataclass(kw_only=True)
class ProgrammedCells:
    """One layer's programmed cells.

    Attributes:
        index: Number of the layer.
        part: Number of the pack of groups that these cells hold, of a layer with groups.
        use: Number of the layer's use in one pass of the network; each use has read noise of its own.
        levels: What each row adds to the column sums of a weight, in levels: its programmed cells, where columns are
            not combined. (column sums of a weight, out_channels, rows), rows in the mapping's order.
        folded: The weights that these cells hold, in codes, in the weight's shape.
        compiled: Use `pipeline.analog.kernels` on a CPU; False keeps to torch, with the same results.
        conversions, cycles: ADC conversions and input cycles made so far, for audits.
        noise: Noise of its reads; none on a chip of ideal reads.
        weight_free_part: What baseline and offset add to the digital sum per unit of input, whatever the weight. The
            controller subtracts it.
        significance: Value of each column sum of a weight in the digital sum, (column sums of a weight,).
    """

    code: CellCode
    mapping: LayerMapping
    index: int
    chip: SimulatedChip
    levels: Tensor
    folded: Tensor
    part: int = 0
    use: int = 0
    compiled: bool = True
    conversions: int = 0
    cycles: int = 0
    noise: ReadNoise = dataclasses.field(init=False)
    weight_free_part: float = dataclasses.field(init=False)
    significance: Tensor = dataclasses.field(init=False)
    _rows: Rows | None = None
    _packed: dict[str, np.ndarray] | None = None

    def __post_init__(self) -> None:
        self.noise = ReadNoise() if self.chip.ideal_reads else ReadNoise.of(self.code, self.mapping.row_block_count)
        self.significance = self.code.sum_significance()
        self.weight_free_part = self.code.sum_baseline * float(self.significance.sum()) + self.code.offset

    @property
    def place(self) -> tuple[int, ...]:
        """What seeds the read noise of this use of these cells, beside the chip and the image."""
        return (self.index, self.part, self.use) if self.part or self.use else (self.index,)

    def outputs(
        self, inputs: InputVectors, full_scale: Tensor, signed: bool, scale: float = 1.0, bias: Tensor | None = None
    ) -> Tensor:
        """Weight codes times input codes as the hardware computes it, (images, windows, out_channels).

        `full_scale` of the converters is in levels, scalar. `signed` inputs are in two's complement. `scale` is the
        value of one unit of the digital sum; `bias` (out_channels,) is added to the scaled sum.
        """
        accelerator = self.code.accelerator
        images = self.chip.numbers_of(len(inputs))
        in_one = accelerator.dac_bits == 1 or (accelerator.input_cycles == 1 and not self.noise)
        if self.compiled and inputs.codes.device.type == "cpu" and accelerator.adc_bits is not None and in_one:
            step = adc.adc_step(full_scale, accelerator.adc_bits).item()
            return self._with_kernels(inputs, images, step, signed, scale, bias)
        sums_of_image = inputs.windows * accelerator.input_cycles * self.levels[..., 0].numel()
        room = _SUMS_IN_MEMORY * (16 if inputs.codes.device.type == "cuda" else 1)
        chunk = max(1, room // sums_of_image)
        starts = range(0, len(inputs), chunk)
        parts = [(inputs.vectors(start, start + chunk), images[start : start + chunk]) for start in starts]
        y = torch.cat([self._with_torch(vectors, ids, full_scale, signed) for vectors, ids in parts]) * scale
        return y if bias is None else y + bias

    def _with_torch(self, vectors: Tensor, images: Tensor, full_scale: Tensor, signed: bool) -> Tensor:
        """`outputs`, unscaled, in torch: the reference implementation of the kernels."""
        accelerator, significance = self.code.accelerator, self.significance.to(vectors)
        cycle_values = adc.cycle_values(accelerator, signed).to(vectors)
        total = torch.zeros((), device=vectors.device)
        for block, (slices, sums) in enumerate(self.column_sums(vectors)):
            if self.noise:
                normal = self.chip.read_noise(sums, images, *self.place, 1 + block)
                sums = sums + self.noise.sigma_of_sums(slices)[..., None, None] * normal
            if accelerator.readout != "digital":
                self.conversions += sums.numel()
            if accelerator.adc_bits is not None:
                step = adc.adc_step(full_scale, accelerator.adc_bits)
                sums = adc.convert(sums, full_scale, accelerator.adc_bits) * step
            total = total + torch.einsum("niwko,i,k->nwo", sums, cycle_values, significance)
        self.cycles += vectors[..., 0].numel() * accelerator.input_cycles
        return total - self.weight_free_part * vectors.sum(-1, keepdim=True)

    def column_sums(self, vectors: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """For each row block: its input slices, (images, cycles, windows, rows), and its column sums in levels,
        (images, cycles, windows, column sums of a weight, out_channels)."""
        cells = self.levels + self.code.sum_baseline
        for start, stop in self.mapping.row_blocks:
            slices = adc.input_cycles(vectors[..., start:stop], self.code.accelerator)
            yield slices, (slices @ cells[..., start:stop].flatten(0, 1).t()).unflatten(-1, cells.shape[:2])

    def _with_kernels(
        self, inputs: InputVectors, images: Tensor, step: float, signed: bool, scale: float, bias: Tensor | None
    ) -> Tensor:
        """`outputs` by compiled loops; `step` is the value of one ADC code in levels."""
        accelerator, outputs = self.code.accelerator, self.levels.shape[1]
        columns, cycles, blocks = self.levels[..., 0].numel(), accelerator.input_cycles, len(self.mapping.row_blocks)
        vectors = len(inputs) * inputs.windows
        y = torch.empty(vectors * outputs + vector_code.LANES)[: -vector_code.LANES]
        layer = self._kernel_layer(inputs, step, scale, bias, y)
        if accelerator.dac_bits == 1:
            values = adc.cycle_values(accelerator, signed).numpy().reshape(-1, vector_code.planes_at_once(cycles))
            noise = self._read_noise(images, inputs.windows * cycles * columns, blocks)
            kernels.bit_serial(layer, tuple(tuple(part) for part in values), *noise)
        else:
            kernels.whole_inputs(_images_as_windows(layer))
        self.conversions += vectors * cycles * blocks * columns
        self.cycles += vectors * cycles
        return y.view(len(inputs), inputs.windows, outputs)

    def _kernel_layer(
        self, inputs: InputVectors, step: float, scale: float, bias: Tensor | None, out: Tensor
    ) -> kernels.Layer:
        """The argument of the kernels, which write into `out`."""
        accelerator, outputs = self.code.accelerator, self.levels.shape[1]
        if self._packed is None or self._rows is not inputs.rows:  # another image size
            planes = vector_code.planes_at_once(accelerator.input_cycles)
            whole = vector_code.whole_tile(self.levels[..., 0].numel())
            tile = vector_code.serial_tile(planes) if accelerator.dac_bits == 1 else whole
            self._rows = inputs.rows
            self._packed = _packed(self.levels + self.code.sum_baseline, inputs.rows, self.mapping.row_blocks, tile)
        padded_bias = torch.zeros(outputs + vector_code.LANES)
        if bias is not None:
            padded_bias[:outputs] = bias
        assert accelerator.adc_bits is not None
        return kernels.Layer(
            pixels=inputs.codes.flatten(1).numpy(),
            grid=inputs.grid,
            codes_per_level=np.float32(1 / step),
            top=np.float32((1 << accelerator.adc_bits) - 1),
            value=(self.significance * (step * scale)).numpy(),
            removed=window_kernels.window_sums(*inputs.windows_of_pixels(), self.weight_free_part * scale),
            bias=padded_bias.numpy(),
            out=out.view(-1, outputs).numpy(),
            **self._packed,
        )

    def _read_noise(self, images: Tensor, count: int, blocks: int) -> tuple[Any, np.ndarray, np.ndarray]:
        """The noise arguments of `kernels.bit_serial`; `count` is the number of conversions per image and block."""
        if not self.noise:
            return None, np.zeros(1, np.float32), np.zeros((len(images), blocks), np.int64)
        streams = [self.chip.read_stream(count, images, *self.place, 1 + block) for block in range(blocks)]
        starts = torch.stack([starts for _, starts in streams], 1)
        sigmas = np.float32(self.noise.read_sigma), np.float32(self.noise.thermal_sigma)
        return sigmas, streams[0][0].numpy(), starts.numpy()


def written_cells(
    code: CellCode, mapping: LayerMapping, index: int, chip: SimulatedChip, codes: Tensor, drift_time_s: float | None
) -> ProgrammedCells:
    """The cells of layer `index` on a chip after weight codes (out_channels, ...) were written into them."""
    whole, chance = codes.cpu(), chip.cell_generator(index)
    if chip.ideal_cells:
        levels = code.digits(whole)
    else:
        levels = with_column_gains(code, program(code, whole, chance, drift_time_s), mapping, chance)
    levels = with_wires(code, levels, mapping, index)
    kernel_major = is_kernel_major(levels, mapping)
    in_rows = (levels.permute(0, 1, 3, 4, 2) if kernel_major else levels).flatten(2).to(codes.device)
    folded, of_sums = torch.empty_like(codes).copy_(code.fold(levels)), code.summed(in_rows)
    return ProgrammedCells(code=code, mapping=mapping, index=index, chip=chip, levels=of_sums, folded=folded)


def _images_as_windows(layer: kernels.Layer) -> kernels.Layer:
    """Join images of one line into one image if all their windows follow each other in memory."""
    height, width, down, right = layer.grid
    if height != 1 or layer.pixels.shape[1] != width * right:
        return layer
    return layer._replace(pixels=layer.pixels.reshape(1, -1), grid=(1, width * len(layer.pixels), down, right))


def _packed(cells: Tensor, rows: Rows, blocks: tuple[tuple[int, int], ...], tile: int) -> dict[str, Any]:
    """The part of `kernels.Layer` that is the same for all images, from cells (sums of a weight, outputs, rows)."""
    order, copies, first_copy = _copies(rows, blocks)
    matrix = cells.flatten(0, 1)[:, torch.from_numpy(order)]
    tiles = F.pad(matrix, (0, 0, 0, -len(matrix) % tile)).unflatten(0, (-1, tile)).transpose(1, 2).contiguous()
    reads = {"offsets": rows.offsets[order], "copies": copies, "first_copy": first_copy}
    return reads | {"cells": tiles.numpy(), "blocks": np.array(blocks)}


@functools.lru_cache(maxsize=256)
def _copies(rows: Rows, blocks: tuple[tuple[int, int], ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of each block, sorted by the place they read, and the `copies` and `first_copy` of `kernels.Layer`."""
    order = np.concatenate([start + np.argsort(rows.offsets[start:stop]) for start, stop in blocks])
    places = rows.offsets[order]
    copies, first_copy = [], [0]
    for start, stop in blocks:
        row = start
        while row < stop:
            copies.append((places[row], row - start))
            first, row = row, row + 1
            while row < stop and row - first < vector_code.COPY and places[row] == places[row - 1] + 1:
                row += 1
        first_copy.append(len(copies))
    return order, np.array(copies, np.int64), np.array(first_copy, np.int64)
