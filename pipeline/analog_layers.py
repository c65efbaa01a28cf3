"""Convolution and linear layers that compute on simulated crossbars.

The forward pass of one layer, in the order of the code (docs/noise_model.md derives each step):

    x   -> input codes of `input_bits` bits, scaled to the layer's input range
    w   -> weight codes of `weight_bits` bits -> cells (pipeline.cells) -> programmed levels of one chip
    for each row block and each input cycle:  column sums -> ADC -> digital sum over slices, cycles and blocks
    y   =  sum * (input step * weight step) + bias

Three ways to run it: training (straight-through quantisation, fresh weight noise at each step), `exact` (every slice,
cycle and conversion as the hardware makes them) and `fast` (cells exact, periphery linear, converter and read noise
added at the output with the variance that `exact` shows).
"""

import math
from collections.abc import Iterator
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hw_models.accelerator import Accelerator
from hw_models.mapping import LayerMapping
from pipeline.cells import CellCode, code_sigma, program
from pipeline.chips import Chip
from pipeline.design_point import FixedPoint

Fidelity = Literal["float", "fast", "exact"]

WEIGHT_CLIP_RMS = 2.5  # clip of IBM aihwkit's LAYER_GAUSSIAN weight clipping; outliers would cost range
INPUT_CLIP_RMS = 4.0  # assumed: beyond four times the rms an activation is cut
_RANGE_MOMENTUM = 0.1  # assumed: of the running input range, as torch.nn.BatchNorm2d
_SUMS_IN_MEMORY = 2**23  # column sums held at once (32 MiB)
_CALIBRATION_SUMS = 2**17  # column sums of a layer from which its full scale is chosen
_FULL_SCALE_STEPS = 39  # full scales tried, from 5 % to 100 % of the largest sum


