"""Counts what a model computes beside its crossbars: additions, normalisation, pooling, softmax, attention.

The counts are those of plain digital units, one operation per value, as torch's own (aten) operations imply.
"""

import math
from collections import Counter
from collections.abc import Callable
from typing import Any, Protocol

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

Counts = dict[str, int]  # kind of operation -> how many
Rule = Callable[[tuple[Any, ...], Any], Counts]  # arguments and result of an aten operation -> counts


class Place(Protocol):
    """Where the model is: what the call at hand is, and in which module."""

    inside: str | None  # "digital", "static" or "product"; None: in no call that torch reports

    @property
    def path(self) -> str:
        """Name of the module that runs."""


def _out(result: Any) -> int:
    return int(result.numel() if isinstance(result, Tensor) else result[0].numel())


def _each_output(**per_value: int) -> Rule:
    return lambda args, result: {kind: count * _out(result) for kind, count in per_value.items()}


def _each_input(**per_value: int) -> Rule:
    return lambda args, result: {kind: count * int(args[0].numel()) for kind, count in per_value.items()}


def _divided(args: tuple[Any, ...], result: Any) -> Counts:
    by_number = not isinstance(args[1], Tensor) or args[1].dim() == 0
    return {"multiply" if by_number else "divide": _out(result)}


def _power(args: tuple[Any, ...], result: Any) -> Counts:
    return {"multiply" if args[1] == 2 else "lookup": _out(result)}


def _mean(args: tuple[Any, ...], result: Any) -> Counts:
    return {"add": int(args[0].numel()), "multiply": _out(result)}


def _softmax(args: tuple[Any, ...], result: Any) -> Counts:
    values = _out(result)
    return {"compare": values, "add": 2 * values, "lookup": values, "divide": values}


def _normalised(args: tuple[Any, ...], result: Any) -> Counts:
    """Mean, variance, scaling and shift of each value; one root and one division per group of values."""
    values, groups = int(args[0].numel()), int(result[1].numel())
    return {"add": 3 * values, "multiply": 3 * values, "square_root": groups, "divide": groups}


def _batch_norm(args: tuple[Any, ...], result: Any) -> Counts:
    """A scale and a shift; with statistics of the batch, as in an instance normalisation, these as well."""
    from_batch = len(args) > 5 and args[5] is True
    return _normalised(args, result) if from_batch else {"multiply": _out(result), "add": _out(result)}


def _product(args: tuple[Any, ...], result: Any) -> Counts:
    """Of two matrices that both depend on the input; the last argument but for options is the second matrix."""
    matrices = [each for each in args if isinstance(each, Tensor)][-2:]
    return {"multiply_accumulate": _out(result) * int(matrices[0].shape[-1])}


def _convolution(args: tuple[Any, ...], result: Any) -> Counts:
    weight, transposed = args[1], args[6]
    vectors = int(args[0].numel()) // int(args[0].shape[1]) if transposed else _out(result) // int(result.shape[1])
    return {"multiply_accumulate": vectors * int(weight.numel())}


def _attention(args: tuple[Any, ...], result: Any) -> Counts:
    query, key, value = args[:3]
    scores = int(query.numel()) // int(query.shape[-1]) * int(key.shape[-2])
    products = scores * (int(query.shape[-1]) + int(value.shape[-1]))
    softmax = {"compare": scores, "add": 2 * scores, "lookup": scores, "divide": scores}
    return softmax | {"multiply_accumulate": products, "multiply": scores}


def _average(args: tuple[Any, ...], result: Any) -> Counts:
    return {"add": _out(result) * math.prod(args[1] * 2 if len(args[1]) == 1 else args[1]), "multiply": _out(result)}


def _maximum(args: tuple[Any, ...], result: Any) -> Counts:
    return {"compare": _out(result) * max(1, math.prod(args[1] * 2 if len(args[1]) == 1 else args[1]) - 1)}


def _sorted(args: tuple[Any, ...], result: Any) -> Counts:
    values = int(args[0].numel())
    return {"compare": values * max(1, math.ceil(math.log2(max(2, args[0].shape[-1] if args[0].dim() else 1))))}


def _interpolated(corners: int) -> Rule:
    return lambda args, result: {"multiply_accumulate": corners * _out(result)}


def _words(text: str) -> list[str]:
    return text.split()


