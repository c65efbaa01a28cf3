"""How far the cost model is from NeuroSim's table, column by column, and what it gives for designs NeuroSim refuses.

python benchmarks/cost_agreement.py FOLDER
"""

import argparse
import statistics
from pathlib import Path

from hw_models.validation.neurosim_input import read_densities, read_networks, read_rows
from hw_models.validation.neurosim_table import evaluate_rows


def errors_by_column(rows: list[dict[str, str]], evaluated: list[dict[str, object]]) -> dict[str, list[float]]:
    """Absolute relative errors in percent, in order, of each column that is a number in both tables."""
    errors: dict[str, list[float]] = {}
    for row, mine in zip(rows, evaluated, strict=True):
        for column, value in mine.items():
            if column in row and row[column] and isinstance(value, int | float):
                expected = float(row[column])
                error = abs(float(value) / expected - 1) if expected else abs(float(value))
                errors.setdefault(column, []).append(100 * error)
    return {column: sorted(each) for column, each in errors.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder of calibration.csv, networks.json and failures.csv")
    parser.add_argument("--activity", choices=("layers", "mean"), default="layers", help="bit densities")
    options = parser.parse_args()
    networks = read_networks(options.folder / "networks.json")
    densities = read_densities(options.folder / "calibration_layers.csv") if options.activity == "layers" else None
    rows = read_rows(options.folder / "calibration.csv")
    print(f"{len(rows)} designs, absolute relative error in percent, activity: {options.activity}\n")
    print(f"{'column':24}{'median':>9}{'95th':>9}{'max':>9}")
    for name, errors in errors_by_column(rows, evaluate_rows(rows, networks, densities)).items():
        p95 = errors[int(0.95 * (len(errors) - 1))]
        print(f"{name:24}{statistics.median(errors):9.4f}{p95:9.4f}{errors[-1]:9.4f}")
    refused = evaluate_rows(read_rows(options.folder / "failures.csv"), networks)
    flagged = sum(bool(row["outside_reference"]) for row in refused)
    finite = sum(row["error"] == "" for row in refused)
    print(f"\ndesigns that NeuroSim refuses: {len(refused)}, with a cost: {finite}, flagged: {flagged}")


if __name__ == "__main__":
    main()
