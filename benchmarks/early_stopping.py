"""The same seeds with and without early stopping: training epochs spent and hypervolume reached.

    python benchmarks/early_stopping.py studies/digits.yaml --seeds 3 --trials 100

Each run is a study of its own in a temporary folder, with one worker. Stopped trials count towards `--trials`; the
hypervolume is that of finished designs alone.
"""

import argparse
import dataclasses
import statistics
import tempfile
from pathlib import Path

import optuna
from rich.console import Console

from pipeline.cli.progress import Progress
from pipeline.database.open_study import open_study
from pipeline.database.trials import kind_of, pareto_report
from pipeline.design.pareto import hypervolume_history
from pipeline.run.runner import Runner
from pipeline.study.study_file import StudyDefinition, load_study
from pipeline.study.study_spec import EarlyStoppingSpec


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """What a run spent and reached."""

    epochs: int
    hypervolume: float
    stopped: int
    front: int


def run(study: StudyDefinition, trials: int) -> Outcome:
    """Run a study in a temporary folder."""
    with tempfile.TemporaryDirectory() as folder:
        opened = open_study(study, f"sqlite:///{folder}/study.db")
        view = Progress(study.spec.name, study.spec.objectives, [], Console(quiet=True), Path(folder))
        Runner(study, opened, Path(folder), 1, view).run(trials)
        report = pareto_report(opened)
        stopped = [t for t in opened.get_trials() if kind_of(t) == "stopped early"]
        history = hypervolume_history(report.objectives, [trial.values for trial in report.trials])
        epochs = sum(int(trial.user_attrs["stopped_early"]["epoch"]) for trial in stopped)
        epochs += study.spec.training.epochs * len(report.trials)
        return Outcome(epochs, history[-1], len(stopped), len(report.front))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--quantile", type=float, default=EarlyStoppingSpec().quantile)
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    saved, ratios = [], []
    for seed in range(1, options.seeds + 1):
        study = load_study(options.study, seed=seed)
        off, on = (
            run(dataclasses.replace(study, spec=study.spec.model_copy(update={"early_stopping": rule})), options.trials)
            for rule in (False, EarlyStoppingSpec(quantile=options.quantile))
        )
        saved.append(1 - on.epochs / off.epochs)
        ratios.append(on.hypervolume / off.hypervolume)
        print(
            f"seed {seed}: epochs {off.epochs} -> {on.epochs} ({saved[-1]:.0%} saved, {on.stopped} of "
            f"{options.trials} stopped), hypervolume {off.hypervolume:.4g} -> {on.hypervolume:.4g}, "
            f"front {off.front} -> {on.front}",
            flush=True,
        )
    print(f"median: {statistics.median(saved):.0%} saved, hypervolume x {statistics.median(ratios):.3f}")


if __name__ == "__main__":
    main()
