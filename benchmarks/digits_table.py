"""Measure designs of studies/digits.yaml for the table on which benchmarks/samplers.py compares samplers.

    python benchmarks/digits_table.py            # continues where it stopped; about 1.2 s of one core per design

Each design is trained and judged as in the study (`pipeline.trial.evaluate.evaluate`); its row is its trial number. The
first rows are drawn at random. Each further batch comes from searches on a surrogate of the rows before it, so that the
table is densest near the front. Costs are not stored: the cost model gives them in under a millisecond.
"""

import csv
import gzip
import io
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.samplers import NSGAIISampler
from sklearn.ensemble import GradientBoostingRegressor

from hw_models.cost import estimate_cost
from hw_models.errors import InfeasibleDesign
from pipeline.design.design_point import DesignPoint
from pipeline.design.topology import mvm_layers
from pipeline.files import write_whole
from pipeline.optuna_private import non_domination_rank
from pipeline.run.worker import evaluate_trial, start_worker
from pipeline.study.search_space import SearchSpace
from pipeline.study.spaces import ABSENT
from pipeline.study.study_file import load_study

TABLE = Path(__file__).parent / "digits_designs.csv.gz"
STUDY = load_study(Path(__file__).parents[1] / "studies" / "digits.yaml")
SPACE = SearchSpace(STUDY)
PARAMETERS = [name for name, dimension in SPACE.dimensions().items() if not dimension.is_fixed]
WIDTHS = ["conv1_filters", "conv2_filters", "fc1_units"]
MEASURED = ["accuracy_mean", "accuracy_noiseless", "accuracy_std"]
RANDOM_ROWS = 1000
SEARCHED_ROWS = 1000
BATCH = 200  # rows between two fits of the surrogate
SEARCH_TRIALS = 1500
PROCESSES = 2
SAVE_EVERY = 20  # rows


def design_of(row: dict[str, Any]) -> DesignPoint:
    """The design of a row's parameters; raises InfeasibleDesign if there is none."""
    return SPACE.design_of({name: row[name] for name in PARAMETERS})


def random_parameters() -> Iterator[dict[str, Any]]:
    """Endless parameters drawn uniformly, the same ones on every call."""
    rng = np.random.default_rng(0)
    dimensions = SPACE.dimensions()
    while True:
        yield {name: dimensions[name].values[rng.integers(len(dimensions[name].values))] for name in PARAMETERS}


def new_designs(candidates: Iterator[dict[str, Any]], measured: set[str], count: int) -> list[dict[str, Any]]:
    """The first `count` candidates that can exist and whose design is not in `measured`; adds them to it."""
    chosen: list[dict[str, Any]] = []
    while len(chosen) < count:
        parameters = next(candidates)
        try:
            key = design_of(parameters).content_hash
        except InfeasibleDesign:
            continue
        if key not in measured:
            measured.add(key)
            chosen.append(parameters)
    return chosen


def searched_parameters(rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Parameters from a search on the surrogate of `rows`, front after front."""
    surrogate = Surrogate(rows)
    sampler = NSGAIISampler(population_size=50, mutation_prob=0.2, seed=len(rows))
    study = optuna.create_study(directions=["maximize", "maximize"], sampler=sampler)

    def objective(trial: optuna.Trial) -> tuple[float, float]:
        design = SPACE.suggest(trial)
        return surrogate.objectives(trial.params, design)

    study.optimize(objective, SEARCH_TRIALS)
    trials = study.get_trials(deepcopy=False)
    rank = non_domination_rank(-np.array([trial.values for trial in trials]))
    yield from (trials[place].params for place in np.argsort(rank, kind="stable"))


class Surrogate:
    """Accuracy of any design, learnt from `rows` by boosted trees on the logit of the mean accuracy."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self._trees = GradientBoostingRegressor(
            n_estimators=500, learning_rate=0.05, max_depth=4, subsample=0.5, random_state=0
        )
        accuracies = np.clip([row["accuracy_mean"] for row in rows], 0.01, 0.995)
        self._trees.fit([features(row, design_of(row)) for row in rows], np.log(accuracies / (1 - accuracies)))

    def accuracy(self, parameters: dict[str, Any], design: DesignPoint) -> float:
        """Predicted mean accuracy under variation."""
        return float(1 / (1 + np.exp(-self._trees.predict([features(parameters, design)])[0])))

    def objectives(self, parameters: dict[str, Any], design: DesignPoint) -> tuple[float, float]:
        """Predicted accuracy, and TOPS/W by the cost model."""
        cost = estimate_cost(design.accelerator, mvm_layers(design))
        return self.accuracy(parameters, design), cost.tops_per_watt


