"""The converters' error at a layer's outputs, measured by exact passes: of all outputs, or of a sample."""

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from pipeline.analog import adc
from pipeline.analog.base import NoisyLayer
from pipeline.analog.full_scale import Sample
from pipeline.analog.programmed_cells import ProgrammedCells
from pipeline.analog.simulated_chip import SimulatedChip

_OUTPUTS = 32  # assumed: outputs on which the error of a sampled layer is measured
_VECTORS = 64  # assumed: input vectors of each use and chip for it


class ErrorSums:
    """Sums over the converters' errors at a layer's outputs; the errors themselves would not fit into memory."""

    def __init__(self, layer: NoisyLayer) -> None:
        self._layer = layer
        self.count = 0
        self._sums: Tensor | float = 0.0

    def program(self, chip: SimulatedChip) -> None:
        """Prepare the layer for a pass on a chip."""
        self._layer.fidelity = "exact"
        self._layer.program_chips([chip])

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Within the block, each pass through the layer adds its errors."""
        hook = self._layer.register_forward_hook(self._compare)
        try:
            yield
        finally:
            hook.remove()

    def _compare(self, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        assert isinstance(layer, NoisyLayer)
        scale, codes = layer.output_step, layer.input_codes(inputs[0])
        bias = None if layer.bias is None else layer.bias.detach().float()
        ideal = layer.to_windows(layer.product(codes, layer.programmed[0].folded * scale, bias))
        self.add((layer.to_windows(output) - ideal).flatten(0, -2) / scale, ideal.flatten(0, -2) / scale)

    def add(self, error: Tensor, ideal: Tensor) -> None:
        """Add errors, and outputs without them, both in codes, (windows, out_channels)."""
        error, ideal = error.double(), ideal.double()
        common = error.mean(1, keepdim=True).expand_as(error)
        parts = (error, ideal, common, error.square(), ideal.square(), common.square(), error * common)
        self.count += len(error)
        self._sums = self._sums + torch.stack([part.sum(0) for part in parts])

    def store(self, entry: int) -> None:
        """Set the layer's converter error for chips with ideal cells (0) or with errors (1)."""
        ratio, bias, std, common_std = self.statistics()
        self._layer.adc_error_ratio[entry], self._layer.adc_common_std[entry] = ratio, common_std
        self._layer.adc_bias[entry], self._layer.adc_std[entry] = bias, std

    def statistics(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """`NoisyLayer.adc_error_ratio`, `adc_bias`, `adc_std` and `adc_common_std` from the sums."""
        assert isinstance(self._sums, Tensor)
        error, ideal, common = self._sums[:3] / self.count
        squares = self._sums[3:] / self.count
        var, ideal_var, common_var = squares[:3] - torch.stack([error, ideal, common]).square()
        rest = var + common_var - 2 * (squares[3] - error * common)
        ratio = (var.mean() / ideal_var.mean().clamp(1e-18)).clamp(0).sqrt()
        return ratio, error, rest.clamp(0).sqrt(), common_var[0].clamp(0).sqrt()


class SampledErrorSums(ErrorSums):
    """Sums over the errors of some outputs and input vectors, of a layer too large for exact passes.

    Layers after it see coded inputs and weights in it, but no errors of its converters and cells.
    """

    def __init__(self, layer: NoisyLayer) -> None:
        super().__init__(layer)
        self._samples = Sample.of(layer, _OUTPUTS)
        self._weight = layer.weight_codes().mul_(layer.weight_step)
        self._cells: list[ProgrammedCells] = []
        self._passes = 0

    def program(self, chip: SimulatedChip) -> None:
        self._layer.fidelity, self._layer.programmed = "float", []
        self._cells = [sample.cells(self._layer, chip) for sample in self._samples]

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        vars(self._layer)["forward"] = self._sampled
        try:
            yield
        finally:
            del vars(self._layer)["forward"]

    def _sampled(self, x: Tensor) -> Tensor:
        """The output of coded inputs and weights; the errors of some outputs are added."""
        layer = self._layer
        codes, bias = layer.input_codes(x), None if layer.bias is None else layer.bias.detach().float()
        if layer.accelerator.adc_bits is not None:
            errors = []
            for cells, sample in zip(self._cells, self._samples, strict=True):
                vectors = sample.vectors(layer, codes, _VECTORS, self._passes)  # the same windows of all packs
                errors.append(_digital_errors(cells, vectors, layer.adc_full_scale, bool(layer.signed_inputs)))
            self.add(*(torch.cat(parts, 1) for parts in zip(*errors, strict=True)))
            self._passes += 1
        return layer.product(codes.mul_(layer.input_step), self._weight, bias).to(x.dtype)

    def statistics(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """As of all outputs: those that were not measured err as those that were, taken together."""
        ratio, error, std, common_std = super().statistics()
        together = (std.square().mean() + error.var(correction=0)).sqrt()
        outputs = torch.cat([sample.outputs for sample in self._samples])
        like = self._layer.adc_bias[0].double()
        bias = torch.full_like(like, float(error.mean())).index_copy(0, outputs, error)
        rest = torch.full_like(like, float(together)).index_copy(0, outputs, std)
        return ratio, bias, rest, common_std


def _digital_errors(cells: ProgrammedCells, vectors: Tensor, full_scale: Tensor, signed: bool) -> tuple[Tensor, Tensor]:
    """Errors of digital outputs, and the outputs without them, in codes, (n, outputs), for vectors (1, n, rows)."""
    accelerator = cells.code.accelerator
    assert accelerator.adc_bits is not None
    step = adc.adc_step(full_scale, accelerator.adc_bits)
    values = (adc.cycle_values(accelerator, signed)[:, None] * cells.significance).to(vectors)
    error = ideal = torch.zeros((), device=vectors.device)
    for _, sums in cells.column_sums(vectors):
        rounded = adc.convert(sums, full_scale, accelerator.adc_bits) * step
        error = error + torch.einsum("icnko,ck->no", rounded - sums, values)
        ideal = ideal + torch.einsum("icnko,ck->no", sums, values)
    return error, ideal - cells.weight_free_part * vectors[0].sum(-1, keepdim=True)
