"""A supernet: one training for all networks of a space, from which each design inherits its weights."""

import contextlib
import functools
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from hw_models.errors import InfeasibleDesign
from pipeline.analog.model import set_noise_strength
from pipeline.compute_device import compute_device, round_products
from pipeline.data.batches import ImageSet, ShuffledBatches, Split
from pipeline.data.spec import image_of
from pipeline.data.task import task_of
from pipeline.design.design_point import DesignPoint
from pipeline.design.results import TrainingDiverged
from pipeline.design.topology import topology
from pipeline.machine_faults import MachineFault
from pipeline.networks.models import read_weights
from pipeline.seeds import derive_seed
from pipeline.study.search_space import SearchSpace
from pipeline.study.study_file import StudyDefinition
from pipeline.study.study_spec import StudySpec
from pipeline.trial.network import write_weights
from pipeline.trial.shared_weights import SharedWeights, build_channels_last, part_of, shared_weights
from pipeline.trial.training import train

FINE_TUNING_RATE = 0.3  # assumed: peak learning rate of fine-tuning over that of the training
_SETTLING_BATCHES = 8  # assumed: training batches from which input ranges and batch-norm statistics are taken
_DRAWS = 10_000  # assumed: designs drawn before a space counts as empty


def train_supernet(
    definition: StudyDefinition, train_split: Split, path: Path, report: Callable[[int, float], None]
) -> None:
    """Train the weights that a study's designs share, and write them to `path`.

    Each step draws a design of the space, hardware included. Its bits quantise the weights and its device's noise is
    added to them (single-path training with uniform sampling: Guo et al., ECCV 2020). After each epoch the state is
    written beside `path`. A training that was killed continues from there and ends with the same weights.

    Args:
        definition: Space, training settings and seed.
        train_split: Training images.
        path: Where to write the weights; the file is complete or absent.
        report: Called after each epoch with the epochs done and the mean loss of the last one.

    Raises:
        TrainingDiverged: If the loss stops being finite.
        ValueError: If labels or outputs are not those of the task.
    """
    spec = definition.spec
    training = _Training(definition, train_split)
    unfinished = path.with_suffix(".unfinished")
    if unfinished.is_file():
        _go_on(training, unfinished)
    round_products(True)  # never switched back: the process only trains
    while training.epoch < spec.accuracy.supernet_epochs:
        loss = training.run_epoch()
        write_weights(training.state(), unfinished)
        report(training.epoch, loss)
    write_weights({name: weight.detach().cpu() for name, weight in training.shared.items()}, path)
    unfinished.unlink(missing_ok=True)


def inherited_network(design: DesignPoint, spec: StudySpec, trial_number: int, images: ImageSet) -> nn.Module:
    """A design's network with weights of the supernet and its own ranges and batch-norm statistics; fine-tuned if the
    study says so."""
    assert spec.accuracy.checkpoint is not None
    seed = derive_seed(spec.seed, trial_number, "inherited") % 2**32
    torch.manual_seed(seed)
    network = build_channels_last(design).to(compute_device())
    shared = _read(Path(spec.accuracy.checkpoint))
    network.load_state_dict(part_of(shared, design, network), strict=False)  # statistics and ranges: next line
    _settle(network, ShuffledBatches(images.train, spec.recipe.batch_size, seed), spec.recipe.noise_strength)
    if epochs := spec.accuracy.fine_tune_epochs:
        rate = spec.recipe.learning_rate * FINE_TUNING_RATE
        training = spec.recipe.model_copy(update={"epochs": epochs, "learning_rate": rate})
        train(network, images.train, training, seed, task=images.task)
    return network.eval()


def draw_design(space: SearchSpace, chance: random.Random) -> DesignPoint:
    """A random design of the space, each parameter drawn uniformly; a design that cannot exist is drawn again."""
    for _ in range(_DRAWS):
        values = {name: chance.choice(dimension.values) for name, dimension in space.dimensions().items()}
        with contextlib.suppress(InfeasibleDesign):
            design = space.design(values)
            topology(design)
            return design
    raise ValueError(f"none of {_DRAWS} designs drawn at random can exist; make the search space smaller")


