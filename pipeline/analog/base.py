"""Convolution and linear layers that compute on simulated crossbars.

The forward pass of one layer, in the order of the code (docs/noise_model.md derives each step):

    x   -> input codes of `input_bits` bits, scaled to the layer's input range
    w   -> weight codes of `weight_bits` bits -> cells (pipeline.analog.cells) -> programmed levels of one chip
    for each row block and each input cycle:  column sums -> ADC -> digital sum over slices, cycles and blocks
    y   =  sum * (input step * weight step) + bias

Three ways to run it: training (straight-through quantisation, fresh weight noise at each step), `exact` (every slice,
cycle and conversion as the hardware makes them) and `fast` (cells exact, periphery linear, converter and read noise
added at the output with the variance that `exact` shows; layers whose converters err too much for that run exactly).
"""

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from hw_models.accelerator import Accelerator
from hw_models.mapping import LayerMapping
from hw_models.number_format import FixedPoint
from pipeline.analog import adc
from pipeline.analog.cells import CellCode, code_sigma, program
from pipeline.analog.converter_errors import ErrorSums
from pipeline.analog.input_vectors import InputVectors
from pipeline.analog.programmed_cells import ProgrammedCells
from pipeline.analog.quantise import quantised
from pipeline.analog.simulated_chip import SimulatedChip

Fidelity = Literal["float", "fast", "exact"]
WEIGHT_CLIP_RMS = 2.5  # clip of IBM aihwkit's LAYER_GAUSSIAN weight clipping; outliers would cost range
INPUT_CLIP_RMS = 4.0  # assumed: beyond four times the rms an activation is cut
FAST_ERROR_LIMIT = 0.15  # converter error over signal, above which `fast` is not trusted; see docs/noise_model.md
_RANGE_MOMENTUM = 0.1  # assumed: of the running input range, as torch.nn.BatchNorm2d
_CALIBRATION_PRODUCTS = 2**23  # assumed: of weights and inputs, from whose column sums a full scale is sampled
_CALIBRATION_VECTORS = 256  # assumed: input vectors that are looked at in any case
_CALIBRATION_SUMS = 2**17  # assumed: column sums of a layer from which its full scale is chosen