def features(parameters: dict[str, Any], design: DesignPoint) -> list[float]:
    """What the accuracy is learnt from: logarithms of the parameters, and ratios that decide the converters' errors."""
    chip, device = design.accelerator, design.accelerator.device
    rows = [layer.rows for layer in mvm_layers(design)]
    widths = [0 if parameters[name] == ABSENT else np.log2(parameters[name]) for name in WIDTHS]
    return [
        *(parameters["device"] == name for name in STUDY.devices),
        np.mean(device.programming_sigma) if device.programming_sigma else 0,
        np.log2(device.on_off_ratio or 2**30),
        np.log2(chip.crossbar_size),
        chip.adc_bits or 0,
        chip.adc_type == "sar",
        np.log2(chip.cols_per_adc),
        np.log2(chip.cell_bits),
        chip.weight_bits,
        chip.weight_encoding == "differential",
        np.log2(chip.input_bits),
        *widths,
        *(parameters[f"conv{i}_kernel"] for i in (1, 2)),
        (chip.adc_bits or 0) - np.log2(chip.crossbar_size) - chip.cell_bits,
        chip.weight_bits / chip.cell_bits,
        np.log2(max(rows)),
        np.log2(min(chip.crossbar_size, max(rows))) - (chip.adc_bits or 0),
    ]


def load_table() -> list[dict[str, Any]]:
    """Rows measured so far: parameters and `MEASURED`."""
    if not TABLE.exists():
        return []
    dimensions = SPACE.dimensions()
    read = {name: {str(value): value for value in dimensions[name].values} for name in PARAMETERS}
    with gzip.open(TABLE, "rt", newline="") as file:
        return [
            {name: read[name][text] if name in read else float(text) for name, text in row.items()}
            for row in csv.DictReader(file)
        ]


def save_table(rows: list[dict[str, Any]]) -> None:
    """Write all rows to the table."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, [*PARAMETERS, *MEASURED], lineterminator="\n")
    writer.writeheader()
    writer.writerows(row | {name: round(row[name], 5) for name in MEASURED} for row in rows)
    write_whole(TABLE, gzip.compress(text.getvalue().encode(), mtime=0))


def measure(parameters: dict[str, Any], row: int) -> dict[str, Any]:
    """One row of the table; runs in a worker."""
    result = evaluate_trial(design_of(parameters), STUDY.spec, row, None)
    found = result.validation
    return parameters | {"accuracy_mean": found.mean, "accuracy_noiseless": found.noiseless, "accuracy_std": found.std}


def fill(rows: list[dict[str, Any]], proposed: list[dict[str, Any]], pool: ProcessPoolExecutor) -> None:
    """Measure `proposed` as the next rows, and save from time to time."""
    first = len(rows)
    for row in pool.map(measure, proposed, range(first, first + len(proposed))):
        rows.append(row)
        if len(rows) % SAVE_EVERY == 0:
            save_table(rows)
            print(f"{len(rows)} designs", flush=True)
    save_table(rows)


def main() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    rows = load_table()
    with ProcessPoolExecutor(PROCESSES, multiprocessing.get_context("spawn"), start_worker) as pool:
        if len(rows) < RANDOM_ROWS:
            fill(rows, new_designs(random_parameters(), set(), RANDOM_ROWS)[len(rows) :], pool)
        while len(rows) < RANDOM_ROWS + SEARCHED_ROWS:
            whole = rows[: len(rows) - (len(rows) - RANDOM_ROWS) % BATCH]  # a batch cut off is proposed again
            proposed = new_designs(searched_parameters(whole), {design_of(row).content_hash for row in whole}, BATCH)
            fill(rows, proposed[len(rows) - len(whole) :], pool)


if __name__ == "__main__":
    main()
