"""Runs models on simulated crossbars and compares outputs, for tests of models of any form."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from test_analog_layers import design_with
from torch import nn
from torch.utils._pytree import tree_flatten

from pipeline.analog.model import program_chip
from pipeline.analog.simulated_chip import SimulatedChip

IDEAL = design_with("rram", quiet=True, input_bits=16, weight_bits=16, cell_bits=4, adc_bits=None).accelerator
NOISY = design_with("rram", input_bits=8, weight_bits=8, adc_bits=None).accelerator
COARSE = design_with("rram", quiet=True, adc_bits=6).accelerator
LIMIT = 1e-3  # relative error on ideal hardware; 16 bits leave 1e-4 after a few layers


def on_chip(analog: nn.Module, *inputs: Any, fidelity: str = "exact", chip: SimulatedChip | None = None) -> Any:
    """The output on a chip, without errors unless one is given."""
    program_chip(analog, chip or SimulatedChip.nominal(), fidelity)
    with torch.no_grad():
        return analog(*copy.deepcopy(inputs))


def error(found: Any, right: Any) -> float:
    """Relative error of the worst tensor of two outputs of the same structure; other values must be equal."""
    (values, form), (expected, right_form) = tree_flatten(found), tree_flatten(right)
    assert str(form) == str(right_form)
    worst = 0.0
    for value, plain in zip(values, expected, strict=True):
        if isinstance(plain, torch.Tensor):
            assert value.shape == plain.shape
            assert value.dtype == plain.dtype
            worst = max(worst, float((value - plain).norm() / plain.norm().clamp(min=1e-9)))
        else:
            assert value == plain
    return worst


def attempt(run: Callable[[], Any]) -> tuple[Any, str | None]:
    """What a call gives, or the sentence by which it refuses."""
    try:
        return run(), None
    except (RuntimeError, ValueError) as refused:
        return None, str(refused)