class NoisyLayer(nn.Module):
    """What `NoisyConv2d` and `NoisyLinear` share. See the module's text for the forward pass.

    Attributes:
        weight, bias: As in torch.nn; the state dict's names are those of the digital layer.
        input_range: Largest input that is coded, scalar; follows the data in training, then frozen.
        adc_full_scale: Full scale of the layer's converters in levels, scalar; 0 until `calibrate`.
        adc_bias, adc_std: Mean and standard deviation of the converters' error of an output, in codes, (out_channels,).
        adc_common_std: Standard deviation of the part of that error that all outputs of a window share, scalar: columns
            see the same inputs, so that their offsets round and saturate together. `adc_std` is the rest.
        noise_strength: Weight noise in training, as a multiple of the device's own; 0 is plain training.
        fidelity: How the layer runs outside training.
        chip: The chip whose cells are programmed; None before `program_chip`.
        conversions, cycles: ADC conversions and input cycles that exact passes have made, for audits.
    """

    weight: nn.Parameter
    bias: nn.Parameter | None
    input_range: Tensor
    adc_full_scale: Tensor
    adc_bias: Tensor
    adc_std: Tensor
    adc_common_std: Tensor

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
        for name in ("input_range", "adc_full_scale", "adc_common_std"):
            self.register_buffer(name, torch.tensor(0.0))
        for name in ("adc_bias", "adc_std"):
            self.register_buffer(name, torch.zeros(shape[0]))
        self.accelerator = accelerator
        self.mapping = mapping
        self.index = index
        self.weight_format = weight_format
        self.code = CellCode(
            accelerator=accelerator, weight_bits=weight_format.bits if weight_format else accelerator.weight_bits
        )
        self.noise_strength = 0.0
        self.fidelity: Fidelity = "fast"
        self.chip: Chip | None = None
        self.conversions = 0
        self.cycles = 0
        self._cells: Tensor | None = None
        self._programmed: Tensor | None = None
        self._calibrating = False

    # What the two kinds of layer do differently.

    def _product(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        raise NotImplementedError

    def _windows(self, x: Tensor) -> Tensor:
        """Input vectors in the mapping's row order, (images, windows, rows)."""
        raise NotImplementedError

    def _from_windows(self, y: Tensor, x: Tensor) -> Tensor:
        """(images, windows, out_channels) -> the layer's output shape for input x."""
        raise NotImplementedError

    def _rows_last(self, cells: Tensor) -> Tensor:
        """Cells (columns, *weight.shape) -> (columns, out_channels, rows) in the mapping's row order."""
        if cells.dim() == 5 and self.mapping.row_order == "kernel_major":
            cells = cells.permute(0, 1, 3, 4, 2)
        return cells.flatten(2)

    def _per_channel(self, values: Tensor) -> Tensor:
        return values.view(-1, *([1] * (self.weight.dim() - 2)))

    # Codes.

    @property
    def weight_step(self) -> Tensor:
        """Value of one weight code, scalar."""
        if self.weight_format:
            return self.weight.new_tensor(2.0**-self.weight_format.fraction_bits)
        rms = self.weight.detach().square().mean().sqrt()
        return (WEIGHT_CLIP_RMS * rms / self.code.max_code).clamp(min=1e-12)

    @property
    def input_step(self) -> Tensor:
        """Value of one input code, scalar."""
        return (self.input_range / (2**self.accelerator.input_bits - 1)).clamp(min=1e-12)

    def weight_codes(self) -> Tensor:
        """Integer weight codes, float, the weight's shape."""
        return torch.round(self.weight.detach() / self.weight_step).clamp(-self.code.max_code, self.code.max_code)

    def input_codes(self, x: Tensor) -> Tensor:
        """Integer input codes, float, from 0 to 2**input_bits - 1. Negative inputs are cut to 0."""
        return torch.round(x / self.input_step).clamp(0, 2**self.accelerator.input_bits - 1)

    # Forward passes.

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            return self._training_pass(x)
        if self.fidelity == "float":
            return self._product(x, self.weight, self.bias)
        if self._programmed is None:
            raise RuntimeError("no chip is programmed; call pipeline.analog_layers.program_chip first")
        codes = self.input_codes(x)
        if self._calibrating:
            y = self._calibrate(codes)
        else:
            y = self._exact_sum(codes) if self.fidelity == "exact" else self._fast_sum(codes)
        y = y * (self.input_step * self.weight_step)
        return y if self.bias is None else y + self._per_channel(self.bias)

    def _training_pass(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            top = torch.minimum(x.max(), INPUT_CLIP_RMS * x.square().mean().sqrt())
            known = self.input_range > 0
            self.input_range.copy_(torch.where(known, self.input_range.lerp(top, _RANGE_MOMENTUM), top))
        levels = 2**self.accelerator.input_bits - 1
        zero = torch.zeros((), dtype=torch.int32, device=x.device)
        x = torch.fake_quantize_per_tensor_affine(x, self.input_step, zero, 0, levels)
        step, top_code = self.weight_step, self.code.max_code
        weight = torch.fake_quantize_per_tensor_affine(self.weight, step, zero, -top_code, top_code)
        if self.noise_strength:
            codes = torch.round(weight.detach() / step).long() + top_code
            sigma = code_sigma(self.code).to(weight.device)[codes] * (step * self.noise_strength)
            # With one input channel the noise would lose the weight's memory format and slow the convolution down.
            noise = torch.randn_like(weight).as_strided(weight.shape, self.weight.stride())
            weight = weight + sigma * noise
        return self._product(x, weight, self.bias)

    def _fast_sum(self, codes: Tensor) -> Tensor:
        assert self._programmed is not None and self.chip is not None
        y = self._product(codes, self._programmed, None)
        variance = self._per_channel(self.adc_std.square())
        read_sigma = 0.0 if self.chip.ideal_cells else self.accelerator.device.read_sigma
        if read_sigma:
            per_cell = (read_sigma / self.code.step) ** 2 * float(self.code.significance().square().sum())
            ones = torch.ones_like(self.weight[:1])
            variance = variance + per_cell * self._product(_cycle_power(codes, self.accelerator), ones, None)
        if self.accelerator.adc_bits is None and not read_sigma:
            return y
        noise = self.chip.read_noise(y, self.chip.images, self.index, 0)
        common = self.adc_common_std * self.chip.read_noise(y[:, :1], self.chip.images, self.index, 1)
        return y + self._per_channel(self.adc_bias) + common + variance.sqrt() * noise

    def _exact_sum(self, codes: Tensor) -> Tensor:
        """`_exact_chunk` over as many images at a time as fit in memory."""
        assert self.chip is not None and self._cells is not None
        per_image = self._windows(codes[:1]).shape[1] * self.accelerator.input_cycles * self._cells[:, :, :1].numel()
        chunk = max(1, _SUMS_IN_MEMORY // per_image)
        images = self.chip.images if len(self.chip.images) == len(codes) else torch.arange(len(codes))
        parts = zip(codes.split(chunk), images.split(chunk), strict=True)
        return torch.cat([self._exact_chunk(part, ids) for part, ids in parts])

    def _exact_chunk(self, codes: Tensor, images: Tensor) -> Tensor:
        assert self.chip is not None
        windows = self._windows(codes)
        read_sigma = 0.0 if self.chip.ideal_cells else self.accelerator.device.read_sigma / self.code.step
        total = torch.zeros(())
        for block, (slices, sums) in enumerate(self._column_sums(windows)):
            if read_sigma:
                reach = slices.square().sum(-1).sqrt()[..., None, None]  # independent noise of the active cells
                sums = sums + read_sigma * reach * self.chip.read_noise(sums, images, self.index, 1 + block)
            digital = self._convert(sums) - self.code.baseline * slices.sum(-1)[..., None, None]
            cycle_value = 2.0 ** (self.accelerator.dac_bits * torch.arange(slices.shape[1], device=sums.device))
            total = total + torch.einsum("niwko,i,k->nwo", digital, cycle_value, self.code.significance().to(sums))
        self.cycles += windows[..., 0].numel() * self.accelerator.input_cycles
        return self._from_windows(total - self.code.offset * windows.sum(-1, keepdim=True), codes)

    def _column_sums(self, windows: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """For each row block: what its wordlines carry, (images, cycles, windows, rows), and its column sums in levels,
        (images, cycles, windows, columns of a weight, out_channels)."""
        assert self._cells is not None
        cells = self._rows_last(self._cells) + self.code.baseline
        for start, stop in self.mapping.row_blocks:
            slices = _input_cycles(windows[..., start:stop], self.accelerator)
            matrix = cells[..., start:stop].flatten(0, 1).t()
            yield slices, (slices @ matrix).unflatten(-1, cells.shape[:2])

    def _convert(self, sums: Tensor) -> Tensor:
        """The ADC: unipolar, from 0 to the frozen full scale, saturating. Counts its conversions."""
        self.conversions += sums.numel()
        if self.accelerator.adc_bits is None:
            return sums
        return _quantise(sums, self.adc_full_scale, self.accelerator.adc_bits)

    # Calibration and programming.

    def _calibrate(self, codes: Tensor) -> Tensor:
        """Set the full scale from column sums of these inputs, measure the error that converters then leave in the
        output, and give that output."""
        assert self._programmed is not None
        few = codes[: max(1, _SUMS_IN_MEMORY // (codes[:1].numel() * self.weight[:, :1].numel()))]
        self.adc_full_scale.copy_(self._best_full_scale(few))
        y = self._exact_sum(codes)
        error = (y - self._product(codes, self._programmed, None)).transpose(0, 1).flatten(1)
        self.adc_bias.copy_(error.mean(1))
        centred = error - self.adc_bias[:, None]
        common = centred.mean(0, keepdim=True)
        self.adc_common_std.copy_(common.std())
        self.adc_std.copy_((centred - common).std(1))
        self.conversions = self.cycles = 0
        return y

    def _best_full_scale(self, codes: Tensor) -> Tensor:
        """The full scale with the least squared error of the digital sum: coarser steps against more saturation."""
        if self.accelerator.adc_bits is None:
            return self.adc_full_scale
        value = self.code.significance().square()
        chance, share = torch.Generator().manual_seed(0), math.ceil(_CALIBRATION_SUMS / len(self.mapping.row_blocks))
        samples, weights = [], []
        for slices, sums in self._column_sums(self._windows(codes)):
            cycles = 4.0 ** (self.accelerator.dac_bits * torch.arange(slices.shape[1]))
            weight = (cycles[:, None, None, None] * value[:, None]).to(sums).expand(sums.shape)
            picks = torch.randint(sums.numel(), (share,), generator=chance).to(sums.device)
            samples.append(sums.flatten()[picks])
            weights.append(weight.flatten()[picks])
        seen, weight = torch.cat(samples), torch.cat(weights)
        bits = self.accelerator.adc_bits
        candidates = _whole_steps(seen.max() * torch.linspace(0.05, 1, _FULL_SCALE_STEPS, device=seen.device), bits)
        losses = [(weight * (_quantise(seen, top, bits) - seen).square()).sum() for top in candidates]
        return candidates[int(torch.stack(losses).argmin())]

    def program_chip(self, chip: Chip, drift_time_s: float | None) -> None:
        """Write the weights into the cells of `chip`."""
        codes = self.weight_codes().cpu()
        if chip.ideal_cells:
            levels = self.code.digits(codes)
        else:
            levels = program(self.code, codes, chip.cell_generator(self.index), drift_time_s)
        self.chip = chip
        self._cells = levels.to(self.weight.device)
        self._programmed = self.code.fold(levels).to(self.weight.device)


class NoisyConv2d(NoisyLayer):
    """A convolution (square kernel, `kernel // 2` zeros of padding) on crossbars.

    Args:
        in_channels, out_channels, kernel, stride: As in torch.nn.Conv2d.
        bias: Whether a digital bias is added.
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
        *,
        accelerator: Accelerator,
        mapping: LayerMapping,
        weight_format: FixedPoint | None = None,
        index: int = 0,
    ) -> None:
        shape = (out_channels, in_channels, kernel, kernel)
        super().__init__(shape, bias, accelerator, mapping, weight_format, index)
        self.stride, self.padding = stride, kernel // 2

    def _product(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return F.conv2d(x, weight, bias, self.stride, self.padding)

    def _windows(self, x: Tensor) -> Tensor:
        kernel = self.weight.shape[-1]
        columns = F.unfold(x, kernel, padding=self.padding, stride=self.stride)
        if self.mapping.row_order == "kernel_major":
            columns = columns.unflatten(1, (x.shape[1], kernel**2)).transpose(1, 2).flatten(1, 2)
        return columns.transpose(1, 2)

    def _from_windows(self, y: Tensor, x: Tensor) -> Tensor:
        return y.transpose(1, 2).unflatten(-1, (-(-x.shape[2] // self.stride), -1))


class NoisyLinear(NoisyLayer):
    """A fully connected layer on crossbars. Arguments as in `NoisyConv2d`."""

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

    def _windows(self, x: Tensor) -> Tensor:
        return x.unsqueeze(1)

    def _from_windows(self, y: Tensor, x: Tensor) -> Tensor:
        return y.squeeze(1)


def noisy_layers(model: nn.Module) -> list[NoisyLayer]:
    """The crossbar layers of a model, in order."""
    return [module for module in model.modules() if isinstance(module, NoisyLayer)]


def set_noise_strength(model: nn.Module, strength: float) -> None:
    """Weight noise in training, as a multiple of the device's own programming error; 0 is plain training."""
    for layer in noisy_layers(model):
        layer.noise_strength = strength


def program_chip(model: nn.Module, chip: Chip, fidelity: Fidelity = "fast", drift_time_s: float | None = None) -> None:
    """Write a model's weights into the cells of one chip and choose how its layers run from now on."""
    for layer in noisy_layers(model):
        layer.fidelity = fidelity
        layer.program_chip(chip, drift_time_s)


@torch.no_grad()
def calibrate(model: nn.Module, images: Tensor) -> None:
    """Fix each layer's ADC full scale, once, on training images and ideal cells; all chips keep it.

    The rule: of 39 full scales from 5 % to 100 % of a layer's largest column sum, the one with the least squared error
    of the layer's digital output, each sum weighed by its slice and cycle. The same pass measures the error that is
    left, which the `fast` fidelity adds at the output.

    Args:
        model: A model with crossbar layers whose input ranges are known (after training).
        images: Training images, (n, channels, height, width); 64 to 256 are enough.
    """
    model.eval()
    program_chip(model, Chip.nominal(), "exact")
    for layer in noisy_layers(model):
        layer._calibrating = True
    try:
        model(images)
    finally:
        for layer in noisy_layers(model):
            layer._calibrating = False


def _quantise(sums: Tensor, full_scale: Tensor, adc_bits: int) -> Tensor:
    """What an ADC of 2**adc_bits codes from 0 to `full_scale` makes of column sums, in levels."""
    top_code = 2**adc_bits - 1
    lsb = full_scale / top_code
    return torch.round(sums / lsb).clamp_(0, top_code) * lsb


def _whole_steps(full_scale: Tensor, adc_bits: int) -> Tensor:
    """`full_scale`, widened so that a step finer than one level divides it: sums of ideal cells then lose nothing."""
    lsb = (full_scale / (2**adc_bits - 1)).clamp(min=1e-6)
    return torch.where(lsb < 1, 1 / torch.floor(1 / lsb), lsb) * (2**adc_bits - 1)


def _input_cycles(codes: Tensor, accelerator: Accelerator) -> Tensor:
    """What the wordlines carry: (images, windows, rows) -> (images, cycles, windows, rows), lowest bits first."""
    whole, bits = codes.int(), accelerator.dac_bits
    return torch.stack([(whole >> (bits * i)) & (2**bits - 1) for i in range(accelerator.input_cycles)], 1).float()


def _cycle_power(codes: Tensor, accelerator: Accelerator) -> Tensor:
    """Sum over cycles of (4**(dac_bits i)) * slice**2 for each input code: its share of the read noise's variance."""
    every = torch.arange(2**accelerator.input_bits, device=codes.device)[None, None]
    weights = 4.0 ** (accelerator.dac_bits * torch.arange(accelerator.input_cycles, device=codes.device))
    table = torch.einsum("nicr,i->r", _input_cycles(every, accelerator).square(), weights)
    return table[codes.long()]
