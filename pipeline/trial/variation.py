"""Accuracy over simulated chips."""

import contextlib
import dataclasses
import math

import numpy as np
import torch
from scipy.special import stdtrit
from torch import Tensor, nn

from hw_models.read_errors import is_noisy
from pipeline.analog.base import Fidelity
from pipeline.analog.model import BATCH, chips_run_together, logits_of_chips, noisy_layers, program_chips
from pipeline.analog.simulated_chip import SimulatedChip
from pipeline.data.task import Task, check_count, infer_task
from pipeline.design.results import VariationReport
from pipeline.seeds import derive_seed
from pipeline.study.study_spec import VariationSpec
from pipeline.trial.batch_norm import recalibrated_batch_norm

_DIGITS = 12  # decimals of accuracies: equal shares of images then give equal numbers
_LOOK = 2  # inputs of a split on which outputs are compared with labels before chips are simulated
_CHIPS_ON_GPU = 8  # assumed: small networks then fill a GPU; activations take 8 times the memory


@torch.no_grad()
def accuracy_under_variation(
    model: nn.Module,
    splits: list[tuple[Tensor, Tensor]],
    spec: VariationSpec,
    study_seed: int,
    recalibration_images: Tensor | None = None,
    chips_at_once: int | None = None,
    task: Task | None = None,
) -> list[VariationReport]:
    """Accuracy of a calibrated model on simulated chips, one report for each split; for other tasks their score.

    Chips 0, 1, 2, ... of the study are simulated until the 95 % interval of the first split's mean is within
    +-`spec.half_width`, at least `spec.min_chips` and at most `spec.max_chips` of them. All splits see the same chips.
    (Long because the arguments take half of it.)

    Args:
        model: A trained model with crossbar layers, after `pipeline.analog.calibrate`.
        splits: Pairs of inputs (n, ...), such as images (n, channels, height, width) in 0 to 1, and labels (n, ...).
        spec: Number of chips, fidelity, drift time and so on. With `spec.images_per_chip` each chip sees a random draw
            of that many images. Its accuracy is the noiseless one on all images plus the change on those it saw, which
            is unbiased. The interval of the mean is then narrower than with all chips on the same few images. The
            spread, the 5th percentile, the worst chip and the share of good chips also carry the draw's scatter.
        study_seed: With a chip's number it seeds the chip.
        recalibration_images: Training images for `spec.recalibrate_batch_norm`.
        chips_at_once: Chips in one batch; None: 8 on a GPU, and 1 on a CPU, where that is faster. No result depends
            on it.
        task: What labels and outputs mean; `pipeline.data.task.named_task` gives it by name. None: the only one that
            suits them (`infer_task`).

    Raises:
        ValueError: If the model is not calibrated, images are missing that `spec` needs, labels or outputs are not
            those of the task, or no task is named and none or several suit.
    """
    if spec.recalibrate_batch_norm and recalibration_images is None:
        raise ValueError("recalibrate_batch_norm needs recalibration_images: some training images")
    layers = noisy_layers(model.eval())
    for layer in layers:
        if layer.accelerator.adc_bits is not None and not layer.adc_full_scale:
            raise ValueError(f"layer {layer.index} has no ADC range; call pipeline.analog.calibration.calibrate first")
    device = next(model.parameters()).device
    nominal = [SimulatedChip.nominal()]
    there = [(x.to(device), y.to(device)) for x, y in splits]
    task = _checked_task(model, there, task)
    exam = _Exam(model, [(x, task.stored(y)) for x, y in there], spec, recalibration_images, task)
    float_accuracy = exam.accuracies(exam.judged(nominal, "float"))
    noiseless = exam.judged(nominal, spec.fidelity)
    without_errors = exam.accuracies(noiseless)
    if any(is_noisy(layer.accelerator) for layer in layers):
        per_chip = _over_chips(exam, noiseless, study_seed, chips_at_once)
    else:
        per_chip = [without_errors] * spec.min_chips  # all chips are alike
    program_chips(model, nominal, spec.fidelity)  # with one chip, any batch size works
    return [
        summarize(
            [chip[i] for chip in per_chip], without_errors[i], float_accuracy[i], len(labels), spec, exam.task.lowest
        )
        for i, (_, labels) in enumerate(splits)
    ]