_ADD, _COMPARE, _LOOKUP = _each_output(add=1), _each_output(compare=1), _each_output(lookup=1)
_RULES: dict[str, Rule] = {
    **dict.fromkeys(
        _words(
            "add sub rsub neg floor ceil round cumsum trunc "
        ), _ADD),
    **dict.fromkeys(
        _words(
            "mul square prod addcmul lerp "
        ), _each_output(multiply=1)),
    "addcdiv": _each_output(divide=1, add=1),
    "div": _divided,
    "reciprocal": _each_output(divide=1),
    "remainder": _each_output(divide=1),
    "sqrt": _each_output(square_root=1),
    "rsqrt": _each_output(square_root=1, divide=1),
    "pow": _power,
    **dict.fromkeys(
        _words(
            "relu relu6 hardtanh clamp clamp_min clamp_max maximum minimum abs sign threshold gt lt ge le eq ne "
            "leaky_relu prelu _prelu_kernel isnan isinf bucketize "
        ),
        _COMPARE,
    ),
    "hardsigmoid": _each_output(compare=2, add=1, multiply=1),
    "hardswish": _each_output(compare=2, add=1, multiply=2),
    **dict.fromkeys(
        _words(
            "exp log log2 log1p expm1 sigmoid tanh gelu silu elu softplus mish erf sin cos atan2 celu selu "
            "log_sigmoid_forward exp2 asin acos sinh cosh "
        ),
        _LOOKUP,
    ),
    "glu": _each_output(lookup=1, multiply=1),
    "_softmax": _softmax,
    "_log_softmax": _softmax,
    "_safe_softmax": _softmax,
    **dict.fromkeys(("native_layer_norm", "native_group_norm", "_fused_rms_norm"), _normalised),
    **dict.fromkeys(
        ("native_batch_norm", "_native_batch_norm_legit_no_training", "cudnn_batch_norm", "_batch_norm_no_update"),
        _batch_norm,
    ),
    **dict.fromkeys(("mean", "_adaptive_avg_pool2d", "_adaptive_avg_pool3d"), _mean),
    **dict.fromkeys(("sum", "nansum"), _each_input(add=1)),
    **dict.fromkeys(("var", "std", "var_mean", "std_mean"), _each_input(add=2, multiply=1)),
    **dict.fromkeys(("norm", "linalg_vector_norm"), _each_input(add=1, multiply=1)),
    **dict.fromkeys(
        _words(
            "max amax min amin argmax argmin aminmax any all "
        ), _each_input(compare=1)),
    **dict.fromkeys(("adaptive_max_pool2d", "adaptive_max_pool3d", "logsumexp"), _each_input(compare=1)),
    **dict.fromkeys(("topk", "sort", "argsort", "median"), _sorted),
    **dict.fromkeys(
        _words(
            "mm bmm addmm baddbmm mv dot addmv "
        ), _product),
    **dict.fromkeys(("convolution", "_convolution"), _convolution),
    **dict.fromkeys(("avg_pool2d", "avg_pool3d", "avg_pool1d"), _average),
    **dict.fromkeys(("max_pool2d_with_indices", "max_pool3d_with_indices"), _maximum),
    **dict.fromkeys(("upsample_bilinear2d", "_upsample_bilinear2d_aa", "grid_sampler_2d"), _interpolated(4)),
    **dict.fromkeys(("upsample_bicubic2d", "_upsample_bicubic2d_aa"), _interpolated(16)),
    "upsample_linear1d": _interpolated(2),
    "upsample_trilinear3d": _interpolated(8),
}  # fmt: skip
PRODUCTS = frozenset(
    _words(
        "mm bmm addmm baddbmm mv dot addmv convolution _convolution linear mkldnn_rnn_layer "
        "_thnn_fused_lstm_cell _trilinear addbmm _cdist_forward "
    )
)
# They move, select or make values, and compute none.
_FREE = frozenset(
    _words(
        "cat stack copy _to_copy clone _unsafe_view contiguous constant_pad_nd pad reflection_pad1d "
        "reflection_pad2d replication_pad1d replication_pad2d replication_pad3d index index_select gather scatter "
        "embedding roll flip where masked_fill slice_scatter select_scatter repeat im2col pixel_shuffle "
        "pixel_unshuffle upsample_nearest1d upsample_nearest2d upsample_nearest3d _upsample_nearest_exact2d "
        "channel_shuffle empty zeros ones full new_zeros new_ones new_full new_empty empty_like zeros_like "
        "ones_like full_like arange scalar_tensor lift_fresh fill zero _local_scalar_dense resize set index_put "
        "scatter_add bitwise_and bitwise_or bitwise_not logical_and logical_or logical_not logical_xor tril triu "
        "native_dropout bernoulli rand randn rand_like randn_like randperm one_hot repeat_interleave unfold_copy "
        "empty_strided detach nonzero diag_embed eye linspace isfinite _embedding_bag _efficientzerotensor "
        "masked_select unique_consecutive meshgrid take_along_dim native_channel_shuffle _pack_padded_sequence "
        "narrow_copy as_strided masked_scatter affine_grid_generator index_add index_copy is_same_size "
    )
)


class DigitalCounter(TorchDispatchMode):
    """Counts the digital operations of a model that runs under it.

    Attributes:
        counts: (module, kind of operation) -> how many.
        hidden: Modules in which a matrix product ran outside all calls that torch reports.
        unknown: Names of operations whose cost is not known.
    """

    def __init__(self, place: Place) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._place = place
        self.counts: Counter[tuple[str, str]] = Counter()
        self.hidden: set[str] = set()
        self.unknown: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if self._place.inside in ("static", "product"):
            return result
        name = func._schema.name.split("::")[-1]
        if self._place.inside is None and name in PRODUCTS:
            self.hidden.add(self._place.path or "the model")
        self._count(name, func, args, result)
        return result

    def _count(self, name: str, func: Any, args: tuple[Any, ...], result: Any) -> None:
        rule = _RULES.get(name) or _RULES.get(name.rstrip("_"))
        if name.startswith(("_scaled_dot_product", "_flash_attention", "_efficient_attention")):
            rule = _attention
        if rule is not None:
            for kind, count in rule(args, result).items():
                self.counts[self._place.path, kind] += count
        elif not (func.is_view or name.rstrip("_") in _FREE or _gives_no_numbers(result)):
            self.unknown.add(name)


def _gives_no_numbers(result: Any) -> bool:
    """Whether an operation gave no numbers: a size, a flag, nothing."""
    values = result if isinstance(result, tuple | list) else (result,)
    return not any(isinstance(each, Tensor) and each.is_floating_point() for each in values)
