"""A matrix of any model on crossbars: its weight and its inputs are handed to it at each use."""

import dataclasses

import torch
import torch.nn.functional as F
from torch import Tensor

from hw_models.accelerator import Accelerator
from hw_models.mapping import LayerMapping
from pipeline.analog import adc
from pipeline.analog.base import NoisyLayer
from pipeline.analog.input_vectors import InputVectors, Rows
from pipeline.analog.products import Product, Windows, convolution
from pipeline.analog.programmed_cells import ProgrammedCells


class Matrix(NoisyLayer):
    """One matrix of a traced model. A model may use it several times in a pass, each time with other windows.

    Groups of a convolution lie in packs: those of a pack share crossbars along the diagonal, and the cells beside the
    diagonal hold weight 0 (`hw_models.mapping`). So the weight here is that of a convolution with as many groups as
    there are packs.

    Attributes:
        name: Name of the module, or of the parameter, that the matrix belongs to.
        windows: Of the use at hand; None: a linear product.
        uses: Uses so far in this pass.
    """

    def __init__(self, name: str, outputs: int, accelerator: Accelerator, mapping: LayerMapping, index: int) -> None:
        bits = mapping.layer.weight_bits
        super().__init__(outputs, accelerator, mapping, index=index, weight_bits=bits, range_rule="error")
        self.name, self.label, self.uses = name, f"layer {name}", 0
        self.windows: Windows | None = None
        self._parts: dict[int, tuple[ProgrammedCells, list[ProgrammedCells]]] = {}
        self.hand(None, None)

    def hand(self, weight: Tensor | None, bias: Tensor | None) -> None:
        """Set the weight and bias of the next use. They are not parameters of this layer, but of the model."""
        vars(self)["weight"], vars(self)["bias"] = weight, bias
        self._followed = False

    def compute(self, product: Product) -> Tensor:
        """The product on crossbars."""
        self.windows = product.windows
        self.hand(self._in_packs(product), product.bias)
        if not self.training and self.fidelity != "float":
            self.follow_weight()
        y: Tensor = self(product.x)
        self.uses += 1
        return product.finish(y)

    def follow_weight(self) -> None:
        if self._followed:  # the weight of this use is known, and in the cells
            return
        if self.weight is not None and self._chips[0]:
            super().follow_weight()
            self._followed = True

    @property
    def packs(self) -> int:
        """Matrices of which the layer consists."""
        return self.mapping.packs

    def _in_packs(self, product: Product) -> Tensor:
        weight = product.weight
        if product.groups > self.packs:
            together = product.groups // self.packs
            outputs, inputs, *kernel = weight.shape
            blocks = weight.reshape(self.packs, together, outputs // product.groups, 1, inputs, *kernel)
            diagonal = torch.eye(together, dtype=weight.dtype, device=weight.device)
            diagonal = diagonal.reshape(1, together, 1, together, *(1,) * (1 + len(kernel)))
            weight = (blocks * diagonal).reshape(outputs, together * inputs, *kernel)
        if weight.dim() == 4 and weight.is_contiguous(memory_format=torch.channels_last):
            return weight
        return weight.contiguous()

    # The product in plain torch

    def product(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if self.windows is None:
            return F.linear(x, weight, bias)
        return convolution(x, weight, bias, self.windows, self.packs)

    def products(self, x: Tensor, weights: list[Tensor], bias: Tensor | None) -> Tensor:
        raise ValueError(f"{self.name}: {len(weights)} chips are programmed; a traced model runs on one chip at a time")

    # From the call's shapes to input vectors and back

    def parts(self, cells: ProgrammedCells, codes: Tensor) -> list[tuple[ProgrammedCells, Tensor, slice]]:
        cells.use = self.uses
        if self.packs == 1:
            return [(cells, codes, slice(None))]
        inputs, outputs = codes.shape[1] // self.packs, len(cells.levels[0]) // self.packs
        whole, own = self._parts.get(0, (None, []))
        if whole is not cells:
            own = [
                dataclasses.replace(cells, part=1 + i, levels=cells.levels[:, i * outputs : (i + 1) * outputs])
                for i in range(self.packs)
            ]
            self._parts[0] = cells, own
        for each in own:
            each.use = self.uses
        return [
            (each, codes[:, i * inputs : (i + 1) * inputs], slice(i * outputs, (i + 1) * outputs))
            for i, each in enumerate(own)
        ]

    @property
    def conversions(self) -> int:
        return sum(cells.conversions for cells in self._counted())

    @property
    def cycles(self) -> int:
        """Packs work at the same time."""
        return self._counted()[0].cycles if self._counted() else 0

    def _counted(self) -> list[ProgrammedCells]:
        return self.programmed if self.packs == 1 else self._parts.get(0, (None, []))[1]

    def input_vectors(self, codes: Tensor) -> InputVectors:
        if self.windows is None:
            features = codes.shape[-1]
            vectors = InputVectors.room(tuple(codes.shape), features, codes.device).copy_(codes)
            grid = (1, codes[0].numel() // features, 0, features)
            return InputVectors(codes=vectors, rows=Rows.of_windows((1, 1), features, 1, True), grid=grid)
        images, windows = self._flat(codes)
        return self._vectors_of_images(images, windows)

    def _kernel(self) -> tuple[int, ...]:
        return tuple(self.weight.shape[2:])

    def _flat(self, codes: Tensor) -> tuple[Tensor, Windows]:
        """The same convolution over images with two sides: a kernel's depth becomes channels."""
        assert self.windows is not None
        sides = len(self._kernel())
        if sides == 2:
            return codes, self.windows
        stride, padding, dilation = self.windows.stride, self.windows.padding, self.windows.dilation
        if sides == 1:
            return codes.unsqueeze(2), Windows((1, *stride), (0, *padding), (1, *dilation))
        codes = F.pad(codes, (0, 0, 0, 0, padding[0], padding[0]))
        depth = (codes.shape[2] - dilation[0] * (self._kernel()[0] - 1) - 1) // stride[0] + 1
        slices = [
            codes[:, :, dilation[0] * k : dilation[0] * k + (depth - 1) * stride[0] + 1 : stride[0]]
            for k in range(self._kernel()[0])
        ]
        # (n, channels, kernel depth, depth, height, width) -> (n x depth, channels x kernel depth, height, width)
        images = torch.stack(slices, 2).permute(0, 3, 1, 2, 4, 5).flatten(2, 3).flatten(0, 1)
        return images, Windows(stride[1:], padding[1:], dilation[1:])

    def _vectors_of_images(self, images: Tensor, windows: Windows) -> InputVectors:
        kernel = (1, *self._kernel())[-2:]
        count, channels, *size = images.shape
        height, width = (side + 2 * pad for side, pad in zip(size, windows.padding, strict=True))
        (top, left), (down, right) = windows.padding, windows.stride
        step = channels * right
        pixels = InputVectors.room((count, height, width, channels), step, images.device)
        pixels[:, top : height - top, left : width - left] = images.permute(0, 2, 3, 1)
        kernel_major = self.mapping.row_order == "kernel_major"
        rows = Rows.of_windows((kernel[0], kernel[1]), channels, width, kernel_major, windows.dilation[:2])
        out = [
            (side - spread * (length - 1) - 1) // jump + 1
            for side, length, jump, spread in zip(
                (height, width), kernel, windows.stride, windows.dilation, strict=True
            )
        ]
        return InputVectors(codes=pixels, rows=rows, grid=(out[0], out[1], width * channels * down, step))

    def _out_size(self, x: Tensor) -> list[int]:
        assert self.windows is not None
        w = self.windows
        sides = zip(x.shape[2:], self._kernel(), w.stride, w.padding, w.dilation, strict=True)
        return [(side + 2 * pad - far * (size - 1) - 1) // jump + 1 for side, size, jump, pad, far in sides]

    def from_windows(self, y: Tensor, x: Tensor) -> Tensor:
        if self.windows is None:
            return y.reshape(*x.shape[:-1], -1)
        return y.reshape(len(x), *self._out_size(x), -1).movedim(-1, 1)

    def to_windows(self, y: Tensor) -> Tensor:
        if self.windows is None:
            return y.reshape(len(y), -1, y.shape[-1])
        return y.flatten(2).transpose(1, 2)

    def read_power(self, codes: Tensor) -> Tensor:
        power = adc.cycle_power(codes, self.accelerator)
        if self.windows is None:
            return self.to_windows(power).sum(-1, keepdim=True)
        ones = torch.ones_like(self.weight[:1, :1])
        return self.to_windows(convolution(power.sum(1, keepdim=True), ones, None, self.windows, 1))
