"""Deep copies of models, functions that use the model's own layers included."""

import copy
import types
from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn


def copy_of(model: nn.Module) -> nn.Module:
    """A deep copy that uses no weight of the model.

    Weights that hooks compute at each pass (pruning, weight norm) are copied without their gradient's history, which
    torch cannot copy. Functions that a module or a hook holds (`self.act = lambda x: self.fc(x)`) are copied with the
    modules in their closures and defaults, which `copy.deepcopy` alone would share with the model.
    """
    memo: dict[int, Any] = {}
    functions: dict[types.FunctionType, types.FunctionType] = {}
    for module in model.modules():
        for value in vars(module).values():
            if isinstance(value, Tensor) and not value.is_leaf:
                memo[id(value)] = value.detach().clone()
            for function in _functions_in(value):
                _prepare(function, functions)
    memo |= {id(old): new for old, new in functions.items()}
    copied = copy.deepcopy(model, memo)
    for old, new in functions.items():
        _fill(old, new, memo)
    return copied


def _functions_in(value: Any) -> Iterator[types.FunctionType]:
    if isinstance(value, types.FunctionType):
        yield value
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _functions_in(each)
    elif isinstance(value, dict):
        yield from _functions_in(list(value.values()))


def _prepare(function: types.FunctionType, functions: dict[types.FunctionType, types.FunctionType]) -> None:
    """Add an empty copy of a function, and of those that it uses, to `functions`, if it holds anything."""
    held = _held(function)
    if function in functions or not held:
        return
    cells = tuple(types.CellType() for _ in function.__closure__ or ())
    new = types.FunctionType(function.__code__, function.__globals__, function.__name__, None, cells)
    new.__dict__.update(vars(function))
    functions[function] = new
    for inner in _functions_in(held):
        _prepare(inner, functions)


def _held(function: types.FunctionType) -> list[Any]:
    """What a function holds: the contents of its closure, and its defaults."""
    held: list[Any] = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    for cell in function.__closure__ or ():
        try:
            held.append(cell.cell_contents)
        except ValueError:  # not bound yet
            continue
    return held


def _fill(old: types.FunctionType, new: types.FunctionType, memo: dict[int, Any]) -> None:
    for before, after in zip(old.__closure__ or (), new.__closure__ or (), strict=True):
        try:
            after.cell_contents = _copied(before.cell_contents, memo)
        except ValueError:
            continue
    new.__defaults__ = None if old.__defaults__ is None else tuple(_copied(each, memo) for each in old.__defaults__)
    if old.__kwdefaults__ is not None:
        new.__kwdefaults__ = {name: _copied(each, memo) for name, each in old.__kwdefaults__.items()}


def _copied(value: Any, memo: dict[int, Any]) -> Any:
    """A deep copy of what belongs to a model; anything else is the user's and stays the same."""
    if id(value) in memo or isinstance(value, nn.Module | nn.Parameter | types.MethodType):
        return copy.deepcopy(value, memo)
    if isinstance(value, list | tuple | dict):
        parts = value.values() if isinstance(value, dict) else value
        if any(isinstance(each, nn.Module | nn.Parameter) or id(each) in memo for each in parts):
            return copy.deepcopy(value, memo)
    return value
