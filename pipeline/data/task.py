"""Tasks: what labels and outputs mean, the loss that training lowers, and the score that a search raises."""

import dataclasses
import math
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from pipeline.data import scores
from pipeline.data.dataset_spec import SCORES, DatasetSpec, OwnTask

Labels = Literal["class", "mask", "flag", "flags", "targets", "any"]
_SHOWN = 4  # classes or labels that a message names


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """What a network is for.

    Attributes:
        name: As study files name it; `own` for functions of a user's file.
        loss: Of outputs (n, ...) and labels (n, ...), a scalar.
        judge: Of outputs and labels, what the score keeps of each input, (n, ...).
        total: The score of what `judge` kept of all inputs (n, ...) and of their labels. None: the mean of `judge`.
        lowest: Smallest possible score; larger is better, and 1 is the largest.
        labels: What a label is: a class of the input, or of each pixel (`mask`); one value 0 or 1, or several; float
            targets; or `any` value that the user's functions take.
        ignore_index: A value in masks that no class is: such pixels do not count.
    """

    name: str
    loss: Callable[[Tensor, Tensor], Tensor]
    judge: Callable[[Tensor, Tensor], Tensor]
    total: Callable[[Tensor, Tensor], float] | None = None
    lowest: float = 0.0
    labels: Labels
    ignore_index: int | None = None

    @property
    def score_name(self) -> str:
        """Of the score, for people."""
        return SCORES.get(self.name, "score")

    def stored(self, labels: Tensor) -> Tensor:
        """Labels in the type that loss and score take: whole numbers for classes, else float."""
        keeps_whole = self.labels in ("class", "mask") or (self.labels == "any" and not labels.is_floating_point())
        return labels.long() if keeps_whole else labels.float()

    def check_labels(self, labels: Tensor, inputs: int, outputs: int | None, what: str = "labels") -> None:
        """Make sure that labels are what the task needs.

        Args:
            labels: Of all inputs of a split.
            inputs: Number of inputs.
            outputs: Classes, labels or targets of the network; None: not known.
            what: What messages call the labels.

        Raises:
            ValueError: If they are not; says what was expected and found.
        """
        check_count(labels, inputs, what)
        if not torch.isfinite(labels).all():
            raise ValueError(f"{what} are NaN or infinite in places; give numbers, or leave these inputs out")
        expected, dims, types = _FORMS[self.labels]
        type_name = "bool" if labels.dtype is torch.bool else "float" if labels.is_floating_point() else "whole"
        if labels.dim() not in dims or type_name not in types or (self.labels == "flag" and labels[0].numel() > 1):
            shape = ", ".join(["n", *map(str, labels.shape[1:])])
            raise ValueError(f"{what} for {self.name} must be {expected}; got {labels.dtype} of shape ({shape})")
        if self.labels in ("class", "mask"):
            self._check_classes(labels, outputs, what)
        elif self.labels in ("flag", "flags") and not ((labels == 0) | (labels == 1)).all():
            raise ValueError(f"{what} for {self.name} must be 0 or 1, got {_some(labels)}")
        elif self.labels == "targets" and (labels == labels[0]).view(inputs, -1).all(0).any():
            raise ValueError(f"{what}: a target is the same for all {inputs} inputs, so that R2 is not defined")

    def _check_classes(self, labels: Tensor, outputs: int | None, what: str) -> None:
        counted = labels if self.ignore_index is None else labels[labels != self.ignore_index]
        if counted.numel() == 0:
            raise ValueError(f"{what} all have the value {self.ignore_index}, which is ignored; none is a class")
        low, high = int(counted.min()), int(counted.max())
        if low < 0 or (outputs is not None and high >= outputs):
            classes = f"0 to {outputs - 1}, as the network has {outputs} outputs" if outputs else "0 or more"
            raise ValueError(f"{what} must be classes from {classes}, got {_some(counted)}; {self._way_out(high)}")

    def _way_out(self, high: int) -> str:
        if self.labels == "class":
            return "count classes from 0, or give the network an output for each"
        if high == 255:
            return "divide masks by 255 if 255 marks class 1, or name ignore_index: 255 if it marks no class"
        return "count classes from 0, or name ignore_index if a value marks no class"

    def check_outputs(self, outputs: Tensor, labels: Tensor) -> None:
        """Make sure that a network's outputs for a batch suit its labels, which `check_labels` accepts.

        Raises:
            ValueError: If they do not; says what was expected and found.
        """
        _check_tensor(outputs)
        if self.labels == "any":
            return
        rest, size = tuple(outputs.shape[1:]), tuple(labels.shape[1:])
        fits = len(outputs) == len(labels)
        if self.labels == "class":
            fits, expected = fits and len(rest) == 1 and rest[0] > 1, "(n, classes), 2 classes or more"
        elif self.labels == "mask":
            fits, expected = (
                fits and len(rest) == 3 and rest[0] > 1 and rest[1:] == size,
                (f"(n, classes{''.join(f', {side}' for side in size)}), 2 classes or more"),
            )
        elif self.labels == "flag":
            fits, expected = fits and rest in ((), (1,)), "one logit for each input, (n,) or (n, 1)"
        else:
            several = size or (1,)
            fits, expected = fits and (rest or (1,)) == several, f"(n, {several[0]}), as many as an input has labels"
        if not fits:
            way_out = "; use task binary" if self.labels == "class" and rest in ((), (1,)) else ""
            raise ValueError(
                f"outputs of the network for {self.name} must be {expected}; got {tuple(outputs.shape)} for "
                f"{len(labels)} inputs{way_out}"
            )

    def check_fit(self, outputs: Tensor, labels: Tensor, all_labels: Tensor, what: str = "labels") -> None:
        """`check_outputs` of a batch, and `check_labels` of a whole split for a network with so many outputs."""
        self.check_outputs(outputs, labels)
        if self.labels in ("class", "mask"):
            self._check_classes(all_labels, outputs.shape[1], what)

    def tell_gaps(self, labels: Tensor, what: str) -> None:
        """Warn of labels that no input has, and that the score therefore leaves out.

        Raises:
            ValueError: If that are all of them.
        """
        if self.labels != "flags":
            return
        none = (labels.sum(0) == 0).nonzero().flatten().tolist()
        if len(none) == labels.shape[1]:
            raise ValueError(f"{what}: no input has any of the {len(none)} labels, so that no precision is defined")
        if none:
            names = ", ".join(map(str, none[:_SHOWN])) + (", ..." if len(none) > _SHOWN else "")
            warnings.warn(f"{what}: no input has label {names}; {self.score_name} leaves it out", stacklevel=2)


