"""What one inference of a design asks of the chip, and its cost before training. Loads torch only to trace a model."""

import dataclasses
import functools
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING

from hw_models.cost import CostReport, estimate_cost
from hw_models.cost.activity import Activity
from hw_models.errors import InfeasibleDesign
from hw_models.silicon import Macro, NetworkEstimate, silicon_estimate_of
from hw_models.workload import Workload
from pipeline.design.built_network import BuiltNetwork
from pipeline.design.constraints import QUANTITIES
from pipeline.design.describe import describe_network
from pipeline.design.design_point import DesignPoint, ImageSpec
from pipeline.design.topology import mvm_layers
from pipeline.networks.builders import BuilderFailed, load_builder

if TYPE_CHECKING:
    from torch import Tensor, nn

_REMEMBERED = 2000  # assumed: networks kept with their workload, so that breeding traces each of them once


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class TracedNetwork:
    """What is known of a network for one input.

    Attributes:
        workload: Its layers, with the accelerator's bits, and its digital operations.
        output: Shape of what it gives for a batch of one; None: no tensor.
        uncounted: Digital operations whose cost is not known, and not charged.
        digital: Matrices that stay digital because the network's `allow_digital` names them.
    """

    workload: Workload
    output: tuple[int, ...] | None
    uncounted: tuple[str, ...]
    digital: tuple[str, ...]


class NetworkFailed(InfeasibleDesign):
    """A network whose function or forward pass fails. A search leaves it out; a check before the run refuses it."""


def workload_of(design: DesignPoint) -> Workload:
    """The design's layers, each with its bits, and its digital operations.

    The layers of the family `plain` follow from the design alone. Any other network is built and traced, without memory
    for its weights where the model allows it, once for all designs that differ in hardware alone.

    Raises:
        InfeasibleDesign: If the network cannot exist; NetworkFailed if building or tracing it fails.
        ValueError: If the file of its function is gone, broken or has changed.
    """
    if design.network is None:
        return Workload(layers=tuple(mvm_layers(design)))
    return workload_of_network(design.network, design.image)


def workload_of_network(network: BuiltNetwork, image: ImageSpec) -> Workload:
    """`workload_of` a design whose network a function builds."""
    workload = traced_network(network, image).workload
    if not network.weight_bits:
        return workload
    layers = tuple(dataclasses.replace(layer, weight_bits=network.bits_of(layer.name)) for layer in workload.layers)
    return dataclasses.replace(workload, layers=layers)


def output_of(network: BuiltNetwork, image: ImageSpec) -> tuple[int, ...] | None:
    """Shape of what a network gives for a batch of one; None: no tensor. Raises what `workload_of` does."""
    return traced_network(network, image).output


def traced_network(network: BuiltNetwork, image: ImageSpec) -> TracedNetwork:
    """What a trace of a network finds. Raises what `workload_of` does."""
    return _traced(dataclasses.replace(network, weight_bits=()), network.folder, image)


def cost_of(design: DesignPoint, activity: Activity | None = None) -> CostReport:
    """The cost of one inference; without `activity` at the assumed one. Raises what `workload_of` does."""
    workload = workload_of(design)
    return estimate_cost(design.accelerator, workload.layers, digital=workload.digital, activity=activity)


def estimates_of(
    design: DesignPoint, calibrated_by: Mapping[Macro, float] | None = None
) -> tuple[CostReport, NetworkEstimate]:
    """A design's cost at the assumed activity, and what silicon would reach; `calibrated_by`: `silicon_estimate`."""
    cost, layers = cost_of(design), workload_of(design).layers
    return cost, silicon_estimate_of(design.accelerator, layers, clock_s=cost.clock_s, calibrated_by=calibrated_by)


def cost_before_training(design: DesignPoint, calibrated_by: Mapping[Macro, float] | None = None) -> dict[str, float]:
    """What `estimates_of` a design tells: attribute of a report -> value, for all `QUANTITIES`."""
    cost, silicon = estimates_of(design, calibrated_by)
    reports = {"cost": cost, "silicon": silicon}
    return {q.attribute: float(getattr(reports[q.source], q.attribute)) for q in QUANTITIES.values()}


@functools.lru_cache(maxsize=_REMEMBERED)
def _traced(network: BuiltNetwork, folder: object, image: ImageSpec) -> TracedNetwork:
    """`traced_network`, remembered. `folder` is the network's own, which does not tell networks apart."""
    import torch

    from pipeline.networks.models import example_of, float_model

    load_builder(network.builder, network.folder, network.file_hash)  # if it is gone, no network is to blame
    devices = ("meta", "cpu")  # a model that reads values of its tensors exists only with memory
    for device in devices:
        with torch.random.fork_rng(devices=[]):
            try:
                model = float_model(network, image, device)
                return _traced_model(network.builder, model, example_of(image, device), network.allow_digital)
            except InfeasibleDesign:
                raise
            except Exception as error:
                if device == devices[-1]:
                    raise _failure(network, error) from error
    raise AssertionError("the last device returns or raises")


def _failure(network: BuiltNetwork, error: Exception) -> NetworkFailed:
    if isinstance(error, BuilderFailed):
        return NetworkFailed(str(error))
    kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
    return NetworkFailed(f"{describe_network(network)} cannot be traced: {kind}{' '.join(str(error).split())}")


def _traced_model(name: str, model: "nn.Module", example: "Tensor", allow_digital: tuple[str, ...]) -> TracedNetwork:
    from torch import Tensor

    from pipeline.analog.tracing import trace

    outputs: list[object] = []
    with model.register_forward_hook(lambda module, inputs, output: outputs.append(output)):
        traced = trace(model, example, allow_digital=allow_digital)
    if traced.uncounted:
        unknown = ", ".join(traced.uncounted)
        warnings.warn(f"{name}: the cost of these digital operations is not known: {unknown}", stacklevel=2)
    output = outputs[-1]
    return TracedNetwork(
        workload=traced.workload,
        output=tuple(output.shape) if isinstance(output, Tensor) else None,
        uncounted=traced.uncounted,
        digital=traced.digital,
    )