def _checked_task(model: nn.Module, splits: list[tuple[Tensor, Tensor]], task: Task | None) -> Task:
    """The task, inferred if it is None, after a look at the outputs for some inputs of each split."""
    nominal = SimulatedChip.nominal()
    program_chips(model, [nominal], "float")
    for number, (inputs, labels) in enumerate(splits):
        what = f"labels of split {number}"
        check_count(labels, len(inputs), what)
        first = torch.arange(min(_LOOK, len(inputs)))
        outputs = logits_of_chips(model, [nominal], inputs[: len(first)], first[None])
        task = task or infer_task(outputs, labels)
        task.check_labels(labels, len(inputs), None, what)
        task.check_fit(outputs, labels[: len(first)], labels, what)
        task.tell_gaps(labels, what)
    assert task is not None, "there are splits"
    return task


@dataclasses.dataclass(frozen=True, slots=True)
class _Exam:
    """A model and the images on which chips are compared; attributes as in `accuracy_under_variation`."""

    model: nn.Module
    splits: list[tuple[Tensor, Tensor]]
    spec: VariationSpec
    recalibration_images: Tensor | None
    task: Task

    def judged(self, chips: list[SimulatedChip], fidelity: Fidelity) -> list[Tensor]:
        """Per split, what the score keeps of each image on each chip, (chips, n, ...); NaN for images that a chip does
        not see."""
        program_chips(self.model, chips, fidelity, self.spec.drift_time_s)
        answers, first = [], 0
        with contextlib.ExitStack() as until_judged:
            if self.spec.recalibrate_batch_norm and self.recalibration_images is not None and fidelity != "float":
                images = self.recalibration_images.to(self.splits[0][0].device)
                until_judged.enter_context(recalibrated_batch_norm(self.model, chips, images))
            for images, labels in self.splits:
                answers.append(self._judged(chips, images, labels, first))
                first += len(labels)
        return answers

    def _judged(self, chips: list[SimulatedChip], images: Tensor, labels: Tensor, first: int) -> Tensor:
        """`judged` of one split, whose first image has the number `first`."""
        chosen = torch.stack([_own_images(chip, len(labels), self.spec.images_per_chip) for chip in chips])
        answer: Tensor | None = None
        for part in chosen.split(BATCH, 1):
            logits = logits_of_chips(self.model, chips, images[part.flatten()], first + part)
            found = self.task.judge(logits, labels[part.flatten()])
            if answer is None:
                answer = found.new_full((len(chips), len(labels), *found.shape[1:]), torch.nan)
            answer[torch.arange(len(chips))[:, None], part] = found.view(*part.shape, *found.shape[1:])
        assert answer is not None, "a split has images"
        return answer

    def accuracies(self, judged: list[Tensor]) -> list[float]:
        """The score of each split on one chip, (1, n, ...), that sees all images."""
        pairs = zip(judged, self.splits, strict=True)
        return [self._score(whole[0], labels) for whole, (_, labels) in pairs]

    def accuracy(self, split: int, noiseless: Tensor, now: Tensor, chip: SimulatedChip) -> float:
        """The score of one chip, (n, ...): the noiseless one, (1, n, ...), less what is lost on the images it sees."""
        if self.task.total is None:
            return round(_share(noiseless) - _share(noiseless - now), _DIGITS)
        labels = self.splits[split][1]
        seen = _own_images(chip, len(labels), self.spec.images_per_chip).to(labels.device)
        if len(seen) == len(labels):
            return self._score(now, labels)
        before, after = (self._score(whole[seen], labels[seen]) for whole in (noiseless[0], now))
        return round(self._score(noiseless[0], labels) - (before - after), _DIGITS)

    def _score(self, judged: Tensor, labels: Tensor) -> float:
        if self.task.total is None:
            return _share(judged)
        found = self.task.total(judged, labels)
        if not math.isfinite(found):
            raise ValueError(
                f"{self.task.score_name} of {len(labels)} inputs is {found}; the network's outputs are not finite, or "
                "so few inputs do not define it: raise variation.images_per_chip"
            )
        return round(found, _DIGITS)


