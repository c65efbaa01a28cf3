"""Traces a model: one pass finds every matrix that an input is multiplied with, and every digital operation.

The model runs as it is, under a mode that follows what depends on its input (`pipeline.analog.following`). A product of
something that depends on the input with something that does not is a matrix on crossbars.
"""

import contextlib
import dataclasses
import fnmatch
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

from hw_models.layers import MvmLayer
from hw_models.workload import DigitalOperation, Workload
from pipeline.analog.digital_operations import DigitalCounter
from pipeline.analog.following import Following, Origin, batch_size, named_tensors, part_of_batch, tensors_in
from pipeline.analog.products import Product, UnknownProduct, product_of

CONVOLUTIONS = ("convolution", *(f"conv{sides}d" for sides in (1, 2, 3)))
WEIGHT_BY_PLACE = ("linear", *CONVOLUTIONS)  # calls that name one operand the weight


class UntraceableModel(ValueError):
    """A model that cannot be put on crossbars."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class MatrixUse:
    """One matrix of a model: what distinguishes it, and its layer for mapping and cost.

    Attributes:
        keys: `matrix_keys` of its products.
        layer: Its description; `windows` counts all uses.
        modules: The innermost modules that use it.
        weight: The canonical weight in this pass.
    """

    keys: tuple[Any, Any]
    layer: MvmLayer
    modules: tuple[nn.Module, ...]
    weight: Tensor


@dataclasses.dataclass(frozen=True, kw_only=True)
class Traced:
    """What a trace found.

    Attributes:
        workload: The matrices and the digital operations of one inference.
        matrices: One per layer of the workload.
        digital: Static matrices that stay digital because the caller allowed it, by name.
        allowed: Modules and weights of these matrices: a model that runs knows the weight, and not the module's name.
        uncounted: Names of torch operations whose digital cost is not known, and not charged.
        fixed: Modules with products of an activation and a fixed activation (`is_fixed_activation`).
        outside: Name -> tensor, of parameters and constants that the model uses but does not hold as its own.
    """

    workload: Workload
    matrices: tuple[MatrixUse, ...]
    digital: tuple[str, ...]
    allowed: frozenset[str]
    uncounted: tuple[str, ...]
    fixed: tuple[str, ...]
    outside: Mapping[str, Tensor]


def is_fixed_activation(name: str, product: Product, origin: Origin) -> bool:
    """Whether the static operand is what weights give alone, batch by batch, such as the queries of learned tokens: its
    product with an activation is one of two activations, and digital."""
    return origin.is_product and name not in WEIGHT_BY_PLACE and product.source.dim() > 2


def matrix_keys(product: Product, origin: Origin) -> tuple[Any, Any]:
    """What makes two products use one matrix: equal weights, and, if training computes them otherwise, equal roots."""
    layout, key = product.layout, origin.key
    if layout == "columns" and isinstance(key, tuple) and key[0] in ("t", "T", "mT", "transpose"):
        layout, key = "", key[3][0]  # x @ w.t() has the matrix of linear(x, w)
    exact = layout, key, product.groups
    return exact, (layout, tuple(sorted(origin.roots)), tuple(product.weight.shape)) if origin.computed else exact


def trace(
    model: nn.Module, *inputs: Any, named: Mapping[str, Any] | None = None, allow_digital: Sequence[str] = ()
) -> Traced:
    """Run `model` once, or twice if it uses tensors that it does not hold, and describe it.

    Args:
        model: Any torch model. It runs in evaluation mode, without gradients, and is left as it was.
        inputs, named: What its forward pass takes, a batch of one. Model and inputs may be on the meta device.
        allow_digital: Name patterns of matrices that may stay digital.

    Raises:
        UntraceableModel: If a matrix cannot be put on crossbars, or the model has none; names it and the way out.
    """
    refuse_scripted(model)
    with _in_evaluation(model), torch.no_grad(), torch.random.fork_rng(devices=[]):
        tracer, counter = _pass(model, inputs, named or {}, allow_digital, {})
        if tracer.unknown:
            tracer, counter = _pass(model, inputs, named or {}, allow_digital, tracer.unknown)
    if counter.hidden:
        raise UntraceableModel(
            f"a matrix product of {', '.join(sorted(counter.hidden))} runs in compiled code, where it cannot be "
            "followed; give the model in Python, not scripted or compiled"
        )
    return _described(tracer, counter)


def trace_of_one(
    model: nn.Module, inputs: tuple[Any, ...], named: Mapping[str, Any], allow_digital: Sequence[str] = ()
) -> Traced:
    """A trace of one inference: on the first of a batch, if the model does the same with it as with all."""
    whole = trace(model, *inputs, named=named, allow_digital=allow_digital)
    if batch_size(inputs, named) > 1:
        with contextlib.suppress(Exception):
            first, others = part_of_batch(inputs, slice(0, 1)), part_of_batch(named, slice(0, 1))
            alone = trace(model, *first, named=others, allow_digital=allow_digital)
            if [each.keys for each in alone.matrices] == [each.keys for each in whole.matrices]:
                return alone
    return whole


def _pass(
    model: nn.Module,
    inputs: Sequence[Any],
    named: Mapping[str, Any],
    allow_digital: Sequence[str],
    outside: Mapping[int, Tensor],
) -> tuple["_Tracer", DigitalCounter]:
    tracer = _Tracer(model, allow_digital, outside)
    for each in tensors_in(inputs, named):
        tracer.depends(each)
    counter = DigitalCounter(tracer)
    with tracer.modules_told(), counter, tracer:
        model(*inputs, **named)
    return tracer, counter


def _described(tracer: "_Tracer", counter: DigitalCounter) -> Traced:
    found = tracer.found.values()
    if not found:
        raise UntraceableModel("the model multiplies its input with no matrix; there is nothing to put on crossbars")
    matrices = tuple(
        MatrixUse(
            keys=each.keys,
            layer=_layer(name, each),
            modules=tuple(each.modules),
            weight=each.product.weight.detach(),  # copies of the model would refuse a stale view
        )
        for name, each in zip(_names_of(list(found)), found, strict=True)
    )
    digital = tuple(
        DigitalOperation(kind=kind, count=count, name=name or "model")  # type: ignore[arg-type]
        for (name, kind), count in counter.counts.items()
        if count
    )
    return Traced(
        workload=Workload(layers=tuple(each.layer for each in matrices), digital=digital),
        matrices=matrices,
        digital=tuple(sorted(tracer.digital)),
        allowed=frozenset(tracer.allowed),
        uncounted=tuple(sorted(counter.unknown)),
        fixed=tuple(sorted(tracer.fixed)),
        outside=tracer.outside,
    )


def refuse_scripted(model: nn.Module) -> None:
    """Raise an UntraceableModel if the model, or a part of it, is scripted, compiled or quantised."""
    for name, each in model.named_modules():
        way_out = None
        if isinstance(each, torch.jit.ScriptModule):
            way_out = "scripted; give the Python model"
        elif type(each).__name__ == "OptimizedModule":
            way_out = "compiled; give the model as it was before torch.compile"
        elif type(each).__module__.startswith(("torch.ao.nn.quantized", "torch.ao.nn.intrinsic.quantized")):
            way_out = "quantised to integers by torch; give the float model"
        if way_out:
            place = f"its module {name!r} is" if name else "it is"
            raise UntraceableModel(f"the model cannot be traced: {place} {way_out}")


@contextlib.contextmanager
def _in_evaluation(model: nn.Module) -> Iterator[None]:
    training = [each for each in model.modules() if each.training]
    model.eval()
    try:
        yield
    finally:
        for each in training:
            each.training = True


@dataclasses.dataclass
class _Found:
    """A matrix while the trace runs."""

    origin: Origin
    product: Product
    keys: tuple[Any, Any]
    modules: dict[nn.Module, str]
    windows: int = 0
    relu: bool = False
    pooled: bool = False


class _Tracer(Following):
    """The mode of a trace. `unknown` collects tensors that are neither the model's nor made by a call.

    Such a tensor depends on the input if the next pass makes a new one; `outside` holds those of the pass before.
    """

    def __init__(self, model: nn.Module, allow_digital: Sequence[str], outside: Mapping[int, Tensor]) -> None:
        super().__init__(named_tensors(model))
        self._names: dict[nn.Module, str] = {each: name for name, each in model.named_modules()}
        self._model, self._allowed, self._outside_before = model, allow_digital, outside
        self.unknown: dict[int, Tensor] = {}
        self.outside: dict[str, Tensor] = {}
        self._depending: dict[int, Tensor] = {}  # tensors that depend on the input; holding them keeps their ids
        self.found: dict[Any, _Found] = {}
        self._made_by: dict[int, _Found] = {}
        self.digital: set[str] = set()
        self.allowed: set[str] = set()
        self.fixed: set[str] = set()
        self._modules: list[nn.Module] = [model]
        self.inside: str | None = None

    @property
    def path(self) -> str:
        """Name of the module that runs."""
        module = self._modules[-1]
        return str(self._names.get(module, f"{type(module).__name__} outside the model"))

    @contextlib.contextmanager
    def modules_told(self) -> Iterator[None]:
        """Within the block, the tracer knows which module runs."""
        enter = register_module_forward_pre_hook(lambda module, inputs: self._modules.append(module))
        leave = register_module_forward_hook(self._leave, always_call=True)
        try:
            yield
        finally:
            enter.remove()
            leave.remove()

    def _leave(self, *_: Any) -> None:
        self._modules.pop()

    def depends(self, x: Tensor) -> None:
        super().depends(x)
        self._depending[id(x)] = x

    def origin_of_unknown(self, x: Tensor) -> Origin | None:
        if id(x) in self._depending:
            return None
        if not isinstance(x, nn.Parameter) and self._outside_before.get(id(x)) is not x:
            self.unknown[id(x)] = x
            return None
        module = self._modules[-1]
        held = (f"{self.path}.{key}".strip(".") for key, value in vars(module).items() if value is x)
        name = next(held, f"outside{len(self.outside) + 1}")
        self.outside[name] = x
        return self.know(x, name)

    def other(self, name: str, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        depends = any(self.origin(each) is None for each in tensors_in(args, kwargs))
        maker = self._made_by.get(id(args[0])) if args and depends else None
        part = maker is not None and _is_part_of_layer(maker, name, args, kwargs)
        before, self.inside = self.inside, "digital" if depends and not part else "static"
        try:
            result = func(*args, **kwargs)
        finally:
            self.inside = before
        if self.follow(name, args, kwargs, result):
            for each in tensors_in((result,)):
                self.depends(each)
                if part and maker is not None:
                    self._made_by[id(each)] = maker
        return result

    def product(self, name: str, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        product = self._on_crossbars(name, args, kwargs)
        if product is None:
            return self.other(name, func, args, kwargs)
        self.inside = "product"
        try:
            result = func(*args, **kwargs)
        finally:
            self.inside = None
        self.depends(result)
        self._made_by[id(result)] = self._used(product)
        return result

    def _on_crossbars(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Product | None:
        """The product of a call; None if it has no static matrix that lies on crossbars."""
        try:
            product = product_of(name, args, kwargs, self.is_static)
        except UnknownProduct as error:
            roots = frozenset().union(*(o.roots for x in tensors_in(args, kwargs) if (o := self.origin(x)) is not None))
            if not self._is_allowed(self.path, *roots):
                raise UntraceableModel(
                    f"{self.path or 'the model'}: {error} has a static matrix "
                    f"({', '.join(sorted(roots)) or 'a constant'}), in a form that crossbars here do not compute; "
                    "write it as a linear layer, or name it in allow_digital"
                ) from error
            return None
        if product is None:
            self._refuse_unseen_weight(name, args, kwargs)
            return None
        if torch._C._functorch.is_batchedtensor(product.x):
            raise UntraceableModel(
                f"{self.path or 'the model'}: torch.vmap hides how many vectors a matrix is multiplied with; "
                "give the layer the whole batch"
            )
        origin = self.origin(product.source)
        assert origin is not None
        if is_fixed_activation(name, product, origin):
            self.fixed.add(self.path)
            return None
        return None if self._is_allowed(self.path, *origin.roots) else product

    def _refuse_unseen_weight(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Raise an UntraceableModel if a layer's weight comes from outside torch at each call, such as from NumPy."""
        weight = args[1] if len(args) > 1 else kwargs.get("weight")
        made_anew = self._outside_before and id(weight) in self.unknown
        if name in WEIGHT_BY_PLACE and made_anew and not self._is_allowed(self.path):
            raise UntraceableModel(
                f"{self.path or 'the model'}: the weight of {name} is made outside torch at each call, so it is not "
                "known whether it depends on the input; hold it as a tensor, or name the module in allow_digital"
            )

    def _used(self, product: Product) -> _Found:
        """The matrix of a product, one use added."""
        origin = self.origin(product.source)
        assert origin is not None
        keys = matrix_keys(product, origin)
        found = self.found.setdefault(keys[0], _Found(origin, product, keys, {}))
        found.modules.setdefault(self._modules[-1], self.path)
        found.windows += _vectors(product)
        return found

    def _is_allowed(self, *names: str) -> bool:
        hits = [name for name in names for pattern in self._allowed if fnmatch.fnmatchcase(name, pattern)]
        self.digital.update(hits)
        if hits:
            self.allowed.update(names)
        return bool(hits)


