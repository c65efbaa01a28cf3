"""Compare samplers on the table of measured designs (benchmarks/digits_table.py), for docs/samplers.md.

    python benchmarks/samplers.py list                         # the samplers a study file may name
    python benchmarks/samplers.py surrogate                    # how well the surrogate predicts held-out rows
    python benchmarks/samplers.py compare                      # all but gp, 10 seeds; tpe takes most of the time
    python benchmarks/samplers.py ablate                       # the default with and without each of its parts
    python benchmarks/samplers.py time                         # of one ask and tell after 5,000 trials

--write puts tables and plot into docs/samplers.md.

All accuracies come from the surrogate, those of measured designs too. So all samplers search the same function, and
lucky trainings in the table favour none. Costs come from the cost model. Studies are held in memory. A design proposed
before keeps its values and does not count, as in `nacim run`. Curves are kept in results/samplers.json; what is there
for this table is not run again.
"""

import argparse
import dataclasses
import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from digits_table import SPACE, STUDY, TABLE, Surrogate, design_of, load_table
from markdown_tables import table, write_block
from optuna.samplers import BaseSampler, NSGAIISampler
from sampler_plot import write_plot
from scipy.stats import kendalltau
from sklearn.metrics import mean_absolute_error, median_absolute_error, r2_score

from pipeline.design.pareto import hypervolume_history
from pipeline.samplers import make_sampler
from pipeline.samplers.evolution import Proposed, ReproducibleNSGAII
from pipeline.samplers.genome import Genome
from pipeline.study.sampler_spec import SAMPLERS as CHOICES
from pipeline.study.sampler_spec import SamplerSpec

OBJECTIVES = ("accuracy_mean", "tops_per_watt")
KEPT = Path("results/samplers.json")
PAGE = Path(__file__).parents[1] / "docs" / "samplers.md"
PLOT = Path(__file__).parents[1] / "docs" / "images" / "samplers.svg"
MOST_ASKED = 3  # times the trials; there a sampler that only repeats itself is stopped
SHOWN = (50, 100, 200, 500)


class DuplicatesReused(ReproducibleNSGAII):
    """The default without its memory of what was proposed."""

    def _proposed_before(self, study: optuna.Study, number: int) -> Proposed:
        super()._proposed_before(study, number)
        return {None}


def named(name: str, **settings: Any) -> Callable[[int], BaseSampler]:
    spec = STUDY.spec.model_copy(update={"sampler": SamplerSpec(name=name, **settings)})
    return lambda seed: make_sampler(dataclasses.replace(STUDY, spec=spec.model_copy(update={"seed": seed})))


def variant(sampler: type[ReproducibleNSGAII]) -> Callable[[int], BaseSampler]:
    spec = SamplerSpec()
    settings = (spec.population_size, spec.mutation_probability, spec.candidates)
    return lambda seed: sampler(seed, Genome(SPACE), *settings)


SAMPLERS = {name: named(name) for name in CHOICES}
ABLATIONS = {
    "nsga2": named("nsga2"),
    "no preselection (candidates: 1)": named("nsga2", candidates=1),
    "candidates: 5": named("nsga2", candidates=5),
    "candidates: 50": named("nsga2", candidates=50),
    "duplicates reused": variant(DuplicatesReused),
    "population_size: 20": named("nsga2", population_size=20),
    "population_size: 50": named("nsga2", population_size=50),
    "mutation_probability: 0.2": named("nsga2", mutation_probability=0.2),
    "Optuna's NSGA-II, population 10": lambda seed: NSGAIISampler(seed=seed, population_size=10),
    "Optuna's NSGA-II, population 50": lambda seed: NSGAIISampler(seed=seed, population_size=50),
}


class Problem:
    """Objective values of any design, computed once."""

    def __init__(self) -> None:
        self._surrogate = Surrogate(load_table())
        self._values: dict[str, tuple[float, float]] = {}

    def values(self, parameters: dict[str, Any]) -> tuple[str, tuple[float, float]]:
        """Content hash and objectives of a design."""
        design = design_of(parameters)
        key = design.content_hash
        if key not in self._values:
            self._values[key] = self._surrogate.objectives(parameters, design)
        return key, self._values[key]


def search(problem: Problem, sampler: BaseSampler, trials: int) -> dict[str, Any]:
    """One study's hypervolume after each evaluated trial, proposals of designs seen before, CPU time of a trial."""
    study = optuna.create_study(directions=["maximize", "maximize"], sampler=sampler)
    evaluated: dict[str, tuple[float, float]] = {}
    asked, busy_s = 0, 0.0
    while len(evaluated) < trials and asked < MOST_ASKED * trials:
        start = time.process_time()
        trial = study.ask()
        SPACE.suggest(trial)
        busy_s += time.process_time() - start
        key, values = problem.values(trial.params)
        evaluated.setdefault(key, values)
        start = time.process_time()
        study.tell(trial, values)
        busy_s += time.process_time() - start
        asked += 1
    history = hypervolume_history(OBJECTIVES, list(evaluated.values()))
    return {"history": history, "in_vain": asked - len(evaluated), "trial_s": busy_s / asked}


