"""What one trial costs in the database and the sampler: ask and tell of the default study, SQLite, one worker.

    python benchmarks/study_database.py --trials 5000

A database with that many finished trials is made by copying a real trial with other values (in SQL). Then trials are
asked and told as `nacim run` does it, with a made-up result of real size. Figures are process time, medians.
"""

import argparse
import contextlib
import cProfile
import pstats
import statistics
import tempfile
import time
from pathlib import Path

import optuna
import sqlalchemy

from pipeline.database.heartbeat import HeartbeatThread
from pipeline.database.open_study import open_study
from pipeline.database.patience import Patience
from pipeline.design.design_point import DesignPoint
from pipeline.design.results import TrialResult, VariationReport, measured_values
from pipeline.networks.workload import estimates_of
from pipeline.optuna_private import backend_of, study_id, trial_id
from pipeline.run import asking, recording
from pipeline.run.asking import Asking
from pipeline.run.queue import LoneQueue
from pipeline.run.recording import Recording
from pipeline.study.study_file import StudyDefinition, load_study

_REPEATS = 30
_NUMBERS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :more)"
_STATEMENTS = (
    "INSERT INTO trials (trial_id, number, study_id, state, datetime_start, datetime_complete) "
    "SELECT t.trial_id + i, t.number + i, study_id, state, datetime_start, datetime_complete FROM n, trials t "
    "WHERE t.trial_id = :id",
    "INSERT INTO trial_params (trial_id, param_name, param_value, distribution_json) "
    "SELECT :id + i, param_name, CASE WHEN distribution_json LIKE '%choices%' THEN abs(random()) % "
    "json_array_length(distribution_json, '$.attributes.choices') ELSE param_value END, distribution_json "
    "FROM n, trial_params WHERE trial_id = :id",
    "INSERT INTO trial_values (trial_id, objective, value, value_type) "
    "SELECT :id + i, objective, abs(random()) % 10000 / 10000.0, value_type FROM n, trial_values WHERE trial_id = :id",
    "INSERT INTO trial_user_attributes (trial_id, key, value_json) "
    "SELECT :id + i, key, CASE key WHEN 'design_hash' THEN '\"' || i || '\"' ELSE value_json END "
    "FROM n, trial_user_attributes WHERE trial_id = :id",
    "INSERT INTO trial_system_attributes (trial_id, key, value_json) "
    "SELECT :id + i, key, CASE WHEN key LIKE '%generation' THEN (:number + i) / :population ELSE value_json END "
    "FROM n, trial_system_attributes WHERE trial_id = :id",
)


def made_up(design: DesignPoint) -> TrialResult:
    """A result of real size without training."""
    cost, silicon = estimates_of(design)
    report = VariationReport(
        per_chip=(0.9,) * 16, mean=0.9, std=0.0, p05=0.9, worst=0.9, mean_low=0.9, mean_high=0.9,
        noiseless=0.9, float_accuracy=0.9, required=None, fraction_good=None, n_images=360, fidelity="fast",
    )  # fmt: skip
    told = {"cost": cost.to_dict(), "silicon": silicon.to_dict(), "phase_s": {}, "versions": {}, "checkpoint": None}
    measured = measured_values(cost, cost, silicon, report, report)
    return TrialResult(measured=measured, validation=report, test=report, **told)


def one_trial(asks: Asking, records: Recording) -> tuple[float, float]:
    """Process time in seconds of an ask and of a tell."""
    design = None
    while design is None:
        start = time.process_time()
        asked = asks.ask(own=set())
        ask_s, design = time.process_time() - start, asked.design
    result = made_up(design)
    start = time.process_time()
    records.record([asked.trial], design.content_hash, result)
    return ask_s, time.process_time() - start


def fill(opened: optuna.Study, trials: int, population: int) -> None:
    """Copy the study's last trial until it has `trials` more."""
    last = opened.get_trials()[-1]
    values = {"more": trials, "id": trial_id(last), "number": last.number, "population": population}
    with backend_of(opened).engine.begin() as connection:
        for statement in _STATEMENTS:
            insert, _, select = statement.partition(" SELECT ")
            connection.execute(sqlalchemy.text(f"{insert} {_NUMBERS} SELECT {select}"), values)
    newest = (last.number + trials) // population - 1  # generations know their parents, as in a study that grew
    ids = [trial_id(trial) for trial in opened.get_trials(deepcopy=False)[-population:]]
    backend_of(opened).set_study_system_attr(study_id(opened), f"{type(opened.sampler).__name__}:parent:{newest}", ids)


def parts(study: StudyDefinition, opened: optuna.Study, folder: Path) -> tuple[Asking, Recording]:
    queue = LoneQueue(opened, study.spec.sampler)
    return Asking(study, opened, queue, HeartbeatThread(opened, 30)), Recording(study, opened, folder, Patience())


def measure(run: tuple[Asking, Recording], label: str, profile: cProfile.Profile | None = None) -> None:
    one_trial(*run)
    with profile or contextlib.nullcontext():
        pairs = [one_trial(*run) for _ in range(_REPEATS)]
    ask_s, tell_s = (statistics.median(values) for values in zip(*pairs, strict=True))
    print(f"{label}: ask {ask_s * 1e3:.1f} ms, tell {tell_s * 1e3:.1f} ms, together {(ask_s + tell_s) * 1e3:.1f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=5000)
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = load_study(Path(__file__).parents[1] / "studies" / "digits.yaml")
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/study.db"
        opened = open_study(study, url)
        one_trial(*parts(study, opened, Path(folder)))
        fill(opened, options.trials, study.spec.sampler.population_size)
        start = time.process_time()
        opened = open_study(study, url)
        run = parts(study, opened, Path(folder))
        print(f"{options.trials} finished trials: opened and read in {time.process_time() - start:.2f} s")
        profile = cProfile.Profile() if options.profile else None
        measure(run, "one transaction each      ", profile)
        if profile:
            pstats.Stats(profile).sort_stats("cumtime").print_stats(40)

        @contextlib.contextmanager
        def bare(opened: optuna.Study):
            with backend_of(opened).scoped_session() as session:
                yield session

        asking.transaction = recording.transaction = bare
        measure(run, "each call its own (Optuna)")


if __name__ == "__main__":
    main()
