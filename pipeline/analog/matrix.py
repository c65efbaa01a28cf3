"""A matrix of any model on crossbars: its weight and its inputs are handed to it at each use."""

import dataclasses

import torch
import torch.nn.functional as F
from torch import Tensor

from hw_models.accelerator import Accelerator
from hw_models.mapping import LayerMapping
from pipeline.analog import adc
from pipeline.analog.base import NoisyLayer
from pipeline.analog.input_vectors import InputVectors
from pipeline.analog.products import Product
from pipeline.analog.programmed_cells import ProgrammedCells
from pipeline.analog.windows import Windows, vectors_of_last_side


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
        self.__dict__.update(weight=weight, bias=bias)
        self._followed = False

    def compute(self, product: Product) -> Tensor:
        """The product on crossbars; that of an empty batch needs none.

        Raises:
            RuntimeError: If the inputs do not fit the weight, as in torch.
        """
        given, taken = product.x.shape[-1 if product.windows is None else 1], product.weight.shape[1] * product.groups
        if given != taken:
            raise RuntimeError(f"{self.label} takes {taken} inputs, got {given}")
        self.windows = product.windows
        self.reused = self.reused or self.uses > 0
        self.hand(self._in_packs(product), product.bias)
        if not self.training and self.fidelity != "float":
            self.follow_weight()
        y: Tensor = self(product.x) if product.x.numel() else self.product(product.x, self.weight, self.bias)
        self.uses += 1
        if self.training:  # keep the weight, but not its gradient's history
            self.hand(self.weight.detach(), None if self.bias is None else self.bias.detach())
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
        return self.windows.convolution(x, weight, bias, self.packs)

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
            return vectors_of_last_side(codes)
        return self.windows.input_vectors(codes, self.weight.shape[2:], self.mapping.row_order == "kernel_major")

    def from_windows(self, y: Tensor, x: Tensor) -> Tensor:
        if self.windows is None:
            return y.reshape(*x.shape[:-1], -1)
        y = y.reshape(len(x), *self.windows.out_size(x.shape[2:], self.weight.shape[2:]), -1).movedim(-1, 1)
        return y.contiguous() if x.is_contiguous() else y  # as torch does: models may call view() on it

    def to_windows(self, y: Tensor) -> Tensor:
        if self.windows is None:
            return y.reshape(len(y), -1, y.shape[-1])
        return y.flatten(2).transpose(1, 2)

    def read_power(self, codes: Tensor) -> Tensor:
        power = adc.cycle_power(codes, self.accelerator)
        if self.windows is None:
            return self.to_windows(power).sum(-1, keepdim=True)
        ones = torch.ones_like(self.weight[:1, :1])
        return self.to_windows(self.windows.convolution(power.sum(1, keepdim=True), ones))
