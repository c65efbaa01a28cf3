"""Accuracy under variation of plain and of noise-aware training, sigma by sigma: the table in docs/noise_model.md.

    python benchmarks/noise_aware_training.py digits
    python benchmarks/noise_aware_training.py fashion_mnist --data-dir DATA --train-images 8000 --epochs 5 \
        --fidelity fast

Each weight is a differential pair of 4-bit cells. A cell's conductance errs by `sigma` times the range from g_off to
g_on, the same at all levels; nothing else varies. Noise-aware training draws the same error anew at each step.
"""

import argparse
import dataclasses
import os
import statistics
from collections.abc import Sequence
from typing import Literal

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from markdown_tables import row, table
from torch import nn

from hw_models.accelerator import Accelerator
from hw_models.devices import load_card
from pipeline.analog.calibration import calibrate
from pipeline.data.batches import ImageSet, load_images
from pipeline.data.spec import DatasetSpec
from pipeline.design.design_point import ConvSpec, DesignPoint, ImageSpec
from pipeline.design.topology import topology
from pipeline.study.study_spec import VariationSpec
from pipeline.study.training_spec import TrainingSpec
from pipeline.trial.network import plain_network
from pipeline.trial.shared_weights import build_channels_last
from pipeline.trial.training import train
from pipeline.trial.variation import accuracy_under_variation

SIGMAS = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3)
SEEDS = (0, 1, 2)
CHIPS = 16
COLUMNS = ("noiseless", "under variation", "std over chips", "batch norm recalibrated")


def design(sigma: float, side: int) -> DesignPoint:
    """conv16-32 with batch normalisation on 128 x 128 crossbars, 8-bit converters."""
    rram = load_card("rram").device
    quiet = {"read_sigma": 0.0, "stuck_on_rate": 0.0, "stuck_off_rate": 0.0}
    device = dataclasses.replace(rram, programming_sigma=(sigma * (1 - 1 / rram.on_off_ratio),), **quiet)
    bits = {"cell_bits": 4, "weight_bits": 5, "input_bits": 6, "adc_bits": 8}
    hardware = Accelerator(device=device, crossbar_size=128, weight_encoding="differential", **bits)
    convs = (ConvSpec(filters=16, kernel=3, pool=side > 8), ConvSpec(filters=32, kernel=3, pool=True))
    image = ImageSpec(channels=1, height=side, width=side, classes=10)
    return DesignPoint(accelerator=hardware, image=image, convs=convs)


def trained(sigma: float, strength: float, images: ImageSet, spec: TrainingSpec, seed: int) -> nn.Module:
    """A network trained with noise of `strength` times the design's error."""
    torch.manual_seed(seed)
    point = design(sigma, images.train[0].shape[-1])
    network = plain_network(topology(point), point.accelerator)
    train(network, images.train, spec.model_copy(update={"noise_strength": strength}), seed)
    return network


def measured(network: nn.Module, sigma: float, images: ImageSet, fidelity: Literal["exact", "fast"]) -> list[float]:
    """`COLUMNS` of a network's weights on hardware of this sigma, test images."""
    point = design(sigma, images.train[0].shape[-1])
    on_chip = build_channels_last(point)
    on_chip.load_state_dict(network.state_dict())
    calibrate(on_chip, images.train[0][:128])
    reports = []
    for recalibrate in (False, True):
        spec = VariationSpec(min_chips=CHIPS, max_chips=CHIPS, fidelity=fidelity, recalibrate_batch_norm=recalibrate)
        reports += accuracy_under_variation(on_chip, [images.test], spec, 0, images.train[0][:256])
    plain, recalibrated = reports
    return [plain.noiseless, plain.mean, plain.std, recalibrated.mean]


def cell(values: Sequence[float], spread: bool) -> str:
    """Mean over seeds in percent, with the standard deviation over seeds."""
    text = f"{100 * statistics.mean(values):.1f}"
    return f"{text} ± {100 * statistics.stdev(values):.1f}" if spread else text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", choices=["digits", "mnist", "fashion_mnist"])
    parser.add_argument("--data-dir", help="folder of the data set's files; digits need none")
    parser.add_argument("--train-images", type=int, help="use the first N training images")
    parser.add_argument("--test-images", type=int, help="use the first N test images")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--fidelity", choices=["exact", "fast"], default="exact")
    options = parser.parse_args()
    torch.set_num_threads(1)
    spec = TrainingSpec(epochs=options.epochs)
    counts = {"train_images": options.train_images, "test_images": options.test_images}
    images = load_images(DatasetSpec(name=options.dataset, data_dir=options.data_dir, **counts))
    plain = [trained(0.0, 0.0, images, spec, seed) for seed in SEEDS]
    print(f"{options.dataset}: {len(images.train[1])} training and {len(images.test[1])} test images")
    print(table(["sigma", "training", *COLUMNS]), flush=True)
    for sigma in SIGMAS:
        networks = {"plain": plain, "noise-aware": [trained(sigma, 1.0, images, spec, seed) for seed in SEEDS]}
        for name, seeds in networks.items():
            columns = zip(*(measured(network, sigma, images, options.fidelity) for network in seeds), strict=True)
            cells = [cell(values, title != "std over chips") for title, values in zip(COLUMNS, columns, strict=True)]
            print(row([sigma, name, *cells]), flush=True)


if __name__ == "__main__":
    main()
