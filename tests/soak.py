"""Kill studies at random moments and check that nothing is lost: `python tests/soak.py --kills 100`.

Serial runs and runs of two workers, on SQLite and on PostgreSQL; on PostgreSQL also two workers of a cluster. Each kill
is a SIGKILL of the process, of its whole group, or of one of its evaluating children. Evaluations are made up and fast;
processes, databases and files are real.
"""

import argparse
import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import fake_evaluation
import optuna
import yaml
from conftest import TINY_STUDY
from optuna.trial import FrozenTrial, TrialState
from postgres import Server

from pipeline.database.open_study import load_study_read_only, open_study
from pipeline.database.records import evaluated_trials
from pipeline.database.storage import StudyError
from pipeline.design.design_point import DesignPoint
from pipeline.optuna_private import backend_of
from pipeline.run.runner import Runner
from pipeline.study.study_file import StudyDefinition, load_study

GOAL = 30
_WAIT_S = 300
_SETTINGS = (  # name, kind of process, processes, workers in each, PostgreSQL
    ("sqlite serial", "run", 1, 1, False),
    ("sqlite, 2 workers", "run", 1, 2, False),
    ("postgresql serial", "run", 1, 1, True),
    ("postgresql, 2 workers", "run", 1, 2, True),
    ("postgresql, cluster of 2", "worker", 2, 1, True),
)


class Quiet:
    """A view that says nothing."""

    def __getattr__(self, name: str):
        return lambda *arguments: None


class Soak:
    """One setting: a study that is killed again and again, then finished and checked."""

    def __init__(self, study: StudyDefinition, url: str, folder: Path, setting: tuple, draw: random.Random) -> None:
        _, self.kind, self.processes, self.workers, _ = setting
        self.study, self.url, self.folder, self.draw = study, url, folder, draw
        self.seen: dict[int, tuple] = {}
        self.kills = 0

    def start(self) -> subprocess.Popen:
        script = Path(__file__).parent / "cluster_process.py"
        arguments = (self.kind, self.study.path, self.url, self.folder, GOAL, "evaluate_briefly", 1, self.workers)
        command = [sys.executable, str(script), *map(str, arguments)]
        with (self.folder / "log.txt").open("a") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)

    def trials(self) -> list[FrozenTrial]:
        try:
            opened = load_study_read_only(self.url, self.study.spec.name)
        except (StudyError, optuna.exceptions.StorageInternalError):
            return []  # not made yet
        found = opened.get_trials(deepcopy=False)
        backend_of(opened).engine.dispose()
        return found

    def note_and_check(self) -> None:
        """What was complete once stays as it is."""
        now = {t.number: fingerprint(t) for t in self.trials() if t.state is TrialState.COMPLETE}
        for number, before in self.seen.items():
            assert now.get(number) == before, f"trial {number} was lost or changed: {before} {now.get(number)}"
        self.seen = now

    def kill_once(self, process: subprocess.Popen) -> None:
        """At a random moment: of the start, or of the trials that follow the first progress."""
        if self.draw.random() < 0.2:
            time.sleep(self.draw.uniform(0, 3))
        else:
            before, end = len(self.seen), time.monotonic() + _WAIT_S
            while process.poll() is None and sum(t.state is TrialState.COMPLETE for t in self.trials()) <= before:
                assert time.monotonic() < end, "no progress"
                time.sleep(0.05)
            time.sleep(self.draw.uniform(0, 0.5))
        how = self.draw.choice(["process", "group", "child"])
        workers = evaluating(process.pid)
        if process.poll() is not None:
            return
        if how == "child" and workers:
            send_kill(self.draw.choice(workers))
            self.kills += 1
            time.sleep(self.draw.uniform(0, 0.5))
        if process.poll() is None:
            (os.killpg if how == "group" else os.kill)(process.pid, signal.SIGKILL)
            process.wait()
            self.kills += 1

    def kill(self, kills: int) -> None:
        running = [self.start() for _ in range(self.processes)]
        while self.kills < kills and (alive := [i for i, each in enumerate(running) if each.poll() is None]):
            i = self.draw.choice(alive)
            self.kill_once(running[i])
            self.note_and_check()
            if running[i].returncode != 0:
                running[i] = self.start()
        for process in running:
            assert process.wait(timeout=_WAIT_S) == 0, (self.folder / "log.txt").read_text()[-2000:]
        self.note_and_check()

    def check(self, whole: list[tuple]) -> None:
        trials = self.trials()
        assert [t.number for t in trials] == list(range(len(trials))), "a number twice or left out"
        assert not [t.number for t in trials if not t.state.is_finished()], "left RUNNING"
        for trial in trials:
            if trial.state is TrialState.COMPLETE and "reused_from" not in trial.user_attrs:
                design = DesignPoint.from_dict(trial.user_attrs["design"])
                measured = fake_evaluation.made_up_result(design, trial.number).measured
                assert trial.values == [measured[name] for name in self.study.spec.objectives]
        if self.kind == "run":
            assert [everything(trial) for trial in trials] == whole, "not the trials of an uninterrupted serial run"
        else:
            evaluated = [t for t in trials if t.state is TrialState.COMPLETE and "reused_from" not in t.user_attrs]
            assert len(evaluated) == len({t.user_attrs["design_hash"] for t in evaluated}) == GOAL


