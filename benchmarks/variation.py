"""Times of one simulated chip and of a noisy training step, against plain PyTorch on the same network and images.

    python benchmarks/variation.py

All variants run in one process on one thread and take turns, so that a busy machine slows all of them. Ratios are taken
within each round, and their median is printed. A chip's time includes drawing its cells. Where IBM aihwkit is installed
(`pip install --no-deps aihwkit==1.1.0`), its pure-torch inference tile is timed, too.
"""

import argparse
import dataclasses
import functools
import itertools
import os
import statistics
import time
from collections.abc import Callable

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
import torch.nn.functional as F
from markdown_tables import table
from torch import Tensor, nn

from hw_models.accelerator import Accelerator
from hw_models.devices import load_card
from pipeline import to_analog, to_digital
from pipeline.analog.calibration import calibrate
from pipeline.analog.model import noisy_layers, program_chip, set_noise_strength
from pipeline.analog.simulated_chip import SimulatedChip
from pipeline.data.batches import load_images
from pipeline.data.spec import DatasetSpec

BATCH = 64
SERIAL = {"dac_bits": 1, "cell_bits": 2}
NOISY = SERIAL | {"device": load_card("rram").device}  # read noise and stuck cells: the card as it is


def plain_network(batch_norm: bool) -> nn.Sequential:
    """conv16-32-64, 3x3, with pools, and a classifier: 1.9 million multiplications for an image of 28 x 28 pixels."""
    modules: list[nn.Module] = []
    for inputs, outputs in ((1, 16), (16, 32), (32, 64)):
        modules.append(nn.Conv2d(inputs, outputs, 3, padding=1, bias=not batch_norm))
        modules += [*([nn.BatchNorm2d(outputs)] if batch_norm else []), nn.MaxPool2d(2), nn.ReLU()]
    return nn.Sequential(*modules, nn.Flatten(), nn.Linear(576, 10))


def stepper(network: nn.Module, learning_rate: float) -> Callable[[Tensor, Tensor], None]:
    """A function that trains one step on images and labels."""
    optimizer = torch.optim.Adam(network.parameters(), lr=learning_rate)
    network.train()

    def step(images: Tensor, labels: Tensor) -> None:
        optimizer.zero_grad()
        F.cross_entropy(network(images), labels).backward()
        optimizer.step()

    return step


def train(network: nn.Module, images: Tensor, labels: Tensor) -> None:
    """Enough training for weights and activations of a real network."""
    step = stepper(network, 2e-3)
    for _ in range(3):
        for part in torch.randperm(len(labels)).split(BATCH):
            step(images[part], labels[part])
    network.eval()


def hardware(**changes: object) -> Accelerator:
    """128-row blocks of analog cells, 8-bit inputs and weights, with `changes` to the accelerator."""
    quiet = {"read_sigma": 0.0, "stuck_on_rate": 0.0, "stuck_off_rate": 0.0, "conductance_levels": 256}
    device = dataclasses.replace(load_card("rram").device, programming_sigma=(0.05,), **quiet)
    bits = dict.fromkeys(("cell_bits", "weight_bits", "input_bits", "dac_bits", "adc_bits"), 8)
    settings = {"device": device, "crossbar_size": 128, "mapping": "conventional"} | bits
    return Accelerator(**(settings | changes))


def classify(network: Callable[[Tensor], Tensor], images: Tensor) -> None:
    for part in images.split(BATCH):
        network(part)


def chips(plain: nn.Module, images: Tensor, accelerator: Accelerator, fidelity: str) -> Callable[[], None]:
    """A function that simulates the next chip on all images."""
    network = to_analog(plain, accelerator).to(memory_format=torch.channels_last)
    calibrate(network, images[:128])
    numbers = itertools.count()

    def one_chip() -> None:
        chip = SimulatedChip.number(0, next(numbers))
        program_chip(network, chip, fidelity)  # type: ignore[arg-type]
        for part in torch.arange(len(images)).split(BATCH):
            chip.images = part
            network(images[part])

    return one_chip


def aihwkit_chips(plain: nn.Module, images: Tensor, adc: bool) -> Callable[[], None]:
    """The same with IBM aihwkit's torch tile: PCM-like programming noise, 128 rows a tile."""
    from aihwkit.inference import PCMLikeNoiseModel
    from aihwkit.nn.conversion import convert_to_analog
    from aihwkit.simulator.configs import TorchInferenceRPUConfig

    config = TorchInferenceRPUConfig(noise_model=PCMLikeNoiseModel(g_max=25.0))
    config.mapping.max_input_size = 128
    config.forward.is_perfect = not adc
    config.forward.out_res = 1 / 254
    network = convert_to_analog(plain, config).eval()

    def one_chip() -> None:
        network.drift_analog_weights(0.0)
        classify(network, images)

    return one_chip


