"""Layers on simulated crossbars.

The forward pass of one layer, in the order of the code (docs/noise_model.md derives each step):

    x   -> input codes of `input_bits` bits, scaled to the layer's input range
    w   -> weight codes of `weight_bits` bits -> cells (pipeline.analog.cells) -> programmed levels of one chip
    for each row block and each input cycle:  column sums -> ADC -> digital sum over slices, cycles and blocks
        (columns of a weight may be combined before the ADC; sums of the readout `digital` need none)
    y   =  sum * (input step * weight step) + bias

Training quantises with straight-through gradients and draws fresh weight noise at each step. Otherwise `fidelity`
decides: `float` is plain torch; `exact` computes every slice, cycle and conversion as the hardware does; `fast` is one
product with the programmed weights, plus noise of reads and the converters' error at the output, measured by `exact`.
Layers whose converter error is too large or not random run exactly instead.
"""

from typing import Literal

import torch
from torch import Tensor

from hw_models.accelerator import Accelerator
from hw_models.mapping import LayerMapping
from hw_models.number_format import FixedPoint
from hw_models.read_errors import is_noisy
from pipeline.analog.output_noise import compiled_noise, torch_noise
from pipeline.analog.programmed_cells import ProgrammedCells
from pipeline.analog.programmed_layer import ProgrammedLayer
from pipeline.analog.quantise import RangeRule

Fidelity = Literal["float", "fast", "exact"]
FAST_ERROR_LIMIT = 0.15  # converter error over signal, above which `fast` is not trusted; see docs/noise_model.md


class NoisyLayer(ProgrammedLayer):
    """What `NoisyConv2d` and `NoisyLinear` share. The module's docstring gives the forward pass.

    Attributes:
        fidelity: How the layer runs outside training.
        compiled: Use `pipeline.analog.kernels` on a CPU; False keeps to torch, with the same results.
    """

    def __init__(
        self,
        outputs: int,
        accelerator: Accelerator,
        mapping: LayerMapping,
        weight_format: FixedPoint | None = None,
        index: int = 0,
        weight_bits: int | None = None,
        range_rule: RangeRule = "rms",
    ) -> None:
        bits = weight_format.bits if weight_format else weight_bits or accelerator.weight_bits
        super().__init__(outputs, accelerator, bits, mapping, weight_format, index, range_rule)
        self.fidelity: Fidelity = "fast"
        self.compiled = True

    def forward(self, x: Tensor) -> Tensor:
        if self.fidelity == "float" and not self.training:
            return self.product(x, self.weight, self.bias)
        if x.dtype == torch.float32 and not torch.is_autocast_enabled(x.device.type):
            return self._on_crossbars(x)
        with torch.autocast(x.device.type, enabled=False):  # codes and column sums need float32
            y = self._on_crossbars(x.float())
        return y if self.training and self.training_dtype else y.to(x.dtype)

    def _on_crossbars(self, x: Tensor) -> Tensor:
        """The output for inputs in float32."""
        if self.training:
            return self.training_pass(x)
        if not self._chips[0]:
            raise RuntimeError("no chip is programmed; call pipeline.analog.model.program_chip first")
        self.follow_weight()
        if self.stale:
            raise RuntimeError(self.stale)
        if not self.input_range and not self.calibrated_hardware:
            raise RuntimeError(f"{self.label} has no input range; call calibrate with inputs that the layer sees")
        if len(x) % (chips := len(self.programmed)):
            raise ValueError(f"{len(x)} images are no equal shares of {chips} chips; program one, or others")
        codes, bias = self.input_codes(x), None if self.bias is None else self.bias.detach().float()
        if self.fidelity == "fast" and self._can_be_fast:
            return self._fast(codes, self.output_step, bias)
        return self.from_windows(self.exact(codes, self.output_step, bias), codes)

    @property
    def _can_be_fast(self) -> bool:
        """Whether noise can model the converters' error. If nothing else errs, that error is deterministic: False."""
        if self.accelerator.adc_bits is None:
            return True
        return is_noisy(self.accelerator) and bool(self.adc_error_ratio[self.error_entry] <= FAST_ERROR_LIMIT)

    def exact(self, codes: Tensor, scale: float = 1.0, bias: Tensor | None = None) -> Tensor:
        """Outputs, conversion by conversion, (images, windows, out_channels). `codes` have the layer's input shape;
        `scale` and `bias` are those of `ProgrammedCells.outputs`."""
        shares = zip(self.programmed, codes.chunk(len(self.programmed)), strict=True)
        outputs = [self._exact_of_chip(cells, own, scale, bias) for cells, own in shares]
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs)

    def _exact_of_chip(self, cells: ProgrammedCells, codes: Tensor, scale: float, bias: Tensor | None) -> Tensor:
        outputs = []
        for part, own, places in self.parts(cells, codes):
            part.compiled = self.compiled
            settings = self.adc_full_scale, bool(self.signed_inputs), scale, None if bias is None else bias[places]
            outputs.append(part.outputs(self.input_vectors(own), *settings))
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs, -1)

    def _fast(self, codes: Tensor, scale: float, bias: Tensor | None) -> Tensor:
        """One product with the folded weights; noise of reads and the converters' error are added at the output."""
        folded = (cells.folded for cells in self.programmed)
        weights = [(each * scale).as_strided(each.shape, each.stride()) for each in folded]  # the strides of training
        y = self.product(codes, weights[0], bias) if len(weights) == 1 else self.products(codes, weights, bias)
        if self.accelerator.adc_bits is None and not self.programmed[0].noise:
            return y
        shares = zip(self.programmed, self.to_windows(y).chunk(len(weights)), codes.chunk(len(weights)), strict=True)
        noisy = [self._with_noise(cells, own, own_codes, scale) for cells, own, own_codes in shares]
        return self.from_windows(noisy[0] if len(noisy) == 1 else torch.cat(noisy), codes)

    def _with_noise(self, cells: ProgrammedCells, y: Tensor, codes: Tensor, scale: float) -> Tensor:
        """One chip's outputs (images, windows, out_channels) with read noise and the converters' error."""
        outputs = []
        bias, std, common = (errors[self.error_entry] for errors in (self.adc_bias, self.adc_std, self.adc_common_std))
        for part, inputs, places in self.parts(cells, codes):
            own, error = y[..., places], (bias[places], std[places], common)
            if self.compiled and y.device.type == "cpu" and y.dtype == torch.float32:
                outputs.append(compiled_noise(part, own.contiguous(), self.input_vectors(inputs), scale, *error))
            else:
                power = self.read_power(inputs) if part.noise.read_sigma else None
                outputs.append(torch_noise(part, own, power, scale, *error))
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs, -1)
