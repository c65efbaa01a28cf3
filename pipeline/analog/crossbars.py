"""The crossbars of a traced model, and the classes that make the model use them."""

import contextlib
import dataclasses
import fnmatch
import functools
import inspect
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

from torch import Tensor, nn

from hw_models.accelerator import Accelerator
from hw_models.mapping import map_network
from pipeline.analog.base import NoisyLayer
from pipeline.analog.following import Following, named_tensors, tensors_in
from pipeline.analog.matrix import Matrix
from pipeline.analog.products import UnknownProduct, product_of
from pipeline.analog.tracing import WEIGHT_BY_PLACE, Traced, UntraceableModel, matrix_keys, trace

_PLACE = "_crossbars"  # attribute of the model, and of its modules that compute products, that holds the crossbars


def crossbars_of(module: nn.Module) -> "Crossbars | None":
    """The crossbars that a module's products run on; None: it is digital, or a crossbar layer itself."""
    found: Crossbars | None = vars(module).get(_PLACE)
    return found


def is_root(module: nn.Module) -> bool:
    """Whether a module is a model that `to_analog` gave, and not one of its parts."""
    found = crossbars_of(module)
    return found is not None and found.model is module


class Crossbars:
    """All matrices of one model.

    Attributes:
        model: The model. It holds this record, and its weights; so this record is no module of it.
        layers: The matrices; empty before `trace`.
        traced: What the trace found; None before.
    """

    def __init__(
        self, model: nn.Module, hardware: Accelerator, weight_bits: dict[str, int], allow_digital: tuple[str, ...]
    ) -> None:
        self.model, self.hardware = model, hardware
        self._weight_bits, self._allow_digital = weight_bits, allow_digital
        self.layers: list[Matrix] = []
        self.traced: Traced | None = None
        self._by_key: dict[Any, Matrix | None] = {}  # None: several matrices have this key
        self._outside: _Outside = _Outside({})
        self._modules: dict[Matrix, nn.Module] = {}
        self._awaiting: list[Callable[[NoisyLayer], None]] = []  # settings made before the trace
        self._state: dict[str, Any] = {}  # ranges loaded before the trace
        self._first_index = 0
        self._running = False
        self._told: set[str] = set()

    # Becoming analog, and digital again

    def adopt(self, module: nn.Module) -> None:
        """Have the calls of a module run on these crossbars."""
        if crossbars_of(module) is None:
            vars(module)[_PLACE] = self
            module.__class__ = _analog_class(cast(Any, type(module)), module is self.model)

    def leave(self, module: nn.Module) -> None:
        """Give a module its own class back."""
        del vars(module)[_PLACE]
        module.__class__ = type(module).digital_class  # type: ignore[attr-defined]

    def trace(self, *inputs: Any, **named: Any) -> None:
        """Find the model's matrices and lay them out.

        Raises:
            UntraceableModel: If a matrix cannot be put on crossbars.
        """
        self._running = True  # the calls of a trace run as they are
        try:
            traced = self._traced_on_one(inputs, named)
        finally:
            self._running = False
        names = [each.layer.name for each in traced.matrices]
        for pattern in self._weight_bits:
            if not fnmatch.filter(names, pattern):
                raise UntraceableModel(f"weight_bits: no matrix is named {pattern!r}; there are {', '.join(names)}")
        layers = [self._with_bits(each) for each in traced.workload.layers]
        own = set(self.model.modules())
        mapping = map_network(self.hardware, layers)
        for index, (each, place) in enumerate(zip(traced.matrices, mapping.layers, strict=True)):
            outputs = place.layer.out_channels
            layer = Matrix(place.layer.name, outputs, self.hardware, place, index).to(each.weight.device)
            self.layers.append(layer)
            self._modules[layer] = next((module for module in each.modules if module in own), self.model)
            for key in set(each.keys):
                self._by_key[key] = None if key in self._by_key else layer
        self.traced = dataclasses.replace(traced, workload=dataclasses.replace(traced.workload, layers=tuple(layers)))
        self._outside = _Outside(dict(traced.outside))
        for module in {module for each in traced.matrices for module in each.modules}:
            if module in own:
                self.adopt(module)
        self.number_from(self._first_index)
        for setting in self._awaiting:
            for layer in self.layers:
                setting(layer)
        self._load_ranges()
        if traced.uncounted:
            warnings.warn(
                f"the cost of these digital operations is not known: {', '.join(traced.uncounted)}", stacklevel=2
            )

    def _traced_on_one(self, inputs: tuple[Any, ...], named: dict[str, Any]) -> Traced:
        """A trace on the first of a batch, or on the whole batch if the model does not take one alone."""
        lengths = {len(each) if each.dim() else 0 for each in tensors_in(inputs, named)}
        if len(lengths) == 1 and lengths.pop() > 1:
            with contextlib.suppress(Exception):
                return trace(self.model, *_first(inputs), named=_first(named), allow_digital=self._allow_digital)
        return trace(self.model, *inputs, named=named, allow_digital=self._allow_digital)

    def _with_bits(self, layer: Any) -> Any:
        bits = [value for pattern, value in self._weight_bits.items() if fnmatch.fnmatchcase(layer.name, pattern)]
        return dataclasses.replace(layer, weight_bits=bits[-1]) if bits else layer

    # Running

    @contextlib.contextmanager
    def running(self, args: tuple[Any, ...], named: dict[str, Any]) -> Iterator[None]:
        """Within the block, products run on the crossbars."""
        if self._running:
            yield
            return
        if self.traced is None:
            self.trace(*args, **named)
        for layer in self.layers:
            layer.uses = 0
        self._running = True
        try:
            with _Running(self, named_tensors(self.model) | self._outside.tensors):
                yield
        finally:
            self._running = False

    def find(self, keys: tuple[Any, Any]) -> Matrix | None:
        """The matrix with one of these keys, ready for the mode that its module is in."""
        layer = self._by_key.get(keys[0]) or self._by_key.get(keys[1])
        if layer is not None:
            layer.training = self._modules[layer].training
        return layer

    def untraced(self, roots: frozenset[str]) -> None:
        """A product whose matrix the trace did not meet stays digital in training, where the model may do more.

        Raises:
            UntraceableModel: If it is met in evaluation.
        """
        name = ", ".join(sorted(roots)) or "a constant"
        if any(fnmatch.fnmatchcase(root, pattern) for root in roots for pattern in self._allow_digital):
            return
        if not self.model.training:
            raise UntraceableModel(
                f"the product with {name} was not there when the model was traced, so it has no crossbars; trace with "
                "inputs that take this path (to_analog(model, hardware, *inputs))"
            )
        if name not in self._told:
            self._told.add(name)
            warnings.warn(f"{name} is used in training only; it stays digital and trains without noise", stacklevel=2)

    def number_from(self, first: int) -> None:
        """Number the layers from `first` on, now or as soon as they are known."""
        self._first_index = first
        for index, layer in enumerate(self.layers, start=first):
            layer.index = index

    def apply_to_layers(self, setting: Callable[[NoisyLayer], None]) -> None:
        """Set something in all layers, now or as soon as they are known."""
        if self.traced is None:
            self._awaiting.append(setting)
        for layer in self.layers:
            setting(layer)

    # State

    def state(self) -> dict[str, Any]:
        """Ranges and converter errors of all layers, by layer and name."""
        state: dict[str, Any] = {}
        for layer in self.layers:
            layer.state_dict(destination=state, prefix=f"{layer.name}.")
        return state

    def load_state(self, state_dict: dict[str, Any], prefix: str) -> None:
        """Take the ranges out of a state dict of the model. Before the trace, what is not the model's must be one."""
        if self.traced is None:
            names = {f"{prefix}{name}" for name in self.model.state_dict()}
            own = [key for key in state_dict if key.startswith(prefix) and key not in names]
        else:
            own = [key for key in (f"{prefix}{name}" for name in self.state()) if key in state_dict]
        self._state = {key.removeprefix(prefix): state_dict.pop(key) for key in own}
        if self.traced is not None:
            self._load_ranges()

    def _load_ranges(self) -> None:
        """Give the layers the ranges that were loaded.

        Raises:
            RuntimeError: If some belong to no layer.
        """
        for layer in self.layers:
            start = f"{layer.name}."
            if own := {
                key.removeprefix(start): self._state.pop(key) for key in list(self._state) if key.startswith(start)
            }:
                layer.load_state_dict(own, strict=False)
        if self._state:
            raise RuntimeError(f"the state dict that was loaded has keys of no layer: {', '.join(sorted(self._state))}")


