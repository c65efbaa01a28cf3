"""How long the cost model takes for VGG-8, compared with NeuroSim.

    python benchmarks/cost_model.py

Crossbar, converters or bits of every design differ, so that caches help with the node's values only.
"""

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

from hw_models.accelerator import Accelerator
from hw_models.cost import estimate_cost
from hw_models.devices import load_card
from hw_models.validation.neurosim_input import read_networks

NETWORKS = Path(__file__).parent.parent / "tests" / "golden" / "networks.json"
NEUROSIM_VGG8_S = 204.0  # one run of DNN+NeuroSim V1.3 with VGG-8, recorded with its table
NEUROSIM_MEDIAN_S = 14.0  # median over that table


def designs() -> list[Accelerator]:
    """Designs that a search would visit, all different."""
    device = load_card("rram").device
    choices = itertools.product(
        (64, 128, 256), (4, 5, 6, 7, 8), (4, 8, 16), (1, 2, 4), (6, 8), (4, 8), ("sar", "flash")
    )
    return [
        Accelerator(
            device=device,
            crossbar_size=crossbar_size,
            adc_bits=adc_bits,
            cols_per_adc=cols_per_adc,
            cell_bits=cell_bits,
            weight_bits=weight_bits,
            input_bits=input_bits,
            adc_type=adc_type,
        )
        for crossbar_size, adc_bits, cols_per_adc, cell_bits, weight_bits, input_bits, adc_type in choices
    ]


def import_seconds() -> float:
    """Import time in a fresh interpreter, best of five."""
    code = "import time; start = time.perf_counter(); import hw_models.cost; print(time.perf_counter() - start)"
    runs = (subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(5))
    return min(float(run.stdout) for run in runs)


def main() -> None:
    """Print the times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    layers = read_networks(NETWORKS)["VGG8_stock"]
    first, *others = designs()
    estimate_cost(first, layers)  # reads the node's values
    seconds = []
    for accelerator in others:
        start = time.perf_counter()
        estimate_cost(accelerator, layers)
        seconds.append(time.perf_counter() - start)
    median, p95 = statistics.median(seconds), sorted(seconds)[int(0.95 * len(seconds))]
    times = {
        "designs": len(seconds),
        "median_s": median,
        "p95_s": p95,
        "import_s": import_seconds(),
        "times_faster_than_reference_vgg8": NEUROSIM_VGG8_S / median,
        "times_faster_than_reference_median": NEUROSIM_MEDIAN_S / median,
    }
    if options.json:
        print(json.dumps(times, indent=2))
        return
    print(f"{len(seconds)} designs with VGG-8, one core: median {1e3 * median:.3f} ms, 95 % in {1e3 * p95:.3f} ms")
    print(f"NeuroSim: {NEUROSIM_VGG8_S:g} s for VGG-8, {NEUROSIM_VGG8_S / median:,.0f} times as long")
    print(f"NeuroSim: {NEUROSIM_MEDIAN_S:g} s over its table, {NEUROSIM_MEDIAN_S / median:,.0f} times as long")
    print(f"import hw_models.cost: {1e3 * times['import_s']:.0f} ms")


if __name__ == "__main__":
    main()
