"""The crossbars of a traced model."""

import contextlib
import dataclasses
import fnmatch
import threading
import warnings
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from hw_models.accelerator import Accelerator
from hw_models.layers import MvmLayer
from hw_models.mapping import map_network
from pipeline.analog.analog_class import adopt, leave
from pipeline.analog.base import NoisyLayer
from pipeline.analog.following import Following, named_tensors
from pipeline.analog.matrix import Matrix
from pipeline.analog.products import UnknownProduct, product_of
from pipeline.analog.tracing import MatrixUse, Traced, UntraceableModel, is_fixed_activation, matrix_keys, trace_of_one


class Crossbars:
    """All matrices of one model.

    Attributes:
        model: The model. It holds this record, and its weights; so this record is no module of it.
        layers: The matrices; empty before `trace`.
        traced: What the trace found; None before.
        modules: Layer -> module that it belongs to.
        told: What was warned of already.
    """

    def __init__(
        self, model: nn.Module, hardware: Accelerator, weight_bits: dict[str, int], allow_digital: tuple[str, ...]
    ) -> None:
        self.model, self.hardware = model, hardware
        self._weight_bits, self.allow_digital = weight_bits, allow_digital
        self.layers: list[Matrix] = []
        self.traced: Traced | None = None
        self._by_key: dict[Any, Matrix | None] = {}  # None: several matrices have this key
        self._outside: _Outside = _Outside({})
        self.modules: dict[Matrix, nn.Module] = {}
        self._awaiting: list[Callable[[NoisyLayer], None]] = []  # settings made before the trace
        self._state: dict[str, Any] = {}  # ranges loaded before the trace
        self._first_index = 0
        self._running = False
        self.told: set[str] = set()

    def trace(self, *inputs: Any, **named: Any) -> None:
        """Find the model's matrices and lay them out.

        Raises:
            UntraceableModel: If a matrix cannot be put on crossbars.
        """
        self._running = True  # the calls of a trace run as they are
        try:
            traced = trace_of_one(self.model, inputs, named, self.allow_digital)
        finally:
            self._running = False
        names = [each.name for each in traced.workload.layers]
        for pattern in self._weight_bits:
            if not fnmatch.filter(names, pattern):
                raise UntraceableModel(f"weight_bits: no matrix is named {pattern!r}; there are {', '.join(names)}")
        layers = tuple(_with_bits(each, self._weight_bits) for each in traced.workload.layers)
        workload = dataclasses.replace(traced.workload, layers=layers)
        self.traced = dataclasses.replace(traced, workload=workload, matrices=())  # they would keep weights alive
        self._outside = _Outside(dict(traced.outside))
        with torch.inference_mode(False):  # the layers' ranges may change later
            self._lay_out(traced.matrices, layers)
        self.number_from(self._first_index)
        for setting in self._awaiting:
            self.apply_to_layers(setting)
        self._load_ranges()
        _tell(traced)

    def _lay_out(self, matrices: tuple[MatrixUse, ...], layers: tuple[MvmLayer, ...]) -> None:
        own = set(self.model.modules())
        mapping = map_network(self.hardware, layers)
        for index, (each, place) in enumerate(zip(matrices, mapping.layers, strict=True)):
            outputs = place.layer.out_channels
            layer = Matrix(place.layer.name, outputs, self.hardware, place, index).to(each.weight.device)
            self.layers.append(layer)
            self.modules[layer] = next((module for module in each.modules if module in own), self.model)
            for key in set(each.keys):
                self._by_key[key] = None if key in self._by_key else layer
        in_use = {self.model}.union(*(each.modules for each in matrices))
        for module in own:
            if module in in_use:
                adopt(module, self, False)
            else:
                leave(module)

    # Running

    @contextlib.contextmanager
    def running(self, caller: Any, args: tuple[Any, ...], named: dict[str, Any]) -> Iterator[None]:
        """Within the block, a call of `caller`, products run on the crossbars. Other threads wait until it ends.

        Raises:
            RuntimeError: If the model is not traced, and `caller` is a part of it.
        """
        with _lock_of(self), contextlib.ExitStack() as until_done:
            if not self._running:
                if self.traced is None and caller is not self.model:
                    raise _not_known(caller)
                if self.traced is None:
                    self.trace(*args, **named)
                for layer in self.layers:
                    layer.uses = 0
                self._running = True
                until_done.callback(setattr, self, "_running", False)
                until_done.enter_context(_Running(self, named_tensors(self.model) | self._outside.tensors))
            yield

    def find(self, keys: tuple[Any, Any]) -> Matrix | None:
        """The matrix with one of these keys, ready for the mode that its module is in."""
        layer = self._by_key.get(keys[0]) or self._by_key.get(keys[1])
        if layer is not None:
            layer.training = self.modules[layer].training
        return layer

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


