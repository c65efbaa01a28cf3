"""A trained network as Python source in plain torch, with its weights beside it."""

import ast
import inspect
import re
from importlib import import_module
from pathlib import Path

import torch
from torch import nn

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
_OURS = ("hw_models", "pipeline")


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
    own = _own_imports(text)
    lines = text.splitlines()
    for each in own:
        for place in range(each.lineno - 1, each.end_lineno or each.lineno):
            lines[place] = ""
    head, mark, rest = "\n".join(lines).partition("\n\ndef build(")
    return re.sub("\n{4,}", "\n\n", head.rstrip()) + "\n\n\n" + "\n\n".join(_sources(own)) + "\n" + mark + rest + "\n"


def _own_imports(text: str) -> list[ast.ImportFrom]:
    """The imports of a file from nacim."""
    imports = (node for node in ast.parse(text).body if isinstance(node, ast.ImportFrom))
    return [node for node in imports if (node.module or "").split(".")[0] in _OURS]


def _sources(imports: list[ast.ImportFrom]) -> list[str]:
    """The sources of what is imported, and of what that needs from nacim itself, each once, needed ones first."""
    sources: dict[str, None] = {}
    for node in imports:
        module = import_module(node.module or "")
        if node.module == "pipeline.networks.families.checks":
            sources |= dict.fromkeys(_sources(_own_imports(inspect.getsource(module))))
        sources |= dict.fromkeys(inspect.getsource(getattr(module, each.name)) for each in node.names)
    return list(sources)


def _inputs(image: ImageSpec) -> str:
    if image.shape is None:
        return f"images (n, {image.channels}, {image.height}, {image.width}), values 0 to 1"
    return f"{'whole numbers' if image.integers else 'values'} (n, {', '.join(map(str, image.input_shape))})"


def _output(image: ImageSpec) -> str:
    return f"(n, {image.outputs}{f', {image.height}, {image.width}' if image.masks else ''}), one score a class"
