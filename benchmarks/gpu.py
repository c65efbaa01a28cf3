"""How much a GPU speeds up training steps and accuracy over chips, against one CPU core of the same machine.

    python benchmarks/gpu.py studies/cifar10_nacim.yaml --data-dir data

Networks are drawn from the study's space. Times are medians over the steps of all networks; the two devices train and
judge the same ones. `nacim` trains in TensorFloat-32 and judges in float32. bfloat16 and torch.compile are timed to see
whether they would be faster.
"""

import argparse
import copy
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from markdown_tables import row, table
from torch import Tensor, nn

from pipeline.analog.calibration import CALIBRATION_IMAGES, calibrate
from pipeline.analog.model import set_noise_strength
from pipeline.compute_device import compute_device, round_products
from pipeline.data.batches import ImageSet, ShuffledBatches, Split, load_images
from pipeline.study.search_space import SearchSpace
from pipeline.study.study_file import load_study
from pipeline.study.study_spec import VariationSpec
from pipeline.trial.batch_norm import RECALIBRATION_IMAGES
from pipeline.trial.shared_weights import build_channels_last
from pipeline.trial.supernet import draw_design
from pipeline.trial.variation import accuracy_under_variation

CPU = torch.device("cpu")
NETWORKS = 2
STEPS = {"cuda": 30, "cpu": 5}
CHIPS_AT_ONCE = (1, 8, 16)
CHIPS = 16
IMAGES_PER_CHIP = 200


def step_times(network: nn.Module, batches: list[tuple[Tensor, Tensor]], bfloat16: bool, compiled: bool) -> list[float]:
    """Seconds of each training step after the first ones."""
    network.train()
    set_noise_strength(network, 1.0)
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    run: Callable[[Tensor], Tensor] = torch.compile(network) if compiled else network
    there, times = batches[0][0].device, []
    for images, labels in batches:
        start = time.perf_counter()
        with torch.autocast(there.type, torch.bfloat16, enabled=bfloat16):
            loss = nn.functional.cross_entropy(run(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()  # waits for the device
        times.append(time.perf_counter() - start)
    return times[len(times) // 3 :]


def print_steps(networks: list[nn.Module], train: Split, batch_size: int, with_compile: bool) -> None:
    """Table of training steps on both devices."""
    gpu = compute_device()

    def median(there: torch.device, bfloat16: bool = False, compiled: bool = False, tf32: bool = False) -> float:
        round_products(tf32)
        drawn = zip(range(STEPS[there.type]), ShuffledBatches(train, batch_size, 0), strict=False)
        batches = [(x.to(there), y.to(there)) for _, (x, y) in drawn]
        each = [step_times(copy.deepcopy(n).to(there), batches, bfloat16, compiled) for n in networks]
        round_products(False)
        return statistics.median(seconds for times in each for seconds in times)

    core = median(CPU)
    rows = {"CPU": core, "GPU, float32": median(gpu), "GPU, TensorFloat-32": median(gpu, tf32=True)}
    rows["GPU, bfloat16"] = median(gpu, bfloat16=True)
    if with_compile:
        rows["GPU, compiled"] = median(gpu, compiled=True)
    cells = [[name, f"{1000 * seconds:.1f}", f"{core / seconds:.1f}"] for name, seconds in rows.items()]
    print(table([f"training step of {batch_size} images", "ms", "times the core"], cells), flush=True)


def print_judging(networks: list[nn.Module], images: ImageSet, variation: VariationSpec) -> None:
    """Table of accuracies over chips on both devices."""
    print(table([f"accuracy over {CHIPS} chips of {IMAGES_PER_CHIP} images", "s", "times the core", "mean"]))
    core = None
    for place, at_once in [(CPU, 1), *((compute_device(), count) for count in CHIPS_AT_ONCE)]:
        seconds, means = 0.0, []
        for network in networks:
            moved = copy.deepcopy(network).to(place)
            train, split = images.train[0].to(place), (images.validation[0].to(place), images.validation[1].to(place))
            calibrate(moved, train[:CALIBRATION_IMAGES])
            start = time.perf_counter()
            recalibration = train[:RECALIBRATION_IMAGES]
            (report,) = accuracy_under_variation(moved, [split], variation, 0, recalibration, at_once)
            seconds += time.perf_counter() - start
            means.append(report.mean)
        name, each = "CPU" if place == CPU else f"GPU, {at_once} at once", seconds / len(networks)
        core = core or each
        print(row([name, f"{each:.1f}", f"{core / each:.1f}", f"{statistics.mean(means):.3f}"]), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path)
    parser.add_argument("--data-dir")
    parser.add_argument("--compile", action="store_true", help="also time torch.compile: a minute a network")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if compute_device() == CPU:
        raise SystemExit("no GPU here")
    study = load_study(options.study, data_dir=options.data_dir)
    spec, images = study.spec, load_images(study.spec.dataset)
    chance = random.Random(2)
    networks: list[nn.Module] = []
    while len(networks) < NETWORKS:
        torch.manual_seed(len(networks))
        networks.append(build_channels_last(draw_design(SearchSpace(study), chance)))
    print(torch.cuda.get_device_name(), "against one CPU core of the same machine")
    print_steps(networks, images.train, spec.training.batch_size, options.compile)
    batches = list(ShuffledBatches(images.train, spec.training.batch_size, 0))[: STEPS["cuda"]]
    for network in networks:  # an untrained network's answers would be a toss
        step_times(network.to(compute_device()), batches, False, False)
    chips = {"min_chips": CHIPS, "max_chips": CHIPS, "images_per_chip": IMAGES_PER_CHIP}
    print_judging(networks, images, spec.variation.model_copy(update=chips))


if __name__ == "__main__":
    main()
