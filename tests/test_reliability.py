"""What docs/reliability.md promises beside machine faults: damaged and read-only files, signals, clocks, threads."""

import contextlib
import dataclasses
import datetime
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import fake_evaluation
import optuna
import pytest
import torch
from optuna.trial import TrialState
from test_runner import StopAfter, everything, run

from hw_models.devices import load_card
from pipeline.cli.progress import PlainProgress
from pipeline.database.lock import run_lock
from pipeline.database.open_study import open_study
from pipeline.database.patience import DatabaseAway, Patience
from pipeline.networks.models import read_weights
from pipeline.run.recording import Spool, SpooledResult
from pipeline.run.runner import Runner
from pipeline.run.signals import stopped_like_ctrl_c
from pipeline.study.study_file import StudyDefinition, load_study

ROOT = Path(__file__).parent.parent
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}


@pytest.fixture
def study(tiny, write_study) -> StudyDefinition:
    return load_study(write_study(tiny))


@pytest.fixture
def finished(study, tmp_path) -> Path:
    """The study's file beside its output folder `out` with five trials whose costs are real."""
    run(study, tmp_path / "out", 5, evaluate=fake_evaluation.evaluate_with_costs)
    return study.path


# Spooled results
def poison(path: Path, how: str) -> None:
    content = json.loads(path.read_text())
    result = content["result"]
    if how == "a metric is missing":
        del result["measured"]["accuracy_mean"]
    elif how == "a metric is no number":
        result["measured"]["accuracy_mean"] = float("nan")
    elif how == "a value beside is no number":
        result["phase_s"]["training"] = float("inf")
    elif how == "a metric is a text":
        result["measured"]["accuracy_mean"] = "high"
    elif how == "a report is missing":
        del result["test"]
    elif how == "of another trial":
        content["number"] = 3
    path.write_text(json.dumps(content))
    if how == "cut off":
        path.write_bytes(path.read_bytes()[:100])
    elif how == "no text":
        path.write_bytes(b"\xff\xfe\x00\x01")
    elif how == "deep":
        path.write_text("[" * 100_000)


@pytest.mark.parametrize(
    "how",
    [
        *("a metric is missing", "a metric is no number", "a metric is a text", "a report is missing"),
        *("a value beside is no number", "of another trial", "cut off", "no text", "deep"),
    ],
)
def test_a_poisoned_spool_file_is_set_aside_and_said(study, tmp_path, how):
    spool = Spool(tmp_path / "spool", study)
    result = dataclasses.replace(made_up(study), versions={"torch": "2"})
    spool.put(SpooledResult(number=2, design_hash="h", result=result))
    assert [each.number for each in spool.left()] == [2]
    (path,) = (tmp_path / "spool").iterdir()
    poison(path, how)
    said: list[str] = []
    assert spool.left(said.append) == []
    assert [str(path) in said[0], "set aside" in said[0], len(said[0]) < 300 + len(str(path))] == [True] * 3
    assert [each.name for each in (tmp_path / "spool").iterdir()] == [path.with_suffix(".damaged").name]
    assert spool.left(said.append) == []
    assert len(said) == 1


def made_up(study: StudyDefinition):
    from pipeline.study.search_space import SearchSpace

    values = {name: dimension.values[0] for name, dimension in SearchSpace(study).dimensions().items()}
    return fake_evaluation.made_up_result(SearchSpace(study).design(values), 2)