def fingerprint(trial: FrozenTrial) -> tuple:
    return trial.values, trial.params, trial.datetime_complete


def everything(trial: FrozenTrial) -> tuple:
    attributes = trial.user_attrs
    return (
        trial.number,
        trial.state,
        trial.params,
        trial.values,
        attributes.get("design"),
        attributes.get("reused_from"),
    )


def evaluating(pid: int) -> list[int]:
    """Processes that evaluate: children of the fork server, not that server nor Python's resource tracker."""
    try:
        return [worker for child in children(pid) for worker in children(child)]
    except OSError:
        return []


def children(pid: int) -> list[int]:
    return list(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


def send_kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def soak(kills: int, seed: int, folder: Path, server: Server | None, each: int = 10) -> dict[str, int]:
    """Kill all settings in turn, `each` times, `kills` times in total; kills by setting.

    Raises:
        AssertionError: If a promise is broken.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    draw = random.Random(seed)
    settings = [setting for setting in _SETTINGS if server or not setting[4]]
    done = dict.fromkeys((setting[0] for setting in settings), 0)
    round_number = 0
    while sum(done.values()) < kills:
        setting = settings[round_number % len(settings)]
        round_folder = folder / f"round-{round_number}"
        round_folder.mkdir(parents=True)
        path = round_folder / "study.yaml"
        path.write_text(yaml.safe_dump(TINY_STUDY | {"name": "soak", "seed": round_number}))
        study = load_study(path)
        opened = open_study(study, f"sqlite:///{round_folder / 'whole.db'}")
        Runner(study, opened, round_folder / "whole", 1, Quiet(), fake_evaluation.evaluate).run(GOAL)
        whole = [everything(trial) for trial in opened.get_trials()]
        assert len(evaluated_trials(opened)) == GOAL
        url = server.new_database() if server and setting[4] else f"sqlite:///{round_folder / 'study.db'}"
        one = Soak(study, url, round_folder, setting, draw)
        one.kill(min(each, kills - sum(done.values())))
        one.check(whole)
        done[setting[0]] += one.kills
        round_number += 1
        print(f"{setting[0]}: {one.kills} kills; {sum(done.values())} in all", flush=True)
    return done


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    server = Server()
    try:
        with tempfile.TemporaryDirectory() as folder:
            done = soak(options.kills, options.seed, Path(folder), server)
    finally:
        server.remove()
    print(f"{sum(done.values())} kills, nothing lost: {done}")


if __name__ == "__main__":
    main()
