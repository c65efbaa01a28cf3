"""Follows, through all torch calls of a model, which tensors do not depend on its input: weights and what they make."""

import dataclasses
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from pipeline.analog import chains, recurrent
from pipeline.analog.products import PRODUCT_NAMES


@dataclasses.dataclass(frozen=True)
class Origin:
    """Where a tensor that does not depend on the model's input comes from.

    Attributes:
        key: Equal for two tensors that are made of the same tensors in the same way.
        roots: Names of the parameters and buffers that it is made of; empty for constants.
        computed: Whether its values are computed, not only laid out anew.
        is_product: Whether a matrix product has made it.
    """

    key: Any
    roots: frozenset[str]
    computed: bool = False
    is_product: bool = False


class Following(TorchFunctionMode):
    """A mode under which a model runs. It knows every tensor that does not depend on the model's input.

    Args:
        named: The model's parameters and buffers by name.
    """

    def __init__(self, named: Mapping[str, Tensor]) -> None:
        super().__init__()
        self._in_recurrent = False
        # id -> tensor, which keeps the id its own, and origin
        self._known = {id(each): (each, Origin(name, frozenset([name]))) for name, each in named.items()}

    def origin(self, x: Tensor) -> Origin | None:
        """Where a tensor comes from that does not depend on the model's input; None: it does depend, or is unknown."""
        found = self._known.get(id(x))
        return found[1] if found is not None else self.origin_of_unknown(x)

    def origin_of_unknown(self, x: Tensor) -> Origin | None:
        """`origin` of a tensor that no followed call has made."""
        return None

    def product(self, name: str, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The result of a call that may be a matrix product."""
        raise NotImplementedError

    def other(self, name: str, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The result of any other call."""
        result = func(*args, **kwargs)
        self.follow(name, args, kwargs, result)
        return result

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        packet = getattr(func, "overloadpacket", func)  # exported graphs call torch.ops.aten.linear.default
        name, kwargs = getattr(packet, "__name__", ""), kwargs or {}
        if name == "__get__":  # a property such as `x.T`
            name = getattr(getattr(func, "__self__", None), "__name__", name)
        if name in _COMPOSED and self._is_composed(name, args):
            return self.composed(name, args, kwargs)
        if name in PRODUCT_NAMES:
            return self.product(name, func, args, kwargs)
        return self.other(name, func, args, kwargs)

    def _is_composed(self, name: str, args: tuple[Any, ...]) -> bool:
        """Whether a call has to be followed inside. Most attention has no weights as keys or values, and is left to
        torch."""
        if name == "scaled_dot_product_attention":
            origins = [self.origin(each) for each in args[:3]]
            return any(origins) and not all(origins)
        return name != "einsum" or chains.has_many_operands(args)

    def composed(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A call that consists of several torch calls, each of which is followed."""
        before, self._in_recurrent = self._in_recurrent, self._in_recurrent or name in recurrent.CALLS
        try:
            with self:
                return _COMPOSED[name](*args, **kwargs)
        finally:
            self._in_recurrent = before

    def is_static(self, x: Tensor) -> bool:
        """Whether an operand of a product does not depend on the model's input.

        The first state of a recurrent layer counts as one that does, even if it is zero: its matrix runs at each step.
        """
        origin = self.origin(x)
        return origin is not None and bool(origin.roots or not self._in_recurrent)

    def follow(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> bool:
        """Note whether the result of a call depends on the model's input; True if it does."""
        made_of: list[Origin] = []
        for each in tensors_in(args, kwargs):
            origin = self.origin(each)
            if origin is None:
                for written in list(self.written(name, args, kwargs)):
                    self.depends(written)
                return True
            made_of.append(origin)
        for each in list(self.written(name, args, kwargs)):
            self._note_written(name, args, kwargs, made_of, each)
        if isinstance(result, Tensor):
            self._note(name, args, kwargs, made_of, result, 0)
        elif isinstance(result, tuple | list):
            for place, each in enumerate(result):
                if isinstance(each, Tensor):
                    self._note(name, args, kwargs, made_of, each, place)
        return False

    def _note_written(
        self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], made_of: list[Origin], x: Tensor
    ) -> None:
        """Note that a tensor holds other values now, which depend on weights alone."""
        before = self._known.pop(id(x), None)
        if before is not None and (name in _SAME or before[1].key in before[1].roots):
            self._known[id(x)] = before  # a parameter or buffer, which stays what it is
            return
        self._note(name, args, kwargs, [*made_of, before[1]] if before else made_of, x, 0)

    def _note(
        self,
        name: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        made_of: list[Origin],
        result: Tensor,
        place: int,
    ) -> None:
        if id(result) in self._known:  # a call in place, or one that gives its argument back
            return
        roots = frozenset().union(*(origin.roots for origin in made_of))
        settings = tuple(each for each in _flat(args, kwargs) if isinstance(each, _SETTINGS))
        key = (name, place, str(settings), tuple(origin.key for origin in made_of))
        if name in _TRANSPOSES and len(made_of) == 1 and isinstance(made_of[0].key, tuple):
            if made_of[0].key[0] in _TRANSPOSES:  # twice is the tensor itself
                key = made_of[0].key[3][0]
        elif name in _SAME and len(made_of) == 1:
            key = made_of[0].key
        computed = any(origin.computed for origin in made_of) or name not in _LAYOUTS
        is_product = any(origin.is_product for origin in made_of) or name in PRODUCT_NAMES
        self._known[id(result)] = result, Origin(key, roots, computed, is_product)

    def written(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[Tensor]:
        """The tensors into which a call writes, and the known ones that share their memory."""
        written: list[Tensor] = []
        if kwargs.get("out") is not None:
            written += tensors_in((kwargs["out"],))
        if args and (name in _WRITING or (name.endswith("_") and not name.endswith("__"))):
            written += tensors_in(args[:1])
        for each in written:
            yield each
            if id(each) in self._known or each._is_view():
                yield from self._sharing(each)

    def _sharing(self, x: Tensor) -> list[Tensor]:
        """The known tensors that share memory with `x`: what it is a view of, and other views of that."""
        memory = _memory(x)
        others = [each for each, _ in self._known.values() if each is not x]
        return [] if memory is None else [each for each in others if _memory(each) == memory]

    def know(self, x: Tensor, name: str) -> Origin:
        """Note that a tensor does not depend on the model's input."""
        self._known[id(x)] = x, Origin(name, frozenset([name]))
        return self._known[id(x)][1]

    def depends(self, x: Tensor) -> None:
        """Note that a tensor depends on the model's input."""
        self._known.pop(id(x), None)


_SETTINGS = (int, float, complex, str, slice, torch.dtype)
_WRITING = ("__setitem__", "__iadd__", "__isub__", "__imul__", "__itruediv__", "__ifloordiv__", "__imod__", "__ipow__")
_TRANSPOSES = ("t", "T", "mT", "adjoint")
_SAME = (
    "detach",
    "contiguous",
    "data",
    "to",
    "float",
    "double",
    "half",
    "bfloat16",
    "type",
    "type_as",
    "requires_grad_",
)
_LAYOUTS = frozenset(
    [*_TRANSPOSES, *_SAME, "transpose", "permute", "view", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze",
     "__getitem__", "chunk", "split", "unbind", "narrow", "select", "expand", "expand_as", "swapaxes", "movedim",
     "view_as", "clone", "unsafe_chunk", "split_with_sizes", "tensor_split", "rename", "as_strided", "alias"]
)  # fmt: skip


def tensors_in(args: Iterable[Any], kwargs: Mapping[str, Any] | None = None) -> Iterator[Tensor]:
    """All tensors among the arguments of a call, those in lists, tuples and mappings included."""
    return (each for each in _flat(args, kwargs) if isinstance(each, Tensor))


def batch_size(args: Iterable[Any], kwargs: Mapping[str, Any] | None = None) -> int:
    """Length of the first side of all tensors among the arguments; 0 if it is not one for all."""
    lengths = {len(each) if each.dim() else 0 for each in tensors_in(args, kwargs)}
    return lengths.pop() if len(lengths) == 1 else 0


def part_of_batch(values: Any, part: slice) -> Any:
    """The same structure with a part of each tensor's first side."""
    if isinstance(values, Tensor):
        return values[part]
    if isinstance(values, dict):
        return type(values)((key, part_of_batch(each, part)) for key, each in values.items())
    if isinstance(values, list | tuple):
        parts = [part_of_batch(each, part) for each in values]
        return type(values)(*parts) if hasattr(values, "_fields") else type(values)(parts)
    return values


def _flat(args: Iterable[Any], kwargs: Mapping[str, Any] | None) -> Iterator[Any]:
    for each in (*args, *kwargs.values()) if kwargs else args:
        if isinstance(each, list | tuple):
            yield from _flat(each, None)
        elif isinstance(each, Mapping):
            yield from _flat(each.values(), None)
        else:
            yield each


def _memory(x: Tensor) -> int | None:
    """A number of the memory that a tensor lies in; None: it has none of its own, such as a sparse one."""
    try:
        return int(x.untyped_storage()._cdata)
    except (NotImplementedError, RuntimeError):
        return None


def _seen_through(function: Any) -> Callable[..., Any]:
    """A function of torch.nn.functional that no longer hands itself to the mode, so that the mode sees its calls."""
    blind = {name: (lambda *_: False) for name in function.__globals__ if name.startswith("has_torch_function")}
    copy = types.FunctionType(
        function.__code__,
        {**function.__globals__, **blind},
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy


def _bilinear(input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x1 W x2: the product of x1 with the weight is one with a static matrix, that with x2 is digital."""
    outputs, first, second = weight.shape
    matrix = weight.transpose(1, 2).reshape(outputs * second, first)
    y = (F.linear(input1, matrix).unflatten(-1, (outputs, second)) * input2.unsqueeze(-2)).sum(-1)
    z: Tensor = y if bias is None else y + bias
    return z


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """torch.nn.functional.scaled_dot_product_attention, with its two products as calls of their own."""
    if enable_gqa:
        repeats = query.shape[-3] // key.shape[-3]
        key, value = key.repeat_interleave(repeats, -3), value.repeat_interleave(repeats, -3)
    scores: Tensor = torch.matmul(query, key.transpose(-2, -1)) * (query.shape[-1] ** -0.5 if scale is None else scale)
    if is_causal:
        later = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
        scores = scores.masked_fill(later, -torch.inf)
    if attn_mask is not None:
        hidden = attn_mask.dtype == torch.bool
        scores = scores.masked_fill(~attn_mask, -torch.inf) if hidden else scores + attn_mask
    y: Tensor = torch.matmul(F.dropout(scores.softmax(-1), dropout_p), value)
    return y


_COMPOSED: dict[str, Callable[..., Any]] = {
    "multi_head_attention_forward": _seen_through(F.multi_head_attention_forward),
    "bilinear": _bilinear,
    "scaled_dot_product_attention": _attention,
    **chains.CALLS,
    **recurrent.CALLS,
}


def named_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers of a model by name; a shared one has its first name."""
    return {name: each for part in (model.named_buffers(), model.named_parameters()) for name, each in part}