class NoisyLayer(nn.Module):
    """What `NoisyConv2d` and `NoisyLinear` share. See the module's text for the forward pass.

    Attributes:
        weight, bias: As in torch.nn; the state dict's names are those of the digital layer.
        input_range: Largest input that is coded, scalar; follows the data in training, then frozen. Zero: unknown.
        signed_inputs: Negative inputs have been seen; they are then coded in two's complement, else cut to 0.
        adc_full_scale: Full scale of the layer's converters in levels, scalar; 0 until `calibrate`.
        adc_bias, adc_std: Mean and standard deviation of the converters' error of an output, in codes,
            (2, out_channels); here and below first with ideal cells, then on chips whose cells err.
        adc_common_std: Standard deviation of the part of that error that all outputs of a window share, (2,): columns
            see the same inputs, so that their offsets round and saturate together. `adc_std` is the rest.
        adc_error_ratio: Standard deviation of the converters' error over that of the outputs, (2,).
        noise_strength: Weight noise in training, as a multiple of the device's own; 0 is plain training.
        fidelity: How the layer runs outside training.
        crossbars: Of each chip whose cells are programmed; empty before `program_chips`. With several chips the images
            of a batch belong to them in equal shares, chip after chip.
        compiled: Exact passes on a CPU use `pipeline.analog.kernels.bit_serial`; False keeps to torch, with the same results.
    """

    weight: nn.Parameter
    bias: nn.Parameter | None
    input_range: Tensor
    signed_inputs: Tensor
    adc_full_scale: Tensor
    adc_bias: Tensor
    adc_std: Tensor
    adc_common_std: Tensor
    adc_error_ratio: Tensor

    def __init__(
        self,
        shape: tuple[int, ...],
        bias: bool,
        accelerator: Accelerator,
        mapping: LayerMapping,
        weight_format: FixedPoint | None,
        index: int,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(shape))
        nn.init.kaiming_normal_(self.weight, nonlinearity="relu")
        self.bias = nn.Parameter(torch.zeros(shape[0])) if bias else None
        for name in ("input_range", "adc_full_scale"):
            self.register_buffer(name, torch.tensor(0.0))
        for name in ("adc_common_std", "adc_error_ratio"):
            self.register_buffer(name, torch.zeros(2))
        for name in ("adc_bias", "adc_std"):
            self.register_buffer(name, torch.zeros(2, shape[0]))
        self.register_buffer("signed_inputs", torch.tensor(False))
        self.accelerator = accelerator
        self.mapping = mapping
        self.index = index
        self.weight_format = weight_format
        self.code = CellCode(
            accelerator=accelerator, weight_bits=weight_format.bits if weight_format else accelerator.weight_bits
        )
        self.noise_strength = 0.0
        self.fidelity: Fidelity = "fast"
        self.compiled = True
        self.crossbars: list[ProgrammedCells] = []
        self._programmed: list[Tensor] = []  # folded weights of each chip
        self._weight_value = 0.0
        self._ranging = False  # calibration sets the layer's ranges
        self._errors: ErrorSums | None = None  # calibration collects the converters' errors

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """A digital layer's state dict has no ranges; those in place then stay. Early ones know one converter error."""
        for name, value in self.named_buffers(recurse=False):
            found = state_dict.setdefault(prefix + name, value)
            if name.startswith("adc_") and found.dim() == value.dim() - 1:
                state_dict[prefix + name] = found.expand_as(value)
        super()._load_from_state_dict(state_dict, prefix, *args)

    # What the two kinds of layer do differently.

    def _product(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        raise NotImplementedError

    def _products(self, x: Tensor, weights: list[Tensor], bias: Tensor | None) -> Tensor:
        """`_product` of each chip's share of the images with its own weights."""
        raise NotImplementedError

    def input_vectors(self, codes: Tensor) -> InputVectors:
        """What the wordlines see of input codes that have the layer's input shape."""
        raise NotImplementedError

    def _from_windows(self, y: Tensor, x: Tensor) -> Tensor:
        """(images, windows, out_channels) -> the layer's output shape for input x."""
        raise NotImplementedError

    def _to_windows(self, y: Tensor) -> Tensor:
        """The inverse of `_from_windows`."""
        raise NotImplementedError

    def _power(self, codes: Tensor) -> Tensor:
        """Sum of `adc.cycle_power` over each input vector, (images, windows, 1)."""
        raise NotImplementedError

    @property
    def _kernel_major(self) -> bool:
        return self.mapping.row_order == "kernel_major"

    @property
    def conversions(self) -> int:
        """ADC conversions that exact passes have made on these chips, for audits."""
        return sum(each.conversions for each in self.crossbars)

    @property
    def cycles(self) -> int:
        """Input cycles that exact passes have made on these chips, for audits."""
        return sum(each.cycles for each in self.crossbars)

    # Codes.

    @property
    def weight_step(self) -> Tensor:
        """Value of one weight code, scalar."""
        if self.weight_format:
            return self.weight.new_tensor(2.0**-self.weight_format.fraction_bits)
        rms = self.weight.detach().square().mean().sqrt()
        return (WEIGHT_CLIP_RMS * rms / self.code.max_code).clamp(min=1e-12)

    @property
    def input_bounds(self) -> tuple[int, int]:
        """Lowest and highest input code."""
        bits = self.accelerator.input_bits
        return (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if self.signed_inputs.item() else (0, (1 << bits) - 1)

    @property
    def input_step(self) -> Tensor:
        """Value of one input code, scalar."""
        return self._step_to(self.input_bounds[1])

    def _step_to(self, highest: int) -> Tensor:
        """Value of one input code if the input range is `highest` codes."""
        return (self.input_range / max(highest, 1)).clamp(min=1e-12)

    def weight_codes(self) -> Tensor:
        """Integer weight codes, float, the weight's shape."""
        return torch.round(self.weight.detach() / self.weight_step).clamp(-self.code.max_code, self.code.max_code)

    def input_codes(self, x: Tensor) -> Tensor:
        """Integer input codes, float, within `input_bounds`."""
        low, high = self.input_bounds
        return (x.detach() * (1 / self._step_to(high))).round_().clamp_(low, high)

    def _observe(self, x: Tensor, momentum: float) -> None:
        """Move the input range towards that of `x`."""
        dense = x.is_contiguous(memory_format=torch.channels_last) if x.dim() == 4 else False
        low, high = torch.aminmax(x.permute(0, 2, 3, 1) if dense else x)  # values in the order of memory
        if low < 0 and not self.signed_inputs:
            if self.accelerator.dac_bits > 1 or self.accelerator.input_bits < 2:
                raise ValueError(
                    f"layer {self.index} has negative inputs, which need two's complement planes: dac_bits 1 and 2 or "
                    f"more input_bits, got {self.accelerator.dac_bits} and {self.accelerator.input_bits}; "
                    "put a ReLU before the layer or change the accelerator"
                )
            self.signed_inputs.fill_(True)
        rms = torch.linalg.vector_norm(x, dtype=torch.float32) / math.sqrt(x.numel())  # also under autocast
        top = torch.minimum(torch.maximum(high, -low).float(), INPUT_CLIP_RMS * rms)
        self.input_range.copy_(torch.where(self.input_range > 0, self.input_range.lerp(top, momentum), top))

    # Forward passes.

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            return self._training_pass(x)
        if self.fidelity == "float":
            return self._product(x, self.weight, self.bias)
        if not self.crossbars:
            raise RuntimeError("no chip is programmed; call pipeline.analog.model.program_chip first")
        if len(x) % len(self.crossbars):
            raise ValueError(
                f"{len(x)} images are no equal shares of {len(self.crossbars)} chips; program one, or others"
            )
        if self._ranging and not self.input_range:
            self._observe(x.detach(), 1.0)
        codes = self.input_codes(x)
        if self._ranging:
            self._set_full_scale(codes)
        scale, bias = self.input_step.item() * self._weight_value, None if self.bias is None else self.bias.detach()
        if self.fidelity != "exact" and self._can_be_fast:
            return self._fast(codes, scale, bias)
        y = self._exact(codes, scale, bias)
        if self._errors is not None:
            ideal = self._to_windows(self._product(codes, self._programmed[0] * scale, bias))
            self._errors.add((y - ideal).flatten(0, -2) / scale, ideal.flatten(0, -2) / scale)
        return self._from_windows(y, codes)

    @property
    def _can_be_fast(self) -> bool:
        """Whether noise stands for the converters' error well enough. Where no cell errs, that error is no noise."""
        if self.accelerator.adc_bits is None:
            return True
        return self.accelerator.device.is_noisy and bool(self.adc_error_ratio[self._cells] <= FAST_ERROR_LIMIT)

    def _exact(self, codes: Tensor, scale: float = 1.0, bias: Tensor | None = None) -> Tensor:
        """Every conversion, (images, windows, out_channels)."""
        parts = []
        for crossbars, own in zip(self.crossbars, codes.chunk(len(self.crossbars)), strict=True):
            crossbars.compiled = self.compiled
            vectors = self.input_vectors(own)
            parts.append(crossbars.outputs(vectors, self.adc_full_scale, bool(self.signed_inputs), scale, bias))
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _training_pass(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            self._observe(x, _RANGE_MOMENTUM)
        low, high = self.input_bounds
        x = quantised(x, self._step_to(high), low, high)
        step, top_code = self.weight_step, self.code.max_code
        weight = quantised(self.weight, step, -top_code, top_code)
        if self.noise_strength:
            codes = torch.round(weight.detach() / step).long() + top_code
            sigma = code_sigma(self.code).to(weight.device)[codes] * (step * self.noise_strength)
            noise = torch.randn(weight.numel(), device=weight.device)  # in one piece: several times faster to draw
            weight = weight + sigma * noise.as_strided(weight.shape, self.weight.stride())
        # With one input channel the weight would lose its memory format and slow down all that follows.
        weight = weight.as_strided(weight.shape, self.weight.stride())
        return self._product(x, weight, self.bias)

    def _fast(self, codes: Tensor, scale: float, bias: Tensor | None) -> Tensor:
        """One product with the folded weights; converter and read noise added at the output."""
        weights = [(each * scale).as_strided(each.shape, each.stride()) for each in self._programmed]  # as in training
        y = self._product(codes, weights[0], bias) if len(weights) == 1 else self._products(codes, weights, bias)
        if self.accelerator.adc_bits is None and not self.crossbars[0].read_sigma:
            return y
        shares = zip(self.crossbars, self._to_windows(y).chunk(len(weights)), codes.chunk(len(weights)), strict=True)
        noisy = [self._with_noise(crossbars, own, own_codes, scale) for crossbars, own, own_codes in shares]
        return self._from_windows(noisy[0] if len(noisy) == 1 else torch.cat(noisy), codes)

    def _with_noise(self, crossbars: ProgrammedCells, y: Tensor, codes: Tensor, scale: float) -> Tensor:
        """One chip's outputs (images, windows, out_channels) with converter and read noise."""
        mean, std, common_std = (x[self._cells] for x in (self.adc_bias, self.adc_std, self.adc_common_std))
        if self.compiled and y.device.type == "cpu" and y.dtype == torch.float32:
            y, vectors = y.contiguous(), self.input_vectors(codes)
            crossbars.add_noise(y, vectors, scale, mean, std, common_std)
            return y
        variance = std.square()
        if crossbars.read_sigma:
            per_cell = crossbars.read_sigma**2 * float(crossbars.significance.square().sum())
            variance = variance + per_cell * self._power(codes)
        chip, images = crossbars.chip, crossbars.images(len(y))
        noise = chip.read_noise(y, images, self.index, 0)
        common = common_std * chip.read_noise(y[..., :1], images, self.index, 1)
        y = torch.addcmul(y, noise, variance.sqrt_().mul_(scale))
        return y.add_((mean + common).mul_(scale))

    # Calibration and programming.

    @property
    def _cells(self) -> int:
        """Which of the two converter errors holds."""
        return 0 if self.crossbars[0].chip.ideal_cells else 1

    def _set_errors(self) -> None:
        """Take the statistics of the errors that were collected, if the network used the layer."""
        if self._errors is not None and self._errors.count:
            ratio, bias, std, common_std = self._errors.statistics()
            self.adc_error_ratio[self._cells], self.adc_common_std[self._cells] = ratio, common_std
            self.adc_bias[self._cells], self.adc_std[self._cells] = bias, std
        self._errors = None

    def _set_full_scale(self, codes: Tensor) -> None:
        """Choose the full scale from column sums of random input vectors, each weighed by its slice and cycle."""
        if self.accelerator.adc_bits is None:
            return
        value = self.code.significance().square()
        chance, share = torch.Generator().manual_seed(0), math.ceil(_CALIBRATION_SUMS / len(self.mapping.row_blocks))
        cycles = adc.cycle_values(self.accelerator, bool(self.signed_inputs)).square()
        samples, weights = [], []
        count = max(_CALIBRATION_VECTORS, _CALIBRATION_PRODUCTS // self.weight.numel())
        vectors = self.input_vectors(codes).sample(count, chance)
        for _, sums in self.crossbars[0].column_sums(vectors):
            weight = (cycles[:, None, None, None] * value[:, None]).to(sums).expand(sums.shape)
            picks = torch.randint(sums.numel(), (share,), generator=chance).to(sums.device)
            samples.append(sums.flatten()[picks])
            weights.append(weight.flatten()[picks])
        best = adc.best_full_scale(torch.cat(samples), torch.cat(weights), self.accelerator.adc_bits)
        self.adc_full_scale.copy_(best)

    def program_chips(self, chips: Sequence[SimulatedChip], drift_time_s: float | None = None) -> None:
        """Write the weights into the cells of each chip."""
        codes = self.weight_codes().cpu()
        self._weight_value = self.weight_step.item()
        self.crossbars, self._programmed = [], []
        for chip in chips:
            if chip.ideal_cells:
                levels = self.code.digits(codes)
            else:
                levels = program(self.code, codes, chip.cell_generator(self.index), drift_time_s)
            rows_last = levels.permute(0, 1, 3, 4, 2) if levels.dim() == 5 and self._kernel_major else levels
            self.crossbars.append(
                ProgrammedCells(
                    code=self.code,
                    mapping=self.mapping,
                    index=self.index,
                    chip=chip,
                    levels=rows_last.flatten(2).to(self.weight.device),
                )
            )
            folded = self.code.fold(levels).to(self.weight.device)
            self._programmed.append(torch.empty_like(self.weight, requires_grad=False).copy_(folded))
