"""Export a design in formats that other programs read."""

import dataclasses
import importlib.util
import logging
import shutil
import warnings
from pathlib import Path

import torch
import yaml
from torch import nn

from pipeline.analog.conversion import to_digital
from pipeline.design.design_point import DesignPoint
from pipeline.follow_up.exported_module import source_name, write_module
from pipeline.follow_up.network_table import write_table
from pipeline.networks.builders import FAMILIES, users_function
from pipeline.networks.models import example_of
from pipeline.trial.network import load_checkpoint

_EXAMPLE_IMAGES = 2  # what the ONNX exporter runs; the file takes any number of images


def export_design(title: str, design: DesignPoint, checkpoint: Path, folder: Path) -> tuple[list[Path], list[str]]:
    """Write a trained design into `folder`, which is made if missing; `title` names the design in the files.

    `checkpoint.pt` is the trial's state dict with its input and ADC ranges (`pipeline.trial.network` reads it),
    `design.yaml` a design file for `nacim cost`, `network.py` with `network.pt` the network in float as plain torch
    layers, `network.onnx` the same, and `network_table.csv` the layers as DNN+NeuroSim's NetWork.csv has them. A
    network that a function builds comes with the file of the function.

    Returns:
        The files, and why others are missing: `network.onnx` needs packages, and NeuroSim's table does not know every
        layer.

    Raises:
        ValueError: If the checkpoint is gone or damaged; nothing is written then.
    """
    if not checkpoint.is_file():
        raise ValueError(f"{checkpoint}: the checkpoint is gone; keep the study's output folder together")
    network = to_digital(load_checkpoint(design, checkpoint)).cpu()
    folder.mkdir(parents=True, exist_ok=True)
    weights, card = folder / "checkpoint.pt", folder / "design.yaml"
    shutil.copyfile(checkpoint, weights)
    card.write_text(yaml.safe_dump(_beside_its_file(design).to_dict(), sort_keys=False), encoding="utf-8")
    files, missing = [weights, card, *write_module(network, title, design, folder)], []
    try:
        write_table(design, folder / "network_table.csv")
        files.append(folder / "network_table.csv")
    except ValueError as error:
        missing.append(f"no network_table.csv: {error}")
    if can_write_onnx():
        files.append(_write_onnx(network, design, folder))
    else:
        missing.append("no network.onnx without onnx and onnxscript; pip install 'nacim[onnx]'")
    return files, missing


def _beside_its_file(design: DesignPoint) -> DesignPoint:
    """The design whose network's file lies beside the design file."""
    network = design.network
    if network is None or network.builder in FAMILIES:
        return design
    reference = f"{source_name(network)}:{users_function(network.builder).function}"
    return dataclasses.replace(design, network=dataclasses.replace(network, builder=reference))


def can_write_onnx() -> bool:
    """Whether the packages of the extra `onnx` are installed."""
    return all(importlib.util.find_spec(name) for name in ("onnx", "onnxscript"))


def _write_onnx(network: nn.Module, design: DesignPoint, folder: Path) -> Path:
    path = folder / "network.onnx"
    example = torch.cat([example_of(design.image)] * _EXAMPLE_IMAGES)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own deprecations
        torch.onnx.export(
            network,
            (example,),
            path,
            input_names=["images"],
            output_names=["scores"],
            dynamic_shapes=({0: torch.export.Dim("n", min=1)},),
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    return path
