"""A commented study file to start from: `nacim init` writes it. No torch, unless a function makes data or network."""

import ast
import inspect
import os
import re
from pathlib import Path
from string import Template
from typing import Any

import yaml
from pydantic import ValidationError

from pipeline.data.sets import DATA_SETS
from pipeline.data.sets.image_folder import look_at
from pipeline.data.spec import DatasetSpec, data_keys, image_of
from pipeline.design.design_point import ImageSpec
from pipeline.networks.builders import FAMILIES, load_builder
from pipeline.study.study_file import first_problem

_TEMPLATE = Path(__file__).parent / "templates" / "study.yaml"
_SIDES = (8, 32)  # assumed: smallest and largest side that pictures start with, so that a first run takes minutes
_POOLED = 8  # pixels: images of fewer are not pooled twice


def starting_study(path: Path, name: str, data: str | None, task: str | None, network: str | None) -> str:
    """The text of a study file that can run.

    Args:
        path: Where it will lie. Paths of functions' files start where the command runs; the text has them as they lead
            there from its folder.
        name: Of the study.
        data: A data set's name, `FILE.py:FUNCTION`, or a folder with a folder of pictures for each class; None: digits.
        task: What is learnt; None: the data's usual task.
        network: `FILE.py`, `FILE.py:FUNCTION`, a family, or None: convolutions and hidden layers.

    Raises:
        ValueError: If data or network cannot be read, or a parameter of the function has no default.
    """
    dataset = _dataset(data) | ({"task": task} if task else {})
    try:
        image = image_of(DatasetSpec.model_validate(dataset, context={"folder": Path()}))
    except ValidationError as error:
        raise ValueError(f"--data {data}: {first_problem(error)}") from error
    if "build" in dataset:
        dataset["build"] = _from(path.parent, dataset["build"])
    parts = {
        "file": path.as_posix(),
        "name": name,
        "dataset": _indented(dataset) + _advice(dataset),
        "network": _plain(image) if network is None else _built(path.parent, network),
    }
    return Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(parts)


def _dataset(data: str | None) -> dict[str, Any]:
    """The study's entry `dataset`, with the size that pictures of a folder have."""
    keys: dict[str, Any] = data_keys(data or "digits")
    if "data_dir" in keys:
        side, grey = look_at(Path(keys["data_dir"]))
        keys |= {"image_size": min(max(side, _SIDES[0]), _SIDES[1])} | ({"channels": 1} if grey else {})
    return keys


def _advice(dataset: dict[str, Any]) -> str:
    """Another setting that these data often need, as a comment."""
    if "build" not in dataset and DATA_SETS[dataset["name"]].folder:
        return "  # data_dir: data\n"
    return "  # test_images: 200\n"


def study_name(text: str) -> str:
    """A name that a study may have, from any text."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", text).strip("_.-") or "my_study"


def _plain(image: ImageSpec) -> str:
    """Layers that fit the data: convolutions for images and masks, hidden layers for the others."""
    lines = ["# Layers in order, and a classifier after them. `absent` lets the search leave a layer out."]
    if image.integers:
        raise ValueError("inputs are whole numbers, which need an embedding: name a network of yours by --network")
    pool = "pool: true" if min(image.height, image.width) >= _POOLED else "pool: false"
    convs = [
        "  convs:",
        f"    - {{filters: [8, 16, 32], kernel: [3, 5], {pool}}}",
        f"    - {{filters: [absent, 16, 32, 64], kernel: [3, 5], {pool}}}",
    ]
    hidden = ["  hidden:", "    - {units: [absent, 32, 64]}"]
    if image.shape is not None:
        hidden[1:] = ["    - {units: [32, 64, 128]}", "    - {units: [absent, 32, 64]}"]
    layers = [*([] if image.shape is not None else convs), *([] if image.masks else hidden)]
    return "\n".join([*lines, "network:", *layers, ""])


def _built(folder: Path, network: str) -> str:
    """A function's network, with its parameters at their defaults."""
    reference = network if network in FAMILIES or ":" in network else f"{network}:{_function_in(Path(network))}"
    builder = load_builder(reference, Path())
    parameters: dict[str, Any] = {}
    for name, each in builder.parameters.items():
        if each.kind in (each.VAR_POSITIONAL, each.VAR_KEYWORD):
            continue
        if each.default is inspect.Parameter.empty:
            raise ValueError(f"{reference}: the parameter {name!r} has no default; give it one, from which to start")
        if isinstance(each.default, str | int | float):
            parameters[name] = each.default
    entry = {"family": reference} if reference in FAMILIES else {"build": _from(folder, reference)}
    lines = [
        "# Each parameter of the function is one value, a list or a range; these are its defaults. A list is searched.",
        "network:",
        _indented(entry).rstrip("\n"),
    ]
    return "\n".join([*lines, *(["  parameters:", _indented(parameters, "    ")] if parameters else [""])])


def _function_in(path: Path) -> str:
    """The function of a file that builds networks: `build`, or the only one with two arguments or more.

    Raises:
        ValueError: If there is no such file, it is no Python file, or the function cannot be told.
    """
    if path.suffix != ".py":
        families = ", ".join(FAMILIES)
        raise ValueError(f"--network {path}: must be FILE.py, FILE.py:FUNCTION or a family ({families})")
    try:
        body = ast.parse(path.read_text(encoding="utf-8")).body
    except OSError as error:
        raise ValueError(f"--network {path}: {error.strerror}") from error
    except (SyntaxError, ValueError) as error:
        raise ValueError(f"--network {path}: not a Python file: {error}") from error
    functions = [node for node in body if isinstance(node, ast.FunctionDef)]
    names = [each.name for each in functions if len(each.args.posonlyargs + each.args.args) >= 2]
    if "build" in names:
        return "build"
    if len(names) != 1:
        found = f"{len(names)} functions that may build a network ({', '.join(names)})" if names else "no function"
        raise ValueError(f"--network {path}: holds {found}; name it: --network {path}:FUNCTION")
    return names[0]


def _from(folder: Path, reference: str) -> str:
    """`FILE.py:FUNCTION`, whose path starts where the command runs, with the path as it leads there from `folder`."""
    file, _, function = reference.rpartition(":")
    shown = file if Path(file).is_absolute() else Path(os.path.relpath(file, folder)).as_posix()
    return f"{shown}:{function}"


def _indented(values: dict[str, Any], indent: str = "  ") -> str:
    lines = yaml.safe_dump(values, sort_keys=False).splitlines()
    return "".join(f"{indent}{line}\n" for line in lines)
