"""Whether the networks of a space can be built: tried on some of them before a run begins."""

import fnmatch
import itertools
from collections.abc import Iterator
from typing import Any

from hw_models.errors import InfeasibleDesign
from pipeline.design.built_network import BuiltNetwork
from pipeline.design.design_point import ImageSpec
from pipeline.networks.builders import check_parameters, load_builder
from pipeline.networks.workload import NetworkFailed, output_of, workload_of_network
from pipeline.study.built_space import BuiltSpace

_SOUGHT = 200  # assumed: networks tried until one can exist
_TRIED = 50  # assumed: networks tried beside it, so that the check takes seconds
_ANY_BITS = 8  # bits change no layer's name or shape


def check_networks(space: BuiltSpace, image: ImageSpec, any_output: bool) -> None:
    """Build and trace some networks of a space: one that can exist, those that differ from it in one parameter, and
    the one with the last value of each parameter.

    Args:
        space: The networks.
        image: Shape of an input, and number of outputs.
        any_output: Whether networks may give outputs of any shape, because the loss is the user's own.

    Raises:
        ValueError: If a parameter is unknown or has a value that the builder refuses, no network can exist, a pattern
            of `weight_bits` matches no layer of these networks, an output has another shape than the data set asks
            for, or trained weights do not fit one of the networks.
    """
    check_parameters(load_builder(space.family or str(space.build), space.folder), list(space.parameters))
    first = _first_that_exists(space, image)
    names: set[str] = set()
    for values in itertools.islice(_around(space, first), _TRIED):
        network = space.network(values, _ANY_BITS)
        try:
            names |= {layer.name for layer in workload_of_network(network, image).layers}
        except NetworkFailed as error:
            raise ValueError(
                f"{error}; raise hw_models.errors.InfeasibleDesign for combinations that cannot exist"
            ) from error
        except InfeasibleDesign:
            continue
        _check_weights(space, network, image)
        if not any_output:
            _check_output(network, image)
    for pattern in space.weight_bits:
        if not fnmatch.filter(names, pattern):
            known = ", ".join(sorted(names))
            raise ValueError(f"network.weight_bits: {pattern!r} matches no layer; the networks tried have {known}")


def _first_that_exists(space: BuiltSpace, image: ImageSpec) -> dict[str, Any]:
    """Values of the first network that can exist."""
    dimensions, problem = space.dimensions(), ""
    for choice in itertools.islice(itertools.product(*(each.values for each in dimensions.values())), _SOUGHT):
        values = dict(zip(dimensions, choice, strict=True))
        try:
            workload_of_network(space.network(values, _ANY_BITS), image)
            return values
        except NetworkFailed as error:
            raise ValueError(str(error)) from error
        except InfeasibleDesign as error:
            problem = str(error)
    raise ValueError(f"network: no network of this space can exist, as far as tried: {problem}")


def _around(space: BuiltSpace, first: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield `first`, the values at the other end of the space, and those that differ from `first` in one parameter."""
    searched = {name: each for name, each in space.dimensions().items() if name.startswith("network_")}
    yield first
    yield first | {name: each.values[-1] for name, each in searched.items()}
    for name, each in searched.items():
        for value in each.values:
            yield first | {name: value}


def _check_weights(space: BuiltSpace, network: BuiltNetwork, image: ImageSpec) -> None:
    if space.weights_file is not None:
        from pipeline.networks.models import float_model, load_weights

        load_weights(float_model(network, image), space.weights_file, space.weights_hash)


def _check_output(network: BuiltNetwork, image: ImageSpec) -> None:
    pixels = (image.height, image.width) if image.masks else ()
    expected = [(1, image.outputs, *pixels)] + ([(1,)] if image.outputs == 1 and not pixels else [])
    found = output_of(network, image)
    if found not in expected:
        what = "a score of each class for each pixel" if pixels else "one value for each output"
        raise ValueError(
            f"{network.builder} must give {expected[0]} for one input of shape {image.input_shape} ({what}), got "
            f"{found or 'no tensor'}"
        )
