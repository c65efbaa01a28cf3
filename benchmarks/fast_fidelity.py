"""How far the `fast` fidelity is from `exact`, on digits: the table in docs/noise_model.md.

    python benchmarks/fast_fidelity.py [--write]

One network, trained without noise, is measured on many accelerators. Batch norm is not recalibrated, so that nothing
hides the errors of converters and cells. "Noise only" is `fast` without the rule that layers whose converters err much
run exactly.
"""

import argparse
import dataclasses
import math
import os
from pathlib import Path
from typing import Literal
from unittest.mock import patch

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from markdown_tables import table, write_block
from torch import nn

from hw_models.accelerator import Accelerator, WeightEncoding
from hw_models.devices import load_card
from pipeline.analog import base
from pipeline.analog.calibration import calibrate
from pipeline.data.batches import ImageSet, load_images
from pipeline.data.spec import DatasetSpec
from pipeline.design.design_point import ConvSpec, DesignPoint, ImageSpec
from pipeline.design.topology import topology
from pipeline.study.study_spec import VariationSpec
from pipeline.study.training_spec import TrainingSpec
from pipeline.trial.network import plain_network
from pipeline.trial.training import train
from pipeline.trial.variation import accuracy_under_variation

PAGE = Path(__file__).parents[1] / "docs" / "noise_model.md"
CHIPS = 6
ADC_BITS = (2, 3, 4, 5, 6, 8)
CELLS: dict[str, tuple[str, int, WeightEncoding]] = {
    "RRAM, 2 b, offset": ("rram", 2, "offset"),
    "PCM, 2 b, offset": ("pcm", 2, "offset"),
    "FeFET, 4 b, differential": ("fefet", 4, "differential"),
}
ENCODINGS: tuple[WeightEncoding, ...] = ("offset", "differential")
SIGMAS = (0.05, 0.1, 0.15, 0.2)  # of g_on, at all levels, in 4-bit cells


def hardware(
    device: str, cell_bits: int, encoding: WeightEncoding, adc_bits: int, sigma: float | None = None
) -> DesignPoint:
    """conv12-24 with 8-bit weights and 4-bit inputs; `sigma` of g_on replaces the card's programming error."""
    cell = load_card(device).device
    if sigma is not None:
        cell = dataclasses.replace(cell, programming_sigma=(sigma,))
    bits = {"cell_bits": cell_bits, "weight_bits": 8, "input_bits": 4, "adc_bits": adc_bits}
    accelerator = Accelerator(device=cell, crossbar_size=128, weight_encoding=encoding, **bits)
    convs = (ConvSpec(filters=12, kernel=3), ConvSpec(filters=24, kernel=3, pool=True))
    image = ImageSpec(channels=1, height=8, width=8, classes=10)
    return DesignPoint(accelerator=accelerator, image=image, convs=convs)


def trained(images: ImageSet) -> nn.Module:
    """The network, without noise in training."""
    design = hardware("rram", 2, "offset", 8)
    torch.manual_seed(0)
    network = plain_network(topology(design), design.accelerator)
    train(network, images.train, TrainingSpec(epochs=10), 1)
    return network


def accuracy(network: nn.Module, design: DesignPoint, images: ImageSet, fidelity: Literal["fast", "exact"]) -> float:
    """Mean accuracy on validation images over `CHIPS` chips."""
    on_chip = plain_network(topology(design), design.accelerator)
    on_chip.load_state_dict(network.state_dict())
    calibrate(on_chip, images.train[0][:128])
    spec = VariationSpec(min_chips=CHIPS, max_chips=CHIPS, fidelity=fidelity)
    return accuracy_under_variation(on_chip, [images.validation], spec, 0)[0].mean


def row(network: nn.Module, name: str, designs: list[DesignPoint], images: ImageSet) -> list[str]:
    """A line of the table."""
    with patch.object(base, "FAST_ERROR_LIMIT", math.inf):
        noise_only = [accuracy(network, design, images, "fast") for design in designs]
    fast = [accuracy(network, design, images, "fast") for design in designs]
    exact = [accuracy(network, design, images, "exact") for design in designs]
    cells = [" / ".join(f"{100 * value:.1f}" for value in values) for values in (noise_only, fast, exact)]
    print(f"{name}: fast is at most {100 * max(abs(a - b) for a, b in zip(fast, exact, strict=True)):.1f} points off")
    return [name, *cells]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="put the table into docs/noise_model.md")
    options = parser.parse_args()
    torch.set_num_threads(1)
    images = load_images(DatasetSpec())
    network = trained(images)
    cards = {name: [hardware(*cells, bits) for bits in ADC_BITS] for name, cells in CELLS.items()}
    errors = {encoding: [hardware("rram", 4, encoding, 8, sigma) for sigma in SIGMAS] for encoding in ENCODINGS}
    parts = []
    for head, varied, values, rows in (
        ("cells", "ADC bits", ADC_BITS, cards),
        ("4 b, 8-bit ADC", "sigma", SIGMAS, errors),
    ):
        heads = [head, f"noise only, {varied} {' / '.join(map(str, values))}", "`fast`", "`exact`"]
        parts.append(table(heads, [row(network, name, designs, images) for name, designs in rows.items()]))
    text = "\n\n".join(parts)
    print(text)
    if options.write:
        write_block(PAGE, "fast", text)


if __name__ == "__main__":
    main()
