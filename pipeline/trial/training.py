"""Training with Lightning: noise-aware, or plain with noise strength 0."""

import logging
import math
import warnings
from collections.abc import Callable

import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.environments import LightningEnvironment  # type: ignore[attr-defined]
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn

from pipeline.analog.analog_class import crossbars_of
from pipeline.analog.model import set_noise_strength
from pipeline.compute_device import compute_device, round_products
from pipeline.data.batches import ShuffledBatches, Split
from pipeline.data.task import CLASSIFICATION, Task
from pipeline.design.results import TrainingDiverged
from pipeline.phase import say
from pipeline.study.study_spec import TrainingSpec

AfterEpoch = Callable[[nn.Module, int], bool]  # the network and the epochs done so far -> whether to stop


class NoisyTraining(pl.LightningModule):
    """Training of a network with crossbar layers: Adam, learning rate warmed up and annealed (one cycle).

    Each step draws fresh weight noise of `noise_strength` times the device's own programming error. The noise rises
    linearly to that strength over the first fraction `noise_ramp` of the training.
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

    def on_train_epoch_start(self) -> None:
        round_products(True)
        say(f"training, epoch {self.current_epoch + 1} of {self.spec.epochs}")

    def on_train_batch_start(self, batch: Split, batch_index: int) -> None:
        ramp = self.spec.noise_ramp * self.steps
        progress = min(1.0, self.global_step / ramp) if ramp else 1.0
        set_noise_strength(self.network, self.spec.noise_strength * progress)

    def training_step(self, batch: Split, batch_index: int) -> Tensor:
        images, labels = batch
        outputs = self.network(images)
        if not self.global_step:
            self.task.check_fit(outputs, labels, self.all_labels, "training labels")
        loss = self.task.loss(outputs, labels)
        if not math.isfinite(loss.item()):
            raise TrainingDiverged(f"loss is {loss.item()} in epoch {self.current_epoch}; lower training.learning_rate")
        return loss

    def on_train_epoch_end(self) -> None:
        round_products(False)
        if self.after_epoch is not None and self.after_epoch(self.network, self.current_epoch + 1):
            self.trainer.should_stop = True

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        optimizer = torch.optim.Adam(self.parameters(), lr=self.spec.learning_rate, weight_decay=self.spec.weight_decay)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, self.spec.learning_rate, total_steps=self.steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def _to_fast_memory_format(network: nn.Module) -> None:
    """Channels last, but for a traced model: it may ask for torch's usual format, as `x.view(len(x), -1)` does."""
    if crossbars_of(network) is None:
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def train(
    network: nn.Module,
    data: Split,
    spec: TrainingSpec,
    seed: int,
    after_epoch: AfterEpoch | None = None,
    task: Task = CLASSIFICATION,
) -> None:
    """Train `network` in place, on a GPU where there is one.

    `seed` decides the order of images and the noise. `after_epoch` sees the network after each epoch and may end the
    training by returning True. It must change neither the network nor any random state.

    Raises:
        TrainingDiverged: If the loss stops being finite.
        ValueError: If labels or the outputs of the first batch are not those of the task.
    """
    task.check_labels(data[1], len(data[0]), None, "training labels")
    data = data[0], task.stored(data[1])
    pl.seed_everything(seed, verbose=False)
    batches = ShuffledBatches(data, spec.batch_size, seed, spec.augment, outside=task.ignore_index or 0)
    _to_fast_memory_format(network)
    module = NoisyTraining(network, task, data[1], spec, spec.epochs * len(batches), after_epoch)
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # advice on loggers, workers and schedules, which a search does not need
        try:
            _silent_trainer(spec.epochs).fit(module, batches)
        finally:
            round_products(False)
    network.to(compute_device()).eval()  # Lightning leaves it on the CPU


def _silent_trainer(epochs: int) -> pl.Trainer:
    return pl.Trainer(
        max_epochs=epochs,
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        plugins=[LightningEnvironment()],
    )
