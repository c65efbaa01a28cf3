"""`nacim submit`: submit a job array of workers to a cluster's scheduler."""

import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from pipeline.cli import options
from pipeline.database import HEARTBEAT_S

Scheduler = Literal["slurm", "lsf", "pbs"]
_LINES_HELP = "A line for the scheduler, such as --option=--gres=gpu:1; may come several times."
SchedulerLines = Annotated[list[str] | None, typer.Option(help=_LINES_HELP)]
_PASSED = ("NACIM_STORAGE", "PGPASSFILE", "PGUSER", "PGSERVICEFILE")  # to PBS jobs, whose variables all users can see
_SUBMIT = {"slurm": ["sbatch"], "lsf": ["bsub"], "pbs": ["qsub"]}  # bsub reads the script from its input
_HEADERS = {
    "slurm": """\
#SBATCH --job-name={name}
#SBATCH --array=1-{workers}
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=1
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output="{logs}/%A_%a.txt"
""",
    "lsf": """\
#BSUB -J "{name}[1-{workers}]"
#BSUB -n 1
#BSUB -r
#BSUB -o "{logs}/%J_%I.txt"
""",
    "pbs": """\
#PBS -N {name}
#PBS -J 1-{workers}
#PBS -l select=1:ncpus=1
#PBS -r y
#PBS -j oe
#PBS -o {logs}/
""",
}
_SPECIAL = {"slurm": '"\\%', "lsf": '"\\%', "pbs": "\"\\%'`$^ "}  # characters that mean something in a header's path
_LETTERS = {"slurm": "#SBATCH", "lsf": "#BSUB", "pbs": "#PBS"}


def submit(
    study_file: options.StudyFile,
    workers: Annotated[int, typer.Option(help="Jobs of the array, one worker each.")],
    scheduler: Annotated[Scheduler, typer.Option(help="The cluster's scheduler.")] = "slurm",
    trials: options.Goal = None,
    storage: options.StorageUrl = None,
    out: options.OutFolder = None,
    data_dir: options.DataDir = None,
    changes: options.Changes = None,
    option: SchedulerLines = None,
    heartbeat: options.Heartbeat = HEARTBEAT_S,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the script; create and submit nothing.")] = False,
) -> None:
    """Create the study in PostgreSQL, then submit a job array of `nacim worker`."""
    from pipeline.database.open_study import open_study
    from pipeline.database.storage import show_url

    options.within("--workers", workers, 2 if scheduler == "pbs" else 1)
    options.within("--trials", trials, 1)
    options.within("--heartbeat", heartbeat, 1)
    definition, folder, url = options.shared_study(study_file, data_dir, storage, out, changes)
    command = [sys.executable, "-m", "pipeline", "worker", str(study_file.resolve()), "--out", str(folder.resolve())]
    command += ["--trials", str(trials or definition.spec.trials), "--heartbeat", str(heartbeat)]
    command += ["--data-dir", str(Path(data_dir).resolve())] if data_dir else []
    command += [word for each in changes or () for word in ("--set", each)]
    command += _storage_option(url, scheduler)
    logs = folder.resolve() / "workers"
    script = job_script(scheduler, f"nacim-{definition.spec.name}", workers, logs, option or [], command)
    if dry_run:
        print(script, end="")
        return
    logs.mkdir(parents=True, exist_ok=True)
    path = logs / f"{scheduler}.sh"
    path.write_text(script, encoding="utf-8")
    open_study(definition, url)
    print(f"study     {definition.spec.name} in {show_url(url)}\nscript    {path}\nlogs      {logs}", flush=True)
    _hand_over(scheduler, path)


def _storage_option(url: str, scheduler: Scheduler) -> list[str]:
    """The option that names the database to workers; a password goes by the environment only."""
    from sqlalchemy.engine import make_url

    from pipeline.database.storage import without_password

    parsed = make_url(url)
    if without_password(parsed) == parsed:
        return ["--storage", parsed.render_as_string()]
    if scheduler == "pbs":
        raise ValueError(
            "the URL of the database has a password, and PBS shows the variables of a job to all users; leave it out "
            "and use ~/.pgpass (PGPASSFILE)"
        )
    if os.environ.get("NACIM_STORAGE") == url:
        return []
    raise ValueError(
        "--storage with a password: it would stand in the job script; leave it out and use ~/.pgpass (PGPASSFILE), or "
        "set the whole URL in the environment variable NACIM_STORAGE"
    )


def job_script(scheduler: Scheduler, name: str, workers: int, logs: Path, extra: list[str], command: list[str]) -> str:
    """The script of a job array whose jobs run `command` in the folder of the submission and print into `logs`.

    `extra` are more lines for the scheduler.
    """
    if any("\n" in line for line in extra):
        raise ValueError("--option must be one line")
    _check_characters(scheduler, logs, [*extra, *command, os.getcwd()])
    header = _HEADERS[scheduler].format(name=name, workers=workers, logs=logs)
    passed = ",".join(variable for variable in _PASSED if variable in os.environ)
    if scheduler == "pbs" and passed:  # SLURM and LSF pass the environment on by themselves
        extra = [*extra, f"-v {passed}"]
    lines = "".join(f"{_LETTERS[scheduler]} {line}\n" for line in extra)
    return f"#!/bin/bash\n{header}{lines}cd {shlex.quote(os.getcwd())} || exit 1\nexec {shlex.join(command)}\n"


def _check_characters(scheduler: Scheduler, logs: Path, others: list[str]) -> None:
    """Raise ValueError for what would end a line of a job script, or a path in its header, and begin another."""
    for text in (str(logs), *others):
        if any(letter < " " or letter == "\x7f" for letter in text):
            raise ValueError(f"{text!r}: a job script cannot hold line breaks and control characters; rename it")
    if found := [letter for letter in str(logs) if letter in _SPECIAL[scheduler]]:
        raise ValueError(
            f"--out {str(logs.parent)!r}: {found[0]!r} means something else to {scheduler}; choose another folder"
        )


def _hand_over(scheduler: Scheduler, path: Path) -> None:
    command = [*_SUBMIT[scheduler], *([] if scheduler == "lsf" else [str(path)])]
    try:
        with path.open() as script:
            done = subprocess.run(command, stdin=script, capture_output=True, text=True)
    except FileNotFoundError:
        raise ValueError(f"{command[0]} is not on this machine; submit {path} where it is") from None
    if done.returncode:
        raise ValueError(f"{shlex.join(command)} failed: {done.stderr.strip()}")
    print(done.stdout.strip())
