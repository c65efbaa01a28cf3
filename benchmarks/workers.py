"""Trials per hour with 2 workers against 1, on an otherwise idle machine of 2 cores or more.

    python benchmarks/workers.py --trials 40

Both runs evaluate the very same trials of a study, each in a fresh folder; starting the workers is left out by timing
from the first finished trial to the last.
"""

import argparse
import tempfile
import time
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial, TrialState

from pipeline.database.open_study import open_study
from pipeline.run.pool import View
from pipeline.run.runner import Runner
from pipeline.study.study_file import load_study


class Clock(View):
    """Notes when trials finish."""

    def __init__(self) -> None:
        self.finished_at: list[float] = []

    def finished(self, trial: FrozenTrial) -> None:
        if trial.state is TrialState.COMPLETE and "reused_from" not in trial.user_attrs:
            self.finished_at.append(time.monotonic())


def trials_per_hour(workers: int, trials: int, study_file: Path) -> float:
    """Of a fresh run."""
    study, clock = load_study(study_file), Clock()
    with tempfile.TemporaryDirectory() as folder:
        opened = open_study(study, f"sqlite:///{folder}/study.db")
        Runner(study, opened, Path(folder), workers, clock).run(trials)
    times = clock.finished_at[workers - 1 :]  # until then a worker was starting
    return (len(times) - 1) / (times[-1] - times[0]) * 3600


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--study", type=Path, default=Path(__file__).parents[1] / "studies" / "digits.yaml")
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    rates = {workers: trials_per_hour(workers, options.trials, options.study) for workers in (1, 2)}
    for workers, rate in rates.items():
        print(f"{workers} worker{'s' if workers > 1 else ' '}: {rate:.0f} trials per hour")
    print(f"ratio: {rates[2] / rates[1]:.2f}")


if __name__ == "__main__":
    main()