def variants(plain: nn.Module, images: Tensor) -> dict[str, Callable[[], None]]:
    """What is timed, the first being the unit."""
    frozen = torch.jit.optimize_for_inference(torch.jit.freeze(torch.jit.trace(plain, images[:BATCH])))
    channels_last = to_digital(plain).to(memory_format=torch.channels_last)
    serial = hardware(**SERIAL)
    noisy_reads = hardware(**NOISY)
    timed = {
        "plain eager": functools.partial(classify, plain, images),
        "plain eager, channels last": functools.partial(classify, channels_last, images),
        "plain frozen": functools.partial(classify, frozen, images),
        "variation only": chips(plain, images, hardware(adc_bits=None), "fast"),
        "variation + 8-bit ADC per 128 rows": chips(plain, images, hardware(), "exact"),
        "exact: 8 cycles x 4 slices, 8-bit ADC": chips(plain, images, serial, "exact"),
        "exact, with read noise and stuck cells": chips(plain, images, noisy_reads, "exact"),
        "fast of the same (default of trials)": chips(plain, images, noisy_reads, "fast"),
    }
    try:
        timed["aihwkit 1.1.0, variation only"] = aihwkit_chips(plain, images, adc=False)
        timed["aihwkit 1.1.0, 8-bit ADC per 128 rows"] = aihwkit_chips(plain, images, adc=True)
    except ImportError:
        print("aihwkit is not installed: left out")
    return timed


def training_steps(images: Tensor, labels: Tensor) -> dict[str, Callable[[], None]]:
    """One optimisation step of a network with batch normalisation, plain and noisy; the first is the unit."""
    plain = plain_network(batch_norm=True)
    noisy = to_analog(plain, hardware(**NOISY)).to(memory_format=torch.channels_last)
    set_noise_strength(noisy, 1.0)
    assert all(layer.noise_strength for layer in noisy_layers(noisy))
    networks = {
        "plain step, channels last": to_digital(plain).to(memory_format=torch.channels_last),
        "plain step, default layout": to_digital(plain),
        "noise-aware step": noisy,
    }
    return {
        name: functools.partial(stepper(network, 1e-4), images[:128], labels[:128])
        for name, network in networks.items()
    }


def compare(timed: dict[str, Callable[[], None]], rounds: int, repeats: int, unit: str, per: int) -> None:
    """Print a table of medians."""
    for run in timed.values():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in timed}
    for _ in range(rounds):
        for name, run in timed.items():
            start = time.process_time()
            for _ in range(repeats):
                run()
            seconds[name].append((time.process_time() - start) / repeats)
    first = next(iter(timed))
    rows = []
    for name, values in seconds.items():
        ratios = sorted(a / b for a, b in zip(values, seconds[first], strict=True))
        low, high = ratios[len(ratios) // 10], ratios[-1 - len(ratios) // 10]
        ratio = f"{statistics.median(ratios):.2f} ({low:.2f} to {high:.2f})"
        rows.append([name, f"{statistics.median(values) / per * 1e6:.1f}", ratio])
    print("\n" + table(["variant", unit, f"x {first} (10 % to 90 % of rounds)"], rows))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15, help="turns that each variant takes")
    parser.add_argument("--images", type=int, default=640, help="images that each chip classifies")
    parser.add_argument("--profile", action="store_true", help="also print where the time goes")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    images, labels = load_images(DatasetSpec()).train  # the times do not depend on what the images show
    images = F.interpolate(images, size=28, mode="bilinear")
    plain = plain_network(batch_norm=False)
    train(plain, images, labels)
    images = images[: options.images].contiguous()
    with torch.no_grad():
        timed = variants(plain, images)
        compare(timed, options.rounds, 1, "us per image", len(images))
        for name in [name for name in timed if options.profile and name.startswith(("variation", "exact: "))]:
            with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as trace:
                timed[name]()
            print(f"\n{name}\n" + trace.key_averages().table(sort_by="self_cpu_time_total", row_limit=12))
    compare(training_steps(images, labels), options.rounds, 5, "us per step", 1)


if __name__ == "__main__":
    main()