def _over_chips(exam: _Exam, noiseless: list[Tensor], study_seed: int, chips_at_once: int | None) -> list[list[float]]:
    """Accuracy per chip and split, noiseless accuracy minus loss, of as many chips as the interval needs."""
    at_once = chips_at_once or (_CHIPS_ON_GPU if exam.splits[0][0].device.type == "cuda" else 1)
    if not chips_run_together(exam.model):
        at_once = 1
    per_chip: list[list[float]] = []
    while len(per_chip) < exam.spec.max_chips and not _is_enough(per_chip, exam.spec):
        numbers = range(len(per_chip), min(len(per_chip) + at_once, exam.spec.max_chips))
        chips = [SimulatedChip.number(study_seed, index) for index in numbers]
        answers = exam.judged(chips, exam.spec.fidelity)
        for place, chip in enumerate(chips):
            pairs = enumerate(zip(noiseless, answers, strict=True))
            per_chip.append([exam.accuracy(split, before, now[place], chip) for split, (before, now) in pairs])
            if _is_enough(per_chip, exam.spec):
                break
    return per_chip


def summarize(
    per_chip: list[float],
    noiseless: float,
    float_accuracy: float,
    n_images: int,
    spec: VariationSpec,
    lowest: float = 0.0,
) -> VariationReport:
    """The statistics of the accuracies of all chips; `lowest` is the smallest possible accuracy."""
    mean, reach = float(np.mean(per_chip)), _half_width(per_chip)
    good = None if spec.required_accuracy is None else float(np.mean(np.array(per_chip) >= spec.required_accuracy))
    return VariationReport(
        per_chip=tuple(per_chip),
        mean=mean,
        std=float(np.std(per_chip, ddof=1)) if len(per_chip) > 1 else 0.0,
        p05=max(lowest, float(np.percentile(per_chip, 5))),
        worst=max(lowest, min(per_chip)),
        mean_low=max(lowest, mean - reach),
        mean_high=min(1.0, mean + reach),
        noiseless=noiseless,
        float_accuracy=float_accuracy,
        required=spec.required_accuracy,
        fraction_good=good,
        n_images=n_images,
        fidelity=spec.fidelity,
    )


def _is_enough(per_chip: list[list[float]], spec: VariationSpec) -> bool:
    return len(per_chip) >= spec.min_chips and _half_width([chip[0] for chip in per_chip]) <= spec.half_width


def _own_images(chip: SimulatedChip, count: int, wanted: int | None) -> Tensor:
    """Indices of the images that a chip sees, in order: all of them, or its own random draw."""
    if wanted is None or wanted >= count or chip.ideal_cells:
        return torch.arange(count)
    generator = torch.Generator().manual_seed(derive_seed(chip.seed, "images", count))
    return torch.randperm(count, generator=generator)[:wanted].sort().values


def _share(answers: Tensor) -> float:
    """Mean over the images that were seen."""
    return round(float(answers.nanmean()), _DIGITS)


def _half_width(values: list[float]) -> float:
    """Half of the 95 % interval of the mean, by Student's t; 1 for a single value, whose spread is unknown."""
    if len(values) < 2:
        return 1.0
    return float(stdtrit(len(values) - 1, 0.975) * np.std(values, ddof=1) / np.sqrt(len(values)))
