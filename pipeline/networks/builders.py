"""Functions that build torch models from parameters: of nacim's families, or of a file of the user's.

A builder is called as `build(input, classes, **parameters)`. `input` is the shape of one input, such as (3, 32, 32) for
channels, height and width; `classes` is the number of outputs. It returns a `torch.nn.Module`.
"""

import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hw_models.errors import InfeasibleDesign, shown
from pipeline.design.built_network import Value
from pipeline.file_function import FileFunction, FileFunctionError
from pipeline.files import did_you_mean

if TYPE_CHECKING:
    from torch import nn

FAMILIES = {  # name -> what its networks are
    "resnet": "residual stages of convolutions, or plain ones",
    "mobilenet": "inverted residuals with depthwise convolutions",
    "unet": "an encoder and a decoder with skip connections, for masks",
    "vit": "a transformer on patches of the image",
}


class BuilderFailed(ValueError):
    """A builder refuses its parameters or fails; the message names it, the parameters and the reason."""


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
        file_hash: What the hash of the file's content must be; None takes any.

    Raises:
        ValueError: If there is no such family, file or function, the file cannot be loaded, its content is another one
            than `file_hash` says, or the function does not take `input` and `classes`.
    """
    if reference in FAMILIES:
        module = import_module(f"pipeline.networks.families.{reference}")
        return Builder(name=reference, function=module.build, path=Path(str(module.__file__)))
    found = FileFunction.parse(f"{users_function(reference)}{f'@{file_hash}' if file_hash else ''}", beside)
    function = found.load()
    if len(_positional(function)) < 2:
        raise ValueError(
            f"{found.path}: {found.function} must take the input's shape and the number of classes, then its parameters"
        )
    return Builder(name=reference, function=function, path=found.path)


def users_function(reference: str) -> FileFunction:
    """`FILE.py:FUNCTION`, not looked for. Raises ValueError for a text of another form."""
    try:
        return FileFunction.parse(reference)
    except ValueError:
        raise ValueError(
            f"{shown(reference)} is neither FILE.py:FUNCTION nor a family{did_you_mean(reference, FAMILIES)}; "
            f"the families are {', '.join(FAMILIES)}"
        ) from None


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
            raise ValueError(f"{builder.name} has no parameter {shown(name)}{did_you_mean(name, own)}; {allowed}")
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
        BuilderFailed: If the builder fails, or returns no module.
        ValueError: If a parameter is unknown or missing.
    """
    from torch import nn

    check_parameters(builder, list(parameters))
    given = ", ".join(f"{name}={shown(value, 40)}" for name, value in parameters.items())[:120]
    try:
        model = builder.function(input, classes, **parameters)
    except InfeasibleDesign:
        raise
    except Exception as error:
        kind = "" if isinstance(error, FileFunctionError) else f"{type(error).__name__}: "
        reason = " ".join(str(error).split())[:120]
        raise BuilderFailed(f"{builder.name}({given}) for input {input}: {kind}{reason}") from error
    if not isinstance(model, nn.Module):
        raise BuilderFailed(f"{builder.name}({given}) must return a torch.nn.Module, got {type(model).__name__}")
    return model


def _positional(function: Callable[..., Any]) -> list[inspect.Parameter]:
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [each for each in inspect.signature(function).parameters.values() if each.kind in kinds]
