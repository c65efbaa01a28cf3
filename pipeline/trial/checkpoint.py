"""Trained weights as files."""

from pathlib import Path

import torch
from torch import nn

from pipeline.compute_device import compute_device
from pipeline.design.design_point import DesignPoint
from pipeline.design.topology import topology
from pipeline.files import write_whole
from pipeline.trial.network import build_network


def save_checkpoint(network: nn.Module, path: Path) -> None:
    """Write weights and ranges to `path`; the file is complete or absent."""
    weights = {name: value.cpu() for name, value in network.state_dict().items()}
    write_whole(path, lambda unfinished: torch.save(weights, unfinished))


def load_checkpoint(design: DesignPoint, path: Path) -> nn.Module:
    """The network of a checkpoint, with its ranges, ready for `accuracy_under_variation`."""
    network = build_network(topology(design), design.accelerator)
    network.load_state_dict(torch.load(path, weights_only=True))
    return network.to(compute_device()).eval()
