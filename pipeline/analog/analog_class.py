"""Classes that make the calls of a model run on its crossbars; modules and parameters stay the user's own."""

import functools
import inspect
from collections.abc import Callable
from typing import Any, cast

from torch import Tensor, nn

_PLACE = "_crossbars"  # attribute of the model, and of its modules that compute products, that holds the crossbars


def crossbars_of(module: nn.Module) -> Any:
    """The crossbars that a module's products run on; None: it is digital, or a crossbar layer itself."""
    return vars(module).get(_PLACE)


def is_root(module: nn.Module) -> bool:
    """Whether a module is a model that `to_analog` gave, and not one of its parts."""
    found = crossbars_of(module)
    return found is not None and found.model is module


def adopt(module: nn.Module, crossbars: Any, root: bool) -> None:
    """Have the calls of a module run on these crossbars; `root`: it is the whole model."""
    if not issubclass(type(module), _Analog):  # a lazy module changes its class in its first pass
        vars(module)[_PLACE] = crossbars
        module.__class__ = _analog_class(cast(Any, type(module)), root)


def leave(module: nn.Module) -> None:
    """Give a module its own class back."""
    del vars(module)[_PLACE]
    if isinstance(module, _Analog):
        module.__class__ = cast(Any, module).digital_class


class _Analog:
    """Added to the class of each module that computes products: its calls run on the model's crossbars.

    Before the model is traced, all its modules have it, so that none runs digitally unnoticed.
    """

    digital_class: type[nn.Module]

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        """A new module of this class, such as a slice of a Sequential, has no crossbars; its parts may have."""
        if args or kwargs:
            return cls.digital_class(*args, **kwargs)
        return super().__new__(cls)  # of a copy

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with vars(self)[_PLACE].running(self, args, kwargs):
            return super().__call__(*args, **kwargs)  # type: ignore[misc]

    def __reduce_ex__(self, protocol: Any) -> Any:
        crossbars = vars(self)[_PLACE]
        return _new_analog, (self.digital_class, crossbars.model is self), self.__dict__


class _AnalogRoot(_Analog):
    """Added to the class of the model: its state dict holds the ranges too, and they move with it."""

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)  # type: ignore[misc]
        destination.update({f"{prefix}{name}": value for name, value in vars(self)[_PLACE].state().items()})

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        vars(self)[_PLACE].load_state(state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *args)  # type: ignore[misc]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        for layer in vars(self)[_PLACE].layers:
            layer._apply(fn)
        return super()._apply(fn, recurse)  # type: ignore[misc]


@functools.cache
def _analog_class(digital: Any, root: bool) -> Any:
    """`digital` with calls on crossbars. Other methods of the user's class run on them too."""
    methods = {
        name: _on_crossbars(method)
        for klass in reversed(digital.__mro__)
        if not klass.__module__.startswith(("torch.", "builtins"))
        for name, method in vars(klass).items()
        if inspect.isfunction(method) and not name.startswith("_") and name not in vars(nn.Module)
    }
    methods["forward"] = _on_crossbars(digital.forward)
    mixin = _AnalogRoot if root else _Analog
    about = {"digital_class": digital, "__module__": digital.__module__, "__doc__": digital.__doc__}
    return type(digital.__name__, (mixin, digital), methods | about)


def _on_crossbars(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def run(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        crossbars = vars(self)[_PLACE]
        if crossbars.traced is None and method.__name__ != "forward":  # only a pass of the model can be traced
            return method(self, *args, **kwargs)
        with crossbars.running(self, args, kwargs):
            return method(self, *args, **kwargs)

    return run


def _new_analog(digital: type[nn.Module], root: bool) -> nn.Module:
    kind = _analog_class(cast(Any, digital), root)
    model: nn.Module = object.__new__(kind)
    return model
