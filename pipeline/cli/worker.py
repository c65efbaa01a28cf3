"""`nacim worker`: one of many processes, on any machines, that evaluate one study."""

import contextlib
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.cli import options
from pipeline.database import HEARTBEAT_S, PATIENCE_S

if TYPE_CHECKING:
    from pipeline.study.study_file import StudyDefinition


def worker(
    study_file: options.StudyFile,
    trials: options.Goal = None,
    storage: options.StorageUrl = None,
    out: options.OutFolder = None,
    data_dir: options.DataDir = None,
    changes: options.Changes = None,
    heartbeat: options.Heartbeat = HEARTBEAT_S,
    patience: options.WaitFor = PATIENCE_S,
) -> None:
    """Work on a study in PostgreSQL together with any number of other workers, until it reaches its goal."""
    from pipeline.run.signals import stopped_like_ctrl_c

    options.within("--trials", trials, 1)
    options.within("--heartbeat", heartbeat, 1)
    options.within("--patience", patience, 0)
    definition, folder, url = options.shared_study(study_file, data_dir, storage, out, changes)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with stopped_like_ctrl_c(to_the_end=True):
            _work(definition, folder, url, trials or definition.spec.trials, heartbeat, patience)
    except KeyboardInterrupt:
        options.stop("stopped; its trial is free for another worker", 130)


def _work(
    definition: "StudyDefinition", folder: Path, url: str, goal: int, heartbeat_s: int, patience_s: float
) -> None:
    """Evaluate trials until the study has `goal` of them, and print a summary."""
    from pipeline.cli.progress import PlainProgress
    from pipeline.database.lock import study_lock
    from pipeline.database.open_study import open_study
    from pipeline.database.patience import Patience
    from pipeline.database.trials import floor_of, pareto_report
    from pipeline.run.queue import SharedQueue
    from pipeline.run.runner import Runner
    from pipeline.run.supernet_file import with_supernet

    console = options.console_of_tables()
    wait = Patience(bound_s=patience_s, say=lambda message: console.print(message, soft_wrap=True, markup=False))
    early = dataclasses.replace(wait, at_start=True)
    with contextlib.ExitStack() as held:
        study = early(lambda: open_study(definition, url))
        definition = with_supernet(definition, folder, wait.say)
        name, objectives = definition.spec.name, definition.spec.objectives
        lock = early(lambda: held.enter_context(study_lock(url, name, shared=True)))
        earlier = early(lambda: pareto_report(study)).trials
        view = PlainProgress(name, objectives, earlier, console, folder / "checkpoints", floor_of(study, earlier))
        queue = early(lambda: SharedQueue(study, view, heartbeat_s))
        runner = Runner(
            definition, study, folder, 1, view, queue=queue, patience=wait, keep_lock=lock.keep, heartbeat_s=heartbeat_s
        )
        runner.run(goal)
    console.print(view.summary(), soft_wrap=True)
