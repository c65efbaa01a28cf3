"""Layers on simulated crossbars.

The forward pass of one layer, in the order of the code (docs/noise_model.md derives each step):

    x   -> input codes of `input_bits` bits, scaled to the layer's input range
    w   -> weight codes of `weight_bits` bits -> cells (pipeline.analog.cells) -> programmed levels of one chip
    for each row block and each input cycle:  column sums -> ADC -> digital sum over slices, cycles and blocks
    y   =  sum * (input step * weight step) + bias

Training quantises with straight-through gradients and draws fresh weight noise at each step. Otherwise `fidelity`
decides: `float` is plain torch; `exact` computes every slice, cycle and conversion as the hardware does; `fast` is one
product with the programmed weights, plus read noise and the converters' error at the output, as measured by `exact`.
Layers whose converter error is too large or not random run exactly instead.
"""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from hw_models.accelerator import Accelerator
from hw_models.mapping import LayerMapping
from hw_models.number_format import FixedPoint
from pipeline.analog.input_vectors import InputVectors
from pipeline.analog.output_noise import compiled_noise, torch_noise
from pipeline.analog.programmed_cells import ProgrammedCells, written_cells
from pipeline.analog.quantise import QuantisedLayer, RangeRule
from pipeline.analog.simulated_chip import SimulatedChip

Fidelity = Literal["float", "fast", "exact"]
FAST_ERROR_LIMIT = 0.15  # converter error over signal, above which `fast` is not trusted; see docs/noise_model.md