def test_a_run_goes_on_beside_a_poisoned_spool(study, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(study, tmp_path / "out", 4, view=StopAfter(2))
    spool = Spool(tmp_path / "out" / "spool", study)
    (tmp_path / "out" / "spool").mkdir(exist_ok=True)
    spool._path(1).write_text('{"number": 1}')
    assert everything(run(study, tmp_path / "out", 4)) == everything(run(study, tmp_path / "whole", 4))


# Results and trials that are none
def test_a_result_that_is_no_number_fails_its_trial_with_the_reason(study, tmp_path, capsys):
    from rich.console import Console

    view = PlainProgress("tiny", study.spec.objectives, [], Console(width=160), tmp_path)
    opened = run(study, tmp_path / "out", 4, evaluate=fake_evaluation.not_a_number, view=view)
    (failed,) = opened.get_trials(states=(TrialState.FAIL,))
    assert failed.number == 1
    assert failed.user_attrs["error"] == (
        "ValueError: the objective accuracy_mean of the result is nan, which is no finite number"
    )
    assert "trial 1 failed: ValueError: the objective" in capsys.readouterr().out
    assert len(opened.get_trials(states=(TrialState.COMPLETE,))) == 4


def test_a_trial_that_no_machine_can_hold_may_be_ended_by_hand(study, tmp_path, nacim):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "lack").write_text("kill")
    with pytest.raises(RuntimeError, match="trial 2 is left"):
        run(study, tmp_path / "out", 4, evaluate=fake_evaluation.lack_something)
    url = f"sqlite:///{tmp_path / 'out' / 'study.db'}"
    optuna.load_study(study_name="tiny", storage=url).tell(2, state=TrialState.FAIL)
    (tmp_path / "out" / "lack").unlink()
    opened = run(study, tmp_path / "out", 4, evaluate=fake_evaluation.evaluate_with_costs)
    assert len(opened.get_trials(states=(TrialState.COMPLETE,))) == 4


# Databases that are empty, read-only, moved, deleted
@pytest.mark.parametrize("command", ["status", "report", "show", "export", "evaluate", "require", "dashboard"])
def test_looking_at_an_empty_file_writes_nothing(study, tmp_path, nacim, command):
    (tmp_path / "study.db").touch()
    more = {"show": ["--trial", 0], "export": ["--trial", 0, "--to", tmp_path / "x"], "evaluate": ["--trial", 0]}
    more |= {"require": ["--trial", 0, "--accuracy", "0.5"]}
    done = nacim(command, study.path, "--out", tmp_path, *more.get(command, []))
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "study.db: an empty database; run the study first" in done.stderr
    assert (tmp_path / "study.db").stat().st_size == 0
    assert {path.name for path in tmp_path.iterdir()} == {"study.db", "study.yaml"}


@contextlib.contextmanager
def read_only(folder: Path):
    """The folder's content where nothing can be written: root needs a mount for that."""
    if os.geteuid() != 0:
        for path in (folder, *folder.rglob("*")):
            path.chmod(path.stat().st_mode & ~0o222)
        yield
        for path in (folder, *folder.rglob("*")):
            path.chmod(path.stat().st_mode | 0o200)
        return
    if not shutil.which("mount") or subprocess.run(["mount", "--bind", folder, folder]).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", folder], check=True)
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.mark.parametrize("is_running", [False, True], ids=["finished", "with a log, as beside a run"])
def test_a_read_only_place_can_be_looked_at_and_reported_elsewhere(finished, tmp_path, nacim, is_running):
    out, url = tmp_path / "out", f"sqlite:///{tmp_path / 'out' / 'study.db'}"
    holds_log = open_study(load_study(finished), url) if is_running else None
    if holds_log:
        holds_log.set_user_attr("question", "written a moment ago")
        assert (out / "study.db-wal").stat().st_size
    with read_only(out):
        assert nacim("status", finished, "--out", out).returncode == 0
        shown = nacim("show", finished, "--out", out, "--trial", 1)
        assert (shown.returncode, shown.stderr) == (0, "")
        refused = nacim("report", finished, "--out", out)
        assert refused.returncode == 2
        assert f"{out} is read-only; write elsewhere: --out FOLDER --storage {url}" in refused.stderr
        elsewhere = nacim("report", finished, "--out", tmp_path / "new", "--storage", url)
        assert elsewhere.returncode == 0, elsewhere.stderr
        assert "is read-only, so the dashboard gets no notes" in elsewhere.stderr
    assert (tmp_path / "new" / "tiny-report.html").is_file()
    if holds_log:
        assert "written a moment ago" in (tmp_path / "new" / "tiny-report.html").read_text()


