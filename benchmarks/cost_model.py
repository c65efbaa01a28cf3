"""How long the cost model and the silicon estimate take for VGG-8, compared with NeuroSim.

    python benchmarks/cost_model.py

Crossbar, converters or bits of every design differ, so that caches help with the node's values only.
"""

import itertools
import statistics
import subprocess
import sys
import time
from pathlib import Path

from hw_models.accelerator import Accelerator
from hw_models.cost import estimate_cost
from hw_models.devices import load_card
from hw_models.silicon import silicon_estimate_of
from hw_models.validation.neurosim_input import read_networks

NETWORKS = Path(__file__).parent.parent / "tests" / "golden" / "networks.json"
NEUROSIM_VGG8_S = 204.0  # one run of DNN+NeuroSim V1.3 with VGG-8, recorded with its table
NEUROSIM_MEDIAN_S = 14.0  # median over that table
CHOICES = {
    "crossbar_size": (64, 128, 256),
    "adc_bits": (4, 5, 6, 7, 8),
    "cols_per_adc": (4, 8, 16),
    "cell_bits": (1, 2, 4),
    "weight_bits": (6, 8),
    "input_bits": (4, 8),
    "adc_type": ("sar", "flash"),
}


def import_seconds() -> float:
    """Import time in a fresh interpreter, best of five."""
    code = "import time; start = time.perf_counter(); import hw_models.cost; print(time.perf_counter() - start)"
    runs = (subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(5))
    return min(float(run.stdout) for run in runs)


def main() -> None:
    layers, device = read_networks(NETWORKS)["VGG8_stock"], load_card("rram").device
    seconds, with_silicon = [], []
    for values in itertools.product(*CHOICES.values()):
        accelerator = Accelerator(device=device, **dict(zip(CHOICES, values, strict=True)))
        start = time.perf_counter()
        report = estimate_cost(accelerator, layers)
        seconds.append(time.perf_counter() - start)
        silicon_estimate_of(accelerator, layers, clock_s=report.clock_s)
        with_silicon.append(time.perf_counter() - start)
    del seconds[0], with_silicon[0]  # read the node's values
    median, p95 = statistics.median(seconds), sorted(seconds)[int(0.95 * len(seconds))]
    print(f"{len(seconds)} designs with VGG-8, one core: median {1e3 * median:.3f} ms, 95 % in {1e3 * p95:.3f} ms")
    print(f"with the silicon estimate: median {1e3 * statistics.median(with_silicon):.3f} ms")
    print(f"NeuroSim: {NEUROSIM_VGG8_S:g} s for VGG-8, {NEUROSIM_VGG8_S / median:,.0f} times as long")
    print(f"NeuroSim: {NEUROSIM_MEDIAN_S:g} s over its table, {NEUROSIM_MEDIAN_S / median:,.0f} times as long")
    print(f"import hw_models.cost: {1e3 * import_seconds():.0f} ms")


if __name__ == "__main__":
    main()
