"""An einsum of two operands as a batched matrix product."""

import math
import string
from collections.abc import Callable

from torch import Tensor


def as_matmul(equation: str, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor, Callable[[Tensor], Tensor]] | None:
    """(left, right, back) such that `back(left @ right)` is the einsum; None if nothing is summed over both operands.

    left becomes (batch, its own, summed) and right (batch, summed, its own).

    Raises:
        ValueError: If an operand names a side twice.
    """
    in_left, in_right, out = _labels(equation, left.dim(), right.dim())
    if len(set(in_left)) < len(in_left) or len(set(in_right)) < len(in_right):
        raise ValueError(f"einsum {equation!r} takes a diagonal, which no crossbar does")
    sizes = dict(zip(in_left, left.shape, strict=True))
    for label, size in zip(in_right, right.shape, strict=True):
        sizes[label] = max(size, sizes.get(label, 1))
    left, in_left = _summed_alone(left, in_left, in_right + out)
    right, in_right = _summed_alone(right, in_right, in_left + out)
    summed = [label for label in in_left if label in in_right and label not in out]
    if not summed:
        return None
    batch = [label for label in in_left if label in in_right and label in out]
    own_left = [label for label in in_left if label not in in_right]
    own_right = [label for label in in_right if label not in in_left]

    def arranged(x: Tensor, labels: str, *groups: list[str]) -> Tensor:
        order = [label for group in groups for label in group]
        x = x.permute([labels.index(label) for label in order]).expand([sizes[label] for label in order])
        return x.reshape([math.prod(sizes[label] for label in group) for group in groups])

    def back(y: Tensor) -> Tensor:
        given = batch + own_left + own_right
        return y.reshape([sizes[label] for label in given]).permute([given.index(label) for label in out])

    return arranged(left, in_left, batch, own_left, summed), arranged(right, in_right, batch, summed, own_right), back


def _summed_alone(x: Tensor, labels: str, elsewhere: str) -> tuple[Tensor, str]:
    """Sides that occur nowhere else are summed at once."""
    alone = [place for place, label in enumerate(labels) if label not in elsewhere]
    return (x.sum(alone), "".join(label for label in labels if label in elsewhere)) if alone else (x, labels)


def _labels(equation: str, left_sides: int, right_sides: int) -> tuple[str, str, str]:
    """One letter for each side of the operands and of the result; an ellipsis gets capital letters of its own."""
    inputs, _, out = equation.replace(" ", "").partition("->")
    first, second = inputs.split(",")
    used = set(equation)
    spare = [letter for letter in string.ascii_letters if letter not in used]
    hidden = [
        sides - len(each.replace("...", "")) if "..." in each else 0
        for each, sides in ((first, left_sides), (second, right_sides))
    ]
    letters = "".join(spare[: max(hidden)])
    first, second = (
        each.replace("...", letters[len(letters) - count :])
        for each, count in zip((first, second), hidden, strict=True)
    )
    if "->" not in equation:
        once = sorted(label for label in set(first + second) - set(letters) if (first + second).count(label) == 1)
        return first, second, letters + "".join(once)
    return first, second, out.replace("...", letters)
