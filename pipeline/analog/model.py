"""All crossbar layers of a model at once: programming chips, noise in training, outputs of several chips."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.analog.analog_class import crossbars_of, is_root
from pipeline.analog.base import Fidelity, NoisyLayer
from pipeline.analog.matrix import Matrix
from pipeline.analog.simulated_chip import SimulatedChip

_MOST_LAYERS = 100_000  # of one converted part; assumed
BATCH = 500  # images at a time; results do not depend on it


def noisy_layers(model: nn.Module) -> list[NoisyLayer]:
    """The crossbar layers of a model, in order.

    Raises:
        RuntimeError: If the matrices of a model that `to_analog` gave are not known yet.
    """
    layers: list[NoisyLayer] = []
    for module in model.modules():
        if isinstance(module, NoisyLayer):
            layers.append(module)
        elif is_root(module) and (crossbars := crossbars_of(module)):
            if crossbars.traced is None:
                raise RuntimeError(
                    "the model's matrices are not known before its first batch; calibrate it, run it, or give "
                    "to_analog its inputs"
                )
            layers += crossbars.layers
    return layers + _layers_of_parts(model)


def _layers_of_parts(model: nn.Module) -> list[NoisyLayer]:
    """The crossbar layers of parts of an analog model that a model holds without the whole of it."""
    modules = list(model.modules())
    whole, layers = {id(each) for each in modules}, dict[NoisyLayer, None]()
    for module in modules:
        crossbars = crossbars_of(module)
        if crossbars is not None and id(crossbars.model) not in whole:
            layers.update((layer, None) for layer in crossbars.layers if crossbars.modules[layer] is module)
    return list(layers)


def find_matrices(model: nn.Module, *inputs: Any, **named: Any) -> None:
    """Trace what `to_analog` gave without inputs: the model, or parts of it; others are left as they are."""
    parts = [crossbars for each in model.modules() if is_root(each) and (crossbars := crossbars_of(each))]
    untraced = [crossbars for crossbars in parts if crossbars.traced is None]
    if untraced and untraced[0].model is model:
        untraced[0].trace(*inputs, **named)
    elif untraced:
        for_each_layer(model, lambda layer: setattr(layer, "fidelity", "float"))
        model(*inputs, **named)  # each part is traced at its first call


def for_each_layer(model: nn.Module, setting: Callable[[NoisyLayer], None]) -> None:
    """Set something in each crossbar layer, also in those of models that are not traced yet, as soon as they are."""
    for module in model.modules():
        if isinstance(module, NoisyLayer):
            setting(module)
        elif is_root(module) and (crossbars := crossbars_of(module)):
            crossbars.apply_to_layers(setting)
    for layer in _layers_of_parts(model):
        setting(layer)


def chips_run_together(model: nn.Module) -> bool:
    """Whether a batch may hold the images of several chips: not in traced models, whose batches may lie in any side."""
    return not any(isinstance(layer, Matrix) for layer in noisy_layers(model))


def set_noise_strength(model: nn.Module, strength: float) -> None:
    """Set the weight noise of training, as a multiple of the device's own programming error; 0 is plain training."""
    for_each_layer(model, lambda layer: setattr(layer, "noise_strength", strength))


def set_training_dtype(model: nn.Module, dtype: torch.dtype | None) -> None:
    """Set the type of products and outputs of crossbar layers in training; None is float32."""
    for_each_layer(model, lambda layer: setattr(layer, "training_dtype", dtype))


def program_chip(
    model: nn.Module, chip: SimulatedChip, fidelity: Fidelity = "fast", drift_time_s: float | None = None
) -> None:
    """Write a model's weights into the cells of one chip and choose how its layers run from now on."""
    program_chips(model, [chip], fidelity, drift_time_s)


def program_chips(
    model: nn.Module, chips: Sequence[SimulatedChip], fidelity: Fidelity = "fast", drift_time_s: float | None = None
) -> None:
    """`program_chip` for several chips at once.

    A batch then holds the images of the first chip, then those of the second, and so on, equally many of each. Either
    all chips have ideal cells or none.
    """
    number_layers(model)

    def program(layer: NoisyLayer) -> None:
        layer.fidelity = fidelity
        layer.program_chips(chips, drift_time_s)

    for_each_layer(model, program)


def number_layers(model: nn.Module) -> None:
    """Give each layer a number of its own, also where parts of the model were converted one by one."""
    parts = [crossbars for each in model.modules() if is_root(each) and (crossbars := crossbars_of(each))]
    for place, crossbars in enumerate(parts):
        crossbars.number_from(place * _MOST_LAYERS)
    if parts and any(isinstance(each, NoisyLayer) for each in model.modules()):
        for index, layer in enumerate(noisy_layers(model)):
            layer.index = index


def logits_of_chips(model: nn.Module, chips: Sequence[SimulatedChip], images: Tensor, numbers: Tensor) -> Tensor:
    """The model's output for images (chips * n, ...): the first n run on the first programmed chip, and so on.

    `numbers` (chips, n) are indices of these images. They seed the read noise, so that batching does not change it.
    """
    for chip, own in zip(chips, numbers, strict=True):
        chip.images = own
    logits: Tensor = model(images)
    return logits
