"""The torch model of a design's network, in float, and weights that a user gives it."""

import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.design.built_network import BuiltNetwork
from pipeline.design.design_point import ImageSpec
from pipeline.file_function import FileChanged, hash_of
from pipeline.files import is_whole_archive
from pipeline.networks.builders import build, load_builder

_NAMED = 5  # keys that a message lists


def float_model(network: BuiltNetwork, image: ImageSpec, device: str = "cpu") -> nn.Module:
    """The network as plain torch layers, ready for training; torch's global generator draws its weights.

    Args:
        network: What builds it.
        image: Shape of its input and number of outputs.
        device: `meta` makes a model without memory for its weights.

    Raises:
        InfeasibleDesign: If the network cannot exist.
        ValueError: If the builder is gone, has changed, or fails.
    """
    builder = load_builder(network.builder, network.folder, network.file_hash)
    with torch.device(device):
        return build(builder, image.input_shape, image.outputs, dict(network.parameters))


def example_of(image: ImageSpec, device: str = "cpu") -> Tensor:
    """One input of zeros, as a batch of one."""
    return torch.zeros(1, *image.input_shape, dtype=torch.long if image.integers else torch.float32, device=device)


def load_weights(model: nn.Module, path: Path, file_hash: str | None = None) -> None:
    """Give a model the weights of a file that `torch.save(model.state_dict(), path)` wrote.

    Raises:
        ValueError: If the file cannot be read as weights alone, its content is another one than `file_hash` says, or
            its keys or shapes are not those of the model; names them.
    """
    if file_hash is not None and hash_of(path) != file_hash:
        raise FileChanged(
            f"{path} has changed since the study was made (hash {file_hash}, now {hash_of(path)}); put the file back, "
            "or give the study a new name"
        )
    found = read_weights(path)
    if not all(isinstance(value, Tensor) for value in found.values()):
        raise ValueError(f"{path} holds no weights by name; write it with {_WRITTEN}")
    wanted = model.state_dict()
    shapes = {
        name: f"{name} is {tuple(found[name].shape)}, not {tuple(value.shape)}"
        for name, value in wanted.items()
        if name in found and found[name].shape != value.shape
    }
    problems = {
        "missing": [name for name in wanted if name not in found],
        "unknown": [name for name in found if name not in wanted],
        "of another shape": list(shapes.values()),
    }
    if told := [f"{what}: {_some(names)}" for what, names in problems.items() if names]:
        raise ValueError(f"{path} does not fit the network ({'; '.join(told)})")
    model.load_state_dict(found)


def read_weights(path: Path) -> dict[str, Any]:
    """What a file of weights holds, by name; it may be anybody's, and damaged in any way.

    Raises:
        ValueError: If it cannot be read as weights alone; names the file.
    """
    try:
        if zipfile.is_zipfile(path) and not is_whole_archive(path):
            raise ValueError("a part of it does not have its checksum")
        found = torch.load(path, weights_only=True, map_location="cpu")
    except Exception as error:  # torch's reader raises whatever a damaged byte leads it to
        reason = " ".join(str(error).split()).split(". ")[0][:120] or type(error).__name__
        if isinstance(error, pickle.UnpicklingError):
            reason = "it holds a whole model or other objects, and loading these would run code"
        raise ValueError(f"{path} cannot be read as weights ({reason}); write it with {_WRITTEN}") from error
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found):
        raise ValueError(f"{path} holds no weights by name; write it with {_WRITTEN}")
    return found


_WRITTEN = "torch.save(model.state_dict(), path)"


def _some(names: list[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
