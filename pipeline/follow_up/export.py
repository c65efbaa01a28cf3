"""Export a design in formats that other programs read."""

import csv
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
from pipeline.design.topology import topology
from pipeline.trial.network import load_checkpoint

TABLE_COLUMNS = (
    *("IFM length", "IFM width", "IFM channel depth"),
    *("kernel length", "kernel width", "kernel depth"),
    *("followed by pooling", "stride"),
)
_EXAMPLE_IMAGES = 2  # what the ONNX exporter runs; the file takes any number of images
_MODULE = '''"""{title}: the network in float, as plain torch layers. Needs torch alone.

Input: images (n, {image.channels}, {image.height}, {image.width}), values 0 to 1. Output: {output}, one score a class.
"""

from pathlib import Path

import torch
from torch import nn


def network() -> nn.Sequential:
    """The trained network, ready to classify."""
    model = nn.Sequential(
{layers}
    )
    model.load_state_dict(torch.load(Path(__file__).with_suffix(".pt"), weights_only=True))
    return model.eval()
'''


def export_design(title: str, design: DesignPoint, checkpoint: Path, folder: Path) -> list[Path]:
    """Write a trained design into `folder`, which is made if missing; `title` names the design in the files.

    `checkpoint.pt` is the trial's state dict with its input and ADC ranges (`pipeline.trial.network` reads it),
    `design.yaml` a design file for `nacim cost`, `network.py` with `network.pt` the network in float as plain torch
    layers, `network.onnx` the same, and `network_table.csv` the layers as DNN+NeuroSim's NetWork.csv has them.

    Returns:
        The files. Without the packages `onnx` and `onnxscript`, `network.onnx` is left out.

    Raises:
        ValueError: If the checkpoint is gone.
    """
    if not checkpoint.is_file():
        raise ValueError(f"{checkpoint}: the checkpoint is gone; keep the study's output folder together")
    folder.mkdir(parents=True, exist_ok=True)
    weights, card = folder / "checkpoint.pt", folder / "design.yaml"
    shutil.copyfile(checkpoint, weights)
    card.write_text(yaml.safe_dump(design.to_dict(), sort_keys=False), encoding="utf-8")
    network = to_digital(load_checkpoint(design, weights)).cpu()
    files = [weights, card, *_write_torch(network, title, design, folder), _write_table(design, folder)]
    return [*files, _write_onnx(network, design, folder)] if can_write_onnx() else files


def can_write_onnx() -> bool:
    """Whether the packages of the extra `onnx` are installed."""
    return all(importlib.util.find_spec(name) for name in ("onnx", "onnxscript"))


def _write_torch(network: nn.Module, title: str, design: DesignPoint, folder: Path) -> list[Path]:
    module, weights, image = folder / "network.py", folder / "network.pt", design.image
    layers = "\n".join(f"        nn.{layer!r},".replace(", bias=True", "") for layer in network.children())  # default
    output = f"(n, {image.classes}{f', {image.height}, {image.width}' if image.masks else ''})"
    title = title.replace("\\", "/").replace('"', "'")
    module.write_text(_MODULE.format(title=title, layers=layers, image=image, output=output), encoding="utf-8")
    torch.save(network.state_dict(), weights)
    return [module, weights]


def _write_table(design: DesignPoint, folder: Path) -> Path:
    """One row a layer, no header. NeuroSim's manual describes the columns, which leave out zero padding."""
    path = folder / "network_table.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        for layer in topology(design):
            mvm = layer.mvm
            image, kernel = (mvm.in_height, mvm.in_width, mvm.in_channels), (*mvm.kernel_sides, mvm.out_channels)
            csv.writer(file, lineterminator="\n").writerow([*image, *kernel, int(mvm.pooled), layer.stride])
    return path


def _write_onnx(network: nn.Module, design: DesignPoint, folder: Path) -> Path:
    path, image = folder / "network.onnx", design.image
    example = torch.rand(_EXAMPLE_IMAGES, image.channels, image.height, image.width)
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
