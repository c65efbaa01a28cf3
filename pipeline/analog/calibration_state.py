"""What calibration leaves in a layer: converter range and errors, and what they were measured for."""

import hashlib
from collections.abc import Callable
from typing import Any, Self

import torch
from torch import Tensor

from hw_models.accelerator import Accelerator
from hw_models.number_format import FixedPoint
from pipeline.analog.quantise import QuantisedLayer, RangeRule
from pipeline.analog.step_search import spread

_MARKS = 256  # assumed: weights kept to tell whether a layer still has those of its calibration
_CHANGED = 0.005  # assumed: relative change of these weights above which ranges do not suit; half precision makes 0.002
_SUITED = ("calibrated_range", "calibrated_hardware", "calibrated_weights")  # what early checkpoints lack


class CalibratedLayer(QuantisedLayer):
    """A quantised layer with the state that `calibrate` sets.

    The buffers of the converters' error have two entries: 0 for chips with ideal cells, 1 for chips whose cells have
    errors. All buffers stay in float32 whatever type a model is cast to.

    Attributes:
        adc_full_scale: Full scale of the layer's converters in levels, scalar; 0: not calibrated.
        adc_bias, adc_std: Mean and standard deviation of the converters' error, in codes, (2, out_channels).
        adc_common_std: Standard deviation of the error that all outputs of a window share, (2,): columns see the same
            inputs, so their offsets round and saturate together. `adc_std` leaves this part out.
        adc_error_ratio: Standard deviation of the converters' error over that of the outputs, (2,).
        calibrated_hardware: Fingerprint of the hardware that the ranges are for; 0: not known.
        calibrated_weights: Some of the weights that the ranges are for, (256,).
        stale: Why the ranges do not suit the weights that were last programmed, in a sentence, or None.
    """

    adc_full_scale: Tensor
    adc_bias: Tensor
    adc_std: Tensor
    adc_common_std: Tensor
    adc_error_ratio: Tensor
    calibrated_hardware: Tensor
    calibrated_weights: Tensor

    def __init__(
        self,
        outputs: int,
        accelerator: Accelerator,
        weight_bits: int,
        weight_format: FixedPoint | None,
        index: int,
        range_rule: RangeRule = "rms",
    ) -> None:
        super().__init__(accelerator, weight_bits, weight_format, index, range_rule)
        errors = {"adc_bias": (2, outputs), "adc_std": (2, outputs), "adc_common_std": (2,), "adc_error_ratio": (2,)}
        for name, size in {"adc_full_scale": (), **errors}.items():
            self.register_buffer(name, torch.zeros(size))
        self.register_buffer("calibrated_hardware", torch.tensor(0))
        self.register_buffer("calibrated_weights", torch.zeros(_MARKS))
        self.stale: str | None = None

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Self:
        """Move the layer; its buffers keep their types."""
        before = dict(self._buffers)
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for name, old in before.items():
            new = self._buffers[name]
            if old is not None and new is not None and new.dtype != old.dtype:
                self._buffers[name] = old.to(new.device)
        return self

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Also accept a digital layer's state, which has no ranges (this layer's stay), and early checkpoints, whose
        single converter error fills both entries, and which do not say what they were calibrated for."""
        if prefix + "adc_full_scale" in state_dict:
            unknown = torch.tensor(False), torch.tensor(0), torch.zeros(_MARKS)
            for name, value in zip(_SUITED, unknown, strict=True):
                state_dict.setdefault(prefix + name, value)
        for name, value in self.named_buffers(recurse=False):
            found = state_dict.setdefault(prefix + name, value)
            if name.startswith("adc_") and found.dim() == value.dim() - 1:
                state_dict[prefix + name] = found.expand_as(value)
        super()._load_from_state_dict(state_dict, prefix, *args)

    @property
    def hardware_fingerprint(self) -> int:
        """A number for what a converter range depends on: codes, cells without their errors, crossbar, converter."""
        each = self.accelerator
        codes = each.input_bits, each.dac_bits, self.code.weight_bits, each.weight_encoding, each.cell_bits
        plain = {"combine_columns": False, "rows_at_once": None, "crossbar_columns": None, "wires": "ideal"}
        chosen = {name: getattr(each, name) for name in plain}.items() - plain.items()  # of designs of before: none
        parts = (*codes, each.device.lowest_u, each.crossbar_size, each.adc_bits, each.mapping, *sorted(chosen))
        return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:7], "big")

    @property
    def _marks(self) -> Tensor:
        """Some of the weights, (_MARKS,); fewer weights are repeated."""
        some = spread(self.weight.contiguous(), _MARKS)  # the same ones whatever the memory format
        return some.repeat(-(-_MARKS // len(some)))[:_MARKS]

    def note_calibration(self) -> None:
        """The ranges suit the layer's weights and hardware as they are now."""
        self.calibrated_hardware.fill_(self.hardware_fingerprint)
        self.calibrated_weights.copy_(self._marks)
        self.stale = None

    def set_full_scale(self, full_scale: Tensor) -> None:
        """Take the full scale that suits the layer's weights and hardware."""
        self.adc_full_scale.copy_(full_scale)
        self.note_calibration()

    def check_calibration(self) -> None:
        """Set `stale`, for the weights and the hardware that the layer has now. Not stale are ranges that follow
        training, if the converters are ideal, and those of early checkpoints, which do not say what they are for."""
        self.stale = None
        if not self.calibrated_hardware or (self.accelerator.adc_bits is None and not self.calibrated_range):
            return
        if self.calibrated_hardware != self.hardware_fingerprint:
            self.stale = f"the ranges of {self.label} were calibrated on other hardware; call calibrate again"
            return
        change = torch.linalg.vector_norm(self._marks - self.calibrated_weights)
        if change > _CHANGED * torch.linalg.vector_norm(self.calibrated_weights):
            self.stale = f"the weights of {self.label} have changed since calibrate; call calibrate again"
