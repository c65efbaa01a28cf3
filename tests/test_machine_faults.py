"""Faults of the machine are not booked on the design: exit 3, the trial is left for the next run."""

import os
import pickle
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import fake_evaluation
import pytest
import torch
import yaml
from conftest import TINY_STUDY
from optuna.trial import TrialState
from test_runner import StopAfter, everything, run

from pipeline import machine_faults
from pipeline.database.open_study import open_study
from pipeline.machine_faults import MachineFault, OutOfMemory, fault_of, fault_of_death
from pipeline.run.queue import SharedQueue
from pipeline.run.runner import Runner
from pipeline.run.worker import evaluate_and_judge
from pipeline.study.study_file import StudyDefinition, load_study
from pipeline.trial.network import write_weights


@pytest.fixture
def study(tiny, write_study) -> StudyDefinition:
    return load_study(write_study(tiny))


@pytest.mark.parametrize("kind", [*fake_evaluation.LACKS, "builder"])
def test_a_worker_knows_what_the_machine_lacks(kind, tmp_path):
    (tmp_path / "lack").write_text(kind)
    checkpoint = tmp_path / "checkpoints" / "2.pt"
    with pytest.raises(MachineFault) as told:
        evaluate_and_judge(fake_evaluation.lack_something, None, None, 2, checkpoint)
    again = pickle.loads(pickle.dumps(told.value))
    assert (type(again), str(again)) == (type(told.value), str(told.value)), "it reaches the run as it is"
    assert len(str(again)) < 200
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.parametrize("kind", ["room", "kill"])
def test_a_machine_that_lacks_something_fails_no_trial_and_changes_no_later_one(study, tmp_path, kind):
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "lack").write_text(kind)
    with pytest.raises(MachineFault, match="trial 2 is left for the next run, for this machine is to blame") as told:
        run(study, folder, 5, evaluate=fake_evaluation.lack_something)
    assert len(str(told.value)) < 300
    assert "\n" not in str(told.value)
    assert [path.name[-8:] for path in sorted((folder / "checkpoints").iterdir())] == ["00000.pt", "00001.pt"]
    (folder / "lack").unlink()
    resumed = run(study, folder, 5, evaluate=fake_evaluation.lack_something)
    assert everything(resumed) == everything(run(study, tmp_path / "whole", 5))
    assert {trial.state for trial in resumed.get_trials()} == {TrialState.COMPLETE}


def test_the_trials_beside_one_that_met_a_fault_are_left_too(study, tmp_path):
    (tmp_path / "lack").write_text("room")
    with pytest.raises(MachineFault):
        run(study, tmp_path, 5, workers=3, evaluate=fake_evaluation.lack_something)
    (tmp_path / "lack").unlink()
    assert everything(run(study, tmp_path, 5)) == everything(run(study, tmp_path / "whole", 5))


def test_what_a_design_does_is_its_own():
    def while_handling(handled: Exception, error: Exception) -> Exception:
        error.__context__ = handled
        return error

    own = [RuntimeError("mat1 and mat2 shapes cannot be multiplied"), ValueError("out of memory budget"), KeyError("x")]
    own += [while_handling(FileNotFoundError(2, "No such file", "x"), RuntimeError("x"))]
    own += [while_handling(ModuleNotFoundError("no timm"), RuntimeError("x"))]
    assert [fault_of(error) for error in own] == [None] * len(own)
    assert fault_of(while_handling(OSError(28, "No space left on device"), RuntimeError("x")))


def test_torch_itself_says_what_is_recognised(tmp_path):
    with pytest.raises(RuntimeError) as memory:
        torch.empty(2**55)
    assert isinstance(fault_of(memory.value), OutOfMemory)
    with pytest.raises(RuntimeError) as name:
        torch.save({}, tmp_path / ("n" * 300))
    assert "File name too long" in str(fault_of(name.value))
    with pytest.raises(OSError, match="File name too long") as ours:
        write_weights({"x": torch.zeros(3)}, tmp_path / ("n" * 300))
    assert fault_of(ours.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("code", "limited", "kind"),
    [
        (-signal.SIGKILL, False, OutOfMemory),
        (-signal.SIGBUS, False, MachineFault),
        (-signal.SIGILL, False, MachineFault),
        (-signal.SIGXCPU, False, MachineFault),
        (-signal.SIGSEGV, False, None),
        (-signal.SIGABRT, False, None),
        (-signal.SIGSEGV, True, OutOfMemory),
        (1, True, None),
        (255, False, MachineFault),
    ],
)
def test_the_signal_tells_a_lack_from_a_crash(code, limited, kind, monkeypatch):
    monkeypatch.setattr(machine_faults, "_memory_is_limited", lambda: limited)
    found = fault_of_death(code)
    assert type(found) is (kind or type(None))


