"""Export a design in formats that other programs read."""

import dataclasses
import importlib.util
import json
import logging
import shutil
import warnings
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import torch
import yaml
from torch import nn

from hw_models.accelerator import Accelerator
from pipeline.analog.conversion import to_digital
from pipeline.design.design_point import DesignPoint
from pipeline.follow_up.exported_module import source_name, write_module
from pipeline.follow_up.network_table import write_table
from pipeline.follow_up.other_tools import AIHWKIT_LOADER, aihwkit_config, zigzag_architecture
from pipeline.networks.builders import FAMILIES, users_function
from pipeline.networks.models import example_of
from pipeline.trial.network import load_checkpoint

_MEANINGS = {
    "checkpoint.pt": "weights and converter ranges, for `pipeline.trial.network.load_checkpoint`",
    "design.yaml": "hardware and network; `nacim cost design.yaml` gives the trial's cost",
    "network.py": "the float network in plain torch: `from network import network`",
    "network.pt": "its weights",
    "network.onnx": "the same network, for any ONNX runtime",
    "network_table.csv": "its layers in the columns of DNN+NeuroSim's NetWork.csv",
    "aihwkit.json": "the hardware as the fields of aihwkit's inference configuration",
    "aihwkit_config.py": "builds that configuration: `from aihwkit_config import rpu_config`",
    "zigzag.yaml": "the hardware as an architecture of ZigZag, with in-memory computing",
}
_FUNCTION_FILE = "the function that builds the network, which `network.py` calls"
_EXAMPLE_IMAGES = 2  # what the ONNX exporter runs; the file takes any number of images


def export_design(title: str, design: DesignPoint, checkpoint: Path, folder: Path) -> tuple[list[Path], list[str]]:
    """Write a trained design into `folder`, which is made if missing; `title` names the design in the files.

    `checkpoint.pt` is the trial's state dict with its input and ADC ranges (`pipeline.trial.network` reads it),
    `design.yaml` a design file for `nacim cost`, `network.py` with `network.pt` the network in float as plain torch
    layers, `network.onnx` the same, and `network_table.csv` the layers as DNN+NeuroSim's NetWork.csv has them. A
    network that a function builds comes with the file of the function. `aihwkit.json` and `zigzag.yaml` describe the
    hardware as those tools do. `README.md` says what each file is, and what they leave out.

    Returns:
        The files, and why others are missing: `network.onnx` needs packages, NeuroSim's table does not know every
        layer, and aihwkit not every cell.

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
    lost: dict[str, list[str]] = {}
    files += _for_other_tools(design.accelerator, folder, lost, missing)
    (folder / "README.md").write_text(_readme(title, files, lost, missing), encoding="utf-8")
    return [*files, folder / "README.md"], missing


def _for_other_tools(chip: Accelerator, folder: Path, lost: dict[str, list[str]], missing: list[str]) -> list[Path]:
    """Write the hardware for aihwkit and ZigZag; `lost` gets what a file leaves out, `missing` why there is none."""
    files = [folder / "zigzag.yaml"]
    values, lost["zigzag.yaml"] = zigzag_architecture(chip)
    files[0].write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    try:
        values, lost["aihwkit.json"] = aihwkit_config(chip)
    except ValueError as error:
        missing.append(f"no aihwkit.json: {error}")
        return files
    files += [folder / "aihwkit.json", folder / "aihwkit_config.py"]
    files[1].write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    files[2].write_text(AIHWKIT_LOADER, encoding="utf-8")
    return files


def _readme(title: str, files: Sequence[Path], lost: Mapping[str, Sequence[str]], missing: Sequence[str]) -> str:
    """What each file is, what it leaves out, and which are missing."""
    lines = [f"# {title}", "", f"Written by nacim {version('nacim')}.", "", "| file | what it is |", "|---|---|"]
    lines += [f"| `{path.name}` | {_MEANINGS.get(path.name, _FUNCTION_FILE)} |" for path in files]
    for name, sentences in lost.items():
        lines += ["", f"What `{name}` leaves out:", "", *(f"- {each}" for each in sentences)]
    lines += ["", *(f"There is {each}." for each in missing)] if missing else []
    return "\n".join(lines) + "\n"


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