class _Training:
    """The state of a supernet's training between two epochs."""

    def __init__(self, definition: StudyDefinition, split: Split) -> None:
        self._spec, self._space = definition.spec, SearchSpace(definition)
        self._task = task_of(definition.spec.dataset)
        self._task.check_labels(split[1], len(split[0]), image_of(definition.spec.dataset).outputs, "training labels")
        self._split = split[0], self._task.stored(split[1])
        self._seed = derive_seed(definition.spec.seed, "supernet")
        self._device = compute_device()
        fresh = shared_weights(definition.spec, torch.Generator().manual_seed(self._seed))
        self.shared = {name: weight.to(self._device).requires_grad_() for name, weight in fresh.items()}
        self.epoch = 0
        rate, decay = definition.spec.recipe.learning_rate, definition.spec.recipe.weight_decay
        self._steps = definition.spec.accuracy.supernet_epochs * len(self._batches())
        self._optimizer = torch.optim.Adam(self.shared.values(), lr=rate, weight_decay=decay)
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(self._optimizer, rate, total_steps=self._steps)

    def _batches(self) -> ShuffledBatches:
        training, outside = self._spec.recipe, self._task.ignore_index or 0
        return ShuffledBatches(self._split, training.batch_size, self._seed, training.augment, self.epoch, outside)

    def run_epoch(self) -> float:
        """Train one pass over the images, each batch with a new design; returns the mean loss."""
        torch.manual_seed(derive_seed(self._seed, self.epoch, "noise"))
        chance = random.Random(derive_seed(self._seed, self.epoch, "designs"))
        batches, total = self._batches(), 0.0
        for number, (images, labels) in enumerate(batches):
            progress = (self.epoch * len(batches) + number) / self._steps
            loss = self._loss(draw_design(self._space, chance), images, labels, progress)
            if not math.isfinite(loss.item()):
                raise TrainingDiverged(f"loss of the supernet is {loss.item()}; lower training.learning_rate")
            self._optimizer.zero_grad()  # layers absent from this design then have no gradient and do not change
            loss.backward()
            self._optimizer.step()
            self._schedule.step()
            total += loss.item()
        self.epoch += 1
        return total / len(batches)

    def _loss(self, design: DesignPoint, images: Tensor, labels: Tensor, progress: float) -> Tensor:
        network = build_channels_last(design).to(self._device).train()
        ramp = self._spec.recipe.noise_ramp
        set_noise_strength(network, self._spec.recipe.noise_strength * (min(1.0, progress / ramp) if ramp else 1.0))
        logits = functional_call(network, part_of(self.shared, design, network), (images,))
        self._task.check_outputs(logits, labels)
        return self._task.loss(logits, labels)

    def state(self) -> dict[str, Any]:
        """All that the next epoch depends on."""
        optimizer, schedule = self._optimizer.state_dict(), self._schedule.state_dict()
        return {"epoch": self.epoch, "shared": self.shared, "optimizer": optimizer, "schedule": schedule}

    def load(self, state: dict[str, Any]) -> None:
        """Continue after the epoch of `state`."""
        self.epoch = state["epoch"]
        with torch.no_grad():
            for name, weight in self.shared.items():
                weight.copy_(state["shared"][name])
        self._optimizer.load_state_dict(state["optimizer"])
        self._schedule.load_state_dict(state["schedule"])


@torch.no_grad()
def _settle(network: nn.Module, batches: ShuffledBatches, noise_strength: float) -> None:
    """Estimate input ranges and batch-norm statistics of the sliced network under training noise."""
    norms = [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    usual = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = None  # a plain mean over the batches
    network.train()
    set_noise_strength(network, noise_strength)
    for _, (images, _) in zip(range(_SETTLING_BATCHES), batches, strict=False):
        network(images)
    for norm, momentum in zip(norms, usual, strict=True):
        norm.momentum = momentum


def _go_on(training: _Training, unfinished: Path) -> None:
    """Continue from a state beside the supernet. Raises MachineFault if the file is damaged."""
    try:
        training.load(read_weights(unfinished))
    except (ValueError, KeyError, TypeError, RuntimeError) as error:
        raise MachineFault(f"{unfinished} is damaged; remove it, and the training starts again") from error


@functools.lru_cache(maxsize=1)
def _read(path: Path) -> SharedWeights:
    try:
        weights: SharedWeights = read_weights(path)
    except ValueError as error:
        raise MachineFault(f"{path} is damaged; remove it, and the supernet is trained again") from error
    return weights
