"""Data sets that a function of the user's makes: called, read into arrays, and checked against the task."""

import contextlib
import dataclasses
import functools
import hashlib
import inspect
import itertools
import random
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from pipeline.data.data_set import DataError, Part
from pipeline.data.dataset_spec import DatasetSpec
from pipeline.data.task import Task, task_of
from pipeline.design.design_point import ImageSpec
from pipeline.files import did_you_mean

_PARTS = ("train", "validation", "test")
_SEED = 0  # of the function, unless the study names one: studies that share a file share its splits
_PIXEL_RANGE = 16.0  # assumed: float images with larger values are pixels that were not scaled to 0 to 1


def built_parts(spec: DatasetSpec) -> dict[str, Part]:
    """Inputs and labels of the three splits that a study's function gives, checked.

    Returns:
        Inputs (n, ...) as uint8 (images of 0 to 255), float32 or int64, and labels (n, ...).

    Raises:
        DataError: If the function gives no data set, or labels do not suit the task; says what was expected and found.
        FileFunctionError: If the function fails; names file and line.
    """
    counts = (spec.train_images, spec.validation_images, spec.test_images)
    assert spec.build is not None
    with _seeded():
        spec.build.load()  # a process does it once; what it draws must not shift what the function draws
    with _seeded():
        splits = _splits(_call(spec), spec)
        parts = {
            name: _read(split, count, f"{spec.title}: {name}")
            for (name, split), count in zip(splits.items(), counts, strict=True)
        }
    _check(parts, spec, task_of(spec))
    return {name: (inputs.numpy(), labels.numpy()) for name, (inputs, labels) in parts.items()}


def described(spec: DatasetSpec) -> ImageSpec:
    """Shape of the inputs and number of outputs. Raises as `built_parts` does."""
    return _looked_at(spec)[0]


def check_built(spec: DatasetSpec) -> None:
    """Call a study's function once more: worker processes call it too, and must get the same.

    Raises:
        DataError: If it gives other data; and as `built_parts` does.
    """
    if _digest(built_parts(spec)) != _looked_at(spec)[1]:
        raise DataError(
            f"{spec.title} gives other data at each call, so that no two trials would see the same; draw all random "
            "numbers from a generator with the seed that it takes as `seed`"
        )


@functools.lru_cache(maxsize=4)
def _looked_at(spec: DatasetSpec) -> tuple[ImageSpec, str]:
    """What the data look like, and a digest of them; the data are not kept."""
    parts = built_parts(spec)
    inputs, _ = parts["train"]
    task = task_of(spec)
    outputs = _outputs([torch.from_numpy(labels) for _, labels in parts.values()], spec, task)
    if inputs.ndim != 4:
        return ImageSpec.of_shape(inputs.shape[1:], outputs, inputs.dtype == np.int64), _digest(parts)
    channels, height, width = inputs.shape[1:]
    masks = task.labels == "mask"
    image = ImageSpec(channels=channels, height=height, width=width, classes=outputs, masks=masks)
    return image, _digest(parts)


def _digest(parts: Mapping[str, Part]) -> str:
    digest = hashlib.sha256()
    for array in itertools.chain.from_iterable(parts.values()):
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).view(np.uint8).data)
    return digest.hexdigest()


@contextlib.contextmanager
def _seeded() -> Iterator[None]:
    """Within the block all global generators start from the same seed; afterwards they go on as before."""
    python, legacy = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng(devices=[]):  # the process of a run must not open a GPU
        torch.manual_seed(_SEED)
        np.random.seed(_SEED)  # noqa: NPY002
        random.seed(_SEED)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(legacy)  # noqa: NPY002


