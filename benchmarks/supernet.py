"""How well a supernet ranks designs: Kendall's tau against training each design on its own, both under variation.

    python benchmarks/supernet.py studies/digits.yaml --designs 30 --epochs 200 --fine-tune 0 3 --seeds 2

Draws designs of the study's space at random. The full judgement trains each (`training.epochs`, once a seed) and
measures its mean accuracy over chips on validation images; the cheap one lets it inherit from the supernet. Prints tau
with a 95 % interval (bootstrap over designs), the loss in accuracy of choosing by the cheap judgement, and CPU times.
"""

import argparse
import dataclasses
import random
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from scipy.stats import kendalltau

from pipeline.analog.calibration import calibrate
from pipeline.data.batches import ImageSet, load_images
from pipeline.design.design_point import DesignPoint
from pipeline.study.search_space import SearchSpace
from pipeline.study.study_file import load_study
from pipeline.study.study_spec import StudySpec
from pipeline.trial.evaluate import trained_network
from pipeline.trial.judging import Judging
from pipeline.trial.supernet import draw_design, train_supernet

_BOOTSTRAPS = 2000


def judged(
    name: str, designs: list[DesignPoint], spec: StudySpec, images: ImageSet, first: int = 0
) -> tuple[np.ndarray, float, float]:
    """Accuracy of each design, as trials `first` and on; CPU seconds a design for its weights and for measuring it."""
    found, weights_s, measuring_s = [], 0.0, 0.0
    judging = dataclasses.replace(Judging.full(images, spec), splits=[images.validation])
    for number, design in enumerate(designs):
        start = time.process_time()
        network = trained_network(design, spec, first + number, images)
        ready = time.process_time()
        calibrate(network, judging.calibration)
        found.append(judging.reports(network)[0].mean)
        weights_s, measuring_s = weights_s + ready - start, measuring_s + time.process_time() - ready
        print(f"{name} {number}: {found[-1]:.4f}", flush=True)
    return np.array(found), weights_s / len(designs), measuring_s / len(designs)


def tau_with_interval(cheap: np.ndarray, full: np.ndarray) -> tuple[float, float, float]:
    """Kendall's tau-b and its 95 % bootstrap interval over designs."""
    chance = np.random.default_rng(0)
    draws = chance.integers(len(full), size=(_BOOTSTRAPS, len(full)))
    taus = [kendalltau(cheap[draw], full[draw]).statistic for draw in draws]
    low, high = np.nanpercentile(taus, [2.5, 97.5])
    return kendalltau(cheap, full).statistic, low, high


def ranking(found: np.ndarray, truth: np.ndarray) -> str:
    """How well the cheap judgement ranks, in words."""
    tau, low, high = tau_with_interval(found, truth)
    upper = truth >= np.median(truth)
    top_tau, lost = kendalltau(found[upper], truth[upper]).statistic, truth.max() - truth[found.argmax()]
    return f"tau {tau:.2f} [{low:.2f}, {high:.2f}], {top_tau:.2f} in the upper half; its best design loses {lost:.2%}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path)
    parser.add_argument("--data-dir")
    parser.add_argument("--designs", type=int, default=30)
    parser.add_argument("--epochs", type=int, default=200, help="of the supernet")
    parser.add_argument("--fine-tune", type=int, nargs="+", default=[0, 3])
    parser.add_argument("--seeds", type=int, default=2, help="of the full judgement")
    options = parser.parse_args()
    torch.set_num_threads(1)
    study = load_study(options.study, data_dir=options.data_dir)
    spec, images = study.spec, load_images(study.spec.dataset)
    chance = random.Random(1)
    designs = [draw_design(SearchSpace(study), chance) for _ in range(options.designs)]
    accuracy_spec = spec.accuracy.model_copy(update={"source": "supernet", "supernet_epochs": options.epochs})
    study = dataclasses.replace(study, spec=spec.model_copy(update={"accuracy": accuracy_spec}))
    cheap = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "supernet.pt"
        start = time.process_time()
        train_supernet(
            study, images.train, path, lambda epoch, loss: print(f"supernet {epoch}: {loss:.3f}", flush=True)
        )
        once_s = time.process_time() - start
        for epochs in options.fine_tune:
            update = {"checkpoint": str(path), "fine_tune_epochs": epochs}
            own = spec.model_copy(update={"accuracy": accuracy_spec.model_copy(update=update)})
            cheap[epochs] = judged(f"inherited + {epochs}", designs, own, images)
    full = [judged(f"trained, seed {seed}", designs, spec, images, 1000 * seed) for seed in range(options.seeds)]
    truth = np.mean([each for each, _, _ in full], axis=0)
    training_s = np.mean([weights for _, weights, _ in full])
    print(f"supernet once: {once_s:.1f} s CPU; training a design: {training_s:.2f} s; measuring: {full[0][2]:.2f} s")
    if len(full) > 1:
        tau, low, high = tau_with_interval(full[0][0], full[1][0])
        print(f"two trainings of each design (the ceiling): tau {tau:.2f} [{low:.2f}, {high:.2f}]")
    for epochs, (found, weights_s, _) in cheap.items():
        print(f"inherited + {epochs} epochs: {ranking(found, truth)}")
        print(f"{weights_s:.2f} s a design, {weights_s / training_s:.0%} of training it")
    print(f"the supernet costs {once_s / training_s:.1f} trainings once")


if __name__ == "__main__":
    main()
