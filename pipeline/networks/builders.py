"""Functions that build torch models from parameters: of nacim's families, or of a file of the user's.

A builder is called as `build(input, classes, **parameters)`. `input` is the shape of one input, such as (3, 32, 32) for
channels, height and width; `classes` is the number of outputs. It returns a `torch.nn.Module`.
"""

import dataclasses
import functools
import hashlib
import inspect
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hw_models.errors import InfeasibleDesign
from pipeline.design.built_network import Value
from pipeline.files import did_you_mean

if TYPE_CHECKING:
    from torch import nn

FAMILIES = {  # name -> what its networks are
    "resnet": "residual stages of convolutions, or plain ones",
    "mobilenet": "inverted residuals with depthwise convolutions",
    "unet": "an encoder and a decoder with skip connections, for masks",
    "vit": "a transformer on patches of the image",
}
_HASH_DIGITS = 12


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Builder:
    """A function that builds networks.

    Attributes:
        name: A family's name, or `FILE.py:FUNCTION` as it was written.
        function: What `build` calls.
        path: The file that holds it.
    """

    name: str
    function: Callable[..., Any]
    path: Path

    @property
    def parameters(self) -> dict[str, inspect.Parameter]:
        """The function's parameters by name, after `input` and `classes`."""
        return dict(list(inspect.signature(self.function).parameters.items())[2:])


def load_builder(reference: str, beside: Path, file_hash: str | None = None) -> Builder:
    """The builder that a study or a command names.

    Args:
        reference: A family's name, or `FILE.py:FUNCTION`.
        beside: The folder where the file's path starts.
        file_hash: What `hash_of` the file must be; None takes any.

    Raises:
        ValueError: If there is no such family, file or function, the file cannot be loaded, its content is another one
            than `file_hash` says, or the function does not take `input` and `classes`.
    """
    if reference in FAMILIES:
        module = import_module(f"pipeline.networks.families.{reference}")
        return Builder(name=reference, function=module.build, path=Path(str(module.__file__)))
    path, name = file_and_function(reference, beside)
    content = _content(path)
    if file_hash is not None and _digits(content) != file_hash:
        raise ValueError(
            f"{path} has changed since this network was designed with it (hash {file_hash}, now {_digits(content)}); "
            "put the file back, or give the study a new name"
        )
    found = vars(_module(path, content)).get(name)
    if not callable(found):
        functions = [each for each, value in vars(_module(path, content)).items() if inspect.isfunction(value)]
        raise ValueError(f"{path} has no function {name!r}{did_you_mean(name, functions)}")
    builder = Builder(name=reference, function=found, path=path)
    if len(_positional(found)) < 2:
        raise ValueError(f"{path}: {name} must take the input's shape and the number of classes, then its parameters")
    return builder


def file_and_function(reference: str, beside: Path) -> tuple[Path, str]:
    """The two parts of `FILE.py:FUNCTION`. Raises ValueError for a text of another form."""
    file, _, function = reference.rpartition(":")
    if not file.endswith(".py") or not function.isidentifier():
        known = ", ".join(FAMILIES)
        raise ValueError(
            f"{reference!r} is neither FILE.py:FUNCTION nor a family{did_you_mean(reference, FAMILIES)}; "
            f"the families are {known}"
        )
    return beside / file, function


def hash_of(path: Path) -> str:
    """Twelve hexadecimal digits of a file's content. Raises ValueError if it cannot be read."""
    return _digits(_content(path))


def check_parameters(builder: Builder, names: Sequence[str]) -> None:
    """Make sure that a builder takes the parameters of these names, and needs no others.

    Raises:
        ValueError: If it does not; names the parameter.
    """
    known = builder.parameters
    takes_all = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in known.values())
    own = [name for name, each in known.items() if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)]
    for name in names:
        if name not in own and not takes_all:
            allowed = f"it takes {', '.join(own)}" if own else "it takes none"
            raise ValueError(f"{builder.name} has no parameter {name!r}{did_you_mean(name, own)}; {allowed}")
    for name in own:
        if known[name].default is inspect.Parameter.empty and name not in names:
            raise ValueError(f"{builder.name} needs the parameter {name!r}, which has no default")


def build(builder: Builder, input: tuple[int, ...], classes: int, parameters: Mapping[str, Value]) -> "nn.Module":
    """The torch model that a builder makes.

    Args:
        builder: The function.
        input: Shape of one input, without the batch.
        classes: Number of outputs.
        parameters: By name.

    Raises:
        InfeasibleDesign: If the builder says that this combination cannot exist.
        ValueError: If a parameter is unknown, missing or refused, or the function returns no module.
    """
    from torch import nn

    check_parameters(builder, list(parameters))
    shown = ", ".join(f"{name}={value!r}" for name, value in parameters.items())
    try:
        model = builder.function(input, classes, **parameters)
    except InfeasibleDesign:
        raise
    except Exception as error:
        raise ValueError(f"{builder.name}({shown}) for input {input}: {_said(error)}") from error
    if not isinstance(model, nn.Module):
        raise ValueError(f"{builder.name}({shown}) must return a torch.nn.Module, got {type(model).__name__}")
    return model


def _positional(function: Callable[..., Any]) -> list[inspect.Parameter]:
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [each for each in inspect.signature(function).parameters.values() if each.kind in kinds]


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror or error}; paths start in the folder of the study file") from error


def _digits(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:_HASH_DIGITS]


@functools.lru_cache(maxsize=32)
def _module(path: Path, content: bytes) -> types.ModuleType:
    """A file's module, made of exactly this content: the import system might take an older one from its cache."""
    module = types.ModuleType(f"nacim_network_{_digits(str(path.resolve()).encode() + content)}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # dataclasses and pickle look their classes up there
    try:
        exec(compile(content, str(path), "exec"), vars(module))
    except ModuleNotFoundError as error:
        raise ValueError(
            f"{path}: {error}; the file may import installed packages alone, because only its own content is part of "
            "the design"
        ) from error
    except Exception as error:
        raise ValueError(f"{path} cannot be loaded: {_said(error)}") from error
    return module


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
