"""Trained weights as files."""

import os
from pathlib import Path

import torch
from torch import nn

from pipeline.compute_device import compute_device
from pipeline.design.design_point import DesignPoint
from pipeline.design.topology import topology
from pipeline.trial.network import build_network


def save_checkpoint(network: nn.Module, path: Path) -> None:
    """Write weights and ranges, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(f".{os.getpid()}.part")  # two workers may hold one trial
    torch.save({name: value.cpu() for name, value in network.state_dict().items()}, unfinished)
    unfinished.replace(path)


def load_checkpoint(design: DesignPoint, path: Path) -> nn.Module:
    """The network of a checkpoint, ranges included, ready for `accuracy_under_variation`."""
    network = build_network(topology(design), design.accelerator)
    network.load_state_dict(torch.load(path, weights_only=True))
    return network.to(compute_device()).eval()
