"""Training with Lightning: noise-aware, or plain with noise strength 0."""

import logging
import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.plugins.environments import LightningEnvironment  # type: ignore[attr-defined]
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn

from pipeline.analog.analog_class import crossbars_of
from pipeline.analog.base import NoisyLayer
from pipeline.analog.model import for_each_layer, set_noise_strength, set_training_dtype
from pipeline.analog.quantise import may_wait
from pipeline.compute_device import compute_device, round_products
from pipeline.data.batches import ShuffledBatches, Split
from pipeline.data.task import CLASSIFICATION, Task
from pipeline.design.results import TrainingDiverged
from pipeline.phase import say
from pipeline.study.training_spec import TrainingSpec
from pipeline.trial.recipe import MovingAverage, optimizer_of, settle_weights

_LOOK_EVERY = 32  # assumed: steps on a GPU from one look at the loss to the next; each look waits for the GPU
AfterEpoch = Callable[[nn.Module, int], bool]  # the network and the epochs done so far -> whether to stop


class NoisyTraining(pl.LightningModule):
    """Training of a network with crossbar layers; the learning rate is warmed up and annealed (one cycle).

    Each step draws fresh weight noise of `noise_strength` times the device's own programming error. The noise rises
    linearly to that strength over the fraction `noise_ramp` of the training after the fraction `noise_start`.
    """

    def __init__(
        self,
        network: nn.Module,
        task: Task,
        all_labels: Tensor,
        spec: TrainingSpec,
        steps: int,
        after_epoch: AfterEpoch | None,
    ) -> None:
        super().__init__()
        self.network = network.train()  # Lightning leaves modules in the mode in which it finds them
        self.task, self.all_labels = task, all_labels
        self.spec, self.steps, self.after_epoch = spec, steps, after_epoch
        self._average: MovingAverage | None = None

    def on_fit_start(self) -> None:
        settle_weights(self.network, self.spec)
        self._average = MovingAverage(self.network, self.spec.ema) if self.spec.ema else None

    def on_train_epoch_start(self) -> None:
        round_products(True)
        say(f"training, epoch {self.current_epoch + 1} of {self.spec.epochs}")

    def on_train_batch_start(self, batch: Split, batch_index: int) -> None:
        since, ramp = self.global_step - self.spec.noise_start * self.steps, self.spec.noise_ramp * self.steps
        progress = 0.0 if since < 0 else min(1.0, since / ramp) if ramp else 1.0
        set_noise_strength(self.network, self.spec.noise_strength * progress)

    def training_step(self, batch: Split, batch_index: int) -> Tensor:
        images, labels = batch
        outputs = self.network(images).float() if self.spec.precision == "bfloat16" else self.network(images)
        if not self.global_step:
            self.task.check_fit(outputs, labels, self.all_labels, "training labels")
        loss = self._loss(outputs, labels)
        last = (self.global_step + 1) % (self.steps // self.spec.epochs) == 0  # of its epoch
        looks = may_wait(loss.device) or self.global_step % _LOOK_EVERY == 0 or last
        if looks and not math.isfinite(loss.item()):
            raise TrainingDiverged(f"loss is {loss.item()} in epoch {self.current_epoch}; lower training.learning_rate")
        if self.logger is not None:
            (optimizer,) = self.trainer.optimizers
            self.log_dict({"loss": loss, "learning_rate": optimizer.param_groups[0]["lr"]})
        return loss

    def _loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        if not self.spec.label_smoothing:
            return self.task.loss(outputs, labels)
        return F.cross_entropy(outputs, labels, label_smoothing=self.spec.label_smoothing)

    def on_train_batch_end(self, outputs: Any, batch: Split, batch_index: int) -> None:
        settle_weights(self.network, self.spec)
        if self._average is not None:
            self._average.update()

    def on_fit_end(self) -> None:
        if self._average is not None:
            self._average.move_into_network()

    def on_train_epoch_end(self) -> None:
        round_products(False)
        if self.after_epoch is not None and self.after_epoch(self.network, self.current_epoch + 1):
            self.trainer.should_stop = True

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        optimizer, schedule = optimizer_of(self, self.spec, self.steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def _to_fast_memory_format(network: nn.Module, spec: TrainingSpec) -> None:
    """Channels last, but for a traced model: it may ask for torch's usual format, as `x.view(len(x), -1)` does.

    With bfloat16 it has to do without. Volumes have another format than images.
    """
    has_volumes = any(each.dim() == 5 for each in network.parameters())
    if crossbars_of(network) is None or (spec.precision == "bfloat16" and not has_volumes):
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def train(
    network: nn.Module,
    data: Split,
    spec: TrainingSpec,
    seed: int,
    after_epoch: AfterEpoch | None = None,
    task: Task = CLASSIFICATION,
    log: Path | None = None,
) -> None:
    """Train `network` in place, on a GPU where there is one.

    `seed` decides the order of images and the noise. `after_epoch` sees the network after each epoch and may end the
    training by returning True. It must change neither the network nor any random state. `log` is a folder for
    Lightning's CSV logger: `metrics.csv` has loss and learning rate of each step.

    Raises:
        TrainingDiverged: If the loss stops being finite.
        ValueError: If labels or the outputs of the first batch are not those of the task, or labels cannot be smoothed.
    """
    if spec.label_smoothing and task.labels != "class":
        raise ValueError(f"label_smoothing needs labels that are classes, task {task.name} has none; set it to 0")
    task.check_labels(data[1], len(data[0]), None, "training labels")
    data = data[0], task.stored(data[1])
    pl.seed_everything(seed, verbose=False)
    batches = ShuffledBatches(data, spec.batch_size, seed, spec.augment, outside=task.ignore_index or 0)
    _to_fast_memory_format(network, spec)
    set_training_dtype(network, torch.bfloat16 if spec.precision == "bfloat16" else None)
    module = NoisyTraining(network, task, data[1], spec, spec.epochs * len(batches), after_epoch)
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # advice on loggers, workers and schedules, which a search does not need
        try:
            _silent_trainer(spec, log).fit(module, batches)
        finally:
            round_products(False)
    network.to(compute_device()).eval()  # Lightning leaves it on the CPU
    if spec.fresh_ranges:
        for_each_layer(network, _forget_range)


def _forget_range(layer: NoisyLayer) -> None:
    layer.input_range.zero_()  # calibration sets a range that is 0


def _silent_trainer(spec: TrainingSpec, log: Path | None) -> pl.Trainer:
    return pl.Trainer(
        max_epochs=spec.epochs,
        precision="bf16-mixed" if spec.precision == "bfloat16" else "32-true",
        devices=1,
        logger=CSVLogger(log.parent, name="", version=log.name) if log else False,
        log_every_n_steps=1,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        plugins=[LightningEnvironment()],
    )
