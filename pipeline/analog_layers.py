"""Convolution and linear layers that compute on simulated crossbars.

The forward pass of one layer, in the order of the code (docs/noise_model.md derives each step):

    x   -> input codes of `input_bits` bits, scaled to the layer's input range
    w   -> weight codes of `weight_bits` bits -> cells (pipeline.cells) -> programmed levels of one chip
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
import torch.nn.functional as F
from torch import Tensor, nn

from hw_models.accelerator import Accelerator
from hw_models.mapping import LayerMapping
from pipeline import adc
from pipeline.cells import CellCode, code_sigma, program
from pipeline.chips import Chip
from pipeline.crossbars import Crossbars
from pipeline.design_point import FixedPoint
from pipeline.input_vectors import InputVectors, Rows

Fidelity = Literal["float", "fast", "exact"]

WEIGHT_CLIP_RMS = 2.5  # clip of IBM aihwkit's LAYER_GAUSSIAN weight clipping; outliers would cost range
INPUT_CLIP_RMS = 4.0  # assumed: beyond four times the rms an activation is cut
FAST_ERROR_LIMIT = 0.15  # converter error over signal, above which `fast` is not trusted; see docs/noise_model.md
_RANGE_MOMENTUM = 0.1  # assumed: of the running input range, as torch.nn.BatchNorm2d
_CALIBRATION_PRODUCTS = 2**23  # assumed: of weights and inputs, from whose column sums a full scale is sampled
_CALIBRATION_VECTORS = 256  # assumed: input vectors that are looked at in any case
_CALIBRATION_SUMS = 2**17  # assumed: column sums of a layer from which its full scale is chosen
_CALIBRATION_CHIPS = 4  # assumed: on which the converters' error is measured, each on its share of the images


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
        compiled: Exact passes on a CPU use `pipeline.kernels`; False keeps to torch, with the same results.
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
        self.crossbars: list[Crossbars] = []
        self._programmed: list[Tensor] = []  # folded weights of each chip
        self._weight_value = 0.0
        self._ranging = False  # calibration sets the layer's ranges
        self._errors: _ErrorSums | None = None  # calibration collects the converters' errors

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
            raise RuntimeError("no chip is programmed; call pipeline.analog_layers.program_chip first")
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
        return self.accelerator.device.errs and bool(self.adc_error_ratio[self._cells] <= FAST_ERROR_LIMIT)

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
        x = _quantised(x, self._step_to(high), low, high)
        step, top_code = self.weight_step, self.code.max_code
        weight = _quantised(self.weight, step, -top_code, top_code)
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

    def _with_noise(self, crossbars: Crossbars, y: Tensor, codes: Tensor, scale: float) -> Tensor:
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

    def program_chips(self, chips: Sequence[Chip], drift_time_s: float | None = None) -> None:
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
                Crossbars(
                    code=self.code,
                    mapping=self.mapping,
                    index=self.index,
                    chip=chip,
                    levels=rows_last.flatten(2).to(self.weight.device),
                )
            )
            folded = self.code.fold(levels).to(self.weight.device)
            self._programmed.append(torch.empty_like(self.weight, requires_grad=False).copy_(folded))


class _ErrorSums:
    """Converters' errors of a layer's outputs, as sums: those of all images would not fit into memory."""

    def __init__(self) -> None:
        self.count = 0
        self._sums: Tensor | float = 0.0

    def add(self, error: Tensor, ideal: Tensor) -> None:
        """Errors and outputs without them, both (windows, out_channels)."""
        error, ideal = error.double(), ideal.double()
        common = error.mean(1, keepdim=True).expand_as(error)
        parts = (error, ideal, common, error.square(), ideal.square(), common.square(), error * common)
        self.count += len(error)
        self._sums = self._sums + torch.stack([part.sum(0) for part in parts])

    def statistics(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """`NoisyLayer.adc_error_ratio`, `adc_bias`, `adc_std` and `adc_common_std` for these cells."""
        assert isinstance(self._sums, Tensor)
        error, ideal, common = self._sums[:3] / self.count
        squares = self._sums[3:] / self.count
        var, ideal_var, common_var = squares[:3] - torch.stack([error, ideal, common]).square()
        rest = var + common_var - 2 * (squares[3] - error * common)
        ratio = (var.mean() / ideal_var.mean().clamp(1e-18)).clamp(0).sqrt()
        return ratio, error, rest.clamp(0).sqrt(), common_var[0].clamp(0).sqrt()


class NoisyConv2d(NoisyLayer):
    """A convolution (square kernel, one stride and one zero padding for both sides) on crossbars.

    Args:
        in_channels, out_channels, kernel, stride: As in torch.nn.Conv2d.
        bias: Whether a digital bias is added.
        padding: As in torch.nn.Conv2d; None: `kernel // 2`.
        accelerator: The hardware.
        mapping: The layer's place on crossbars.
        weight_format: Fixed-point format; None scales codes to 2.5 times the weights' rms.
        index: Number of the layer; its cells draw from a stream of that number.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        stride: int = 1,
        bias: bool = True,
        padding: int | None = None,
        *,
        accelerator: Accelerator,
        mapping: LayerMapping,
        weight_format: FixedPoint | None = None,
        index: int = 0,
    ) -> None:
        shape = (out_channels, in_channels, kernel, kernel)
        super().__init__(shape, bias, accelerator, mapping, weight_format, index)
        self.stride, self.padding = stride, kernel // 2 if padding is None else padding

    def _product(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return F.conv2d(x, weight, bias, self.stride, self.padding)

    def _products(self, x: Tensor, weights: list[Tensor], bias: Tensor | None) -> Tensor:
        chips, biases = len(weights), None if bias is None else bias.repeat(len(weights))
        y = F.conv2d(side_by_side(x, chips), torch.cat(weights), biases, self.stride, self.padding, groups=chips)
        return one_after_another(y, chips)

    def _out_size(self, x: Tensor) -> tuple[int, int]:
        height, width = ((side + 2 * self.padding - self.weight.shape[-1]) // self.stride + 1 for side in x.shape[2:])
        return height, width

    def input_vectors(self, codes: Tensor) -> InputVectors:
        kernel, channels, pad = self.weight.shape[-1], codes.shape[1], self.padding
        height, width = (side + 2 * pad for side in codes.shape[2:])
        step = channels * self.stride
        pixels = InputVectors.room((len(codes), height, width, channels), step, codes.device)
        pixels[:, pad : height - pad, pad : width - pad] = codes.permute(0, 2, 3, 1)
        rows = Rows.of_windows(kernel, channels, width, self._kernel_major)
        return InputVectors(codes=pixels, rows=rows, grid=(*self._out_size(codes), width * step, step))

    def _from_windows(self, y: Tensor, x: Tensor) -> Tensor:
        return y.view(len(y), *self._out_size(x), -1).permute(0, 3, 1, 2)

    def _to_windows(self, y: Tensor) -> Tensor:
        return y.permute(0, 2, 3, 1).flatten(1, 2)

    def _power(self, codes: Tensor) -> Tensor:
        power = adc.cycle_power(codes, self.accelerator).sum(1, keepdim=True)
        return self._to_windows(self._product(power, torch.ones_like(self.weight[:1, :1]), None))


class NoisyLinear(NoisyLayer):
    """A fully connected layer on crossbars, inputs (images, ..., in_features). Arguments as in `NoisyConv2d`."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        accelerator: Accelerator,
        mapping: LayerMapping,
        weight_format: FixedPoint | None = None,
        index: int = 0,
    ) -> None:
        super().__init__((out_features, in_features), bias, accelerator, mapping, weight_format, index)

    def _product(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return F.linear(x, weight, bias)

    def _products(self, x: Tensor, weights: list[Tensor], bias: Tensor | None) -> Tensor:
        y = x.reshape(len(weights), -1, x.shape[-1]) @ torch.stack(weights).mT
        return (y if bias is None else y + bias).reshape(*x.shape[:-1], -1)

    def input_vectors(self, codes: Tensor) -> InputVectors:
        features = codes.shape[-1]
        vectors = InputVectors.room(tuple(codes.shape), features, codes.device).copy_(codes)
        grid = (1, codes[0].numel() // features, 0, features)
        return InputVectors(codes=vectors, rows=Rows.of_windows(1, features, 1, True), grid=grid)

    def _from_windows(self, y: Tensor, x: Tensor) -> Tensor:
        return y.reshape(*x.shape[:-1], -1)

    def _to_windows(self, y: Tensor) -> Tensor:
        return y.reshape(len(y), -1, y.shape[-1])

    def _power(self, codes: Tensor) -> Tensor:
        return self._to_windows(adc.cycle_power(codes, self.accelerator)).sum(-1, keepdim=True)


class _StraightThrough(torch.autograd.Function):
    """Quantise to whole steps from `low` to `high`; the gradient passes where nothing was cut."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, step: Tensor, low: int, high: int) -> Tensor:
        steps = x * (1 / step)
        ctx.save_for_backward(steps)
        ctx.bounds = (low - 0.5 if low else -math.inf, high + 0.5)  # low is 0: no input is negative
        return torch.round(steps).clamp_(low, high).mul_(step)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        (steps,) = ctx.saved_tensors
        # The gradient within the bounds, in one pass: ten times faster than a mask.
        return torch.ops.aten.hardtanh_backward(gradient, steps, *ctx.bounds), None, None, None


def _quantised(x: Tensor, step: Tensor, low: int, high: int) -> Tensor:
    y: Tensor = _StraightThrough.apply(x, step, low, high)  # type: ignore[no-untyped-call]
    return y


def side_by_side(x: Tensor, chips: int) -> Tensor:
    """Images of several chips, (chips * n, channels, ...) -> (n, chips * channels, ...), a chip a group of channels."""
    return x.view(chips, -1, *x.shape[1:]).transpose(0, 1).flatten(1, 2)


def one_after_another(x: Tensor, chips: int) -> Tensor:
    """The inverse of `side_by_side`."""
    return x.view(len(x), chips, -1, *x.shape[2:]).transpose(0, 1).flatten(0, 1)


def noisy_layers(model: nn.Module) -> list[NoisyLayer]:
    """The crossbar layers of a model, in order."""
    return [module for module in model.modules() if isinstance(module, NoisyLayer)]


def set_noise_strength(model: nn.Module, strength: float) -> None:
    """Weight noise in training, as a multiple of the device's own programming error; 0 is plain training."""
    for layer in noisy_layers(model):
        layer.noise_strength = strength


def program_chip(model: nn.Module, chip: Chip, fidelity: Fidelity = "fast", drift_time_s: float | None = None) -> None:
    """Write a model's weights into the cells of one chip and choose how its layers run from now on."""
    program_chips(model, [chip], fidelity, drift_time_s)


def program_chips(
    model: nn.Module, chips: Sequence[Chip], fidelity: Fidelity = "fast", drift_time_s: float | None = None
) -> None:
    """`program_chip` for several chips at once: a batch then holds the images of each, as many for all, in their order.

    Either all or none of them have ideal cells.
    """
    for layer in noisy_layers(model):
        layer.fidelity = fidelity
        layer.program_chips(chips, drift_time_s)


@torch.no_grad()
def calibrate(model: nn.Module, images: Tensor) -> None:
    """Fix each layer's ADC full scale, once, on training images and ideal cells; all chips keep it.

    The rule: of 39 full scales from 5 % to 100 % of a layer's largest column sum, the one with the least squared error
    of the layer's digital output, each sum weighed by its slice and cycle. The error that converters then leave, which
    the `fast` fidelity adds at the output, is measured on four simulated chips of its own, each on a quarter of the
    images. Input ranges that training has not set (a converted digital model) are set here: the smaller of the largest
    input and four times the rms, signed if any input is negative.

    Args:
        model: A model with crossbar layers.
        images: Training images, (n, channels, height, width); 64 to 256 are enough.

    Raises:
        ValueError: If there are fewer than 2 images, from which no deviation can be taken.
    """
    if len(images) < 2:
        raise ValueError(f"calibration needs 2 images or more, better 64 to 256, got {len(images)}")
    model.eval()
    layers = noisy_layers(model)
    chips = [Chip.for_calibration(index) for index in range(_CALIBRATION_CHIPS)]
    try:
        for layer in layers:
            layer._ranging = True
        _measure_errors(model, [Chip.nominal()], images)
        for layer in layers:
            layer._ranging = False
        if any(layer.accelerator.device.errs and layer.accelerator.adc_bits is not None for layer in layers):
            _measure_errors(model, chips, images)
    finally:
        for layer in layers:
            layer._ranging, layer._errors = False, None
    program_chip(model, Chip.nominal(), "exact")


def _measure_errors(model: nn.Module, chips: list[Chip], images: Tensor) -> None:
    """What converters add, on chips each of which sees its share of the images."""
    for layer in noisy_layers(model):
        layer._errors = _ErrorSums()
    for chip, part in zip(chips, images.chunk(len(chips)), strict=False):  # fewer images than chips are enough
        program_chip(model, chip, "exact")
        model(part)
    for layer in noisy_layers(model):
        layer._set_errors()