def _outputs_alone(outputs: Tensor, labels: Tensor) -> Tensor:
    return outputs


_ANY_TYPE = ("whole", "bool", "float")
_FORMS: dict[Labels, tuple[str, tuple[int, ...], tuple[str, ...]]] = {  # in words, numbers of dimensions, types
    "class": ("whole numbers, one class for each input, (n,)", (1,), ("whole",)),
    "mask": ("whole numbers, one class for each pixel, (n, height, width)", (3,), ("whole",)),
    "flag": ("0 or 1 for each input, (n,) or (n, 1)", (1, 2), _ANY_TYPE),
    "flags": ("0 or 1 for each of several labels, (n, labels)", (2,), _ANY_TYPE),
    "targets": ("float targets, (n,) or (n, targets)", (1, 2), ("float",)),
    "any": ("one entry for each input, (n, ...)", tuple(range(1, 10)), _ANY_TYPE),
}


def _some(labels: Tensor) -> str:
    """The different values of labels in words, a few of them."""
    values = labels.unique().tolist()
    shown = ", ".join(f"{value:g}" for value in values[:_SHOWN])
    return f"the values {shown}" + (f", ... up to {values[-1]:g}" if len(values) > _SHOWN else "")


def _check_tensor(outputs: Any) -> None:
    if not isinstance(outputs, Tensor):
        raise ValueError(
            f"the network must give one tensor, got {type(outputs).__name__}; wrap it in a module that picks one"
        )


def check_count(labels: Tensor, inputs: int, what: str) -> None:
    """Raise ValueError unless there are inputs, and a label for each."""
    if not inputs:
        raise ValueError(f"{what}: there are no inputs; give one or more")
    if labels.dim() == 0 or len(labels) != inputs:
        found = len(labels) if labels.dim() else "one number for all"
        raise ValueError(f"{what}: {found} labels for {inputs} inputs; each input needs one")


def named_task(name: str, ignore_index: int | None = None) -> Task:
    """The task of this name; see docs/data.md.

    Raises:
        ValueError: If there is none of this name, or `ignore_index` does not belong to it.
    """
    if name not in _TASKS:
        raise ValueError(f"task must be one of {', '.join(_TASKS)}, got {name!r}")
    if ignore_index is None:
        return _TASKS[name]
    if name != "segmentation":
        raise ValueError(f"ignore_index belongs to segmentation, got {ignore_index} with {name}")
    own = partial(scores.cross_entropy, ignore_index=ignore_index), partial(scores.overlaps, ignore_index=ignore_index)
    return dataclasses.replace(_TASKS[name], loss=own[0], judge=own[1], ignore_index=ignore_index)


