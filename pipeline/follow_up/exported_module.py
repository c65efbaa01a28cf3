"""A trained network as Python source in plain torch, with its weights beside it."""

import inspect
from pathlib import Path
from typing import Any

import torch
from torch import nn

import hw_models.errors
import hw_models.number_format
from pipeline.design.built_network import BuiltNetwork
from pipeline.design.design_point import DesignPoint, ImageSpec
from pipeline.networks.builders import FAMILIES, load_builder, users_function

_HEAD = '''"""{title}: the network in float, as plain torch layers. {needs}

Input: {inputs}. Output: {output}.
"""

from pathlib import Path
{imports}

def network() -> nn.{kind}:
    """The trained network, ready for inference."""
    model = {model}
    model.load_state_dict(torch.load(Path(__file__).with_suffix(".pt"), weights_only=True))
    return model.eval()
'''
_OWN: dict[str, Any] = {  # what the families import from nacim, and where its source is
    "from hw_models.errors import InfeasibleDesign\n": hw_models.errors.InfeasibleDesign,
    "from hw_models.number_format import check_whole\n": hw_models.number_format.check_whole,
}


def write_module(network: nn.Module, title: str, design: DesignPoint, folder: Path) -> list[Path]:
    """Write `network.py`, whose `network()` gives the trained network, its weights `network.pt` and, for a network that
    a function builds, the file of that function."""
    title = title.replace("\\", "/").replace('"', "'")
    source: list[Path] = []
    if design.network is None:
        shown = (repr(layer).replace(", bias=True", "") for layer in network.children())  # True is the default
        layers = "".join(f"        nn.{layer},\n" for layer in shown)
        parts = {"kind": "Sequential", "model": f"nn.Sequential(\n{layers}    )", "needs": "Needs torch alone."}
        parts["imports"] = "\nimport torch\nfrom torch import nn\n"
    else:
        source = [folder / source_name(design.network)]
        source[0].write_text(_source(design.network), encoding="utf-8")
        parts = _of_builder(design.network, design.image, source[0].name)
    said = {"title": title, "inputs": _inputs(design.image), "output": _output(design.image)}
    module, weights = folder / "network.py", folder / "network.pt"
    module.write_text(_HEAD.format(**parts, **said), encoding="utf-8")
    torch.save(network.state_dict(), weights)
    return [module, weights, *source]


def source_name(network: BuiltNetwork) -> str:
    """The name that the file of a network's function has beside `network.py`."""
    name = network.builder if network.builder in FAMILIES else Path(users_function(network.builder).file).stem
    return f"{name}_builder.py" if name == "network" else f"{name}.py"


def _of_builder(network: BuiltNetwork, image: ImageSpec, file: str) -> dict[str, str]:
    is_family = network.builder in FAMILIES
    function = "build" if is_family else users_function(network.builder).function
    arguments = "".join(f", {name}={value!r}" for name, value in network.parameters)
    return {
        "kind": "Module",
        "imports": "from runpy import run_path\n\nimport torch\nfrom torch import nn\n",
        "model": f'run_path(str(Path(__file__).with_name("{file}")))["{function}"](\n'
        f"        {image.input_shape}, {image.outputs}{arguments}\n    )",
        "needs": f"Needs torch and {file}{'' if is_family else ', with what that imports'}.",
    }


def _source(network: BuiltNetwork) -> str:
    """The file of a network's function; a family's without imports from nacim."""
    builder = load_builder(network.builder, network.folder, network.file_hash)
    text = builder.path.read_text(encoding="utf-8")
    if network.builder not in FAMILIES:
        return text
    taken = [inspect.getsource(own) for line, own in _OWN.items() if line in text]
    for line in _OWN:
        text = text.replace(line, "")
    head, mark, rest = text.partition("\n\ndef build(")
    return head.rstrip() + "\n\n\n" + "\n\n".join(taken) + "\n" + mark + rest


def _inputs(image: ImageSpec) -> str:
    if image.shape is None:
        return f"images (n, {image.channels}, {image.height}, {image.width}), values 0 to 1"
    return f"{'whole numbers' if image.integers else 'values'} (n, {', '.join(map(str, image.input_shape))})"


def _output(image: ImageSpec) -> str:
    return f"(n, {image.outputs}{f', {image.height}, {image.width}' if image.masks else ''}), one score a class"