def _call(spec: DatasetSpec) -> Any:
    """What the function returns for the study's parameters, with `seed` and `data_dir` if it takes them."""
    assert spec.build is not None
    known = spec.build.parameters
    takes_all = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in known.values())
    names = [name for name, each in known.items() if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)]
    given = dict(spec.parameters)
    if spec.data_dir is not None:
        given["data_dir"] = spec.data_dir
    for name in given:
        if name not in names and not takes_all:
            allowed = f"it takes {', '.join(names) or 'none'}"
            raise DataError(f"{spec.title} has no parameter {name!r}{did_you_mean(name, names)}; {allowed}")
    if "seed" in names:
        given.setdefault("seed", _SEED)
    for name in names:
        if known[name].default is inspect.Parameter.empty and name not in given:
            way_out = "dataset.data_dir or --data-dir" if name == "data_dir" else f"dataset.parameters.{name}"
            raise DataError(f"{spec.title} needs the parameter {name!r}; set {way_out}")
    return spec.build.load()(**given)


def _splits(found: Any, spec: DatasetSpec) -> dict[str, Any]:
    """The splits by name, of a mapping, of a record, or of three in their order."""
    if dataclasses.is_dataclass(found) and not isinstance(found, type):
        found = {field.name: getattr(found, field.name) for field in dataclasses.fields(found)}
    elif isinstance(found, tuple) and hasattr(found, "_asdict"):
        found = found._asdict()
    elif isinstance(found, tuple | list) and len(found) == len(_PARTS):
        found = dict(zip(_PARTS, found, strict=True))
    if not isinstance(found, Mapping) or set(found) != set(_PARTS):
        got = ", ".join(map(str, found)) if isinstance(found, Mapping) else type(found).__name__
        raise DataError(f"{spec.title} must return train, validation and test (dict, tuple or dataclass), got {got}")
    return {name: found[name] for name in _PARTS}


def _read(split: Any, count: int | None, what: str) -> tuple[Tensor, Tensor]:
    """The first `count` inputs and labels of a split, as tensors."""
    if isinstance(split, TensorDataset) and len(split.tensors) == 2:
        split = split.tensors
    if isinstance(split, tuple | list) and len(split) == 2 and all(isinstance(x, Tensor | np.ndarray) for x in split):
        inputs, labels = (torch.as_tensor(each).detach().cpu()[:count] for each in split)
    elif isinstance(split, Dataset):
        inputs, labels = _stacked(split, count, what)
    else:
        way_out = "; give its dataset" if isinstance(split, DataLoader) else ""
        wanted = "a torch Dataset or a pair of tensors, inputs and labels"
        raise DataError(f"{what} must be {wanted}, got {type(split).__name__}{way_out}")
    if not len(inputs):
        raise DataError(f"{what} is empty; give 1 input or more")
    return _inputs(inputs, what).contiguous(), labels.contiguous()


def _stacked(split: "Dataset[Any]", count: int | None, what: str) -> tuple[Tensor, Tensor]:
    """All items of a dataset, each a pair of an input and its label."""
    if isinstance(split, IterableDataset):
        items = list(itertools.islice(split, count))
    else:
        size: int = len(split)  # type: ignore[arg-type]
        items = [split[index] for index in range(size if count is None else min(size, count))]
    inputs, labels = [], []
    for number, item in enumerate(items):
        if not isinstance(item, tuple | list) or len(item) != 2:
            raise DataError(f"{what}[{number}] must be a pair of an input and its label, got {type(item).__name__}")
        if not isinstance(item[0], Tensor | np.ndarray):
            way_out = "; turn pictures into tensors, as torchvision's ToTensor or PILToTensor does"
            raise DataError(f"{what}[{number}]: the input must be a tensor, got {type(item[0]).__name__}{way_out}")
        inputs.append(torch.as_tensor(item[0]))
        labels.append(torch.as_tensor(item[1]))
        for name, each in (("input", inputs), ("label", labels)):
            if each[-1].shape != each[0].shape:
                shapes = f"{tuple(each[-1].shape)}, the first one {tuple(each[0].shape)}"
                raise DataError(f"{what}[{number}]: the {name} has the shape {shapes}; all must have one shape")
    if not items:
        raise DataError(f"{what} is empty; give 1 input or more")
    return torch.stack(inputs).detach().cpu(), torch.stack(labels).detach().cpu()