class NoisyLayer(QuantisedLayer):
    """What `NoisyConv2d` and `NoisyLinear` share. The module's docstring gives the forward pass.

    `calibrate` sets the buffers named `adc_...`. Those of the converters' error have two entries: 0 for chips with
    ideal cells, 1 for chips whose cells have errors.

    Attributes:
        adc_full_scale: Full scale of the layer's converters in levels, scalar; 0: not calibrated.
        adc_bias, adc_std: Mean and standard deviation of the converters' error, in codes, (2, out_channels).
        adc_common_std: Standard deviation of the error that all outputs of a window share, (2,): columns see the same
            inputs, so their offsets round and saturate together. `adc_std` leaves this part out.
        adc_error_ratio: Standard deviation of the converters' error over that of the outputs, (2,).
        fidelity: How the layer runs outside training.
        programmed: The layer's cells on each programmed chip; empty before `program_chips`. With several chips a
            batch holds equally many images for each, chip after chip.
        compiled: Use `pipeline.analog.kernels` on a CPU; False keeps to torch, with the same results.
    """

    adc_full_scale: Tensor
    adc_bias: Tensor
    adc_std: Tensor
    adc_common_std: Tensor
    adc_error_ratio: Tensor

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
        super().__init__(accelerator, bits, weight_format, index, range_rule)
        errors = {"adc_bias": (2, outputs), "adc_std": (2, outputs), "adc_common_std": (2,), "adc_error_ratio": (2,)}
        for name, size in {"adc_full_scale": (), **errors}.items():
            self.register_buffer(name, torch.zeros(size))
        self.mapping = mapping
        self.fidelity: Fidelity = "fast"
        self.compiled = True
        self.programmed: list[ProgrammedCells] = []
        self._chips: tuple[Sequence[SimulatedChip], float | None] = ((), None)  # and the time since programming
        self._written: Tensor | None = None  # the weight that these chips hold
        self._programmed_step = 0.0  # value of one weight code on these chips

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Also accept a digital layer's state, which has no ranges (this layer's stay), and early checkpoints, whose
        single converter error fills both entries."""
        for name, value in self.named_buffers(recurse=False):
            found = state_dict.setdefault(prefix + name, value)
            if name.startswith("adc_") and found.dim() == value.dim() - 1:
                state_dict[prefix + name] = found.expand_as(value)
        super()._load_from_state_dict(state_dict, prefix, *args)

    # What convolutions and linear layers do differently.

    def products(self, x: Tensor, weights: list[Tensor], bias: Tensor | None) -> Tensor:
        """`product` of each chip's images with that chip's weights."""
        raise NotImplementedError

    def input_vectors(self, codes: Tensor) -> InputVectors:
        """The input vectors of the crossbars; `codes` have the layer's input shape."""
        raise NotImplementedError

    def from_windows(self, y: Tensor, x: Tensor) -> Tensor:
        """(images, windows, out_channels) -> the layer's output shape for input x."""
        raise NotImplementedError

    def to_windows(self, y: Tensor) -> Tensor:
        """The inverse of `from_windows`."""
        raise NotImplementedError

    def read_power(self, codes: Tensor) -> Tensor:
        """Sum of `adc.cycle_power` over each input vector, (images, windows, 1)."""
        raise NotImplementedError

    @property
    def conversions(self) -> int:
        """ADC conversions that exact passes have made on these chips, for audits."""
        return sum(cells.conversions for cells in self.programmed)

    @property
    def cycles(self) -> int:
        """Input cycles that exact passes have made on these chips, for audits."""
        return sum(cells.cycles for cells in self.programmed)

    def parts(self, cells: ProgrammedCells, codes: Tensor) -> list[tuple[ProgrammedCells, Tensor, slice]]:
        """The matrices of the layer on one chip: their cells, the input codes that they see, and their outputs."""
        return [(cells, codes, slice(None))]

    def program_chips(self, chips: Sequence[SimulatedChip], drift_time_s: float | None = None) -> None:
        """Write the weights into the cells of each chip; weights that change later are written at the next pass."""
        self._chips, self._written = (chips, drift_time_s), None
        self.follow_weight()

    def follow_weight(self) -> None:
        """Write the weight into the cells of the programmed chips, unless they hold it already."""
        if self._written is None or not torch.equal(self._written, self.weight):
            self._write(*self._chips)

    def _write(self, chips: Sequence[SimulatedChip], drift_time_s: float | None) -> None:
        # Keep the weight's strides: with one input channel they may change, and convolutions would round differently.
        codes = torch.empty_like(self.weight, requires_grad=False, dtype=torch.float32).copy_(self.weight_codes())
        self._programmed_step = self.weight_step.item()
        place = self.code, self.mapping, self.index
        with torch.autocast(codes.device.type, enabled=False):
            self.programmed = [written_cells(*place, chip, codes, drift_time_s) for chip in chips]
        self._written = self.weight.detach().clone()

    def forward(self, x: Tensor) -> Tensor:
        if self.fidelity == "float" and not self.training:
            return self.product(x, self.weight, self.bias)
        if x.dtype == torch.float32 and not torch.is_autocast_enabled(x.device.type):
            return self._on_crossbars(x)
        with torch.autocast(x.device.type, enabled=False):  # codes and column sums need float32
            return self._on_crossbars(x.float()).to(x.dtype)

    def _on_crossbars(self, x: Tensor) -> Tensor:
        """The output for inputs in float32."""
        if self.training:
            return self.training_pass(x)
        if not self._chips[0]:
            raise RuntimeError("no chip is programmed; call pipeline.analog.model.program_chip first")
        self.follow_weight()
        if len(x) % (chips := len(self.programmed)):
            raise ValueError(f"{len(x)} images are no equal shares of {chips} chips; program one, or others")
        codes, bias = self.input_codes(x), None if self.bias is None else self.bias.detach().float()
        if self.fidelity == "fast" and self._can_be_fast:
            return self._fast(codes, self.output_step, bias)
        return self.from_windows(self.exact(codes, self.output_step, bias), codes)

    @property
    def output_step(self) -> float:
        """Value of one unit of the digital sum: of one input code times one weight code."""
        return self.input_step.item() * self._programmed_step

    @property
    def _can_be_fast(self) -> bool:
        """Whether noise can model the converters' error. Without cell noise that error is deterministic: False."""
        if self.accelerator.adc_bits is None:
            return True
        return self.accelerator.device.is_noisy and bool(self.adc_error_ratio[self.error_entry] <= FAST_ERROR_LIMIT)

    @property
    def error_entry(self) -> int:
        """Index of the converter error that holds on these chips."""
        return 0 if self.programmed[0].chip.ideal_cells else 1

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
        """One product with the folded weights; read noise and the converters' error are added at the output."""
        folded = (cells.folded for cells in self.programmed)
        weights = [(each * scale).as_strided(each.shape, each.stride()) for each in folded]  # the strides of training
        y = self.product(codes, weights[0], bias) if len(weights) == 1 else self.products(codes, weights, bias)
        if self.accelerator.adc_bits is None and not self.programmed[0].read_sigma:
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
                power = self.read_power(inputs) if part.read_sigma else None
                outputs.append(torch_noise(part, own, power, scale, *error))
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs, -1)