def _is_part_of_layer(maker: _Found, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether a call on a layer's outputs belongs to the layer: what its own units, or its scale, do at no extra cost.

    Batch normalisation is folded into the scale and shift of the outputs.
    """
    if name in ("relu", "relu_") or (name == "threshold" and tuple(args[1:3]) == (0, 0)):
        new, maker.relu = not maker.relu, True
        return new
    if name in ("max_pool2d", "max_pool2d_with_indices") and not maker.pooled:
        settings = dict(zip(("input", "kernel_size", "stride", "padding", "dilation", "ceil_mode"), args, strict=False))
        settings |= kwargs
        size, stride = settings["kernel_size"], settings.get("stride")
        plain = not any(_number(settings.get(key, 0)) for key in ("padding", "ceil_mode"))
        plain = plain and _number(settings.get("dilation", 1)) == 1
        maker.pooled = plain and _number(size) == 2 and _number(stride if stride else size) == 2
        return maker.pooled
    return name in ("batch_norm", "dropout", "identity")


def _number(value: Any) -> Any:
    return value[0] if isinstance(value, list | tuple) and len(set(value)) == 1 else value


def _vectors(product: Product) -> int:
    """Input vectors of one use."""
    if product.windows is None:
        return product.x.numel() // product.weight.shape[1]
    return product.x.shape[0] * math.prod(product.windows.out_size(product.x.shape[2:], product.weight.shape[2:]))


def _layer(name: str, found: _Found) -> MvmLayer:
    product, sides = found.product, (1, 1)
    kernel, strides = tuple(product.weight.shape[2:]), product.windows.stride if product.windows else ()
    if product.windows is not None:
        *depth, width = product.x.shape[2:]
        sides = math.prod(depth), width
    elif product.x.dim() > 2:
        sides = product.x[0].numel() // product.x.shape[-1], 1
    return MvmLayer(
        name=name,
        in_height=sides[0],
        in_width=sides[1],
        in_channels=product.weight.shape[1] * product.groups,
        kernel=kernel or 1,
        out_channels=product.weight.shape[0],
        windows=found.windows,
        groups=product.groups,
        windows_overlap=any(stride < side for stride, side in zip(strides, kernel, strict=True)),
        pooled=found.pooled,
        relu=found.relu,
    )


def _names_of(matrices: Sequence[_Found]) -> list[str]:
    """A name for each matrix: that of its module if the module has no other matrix, else that of its parameter."""
    paths = [next(iter(found.modules.values())) for found in matrices]
    names = []
    for path, found in zip(paths, matrices, strict=True):
        root = min((_plain_name(root) for root in sorted(found.origin.roots)), default="", key=len)
        names.append(path if path and paths.count(path) == 1 else root or path or "model")
    seen: Counter[str] = Counter()
    unique = []
    for name in names:
        seen[name] += 1
        unique.append(name if seen[name] == 1 else f"{name}#{seen[name]}")
    return unique


def _plain_name(root: str) -> str:
    """The name of a weight's module, reparametrised or not, or that of a parameter with another name."""
    plain = re.sub(r"parametrizations\.(\w+)\..*", r"\1", root)
    return re.sub(r"(^|\.)weight(_orig|_mask|_v|_g|_u)?$", "", plain)