class Disturb(StopAfter):
    """A view that does something to the database while the second trial is with its worker."""

    def __init__(self, disturb) -> None:
        super().__init__(0)
        self.disturb, self.count = disturb, 0

    def started(self, number: int, design: object) -> None:
        self.count += 1
        if self.count == 2:
            self.disturb()


@pytest.mark.parametrize("how", ["moved", "replaced"])
def test_a_database_that_is_moved_or_replaced_while_a_run_writes_it_stops_the_run(study, tmp_path, how):
    whole = everything(run(study, tmp_path / "whole", 4))
    out = tmp_path / "out"
    out.mkdir()
    url, aside = f"sqlite:///{out / 'study.db'}", tmp_path / "aside.db"
    opened = open_study(study, url)

    def disturb() -> None:
        (out / "study.db").rename(aside)
        if how == "replaced":
            shutil.copy(aside, out / "study.db")

    with run_lock(url, out, "tiny") as keep_lock:
        runner = Runner(study, opened, out, 1, Disturb(disturb), fake_evaluation.evaluate, keep_lock=keep_lock)
        with pytest.raises(DatabaseAway, match=r"results are kept: .*study.db (was moved or deleted|is another file)"):
            runner.run(4)
    assert (out / "study.db").exists() == (how == "replaced"), "no empty one is made in its place"
    aside.rename(out / "study.db")
    assert everything(run(study, out, 4)) == whole


def test_a_running_study_can_be_reported_shown_and_asked_at_any_time(study, tmp_path, nacim):
    out, url = tmp_path / "out", f"sqlite:///{tmp_path / 'out' / 'study.db'}"
    out.mkdir()
    open_study(study, url)
    script = Path(__file__).parent / "cluster_process.py"
    words = [sys.executable, script, "run", study.path, url, out, 8, "evaluate_with_costs_slowly", 1, 2]
    process = subprocess.Popen(list(map(str, words)), env=ENVIRONMENT, stdout=subprocess.DEVNULL)
    counts = []
    while process.poll() is None or not counts:
        state = json.loads(nacim("status", study.path, "--out", out, "--json").stdout)
        counts.append(state["evaluated"])
        done = nacim("report", study.path, "--out", out)
        assert done.returncode == 0, done.stderr
        if state["evaluated"]:
            assert nacim("show", study.path, "--out", out, "--trial", 0).returncode == 0
        time.sleep(0.2)
    assert process.returncode == 0
    assert counts == sorted(counts)
    opened = open_study(study, url)
    assert len(opened.get_trials(states=(TrialState.COMPLETE,))) == 8


def test_a_clock_that_goes_back_changes_no_trial_and_no_command_minds(study, tmp_path, nacim, monkeypatch):
    whole = run(study, tmp_path / "whole", 5, evaluate=fake_evaluation.evaluate_with_costs)

    class Backwards(datetime.datetime):
        hours = 0

        @classmethod
        def now(cls, tz=None):
            cls.hours += 1
            return datetime.datetime(2026, 11, 28, tzinfo=tz) - datetime.timedelta(hours=cls.hours)

    monkeypatch.setattr("optuna.storages._rdb.storage.datetime", Backwards)
    start = time.time()
    monkeypatch.setattr(time, "time", lambda: start - 1000 * random.random())
    opened = run(study, tmp_path / "out", 5, evaluate=fake_evaluation.evaluate_with_costs)
    first = opened.get_trials()[0]
    assert first.datetime_complete < first.datetime_start, "the clock did go back"
    assert everything(opened) == everything(whole)
    for command in (["status"], ["report"], ["show", "--trial", 0]):
        done = nacim(command[0], study.path, "--out", tmp_path / "out", *command[1:])
        assert done.returncode == 0, done.stderr


def test_waiting_does_not_end_early_or_late_when_the_clock_jumps(monkeypatch):
    jumps = iter([10.0**9, 0.0] * 1000)
    monkeypatch.setattr(time, "time", lambda: next(jumps))
    calls = []

    def full() -> None:
        calls.append(1)
        if len(calls) < 3:
            raise OSError(28, "No space left on device")

    Patience(bound_s=5)(full)
    assert len(calls) == 3


