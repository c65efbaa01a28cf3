"""Moves any torch model onto crossbars, and back."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from hw_models.accelerator import Accelerator
from pipeline.analog.analog_class import adopt, crossbars_of, leave
from pipeline.analog.copies import copy_of
from pipeline.analog.crossbars import Crossbars
from pipeline.analog.layers import NoisyConv2d, NoisyLinear
from pipeline.analog.tracing import UntraceableModel, refuse_scripted


def to_analog(
    model: nn.Module,
    hardware: Accelerator,
    *inputs: Any,
    weight_bits: Mapping[str, int] | None = None,
    allow_digital: Sequence[str] = (),
) -> nn.Module:
    """A copy of a model that computes its matrices on crossbars.

    The copy keeps its class's behaviour, its modules, its hooks and the names of its parameters. When it is called,
    each product of something that depends on the input with a weight is computed on crossbars, wherever in the model it
    is written and however the weight is computed from parameters. All else stays digital. Next, train the copy if you
    like (noise-aware with a `pipeline.analog.model.set_noise_strength` above 0), `calibrate` it on training inputs, and
    measure it with `pipeline.trial.variation.accuracy_under_variation`.

    Args:
        model: Any torch model in Python. A matrix that is used several times is one set of cells; its input range is
            that of all uses, and each use reads with noise of its own.
        hardware: The accelerator; `hw_models.mapping` lays the matrices out on its crossbars.
        inputs: What the model's forward pass takes, to find its matrices (`pipeline.analog.tracing`). Without them,
            the first batch that it sees is taken.
        weight_bits: Name pattern of matrices -> bits of their weights; the accelerator's for all others.
        allow_digital: Name patterns of matrices that may stay digital.

    Raises:
        UntraceableModel: If a matrix cannot be put on crossbars; names it and the way out. Without `inputs`, the first
            call raises it.
    """
    refuse_scripted(model)
    if any(crossbars_of(each) is not None for each in model.modules()):
        raise UntraceableModel("the model, or a part of it, is analog already; give the digital model (to_digital)")
    model = copy_of(model)
    crossbars = Crossbars(model, hardware, dict(weight_bits or {}), tuple(allow_digital))
    for each in model.modules():
        adopt(each, crossbars, each is model)
    if inputs:
        crossbars.trace(*inputs)
    return model


def to_digital(model: nn.Module) -> nn.Module:
    """A copy of a model without crossbars, with the same (float) weights."""
    model = copy_of(model)
    for each in model.modules():
        if crossbars_of(each) is not None:
            leave(each)
    new = {each: _to_digital(each) for each in model.modules() if isinstance(each, NoisyConv2d | NoisyLinear)}
    if model in new:
        return new[model]
    for parent in list(model.modules()):
        for name, child in list(parent._modules.items()):  # named_children() names a shared child once
            if child in new:
                setattr(parent, name, new[child])
    return model


def _to_digital(layer: NoisyConv2d | NoisyLinear) -> nn.Conv2d | nn.Linear:
    """The torch layer that shares a crossbar layer's parameters."""
    digital: nn.Conv2d | nn.Linear
    (outputs, inputs, *kernel), bias = layer.weight.shape, layer.bias is not None
    if isinstance(layer, NoisyConv2d):
        digital = nn.Conv2d(inputs, outputs, kernel[0], layer.stride, layer.padding, bias=bias)
    else:
        digital = nn.Linear(inputs, outputs, bias=bias)
    digital.weight, digital.bias = layer.weight, layer.bias
    return digital.train(layer.training)