def searches(
    problem: Problem, samplers: dict[str, Callable[[int], BaseSampler]], seeds: int, trials: int
) -> dict[str, list[dict[str, Any]]]:
    """`search` with each sampler for each seed; kept results are not computed again."""
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    digest = hashlib.sha256(TABLE.read_bytes()).hexdigest()[:12]
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in samplers}
    for name, make in samplers.items():
        for seed in range(seeds):
            key = f"{digest} {name} {seed} {trials}"
            if key not in kept:
                kept[key] = search(problem, make(seed), trials)
                KEPT.parent.mkdir(exist_ok=True)
                KEPT.write_text(json.dumps(kept))
            found[name].append(kept[key])
    return found


def curves(runs: list[dict[str, Any]], trials: int) -> np.ndarray:
    """Hypervolume (seeds, trials); a search that ended early keeps its last value."""
    return np.array([run["history"] + run["history"][-1:] * (trials - len(run["history"])) for run in runs])


def comparison(found: dict[str, list[dict[str, Any]]], trials: int, volume: float) -> str:
    """Markdown: median (quartiles) of the hypervolume, and the trials after which the median reaches `volume`."""
    shown = [count for count in SHOWN if count <= trials]
    lines = []
    for name, runs in found.items():
        low, median, high = np.quantile(curves(runs, trials), (0.25, 0.5, 0.75), axis=0)
        cells = [f"{median[n - 1]:.1f} ({low[n - 1]:.1f} to {high[n - 1]:.1f})" for n in shown]
        reached = np.flatnonzero(median >= volume)
        until = reached[0] + 1 if len(reached) else f"more than {trials}"
        in_vain = f"{np.median([run['in_vain'] for run in runs]):.0f}"
        busy = f"{1000 * np.median([run['trial_s'] for run in runs]):.1f}"
        lines.append([name, len(runs), *cells, until, in_vain, busy])
    heads = [f"after {count}" for count in shown]
    return table(["sampler", "seeds", *heads, f"trials to {volume:.1f}", "in vain", "CPU ms a trial"], lines)


def list_of_samplers() -> str:
    """Markdown: what a study file may name."""
    rows = [
        [f"`{name}`", choice.meaning, "no" if choice.learns_from == "finished trials" else "yes"]
        for name, choice in CHOICES.items()
    ]
    return table(["name", "what it is", "the same trials for any number of workers"], rows)


def held_out(folds: int = 5) -> dict[str, float]:
    """How well the surrogate predicts rows that it has not learnt from."""
    rows = load_table()
    fold = np.random.default_rng(0).permutation(len(rows)) % folds
    true, predicted = [row["accuracy_mean"] for row in rows], np.empty(len(rows))
    for one in range(folds):
        surrogate = Surrogate([rows[place] for place in np.flatnonzero(fold != one)])
        for place in np.flatnonzero(fold == one):
            predicted[place] = surrogate.accuracy(rows[place], design_of(rows[place]))
    return {
        "rows": len(rows),
        "R2": r2_score(true, predicted),
        "mean absolute error": mean_absolute_error(true, predicted),
        "median absolute error": median_absolute_error(true, predicted),
        "Kendall tau": kendalltau(true, predicted).statistic,
    }


def print_times(done: int) -> None:
    """Print the CPU time of one ask and tell in a study of `done` trials with random values."""
    genome, rng, population = Genome(SPACE), np.random.default_rng(0), SamplerSpec().population_size
    for name, key in (("nsga2", "ReproducibleNSGAII"), ("nsga3", "ReproducibleNSGAIII"), ("reinforce", "none")):
        study = optuna.create_study(directions=["maximize", "maximize"], sampler=named(name)(0))
        for number in range(done):
            trial = optuna.trial.create_trial(
                params=genome.parameters(genome.random(rng)),
                distributions=genome.distributions,
                values=rng.random(2).tolist(),
                system_attrs={f"{key}:generation": number // population},
            )
            study.add_trial(trial)
        ids = [trial._trial_id for trial in study.trials[-population:]]
        study._storage.set_study_system_attr(study._study_id, f"{key}:parent:{(done - 1) // population}", ids)
        times = []
        for _ in range(40):
            start = time.process_time()
            trial = study.ask()
            SPACE.suggest(trial)
            study.tell(trial, rng.random(2).tolist())
            times.append(1000 * (time.process_time() - start))
        print(f"{name}: the first {times[0]:.0f} ms, then {np.mean(times[1:]):.1f} ms on average", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["list", "surrogate", "compare", "ablate", "time"])
    parser.add_argument("--samplers", nargs="+", choices=SAMPLERS, default=[name for name in SAMPLERS if name != "gp"])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--trials", type=int)
    parser.add_argument("--write", action="store_true", help="put table and plot into docs/samplers.md")
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if options.what == "time":
        print_times(options.trials or 5000)
        return
    if options.what == "list":
        shown = list_of_samplers()
    elif options.what == "surrogate":
        shown = "\n".join(f"- {name}: {value:.4g}" for name, value in held_out().items())
    else:
        samplers = ABLATIONS if options.what == "ablate" else {name: SAMPLERS[name] for name in options.samplers}
        trials = options.trials or (500 if options.what == "compare" else 100)
        found = searches(Problem(), samplers, options.seeds, trials)
        reinforce = searches(Problem(), {"reinforce": SAMPLERS["reinforce"]}, options.seeds, 500)["reinforce"]
        volume = float(np.median(curves(reinforce, 500)[:, -1]))
        shown = comparison(found, trials, volume)
        if options.write and options.what == "compare":
            write_plot(PLOT, {name: curves(runs, trials) for name, runs in found.items()}, volume)
    print(shown)
    if options.write:
        write_block(PAGE, options.what, shown)


if __name__ == "__main__":
    main()