class _Outside:
    """Tensors that a model uses without holding them: a copy of the model that copies them uses the copies."""

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        self.tensors = tensors

    def __deepcopy__(self, memo: dict[int, Any]) -> "_Outside":
        return _Outside({name: memo.get(id(each), each) for name, each in self.tensors.items()})


def _first(values: Any) -> Any:
    """The same structure with the first of each tensor's batch."""
    if isinstance(values, Tensor):
        return values[:1]
    if isinstance(values, dict):
        return type(values)((key, _first(each)) for key, each in values.items())
    if isinstance(values, list | tuple):
        parts = [_first(each) for each in values]
        return type(values)(*parts) if hasattr(values, "_fields") else type(values)(parts)
    return values


class _Running(Following):
    """The mode under which an analog model runs."""

    def __init__(self, crossbars: Crossbars, named: Mapping[str, Tensor]) -> None:
        super().__init__(named)
        self._crossbars = crossbars

    def product(self, name: str, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        try:
            product = product_of(name, args, kwargs, lambda x: self.origin(x) is not None)
        except UnknownProduct:  # the trace has refused it, unless it is allowed to stay digital
            product = None
        origin = None if product is None else self.origin(product.source)
        if product is None or origin is None or (origin.is_product and name not in WEIGHT_BY_PLACE):
            return self.other(name, func, args, kwargs)
        layer = self._crossbars.find(matrix_keys(product, origin))
        if layer is None:
            self._crossbars.untraced(origin.roots)
            return self.other(name, func, args, kwargs)
        return layer.compute(product)


class _Analog:
    """Added to the class of each module that computes products: its calls run on the model's crossbars."""

    digital_class: type[nn.Module]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with vars(self)[_PLACE].running(args, kwargs):
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
    methods.pop("forward", None)
    mixin = _AnalogRoot if root else _Analog
    about = {"digital_class": digital, "__module__": digital.__module__, "__doc__": digital.__doc__}
    return type(digital.__name__, (mixin, digital), methods | about)


def _on_crossbars(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def run(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        crossbars = vars(self)[_PLACE]
        if crossbars.traced is None:  # only a call of the model can be traced
            return method(self, *args, **kwargs)
        with crossbars.running(args, kwargs):
            return method(self, *args, **kwargs)

    return run


def _new_analog(digital: type[nn.Module], root: bool) -> nn.Module:
    kind = _analog_class(cast(Any, digital), root)
    model: nn.Module = kind.__new__(kind)
    return model
