"""What a study's recipe asks of a training beside the loop: the optimizer, the rates, and what holds for weights."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from pipeline.analog.base import NoisyLayer
from pipeline.analog.quantise import WEIGHT_CLIP_RMS
from pipeline.study.training_spec import TrainingSpec

_MOMENTUM = 0.9  # assumed: of sgd and muon
_ADAM_OVER_MUON = 0.1  # assumed: rate of Adam's parameters over that of muon's, whose steps have spectral norm 1
_NORMS = nn.modules.batchnorm._BatchNorm
_CONVOLUTIONS = nn.modules.conv._ConvNd


class MuonAndAdam(torch.optim.Optimizer):
    """Muon for matrices, and Adam without weight decay for all other parameters, as one optimizer.

    A filter is one row of its matrix.
    """

    def __init__(self, filters: list[nn.Parameter], groups: list[dict[str, Any]], rate: float, decay: float) -> None:
        self._filters = filters
        self._matrices = [nn.Parameter(_as_matrix(each.detach())) for each in filters]
        self._muon = torch.optim.Muon(self._matrices, rate, decay, momentum=_MOMENTUM)
        self._adam = torch.optim.Adam(groups, rate * _ADAM_OVER_MUON)
        super().__init__([*self._muon.param_groups, *self._adam.param_groups], {"lr": rate})
        self.param_groups = [*self._muon.param_groups, *self._adam.param_groups]  # the same ones, for schedules

    def zero_grad(self, set_to_none: bool = True) -> None:
        for each in self._filters:
            each.grad = None
        self._adam.zero_grad(set_to_none)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        result = None
        if closure is not None:
            with torch.enable_grad():
                result = closure()
        for own, matrix in zip(self._filters, self._matrices, strict=True):
            matrix.grad = None if own.grad is None else _as_matrix(own.grad)
        self._muon.step()
        self._adam.step()
        return result


def _as_matrix(weight: Tensor) -> Tensor:
    """A view of filters (out, in, *kernel) as (out, in x kernel), whichever of the two memory formats they have."""
    if weight.dim() == 4 and weight.is_contiguous(memory_format=torch.channels_last):
        weight = weight.permute(0, 2, 3, 1)
    return weight.view(len(weight), -1)


def optimizer_of(network: nn.Module, spec: TrainingSpec, steps: int) -> tuple[torch.optim.Optimizer, OneCycleLR]:
    """The optimizer of a recipe and its schedule, one cycle of `steps` steps."""
    biases = _norm_biases(network) if spec.bias_rate != 1 else []
    filters = _filters(network) if spec.optimizer == "muon" else []
    apart = {id(each) for each in (*biases, *filters)}
    groups: list[dict[str, Any]] = [{"params": [each for each in network.parameters() if id(each) not in apart]}]
    groups += [{"params": biases, "weight_decay": 0.0}] if biases else []
    rates = [spec.learning_rate] * len(groups)
    if biases:
        rates[1] *= spec.bias_rate
    decay = spec.weight_decay
    optimizer: torch.optim.Optimizer
    if spec.optimizer == "muon":
        rates = [rate * _ADAM_OVER_MUON for rate in rates]
        if filters:
            optimizer = MuonAndAdam(filters, groups, spec.learning_rate, decay)
            rates = [spec.learning_rate, *rates]
        else:
            optimizer = torch.optim.Adam(groups, spec.learning_rate * _ADAM_OVER_MUON)
    elif spec.optimizer == "sgd":
        optimizer = torch.optim.SGD(
            groups, spec.learning_rate, _MOMENTUM, weight_decay=spec.weight_decay, nesterov=True
        )
    else:
        optimizer = torch.optim.Adam(groups, spec.learning_rate, weight_decay=decay)
    cycles = spec.optimizer == "adam"  # of the momentum, too
    return optimizer, OneCycleLR(optimizer, rates, steps, pct_start=spec.warm_up, cycle_momentum=cycles)


def _norm_biases(network: nn.Module) -> list[nn.Parameter]:
    norms = (each for each in network.modules() if isinstance(each, _NORMS))
    return [each.bias for each in norms if each.bias is not None]


def _filters(network: nn.Module, without_bias: bool = False) -> list[nn.Parameter]:
    """Weights (out, in, *kernel) of convolutions; `without_bias`: of those that batch normalisation may scale at will,
    which have neither a bias nor a fixed-point format."""
    layers = (each for each in network.modules() if isinstance(each, _CONVOLUTIONS | NoisyLayer))
    convolutions = [each for each in layers if each.weight.dim() > 2]
    if without_bias:
        convolutions = [c for c in convolutions if c.bias is None and getattr(c, "weight_format", None) is None]
    return [each.weight for each in convolutions if isinstance(each.weight, nn.Parameter)]


@torch.no_grad()
def settle_weights(network: nn.Module, spec: TrainingSpec) -> None:
    """Bring weights to what the recipe keeps them at, after a step and before the first."""
    if spec.unit_filters:
        for weight in _filters(network, without_bias=True):
            matrix = _as_matrix(weight)
            matrix.div_(torch.linalg.vector_norm(matrix, dim=1, keepdim=True).clamp(min=1e-12))
    if spec.clip_weights:
        for module in network.modules():
            if isinstance(module, _CONVOLUTIONS | nn.Linear | NoisyLayer):
                clip = WEIGHT_CLIP_RMS * module.weight.square().mean().sqrt()
                module.weight.clamp_(-clip, clip)


class MovingAverage:
    """The moving average of a network's weights and batch-norm statistics over the steps of a training."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        buffers = (each for each in network.buffers() if each.is_floating_point())
        tensors = [*network.parameters(), *(nn.Parameter(each, requires_grad=False) for each in buffers)]
        self._current = nn.ParameterList(tensors)  # shares memory with the network
        self._average = AveragedModel(self._current, multi_avg_fn=get_ema_multi_avg_fn(decay))  # a deep copy

    def update(self) -> None:
        """Take one step into the average."""
        self._average.update_parameters(self._current)

    @torch.no_grad()
    def move_into_network(self) -> None:
        """Replace the network's own values."""
        for own, average in zip(self._current.parameters(), self._average.module.parameters(), strict=True):
            own.copy_(average)