def test_a_shared_study_tries_a_design_too_large_for_its_machines_three_times(study, tmp_path):
    """The queue of PostgreSQL workers, which works on SQLite as long as it is alone."""
    opened = open_study(study, f"sqlite:///{tmp_path / 'study.db'}")

    def work(lack: bool) -> None:
        if lack:
            (tmp_path / "lack").write_text("kill")
        queue = SharedQueue(opened, StopAfter(0), 1)
        Runner(study, opened, tmp_path, 1, StopAfter(0), fake_evaluation.lack_something, queue=queue).run(4)

    for _ in range(3):
        with pytest.raises(OutOfMemory, match="trial 2 is left"):
            work(lack=True)
    (tmp_path / "lack").unlink()
    work(lack=False)
    by_number = {trial.number: trial for trial in opened.get_trials()}
    assert by_number[2].state is TrialState.FAIL
    assert "3 workers died in this trial" in by_number[2].user_attrs["error"]
    assert all(trial.state is TrialState.COMPLETE for number, trial in by_number.items() if number != 2)


def test_a_name_too_long_for_files_is_refused_and_the_longest_one_has_files(tiny, write_study, tmp_path):
    with pytest.raises(ValueError, match=r"name: .* at most 120 characters"):
        load_study(write_study(tiny | {"name": "n" * 235}))
    name = load_study(write_study(tiny | {"name": "n" * 120})).spec.name
    write_weights({}, tmp_path / f"{name}-{12 * 'a'}-1234567-10000-epochs-{10**8}-images-seed-{2**32}-{12 * 'b'}.pt")


@pytest.mark.parametrize("error", [MemoryError(), ImportError("libcudart.so: cannot open"), OSError(12, "x", "y")])
def test_every_command_ends_with_3_and_one_line(error, nacim, monkeypatch, write_study, tiny):
    from pipeline.study import study_file

    monkeypatch.setattr(study_file, "read_yaml", lambda path, kind: fake_evaluation.raise_one(error))
    done = nacim("show", write_study(tiny), "--trial", 0)
    assert done.returncode == 3
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("nacim: ")


def command(folder: Path, *more: object, **options) -> subprocess.CompletedProcess:
    words = [sys.executable, "-m", "pipeline", "run", "tiny.yaml", "--workers", "1", "--out", "out", *map(str, more)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)}
    return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=600, **options)


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("mount"), reason="only root may mount a small disk")
@pytest.mark.parametrize("source", ["training", "supernet"])
def test_a_full_folder_of_weights_ends_the_command_with_3(source, tmp_path):
    """A disk of 48 kB for the weights; the database has room."""
    content = TINY_STUDY | {"training": {"epochs": 1}, "network": {"convs": [{"filters": [16, 32], "pool": True}]}}
    content |= {"accuracy": {"from": "supernet", "supernet_epochs": 1}} if source == "supernet" else {}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(content))
    small = tmp_path / ("out" if source == "supernet" else "out/checkpoints")
    small.mkdir(parents=True)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48k", "tmpfs", small]).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        done = command(tmp_path, "--storage", f"sqlite:///{tmp_path / 'study.db'}", "--trials", 6)
        left = [path.name for path in small.rglob("*.part")]
    finally:
        subprocess.run(["umount", small], check=True)
    assert done.returncode == 3, done.stderr
    assert "No space left on device" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not left
    opened = open_study(load_study(tmp_path / "tiny.yaml"), f"sqlite:///{tmp_path / 'study.db'}")
    assert not opened.get_trials(states=(TrialState.FAIL,))


@pytest.mark.slow
@pytest.mark.parametrize("kibibytes", [900_000, 1_000_000])
def test_a_limit_on_memory_fails_no_trial(kibibytes, tmp_path):
    """`ulimit -v`: libraries cannot be loaded, threads not started, or memory not had; on some machine it is enough."""
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(TINY_STUDY | {"training": {"epochs": 1}}))
    limit = kibibytes * 1024
    done = command(tmp_path, "--trials", 1, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)))
    assert done.returncode in (0, 3), done.stderr
    if done.returncode == 3:
        assert done.stderr.splitlines()[-1].startswith("nacim: ")
    if (tmp_path / "out" / "study.db").exists():
        opened = open_study(load_study(tmp_path / "tiny.yaml"), f"sqlite:///{tmp_path / 'out' / 'study.db'}")
        assert not opened.get_trials(states=(TrialState.FAIL,))
