"""A worker or a run with a made-up evaluation, as a process that tests may kill.

python tests/cluster_process.py worker|run STUDY.yaml URL FOLDER GOAL EVALUATION HEARTBEAT_S WORKERS
"""

import multiprocessing
import sys
from pathlib import Path

import fake_evaluation
import optuna
from rich.console import Console

from pipeline.cli.progress import PlainProgress
from pipeline.database.lock import run_lock, study_lock
from pipeline.database.open_study import open_study
from pipeline.database.patience import Patience
from pipeline.database.trials import pareto_report
from pipeline.run import pool
from pipeline.run.queue import SharedQueue
from pipeline.run.runner import Runner
from pipeline.run.signals import stopped_like_ctrl_c
from pipeline.study.study_file import load_study


def main(kind: str, path: str, url: str, out: str, goal: str, evaluation: str, heartbeat: str, workers: str) -> None:
    pool.worker_context = lambda: multiprocessing.get_context("forkserver")  # nothing here needs torch
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study, folder = load_study(Path(path)), Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    evaluate = getattr(fake_evaluation, evaluation)
    beat = int(heartbeat)
    patience = Patience(bound_s=60, say=lambda message: print(message, flush=True))
    console = Console(width=160)
    with stopped_like_ctrl_c():
        if kind == "worker":
            opened = patience(lambda: open_study(study, url))
            with study_lock(url, study.spec.name, shared=True) as lock:
                earlier, weights = pareto_report(opened).trials, folder / "checkpoints"
                view = PlainProgress(study.spec.name, study.spec.objectives, earlier, console, weights)
                queue = SharedQueue(opened, view, beat)
                options = {"patience": patience, "keep_lock": lock.keep, "heartbeat_s": beat}
                Runner(study, opened, folder, 1, view, evaluate, queue=queue, **options).run(int(goal))
        else:
            with run_lock(url, folder, study.spec.name) as keep_lock:
                opened = open_study(study, url)
                earlier, weights = pareto_report(opened).trials, folder / "checkpoints"
                view = PlainProgress(study.spec.name, study.spec.objectives, earlier, console, weights)
                runner = Runner(
                    study,
                    opened,
                    folder,
                    int(workers),
                    view,
                    evaluate,
                    patience=patience,
                    keep_lock=keep_lock,
                    heartbeat_s=beat,
                )
                runner.run(int(goal))


if __name__ == "__main__":
    main(*sys.argv[1:])