_TASKS = {
    task.name: task
    for task in (
        Task(
            name="classification",
            loss=scores.cross_entropy,
            judge=scores.correct,
            labels="class",
        ),
        Task(
            name="binary",
            loss=scores.binary_cross_entropy,
            judge=scores.correct_sign,
            labels="flag",
        ),
        Task(
            name="multilabel",
            loss=scores.binary_cross_entropy,
            judge=_outputs_alone,
            total=scores.mean_average_precision,
            labels="flags",
        ),
        Task(
            name="segmentation",
            loss=scores.cross_entropy,
            judge=scores.overlaps,
            total=scores.mean_iou,
            labels="mask",
        ),
        Task(
            name="foreground_segmentation",
            loss=scores.cross_entropy,
            judge=scores.foreground_iou,
            labels="mask",
        ),
        Task(
            name="regression",
            loss=scores.squared_error,
            judge=_outputs_alone,
            total=scores.r2,
            lowest=-math.inf,
            labels="targets",
        ),
    )
}


CLASSIFICATION = _TASKS["classification"]


def task_of(spec: DatasetSpec) -> Task:
    """The task of a study's data set.

    Raises:
        FileFunctionError: If a user's loss or score cannot be loaded.
    """
    if not isinstance(spec.the_task, OwnTask):
        return named_task(spec.the_task, spec.ignore_index)
    score = spec.the_task.score.load()

    def total(outputs: Tensor, labels: Tensor) -> float:
        value = torch.as_tensor(score(outputs, labels)).double()
        fits = value.dim() == 0 or value.shape == (len(labels),)
        if not fits or not torch.isfinite(value).all() or value.max() > 1:
            found = f"values up to {value.max():g}" if fits else f"the shape {tuple(value.shape)}"
            wanted = "a number of at most 1, larger for better, or one for each input"
            raise ValueError(f"{spec.the_task} must give {wanted}; got {found} for {len(labels)} inputs")
        return float(value.mean())

    return Task(
        name="own",
        loss=spec.the_task.loss.load(),
        judge=_outputs_alone,
        total=total,
        lowest=-math.inf,
        labels="any",
    )


def infer_task(outputs: Tensor, labels: Tensor) -> Task:
    """The one task that labels of all inputs and outputs of a batch allow.

    Whole numbers (n,) and outputs (n, classes) are classification. Masks and outputs for each pixel are segmentation;
    with two classes they are `foreground_segmentation`. Whole numbers 0 and 1 and one logit are binary; whole numbers
    0 and 1 (n, labels) and as many outputs are multilabel; other floats are regression.

    Raises:
        ValueError: If none or more than one suits; says what was found.
    """
    _check_tensor(outputs)
    rest = tuple(outputs.shape[1:])
    is_float = labels.is_floating_point()
    zero_or_one = bool(((labels == 0) | (labels == 1)).all())
    found = f"labels are {labels.dtype} {tuple(labels.shape)}, outputs are {tuple(outputs.shape)}"
    doubt = ""
    if labels.dim() == 1 and len(rest) == 1 and rest[0] > 1 and not is_float:
        return named_task("classification")
    if labels.dim() == 3 and len(rest) == 3 and rest[0] > 1 and not is_float:
        return named_task("foreground_segmentation" if rest[0] == 2 else "segmentation")
    if rest in ((), (1,)) and labels.shape[1:] in ((), (1,)):
        if not zero_or_one and is_float:
            return named_task("regression")
        if zero_or_one and not is_float:
            return named_task("binary")
        doubt = "float labels of 0 and 1 may be binary or regression" if zero_or_one else ""
    elif labels.dim() == 2 and tuple(labels.shape[1:]) == rest:
        if is_float and not zero_or_one:
            return named_task("regression")
        one_hot = zero_or_one and bool((labels.sum(1) == 1).all())
        if zero_or_one and not is_float and not one_hot:
            return named_task("multilabel")
        doubt = "one 1 in each row may be multilabel, or one class (then pass labels.argmax(1))" if one_hot else ""
        doubt = doubt or ("float labels of 0 and 1 may be multilabel or regression" if zero_or_one else "")
    why = f"the task is in doubt: {doubt}" if doubt else f"no task suits: {found}"
    raise ValueError(f"{why}; pass task=named_task(...): one of {', '.join(_TASKS)}")