# Weights
def test_a_damaged_file_of_weights_is_one_line_whatever_the_damage(tmp_path):
    path = tmp_path / "w.pt"
    torch.save({"a.weight": torch.arange(60.0).view(5, 12), "a.bias": torch.zeros(5)}, path)
    whole, draw = path.read_bytes(), random.Random(1)
    refused = 0
    for _ in range(150):
        damaged = bytearray(whole)
        for _ in range(draw.choice((1, 3, 30))):
            damaged[draw.randrange(len(damaged))] = draw.randrange(256)
        path.write_bytes(damaged if draw.random() < 0.8 else whole[: draw.randrange(len(whole))])
        with contextlib.suppress(ValueError):  # some bytes decide nothing
            read_weights(path)
            continue
        with pytest.raises(ValueError, match=f"^{re.escape(str(path))} .{{,290}}$"):  # one line, for `.` matches no end
            read_weights(path)
        refused += 1
    assert refused > 30


# Signals
WAITS = """
import sys, time
from pipeline.run.signals import stopped_like_ctrl_c
try:
    with stopped_like_ctrl_c(to_the_end=True):
        with stopped_like_ctrl_c():  # as a command around `run_study`
            try:
                print("ready", flush=True)
                time.sleep(60)
            finally:
                print("stopping", flush=True)
                time.sleep(60)
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_a_third_ctrl_c_ends_a_run_at_once_without_a_traceback(kind):
    process = subprocess.Popen(
        [sys.executable, "-c", WAITS], env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    for line in ("ready\n", "stopping\n"):
        assert process.stdout.readline() == line
        process.send_signal(kind)
    assert process.stderr.readline() == "nacim: stopping; once more ends it at once\n"
    process.send_signal(kind)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors == "nacim: ended at once; finished trials are kept, run the same command to go on\n"


def test_signals_are_as_before_after_a_run_from_python():
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with contextlib.suppress(KeyboardInterrupt), stopped_like_ctrl_c():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(1)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


# Inputs that were found out only after hours
def test_half_a_character_is_refused_before_anything_is_computed(tiny, tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text(json.dumps(tiny | {"question": "half \udce9"}))
    with pytest.raises(ValueError, match=r"study\.yaml: cannot be read as YAML: .*Unicode character"):
        load_study(path)
    card = (ROOT / "hw_models" / "cards" / "rram.yaml").read_text()
    for wanted in ("name: rram", "source: "):
        assert wanted in card
        broken = tmp_path / "card.yaml"
        broken.write_text(card.replace(wanted, f'{wanted.split(":")[0]}: "\\ud800" # ', 1))
        with pytest.raises(ValueError, match=r"card\.yaml: .*Unicode character"):
            load_card(broken)


def test_one_training_image_is_refused_before_it_fails_three_trials(tiny, write_study):
    with pytest.raises(ValueError, match=r"study\.yaml: dataset\.train_images must be 2 or more, got 1"):
        load_study(write_study(tiny | {"dataset": {"train_images": 1}}))
    load_study(write_study(tiny | {"dataset": {"train_images": 2}}))


# Threads
SHOWS_THREADS = """
import contextlib, io, json, sys
{before}
with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):
    sys.argv = ["nacim", "schema"]
    from pipeline.cli.app import main
    main()
import numpy, scipy.linalg, torch, threadpoolctl
numpy.ones((300, 300)) @ numpy.ones((300, 300))
print(json.dumps([each["num_threads"] for each in threadpoolctl.threadpool_info()] + [torch.get_num_threads()]))
"""


@pytest.mark.parametrize("before", ["", "import numpy, scipy.linalg"], ids=["command", "numpy was there before"])
def test_numerical_libraries_compute_in_one_thread(before):
    environment = {name: value for name, value in ENVIRONMENT.items() if not name.endswith("NUM_THREADS")}
    words = [sys.executable, "-c", SHOWS_THREADS.format(before=before)]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    threads = json.loads(done.stdout)
    assert len(threads) >= 3
    assert set(threads) == {1}