def _inputs(inputs: Tensor, what: str) -> Tensor:
    """Inputs as float32, as uint8 for images of 0 to 255, or as int64 for indices."""
    shape = f"({', '.join(['n', *map(str, inputs.shape[1:])])})"
    is_image = inputs.dim() == 4
    if inputs.dim() < 2:
        raise DataError(f"{what}: inputs must have the shape (n, ...), got {shape}; a single number is (n, 1)")
    if inputs.is_complex() or inputs.dtype is torch.bool:
        raise DataError(f"{what}: inputs must be float, or whole numbers, got {inputs.dtype}; use .float()")
    if not inputs.is_floating_point():
        if is_image and inputs.dtype is not torch.uint8:
            raise DataError(f"{what}: images {shape} must be uint8 of 0 to 255 or float, got {inputs.dtype}")
        if not is_image and inputs.dtype is torch.uint8:
            raise DataError(f"{what}: inputs {shape} are uint8; use .float() for values, .long() for indices")
        return inputs if is_image else inputs.long()
    if not torch.isfinite(inputs).all():
        raise DataError(f"{what}: inputs are NaN or infinite in places; give numbers, or leave these inputs out")
    if is_image and inputs.abs().max() > _PIXEL_RANGE:
        most = float(inputs.abs().max())
        warnings.warn(f"{what}: pixels go up to {most:g}; divide them by 255 or give uint8", stacklevel=2)
    if is_image and inputs.shape[3] in (1, 3) and inputs.shape[1] == inputs.shape[2] != 1:
        warnings.warn(
            f"{what}: images {shape} look like (n, height, width, channels); permute(0, 3, 1, 2)", stacklevel=2
        )
    return inputs.float()


def _check(parts: Mapping[str, tuple[Tensor, Tensor]], spec: DatasetSpec, task: Task) -> None:
    """All splits have one form, and their labels suit the task."""
    first = parts["train"][0]
    for name, (inputs, _) in parts.items():
        if inputs.shape[1:] != first.shape[1:] or inputs.dtype != first.dtype:
            forms = f"{inputs.dtype} {tuple(inputs.shape[1:])}, those of train {first.dtype} {tuple(first.shape[1:])}"
            raise DataError(f"{spec.title}: inputs of {name} are {forms}; they must be alike")
    try:
        for name, (inputs, labels) in parts.items():
            task.check_labels(labels, len(inputs), spec.outputs, f"{spec.title}: labels of {name}")
        _outputs([labels for _, labels in parts.values()], spec, task)
    except DataError:
        raise
    except ValueError as error:
        raise DataError(str(error)) from error


def _outputs(labels: list[Tensor], spec: DatasetSpec, task: Task) -> int:
    """Number of outputs: the study's, or as many as the labels of all splits have."""
    if task.labels in ("class", "mask"):
        return spec.outputs or _classes(labels, spec, task)
    found = {"flag": 1, "any": spec.outputs}.get(task.labels, labels[0].shape[1] if labels[0].dim() > 1 else 1)
    assert found is not None, "the record asks for outputs beside a loss of the user's"
    if {each.shape[1:] for each in labels} != {labels[0].shape[1:]} or spec.outputs not in (None, found):
        shapes = ", ".join(str(tuple(each.shape)) for each in labels)
        wanted = f"outputs is {spec.outputs}" if spec.outputs else "all splits must have as many"
        raise DataError(f"{spec.title}: labels have the shapes {shapes}, {wanted}; make them agree")
    return found


def _classes(labels: list[Tensor], spec: DatasetSpec, task: Task) -> int:
    """One more than the largest class; each class must have training inputs, so that a gap is noticed."""
    seen = [each.unique() for each in labels]
    seen = [each if task.ignore_index is None else each[each != task.ignore_index] for each in seen]
    classes = max(2, 1 + max(int(each.max()) for each in seen))
    missing = sorted(set(range(classes)) - set(seen[0].tolist()))
    if missing:
        names = ", ".join(map(str, missing[:4])) + (", ..." if len(missing) > 4 else "")
        hint = "" if classes <= 255 or task.labels == "class" else "divide masks by 255, "
        hint += "name ignore_index if a value marks no class, " if task.labels == "mask" else ""
        raise DataError(
            f"{spec.title}: labels go up to {classes - 1}, but no training label is {names}; count classes from 0, "
            f"{hint}or say outputs: {classes}"
        )
    return classes