_locks: weakref.WeakKeyDictionary[Crossbars, threading.RLock] = weakref.WeakKeyDictionary()
_lock_of_locks = threading.Lock()


def _lock_of(crossbars: Crossbars) -> threading.RLock:
    """What one thread at a time holds; it is no attribute, as copies and files of a model cannot hold it."""
    with _lock_of_locks:
        return _locks.setdefault(crossbars, threading.RLock())


def _tell(traced: Traced) -> None:
    """Warn of what is digital though a weight is in it, and of what is not charged."""
    if traced.fixed:
        warnings.warn(
            f"{', '.join(traced.fixed)}: products with what weights alone give (learned queries) are digital",
            stacklevel=3,
        )
    if traced.uncounted:
        warnings.warn(f"the cost of digital operations is not known: {', '.join(traced.uncounted)}", stacklevel=3)


def _with_bits(layer: MvmLayer, weight_bits: Mapping[str, int]) -> MvmLayer:
    bits = [value for pattern, value in weight_bits.items() if fnmatch.fnmatchcase(layer.name, pattern)]
    return dataclasses.replace(layer, weight_bits=bits[-1]) if bits else layer


def _not_known(part: nn.Module) -> RuntimeError:
    return RuntimeError(
        f"{type(part).__name__}: the matrices of the model to which it belongs are not known before that model's first "
        "batch; calibrate it, run it, or give to_analog its inputs"
    )


class _Outside:
    """Tensors that a model uses without holding them: a copy of the model that copies them uses the copies."""

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        self.tensors = tensors

    def __deepcopy__(self, memo: dict[int, Any]) -> "_Outside":
        return _Outside({name: memo.get(id(each), each) for name, each in self.tensors.items()})


class _Running(Following):
    """The mode under which an analog model runs."""

    def __init__(self, crossbars: Crossbars, named: Mapping[str, Tensor]) -> None:
        super().__init__(named)
        self._crossbars = crossbars

    def product(self, name: str, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        try:
            product = product_of(name, args, kwargs, self.is_static)
        except UnknownProduct:  # the trace has refused it, unless it is allowed to stay digital
            product = None
        origin = None if product is None else self.origin(product.source)
        if product is None or origin is None or is_fixed_activation(name, product, origin):
            return self.other(name, func, args, kwargs)
        layer = self._crossbars.find(matrix_keys(product, origin))
        if layer is None:
            self._untraced(origin.roots)
            return self.other(name, func, args, kwargs)
        return layer.compute(product)

    def _untraced(self, roots: frozenset[str]) -> None:
        """A product whose matrix the trace did not meet stays digital in training, where the model may do more.

        Raises:
            UntraceableModel: If it is met in evaluation.
        """
        crossbars, name = self._crossbars, ", ".join(sorted(roots)) or "a constant"
        if crossbars.traced is not None and roots and roots <= crossbars.traced.allowed:
            return
        if not crossbars.model.training:
            raise UntraceableModel(
                f"the product with {name} was not there when the model was traced, so it has no crossbars; trace with "
                "inputs that take this path (to_analog(model, hardware, *inputs))"
            )
        if name not in crossbars.told:
            crossbars.told.add(name)
            warnings.warn(f"{name} is used in training only; it stays digital and trains without noise", stacklevel=2)
