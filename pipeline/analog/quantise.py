"""Layers with quantised inputs and weights, trained with straight-through gradients and noise on the weights."""

import functools
import math
from typing import Any, Literal

import torch
from torch import Tensor, nn

from hw_models.accelerator import Accelerator
from hw_models.number_format import FixedPoint
from pipeline.analog.cells import CellCode, code_sigma
from pipeline.analog.layer_shape import LayerShape
from pipeline.analog.step_search import StepSearch

RangeRule = Literal["rms", "error"]
WEIGHT_CLIP_RMS = 2.5  # as IBM aihwkit's LAYER_GAUSSIAN weight clipping; outliers would coarsen the steps
INPUT_CLIP_RMS = 4.0  # assumed: activations are clipped at four times their rms
_LOOK_EVERY = 32  # assumed: training passes on a GPU from one look at the signs of inputs to the next; each look waits
_RANGE_MOMENTUM = 0.1  # assumed: of the running input range, as in torch.nn.BatchNorm2d


class _StraightThrough(torch.autograd.Function):
    """Round to whole steps from `low` to `high`; the gradient passes where nothing was clipped."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, step: Tensor, low: int, high: int) -> Tensor:
        steps = x * (1 / step)
        ctx.save_for_backward(steps)
        ctx.bounds = (low - 0.5 if low else -math.inf, high + 0.5)  # low 0: there are no negative inputs
        return torch.round(steps).clamp_(low, high).mul_(step)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        (steps,) = ctx.saved_tensors
        # This operator zeroes the gradient ten times faster than a mask.
        return torch.ops.aten.hardtanh_backward(gradient, steps, *ctx.bounds), None, None, None


def may_wait(device: torch.device) -> bool:
    """Whether reading a value costs little: on a GPU the processor would wait until all that it has queued is done."""
    return device.type == "cpu"


@functools.lru_cache(maxsize=256)
def sigma_on(device: torch.device, code: CellCode, lowest: int) -> Tensor:
    """`code_sigma` on a device, copied there once; do not change it."""
    return code_sigma(code, lowest).to(device)


def quantised(x: Tensor, step: Tensor, low: int, high: int) -> Tensor:
    """`x` rounded to multiples of `step` from `low` to `high` steps, with a straight-through gradient."""
    y: Tensor = _StraightThrough.apply(x, step, low, high)  # type: ignore[no-untyped-call]
    return y


class QuantisedLayer(LayerShape):
    """A convolution or linear layer with quantised inputs and weights. Codes are computed in float32.

    Attributes:
        weight, bias: As in torch.nn: Parameters of the layer (`own_weight`), or tensors handed to it at each call.
        input_range: Input at which clipping begins, scalar; 0: not set. It follows the data in training only.
        calibrated_range: Whether `calibrate` set the input range. The next `calibrate` then sets it anew; a range from
            training stays.
        signed_inputs: Whether a negative input has been seen. If so, codes are in two's complement; otherwise negative
            inputs are clipped to 0.
        range_rule: How weight and input steps and the converters' full scale are chosen. `rms` clips at multiples of
            the root mean square; `error` takes what has the least squared error on the data at hand
            (docs/noise_model.md). A `weight_format` fixes the weight step under either.
        reused: Whether the layer runs several times in a pass. In training its range then follows the use that reaches
            furthest, not the mean.
        noise_strength: Weight noise in training, as a multiple of the device's own; 0 is plain training.
        training_dtype: In which type training computes products and gives outputs; None: float32, or the inputs' type.
        label: The layer's name in messages.
    """

    weight: Tensor
    bias: Tensor | None
    input_range: Tensor
    calibrated_range: Tensor
    signed_inputs: Tensor

    def __init__(
        self,
        accelerator: Accelerator,
        weight_bits: int,
        weight_format: FixedPoint | None,
        index: int,
        range_rule: RangeRule = "rms",
    ) -> None:
        super().__init__()
        self.register_buffer("input_range", torch.tensor(0.0))
        self.register_buffer("calibrated_range", torch.tensor(False))
        self.register_buffer("signed_inputs", torch.tensor(False))
        self.accelerator, self.weight_format, self.index = accelerator, weight_format, index
        self.code = CellCode(accelerator=accelerator, weight_bits=weight_bits)
        self.range_rule: RangeRule = range_rule
        self.reused = False
        self.noise_strength = 0.0
        self.training_dtype: torch.dtype | None = None
        self.label = f"layer {index}"
        self.search = StepSearch()
        self._seen_signed = False  # `signed_inputs` at the last look in training

    def own_weight(self, shape: tuple[int, ...], bias: bool) -> None:
        """Give the layer a fresh weight (He et al., 2015), and a bias of zeros if it has one."""
        self.weight = nn.Parameter(torch.empty(shape))
        nn.init.kaiming_normal_(self.weight, nonlinearity="relu")
        self.bias = nn.Parameter(torch.zeros(shape[0])) if bias else None

    @property
    def weight_bounds(self) -> tuple[int, int]:
        """Lowest and highest weight code: symmetric, but for the rule `error` in the offset encoding, whose digits hold
        one code more."""
        spare = self.range_rule == "error" and self.code.offset and not self.weight_format
        return -self.code.max_code - (1 if spare else 0), self.code.max_code

    @property
    def weight_step(self) -> Tensor:
        """Value of one weight code, scalar."""
        weight = self.weight.detach().float()
        if self.weight_format:
            return weight.new_tensor(2.0**-self.weight_format.fraction_bits)
        if self.range_rule == "error":
            values = weight, torch.aminmax(weight), self.weight_bounds
            variance = sigma_on(weight.device, self.code, self.weight_bounds[0]).square()
            return self.search.step(*values, self.training, variance).clamp(min=1e-12)
        rms = weight.square().mean().sqrt()
        return (WEIGHT_CLIP_RMS * rms / self.code.max_code).clamp(min=1e-12)

    @property
    def input_bounds(self) -> tuple[int, int]:
        """Lowest and highest input code."""
        bits = self.accelerator.input_bits
        signed = self.signed_inputs.item() if self._looks_at_signs else self._seen_signed
        return (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)

    @property
    def _looks_at_signs(self) -> bool:
        """Whether this pass may wait for the device: on a GPU few passes of a training do."""
        return not self.training or may_wait(self.signed_inputs.device) or self.search.passes % _LOOK_EVERY == 0

    @property
    def input_step(self) -> Tensor:
        """Value of one input code, scalar."""
        return self._step_to(self.input_bounds[1])

    def _step_to(self, highest: int) -> Tensor:
        return (self.input_range / max(highest, 1)).clamp(min=1e-12)

    def weight_codes(self, outputs: Tensor | None = None) -> Tensor:
        """Integer weight codes, float, the weight's shape; only those of some `outputs`, if these are given."""
        weight = self.weight.detach() if outputs is None else self.weight.detach()[outputs]
        return torch.round(weight.float() / self.weight_step).clamp(*self.weight_bounds)

    def input_codes(self, x: Tensor) -> Tensor:
        """Integer input codes, float, within `input_bounds`, the shape of `x`."""
        low, high = self.input_bounds
        return (x.detach().float() * (1 / self._step_to(high))).round_().clamp_(low, high)

    def observe_range(self, x: Tensor, momentum: float | Tensor) -> None:
        """Move the input range towards that of `x`; the first range is taken as it is.

        Raises:
            ValueError: If an input is negative and the accelerator cannot send two's complement.
        """
        dense = x.is_contiguous(memory_format=torch.channels_last) if x.dim() == 4 else False
        low, high = torch.aminmax(x.permute(0, 2, 3, 1) if dense else x)  # reads in memory order
        if self._looks_at_signs and low < 0 and not self.signed_inputs:
            _check_planes(self.label, self.accelerator)
            self.signed_inputs.fill_(True)
        if self.training and self._looks_at_signs:
            self._seen_signed = bool(self.signed_inputs)
        top = self.range_of(x, (low, high))
        if self.reused:
            momentum = torch.where(top > self.input_range, 1.0, momentum)
        self.input_range.copy_(torch.where(self.input_range > 0, self.input_range.lerp(top, momentum), top))

    def range_of(self, x: Tensor, ends: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """The input range for `x` alone, scalar; `ends` are its least and greatest value, if they are known."""
        low, high = ends or torch.aminmax(x)
        if self.range_rule == "error":
            bounds = self.input_bounds
            return self.search.step(x, (low, high), bounds, self.training) * max(bounds[1], 1)
        rms = torch.linalg.vector_norm(x, dtype=torch.float32) / math.sqrt(x.numel())  # float32 even under autocast
        return torch.minimum(torch.maximum(high, -low).float(), INPUT_CLIP_RMS * rms)

    def training_pass(self, x: Tensor) -> Tensor:
        """The output with quantised inputs and weights and fresh weight noise; the input range follows `x`."""
        with torch.no_grad():
            self.observe_range(x, _RANGE_MOMENTUM)
            self.calibrated_range.fill_(False)
        low, high = self.input_bounds
        x = quantised(x.float(), self._step_to(high), low, high)
        step, (lowest, highest) = self.weight_step, self.weight_bounds
        weight = quantised(self.weight.float(), step, lowest, highest)
        self.search.passes += 1
        if self.noise_strength:
            codes = (torch.round(weight.detach() / step).long() - lowest).clamp_(0, highest - lowest)  # NaN is no code
            sigma = sigma_on(weight.device, self.code, lowest)[codes] * (step * self.noise_strength)
            noise = torch.randn(weight.numel(), device=weight.device)  # in one piece: several times faster to draw
            weight = weight + sigma * noise.as_strided(weight.shape, self.weight.stride())
        # With one input channel the weight would lose its memory format and slow down all that follows.
        weight = weight.as_strided(weight.shape, self.weight.stride())
        dtype = self.training_dtype or torch.float32
        return self.product(x.to(dtype), weight.to(dtype), None if self.bias is None else self.bias.to(dtype))


def _check_planes(label: str, accelerator: Accelerator) -> None:
    if accelerator.dac_bits > 1 or accelerator.input_bits < 2:
        raise ValueError(
            f"{label} has negative inputs, which need two's complement planes: dac_bits 1 and 2 or more input_bits, "
            f"got {accelerator.dac_bits} and {accelerator.input_bits}; put a ReLU before the layer or change the "
            "accelerator"
        )
