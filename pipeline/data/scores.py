"""Losses and scores of tasks. Outputs and labels are batches: (n, ...)."""

import torch
import torch.nn.functional as F
from torch import Tensor


def cross_entropy(outputs: Tensor, labels: Tensor, ignore_index: int | None = None) -> Tensor:
    """Mean cross-entropy of outputs (n, classes, ...) and classes (n, ...)."""
    if ignore_index is None:
        return F.cross_entropy(outputs, labels)
    return F.cross_entropy(outputs, labels, ignore_index=ignore_index)


def binary_cross_entropy(outputs: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of independent logits and labels 0 or 1 of as many values."""
    return F.binary_cross_entropy_with_logits(outputs, labels.to(outputs.dtype).view_as(outputs))


def squared_error(outputs: Tensor, labels: Tensor) -> Tensor:
    """Mean squared error of outputs and targets of as many values."""
    return F.mse_loss(outputs, labels.to(outputs.dtype).view_as(outputs))


def correct(outputs: Tensor, labels: Tensor) -> Tensor:
    """1 for each input whose largest output is its class, else 0, (n,)."""
    return (outputs.argmax(1) == labels).double()


def correct_sign(outputs: Tensor, labels: Tensor) -> Tensor:
    """1 for each input whose logit is above 0 exactly if its label is 1, else 0, (n,)."""
    return ((outputs.flatten() > 0) == (labels.flatten() > 0.5)).double()


def foreground_iou(outputs: Tensor, labels: Tensor) -> Tensor:
    """Intersection over union of the pixels of class 1 and those predicted as class 1, (n,); 1 if there are none.

    Its mean over images weighs a small object like a large one. Other classes do not count.
    """
    found = outputs.argmax(1)
    there, taken = (labels == 1).flatten(1), (found == 1).flatten(1)
    union = (there | taken).sum(1).double()
    return torch.where(union > 0, (there & taken).sum(1) / union, 1.0)


def overlaps(outputs: Tensor, labels: Tensor, ignore_index: int | None = None) -> Tensor:
    """Pixels in the intersection and in the union of each class and its prediction, (n, classes, 2)."""
    classes = outputs.shape[1]
    found, there = outputs.argmax(1).flatten(1), labels.flatten(1)
    counts = there != (-1 if ignore_index is None else ignore_index)

    def pixels(of: Tensor, where: Tensor) -> Tensor:
        numbers = of.where(where, classes)  # a class more, for pixels that do not count
        empty = torch.zeros(len(of), classes + 1, dtype=torch.double, device=of.device)
        return empty.scatter_add_(1, numbers, torch.ones_like(numbers, dtype=torch.double))[:, :classes]

    both = pixels(found, counts & (found == there))
    return torch.stack([both, pixels(found, counts) + pixels(there, counts) - both], 2)


def mean_iou(counts: Tensor, labels: Tensor) -> float:
    """Mean over classes of intersection over union, both summed over all images of `overlaps`.

    A class that no pixel has and that is predicted nowhere is left out.
    """
    both, union = counts.sum(0).unbind(1)
    return float((both / union)[union > 0].mean())


def mean_average_precision(outputs: Tensor, labels: Tensor) -> float:
    """Mean over labels of the average precision of outputs (n, labels) for labels 0 or 1 (n, labels).

    The area under a label's curve of precision over recall, as a sum of steps: what scikit-learn's
    `average_precision_score` gives. Labels that no input has are left out. torchmetrics (1.9) is not used: it passes
    outputs through a sigmoid, which makes large ones equal.
    """
    labels = labels.double()
    ranked, order = outputs.sort(0, descending=True)
    hits = labels.gather(0, order)
    place = torch.arange(1, len(labels) + 1, device=labels.device)[:, None].expand(labels.shape)
    is_last = torch.ones_like(place, dtype=torch.bool)  # of those with equal outputs, which one threshold divides
    is_last[:-1] = ranked[1:] != ranked[:-1]
    last = place.where(is_last, len(labels)).flip(0).cummin(0).values.flip(0)
    precision = hits.cumsum(0).gather(0, last - 1) / last
    positives = labels.sum(0)
    return float(((hits * precision).sum(0) / positives)[positives > 0].mean())


def r2(outputs: Tensor, labels: Tensor) -> float:
    """Coefficient of determination, the mean over targets; 1 is perfect, 0 as good as the mean of the targets."""
    outputs, labels = (each.double().reshape(len(labels), -1) for each in (outputs, labels))
    rest = (labels - outputs).square().sum(0)
    return float((1 - rest / (labels - labels.mean(0)).square().sum(0)).mean())
