"""A model's matrix products, seen apart from nacim: by aten operator, counted by the formulas of torch's flop counter.

`torch.utils.flop_counter` gives one total. `Products` also follows which tensors depend on the input, and so tells
products with a static matrix (crossbars) from products of two activations (digital) and of two constants.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.flop_counter import flop_registry

_ATEN = torch.ops.aten
_FIRST_FACTOR = {_ATEN.addmm: 1, _ATEN.baddbmm: 1, _ATEN.addmv: 1}  # of all other operators: 0
_VECTORS = {_ATEN.mv: 0, _ATEN.addmv: 1, _ATEN.dot: 0}  # products that the flop counter leaves out: first factor


class Products(TorchDispatchMode):
    """Multiply-accumulates while it is active.

    Attributes:
        static: Of products of an activation with a tensor that does not depend on the input.
        of_activations: Of products of two activations.
        constant: Of products of two tensors that do not depend on the input.
    """

    def __init__(self, inputs: Any) -> None:
        super().__init__()
        self.static = self.of_activations = self.constant = 0
        self._dependent: dict[int, Tensor] = {}  # holds the tensors, so that an id is theirs alone
        self._mark(inputs)

    def _mark(self, values: Any) -> None:
        self._dependent |= {id(each): each for each in tree_leaves(values) if isinstance(each, Tensor)}

    def _depends(self, values: Any) -> bool:
        return any(id(each) in self._dependent for each in tree_leaves(values))

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        operator = function._overloadpacket
        if operator in flop_registry or operator in _VECTORS:
            result = self.product(function, operator, args, kwargs)
        else:
            result = function(*args, **kwargs)
        if self._depends((args, kwargs)):
            self._mark(result)
            for value, argument in zip(args, function._schema.arguments, strict=False):
                if argument.alias_info and argument.alias_info.is_write:
                    self._mark(value)
        return result

    def factors(self, operator: Any, args: Any) -> tuple[int, list[bool]]:
        """The first factor's place among the arguments, and for both whether they depend on the input."""
        first = _FIRST_FACTOR.get(operator, 0)
        return first, [self._depends(factor) for factor in args[first : first + 2]]

    def product(self, function: Any, operator: Any, args: Any, kwargs: Any) -> Any:
        """Compute and count one product."""
        result = function(*args, **kwargs)
        if operator in _VECTORS:
            macs = args[_VECTORS[operator]].numel()
        else:
            macs = flop_registry[operator](*args, **kwargs, out_val=result) // 2
        _, dependent = self.factors(operator, args)
        if all(dependent):
            self.of_activations += macs
        elif any(dependent):
            self.static += macs
        else:
            self.constant += macs
        return result


class FakeQuantised(Products):
    """Rounds both factors of each product with a static matrix to `bits` bits, from the largest magnitude of each."""

    def __init__(self, inputs: Any, bits: int) -> None:
        super().__init__(inputs)
        self.bits = bits

    def product(self, function: Any, operator: Any, args: Any, kwargs: Any) -> Any:
        first, dependent = self.factors(operator, args)
        if any(dependent) and not all(dependent):
            rounded = [self._rounded(factor) for factor in args[first : first + 2]]
            args = (*args[:first], *rounded, *args[first + 2 :])
        return function(*args, **kwargs)

    def _rounded(self, values: Tensor) -> Tensor:
        signed = bool((values < 0).any())
        step = values.abs().max().clamp(min=1e-20) / (2 ** (self.bits - signed) - 1)
        return (values / step).round() * step


@contextmanager
def counted_operators() -> Iterator[None]:
    """Keep torch to operators that the flop counter knows: no fused attention, no oneDNN LSTM."""
    fused, one_dnn = torch.backends.mha.get_fastpath_enabled(), torch.backends.mkldnn.enabled
    torch.backends.mha.set_fastpath_enabled(False)
    torch._C._set_mkldnn_enabled(False)  # torch.backends.mkldnn.flags would warn of Intel GPUs
    try:
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch._C._set_mkldnn_enabled(one_dnn)
        torch.backends.mha.set_fastpath_enabled(fused)


def count_products(model: nn.Module, *inputs: Any) -> Products:
    """The products of one pass of a model."""
    with counted_operators(), Products(inputs) as products:
        model(*inputs)
    return products


def fake_quantised(model: nn.Module, bits: int, *inputs: Any) -> Any:
    """A model's output with rounded weights and inputs of its static products."""
    with torch.no_grad(), FakeQuantised(inputs, bits):
        return model(*inputs)


def to_meta(values: Any) -> Any:
    """Inputs without content, of the same shapes."""
    return tree_map(lambda value: value.to("meta") if isinstance(value, Tensor) else value, values)
