"""The command as users run it: a real study with real training, its exit codes, and what it prints for scripts."""

import contextlib
import gzip
import io
import json
import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest import mock

import optuna
import pytest
import yaml
from conftest import TINY_STUDY
from snapshot import snapshot

from pipeline.cli import app
from pipeline.database.open_study import open_study
from pipeline.design.results import TrainingDiverged
from pipeline.report import dashboard_server as dashboard
from pipeline.run import supernet_file
from pipeline.run.supernet_file import SupernetDied
from pipeline.study.study_file import load_study

HEAVY = {"optuna", "sqlalchemy", "torch", "pydantic", "plotly", "scipy", "numpy", "rich.console"}
ENVIRONMENT = os.environ | {"COLUMNS": "200", "PYTHONWARNINGS": "ignore"}


def nacim(*arguments: object, cwd: Path) -> subprocess.CompletedProcess:
    """The command in this process, which has loaded the libraries; workers are processes."""
    out, errors, code = io.StringIO(), io.StringIO(), 0
    environment = mock.patch.dict(os.environ, {"COLUMNS": "200"})
    words = mock.patch.object(sys, "argv", ["nacim", *map(str, arguments)])
    with contextlib.chdir(cwd), environment, words, redirect_stdout(out), redirect_stderr(errors):
        try:
            app.main()
        except SystemExit as end:
            code = end.code or 0
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), errors.getvalue())


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A folder in which a tiny study has run once with 4 trials."""
    folder = tmp_path_factory.mktemp("study")
    (folder / "tiny.yaml").write_text(yaml.safe_dump(TINY_STUDY | {"question": "Does it run?"}))
    done = nacim("run", "tiny.yaml", "--workers", 2, cwd=folder)
    assert done.returncode == 0, done.stderr
    (folder / "output.txt").write_text(done.stdout)
    return folder


def complete_trials(folder: Path, name: str = "tiny") -> list[optuna.trial.FrozenTrial]:
    study = optuna.load_study(study_name=name, storage=f"sqlite:///{folder / 'results' / name / 'study.db'}")
    return [
        t for t in study.get_trials(states=(optuna.trial.TrialState.COMPLETE,)) if "reused_from" not in t.user_attrs
    ]


def test_optuna_says_nothing_beside_a_report(finished):
    optuna.logging.set_verbosity(optuna.logging.INFO)
    assert nacim("report", "tiny.yaml", cwd=finished).returncode == 0
    assert optuna.logging.get_verbosity() == optuna.logging.WARNING


def test_a_run_ends_with_a_table_a_report_and_a_database(finished):
    output = (finished / "output.txt").read_text()
    for part in (
        "4/4 trials",
        "hypervolume",
        "Pareto front",
        "best accuracy",
        "TOPS/W",
        "report.html",
        "study.db",
        "left",
    ):
        assert part in output
    assert (finished / "results" / "tiny" / "tiny-report.html").stat().st_size > 100_000
    assert len(complete_trials(finished)) == 4


def test_a_trial_keeps_everything_that_was_measured(finished):
    for trial in complete_trials(finished):
        kept = trial.user_attrs
        assert (
            kept["accuracy_mean"]
            == trial.values[0]
            == pytest.approx(sum(kept["variation"]["validation"]["per_chip"]) / 2)
        )
        assert kept["tops_per_watt"] == trial.values[1] > 0
        assert {"area_m2", "latency_s", "energy_j", "edp_js", "leakage_power_w", "accuracy_worst"} <= set(kept)
        assert set(kept["phase_s"]) == {
            "data",
            "cost",
            "training",
            "calibration",
            "activity",
            "variation",
            "checkpoint",
        }
        assert kept["versions"]["torch"]
        assert (finished / "results" / "tiny" / "checkpoints" / kept["checkpoint"]).is_file()
        chip = kept["design"]["accelerator"]
        assert chip["cell_bits"] <= trial.params["cell_bits"]
        assert kept["cost"]["energy_j"] == kept["energy_j"]


def test_the_same_seed_gives_the_same_study(finished, tmp_path):
    (tmp_path / "tiny.yaml").write_text((finished / "tiny.yaml").read_text())
    done = nacim("run", "tiny.yaml", "--trials", 2, "--workers", 1, "--json", cwd=tmp_path)
    first, again = complete_trials(finished)[:2], complete_trials(tmp_path)
    assert [(t.params, t.values) for t in again] == [(t.params, t.values) for t in first]
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [event["event"] for event in events] == [
        *("message", "begin", "started", "finished", "started", "finished", "end")
    ]
    assert events[0]["text"].startswith("designs"), "how many designs a small space has"
    assert events[-1]["database"].endswith("study.db")
    assert list((tmp_path / "results" / "tiny" / "checkpoints").glob("*.phase")) == []


def test_scripts_get_json(finished):
    report = json.loads(nacim("report", "tiny.yaml", "--json", cwd=finished).stdout)
    assert report["counts"]["evaluated"] == 4
    assert report["hypervolume"] > 0
    assert {trial["trial"] for trial in report["front"]} <= {t.number for t in complete_trials(finished)}
    shown = json.loads(
        nacim("show", "tiny.yaml", "--trial", report["front"][0]["trial"], "--json", cwd=finished).stdout
    )
    assert shown["accuracy_mean"] == report["front"][0]["accuracy_mean"]


def test_show_prints_a_page(finished):
    number = complete_trials(finished)[0].number
    page = nacim("show", "tiny.yaml", "--trial", number, cwd=finished)
    assert page.returncode == 0, page.stderr
    for part in ("TOPS/W", "conv1", "classifier", "Accuracy"):
        assert part in page.stdout


def test_evaluate_reproduces_a_trial_from_its_checkpoint_and_without_it(finished):
    trial = complete_trials(finished)[0]
    command = ("evaluate", "tiny.yaml", "--trial", trial.number, "--chips", 2, "--json")
    (again,) = json.loads(nacim(*command, cwd=finished).stdout)
    assert again["validation"] == trial.user_attrs["variation"]["validation"]
    checkpoint = finished / "results" / "tiny" / "checkpoints" / trial.user_attrs["checkpoint"]
    aside = checkpoint.rename(checkpoint.with_suffix(".aside"))
    try:
        (retrained,) = json.loads(nacim(*command, cwd=finished).stdout)
    finally:
        aside.rename(checkpoint)
    assert retrained == again


def test_evaluate_measures_with_the_settings_of_the_study_and_not_of_an_edited_file(finished, tmp_path):
    trial = complete_trials(finished)[1]
    edited = yaml.safe_load((finished / "tiny.yaml").read_text()) | {"seed": 99, "training": {"epochs": 1}}
    (finished / "edited.yaml").write_text(yaml.safe_dump(edited))
    done = nacim("evaluate", "edited.yaml", "--trial", trial.number, "--chips", 2, "--json", cwd=finished)
    assert json.loads(done.stdout)[0]["validation"] == trial.user_attrs["variation"]["validation"]


def test_an_exported_trial_has_a_folder_of_its_own_and_costs_the_same(finished, tmp_path):
    trial = complete_trials(finished)[0]
    done = nacim("export", "tiny.yaml", "--trial", trial.number, "--to", tmp_path, cwd=finished)
    files = {path.name: path for path in map(Path, done.stdout.split())}
    assert {path.parent for path in files.values()} == {tmp_path / f"tiny-{trial.number}"}
    cost = json.loads(nacim("cost", files["design.yaml"], "--json", cwd=tmp_path).stdout)
    assert cost["energy_j"] == trial.user_attrs["energy_j"]


def test_a_study_with_a_users_own_card_is_one_command(tmp_path):
    from hw_models.devices import CARD_FOLDER

    card = yaml.safe_load((CARD_FOLDER / "fefet.yaml").read_text()) | {"name": "mine"}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(card))
    study = TINY_STUDY | {"hardware": {"device": ["mine.yaml"], "adc_bits": [5, 6]}}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(study))
    assert nacim("devices", "check", "mine.yaml", cwd=tmp_path).returncode == 0
    done = nacim("run", "tiny.yaml", "--trials", 1, "--workers", 1, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert complete_trials(tmp_path)[0].user_attrs["design"]["accelerator"]["device"]["name"] == "mine"


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("run", "tiny.yaml", "--workers", 0), ["--workers must be 1 or more, got 0"]),
        (("run", "tiny.yaml", "--trials", -1), ["--trials must be 1 or more, got -1"]),
        (("run", "none.yaml"), ["none.yaml", "no such study file"]),
        (("run", "bad.yaml"), ["bad.yaml", "unknown key 'trails'", "did you mean 'trials'"]),
        (("run", "tiny.yaml", "--seed", 77), ["seed = 3", "now says 77", "new name"]),
        (("run", "mnist.yaml"), ["'mnist' needs a folder", "--data-dir"]),
        (("run", "mnist.yaml", "--data-dir", "none"), ["data folder none does not exist"]),
        (("run", "mnist.yaml", "--data-dir", "data"), ["images-idx3-ubyte.gz", "checksum", "must be 6bbc9ace"]),
        (("show", "tiny.yaml", "--trial", 999), ["--trial 999: the study has", "numbered from 0"]),
        (("report", "other.yaml"), ["no such database", "nacim run"]),
        (("run", "tiny.yaml", "--storage", "nonsense"), ["--storage 'nonsense' is no database URL"]),
        (("run", "tiny.yaml", "--out", "tiny.yaml"), ["--out tiny.yaml", "choose a folder"]),
        (("run", "pools.yaml"), ["pools.yaml: conv4: cannot pool an image of 1 x 1"]),
        (("cost", "none.yaml"), ["none.yaml", "no such design file"]),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, tuple) else "",
)
def test_bad_input_ends_with_2_says_why_and_writes_nothing(finished, arguments, parts):
    tiny = yaml.safe_load((finished / "tiny.yaml").read_text())
    (finished / "bad.yaml").write_text(yaml.safe_dump(tiny | {"trails": 1}))
    (finished / "other.yaml").write_text(yaml.safe_dump(tiny | {"name": "other"}))
    (finished / "mnist.yaml").write_text(yaml.safe_dump(tiny | {"name": "mnist", "dataset": {"name": "mnist"}}))
    pools = tiny | {"name": "pools", "network": {"convs": [{"filters": 4, "pool": True}] * 4}}
    (finished / "pools.yaml").write_text(yaml.safe_dump(pools))
    raw = finished / "data" / "MNIST" / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    (raw / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(b"damaged"))
    before = snapshot(finished / "results")
    done = nacim(*arguments, cwd=finished)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    for part in parts:
        assert part in " ".join(done.stderr.split())
    assert snapshot(finished / "results") == before


def wait_for_a_running_trial(path: Path) -> None:
    for _ in range(1200):
        with sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True) as connection:
            states = [state for (state,) in connection.execute("SELECT state FROM trials")]
        if "RUNNING" in states and "COMPLETE" in states:
            return
        time.sleep(0.05)
    pytest.fail("no trial is running beside a complete one")


@pytest.mark.parametrize("error", [TrainingDiverged("loss is nan; lower the rate"), SupernetDied("it is gone")])
def test_a_supernet_that_fails_ends_with_4_and_says_so_in_one_line(error, tmp_path, monkeypatch, capsys):
    def fail(study, path, say):
        raise error

    content = TINY_STUDY | {"accuracy": {"from": "supernet", "supernet_epochs": 2}}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(content))
    monkeypatch.setattr(supernet_file, "_train", fail)
    monkeypatch.setattr(sys, "argv", ["nacim", "run", str(tmp_path / "tiny.yaml"), "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit, match="4"):
        app.main()
    assert capsys.readouterr().err == f"nacim: {error}\n"


def test_ctrl_c_keeps_what_is_complete_and_the_next_run_takes_the_rest_up(tmp_path):
    slow = TINY_STUDY | {"training": {"epochs": 15}, "trials": 3}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(slow))
    command = [sys.executable, "-m", "pipeline", "run", "tiny.yaml", "--workers", "1"]
    process = subprocess.Popen(
        command, cwd=tmp_path, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    for line in process.stdout:
        if line.startswith("trial "):
            break
    wait_for_a_running_trial(tmp_path / "results" / "tiny" / "study.db")
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "interrupted" in errors
    study = optuna.load_study(study_name="tiny", storage=f"sqlite:///{tmp_path / 'results/tiny/study.db'}")
    cut = [t for t in study.get_trials() if t.state is optuna.trial.TrialState.RUNNING]
    assert [t.user_attrs["interrupted"] for t in cut] == [True]
    kept = {t.number: t.values for t in complete_trials(tmp_path)}
    assert nacim("run", "tiny.yaml", "--workers", 1, cwd=tmp_path).returncode == 0
    after = {t.number: t for t in complete_trials(tmp_path)}
    assert len(after) == 3
    assert cut[0].number in after
    assert after[cut[0].number].params == cut[0].params
    assert {number: after[number].values for number in kept} == kept


@pytest.mark.slow
def test_a_full_disk_stops_the_run_with_3_and_keeps_what_was_finished(finished, tmp_path):
    """A limit on the size of any file stands for the full disk: writes fail in the same places."""
    shutil.copy(finished / "tiny.yaml", tmp_path)
    shutil.copytree(finished / "results", tmp_path / "results")
    size = (tmp_path / "results" / "tiny" / "study.db").stat().st_size
    kept = [t.values for t in complete_trials(tmp_path)]

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    words = ["run", "tiny.yaml", "--trials", "30", "--workers", "1", "--patience", "1"]
    command = [sys.executable, "-m", "pipeline", *words]
    done = subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, preexec_fn=limit)
    assert done.returncode == 3, done.stderr
    assert "waiting for the database until" in done.stdout
    assert "waited for 1 s" in done.stderr
    assert "run the same command" in done.stderr
    assert "Traceback" not in done.stderr
    assert [t.values for t in complete_trials(tmp_path)][: len(kept)] == kept


def test_the_dashboard_finds_its_study_among_others(finished, tmp_path, monkeypatch):
    (tmp_path / "other.yaml").write_text((finished / "tiny.yaml").read_text().replace("name: tiny", "name: other"))
    url, served = f"sqlite:///{tmp_path / 'study.db'}", []
    for path in (finished / "tiny.yaml", tmp_path / "other.yaml"):
        open_study(load_study(path), url)
    monkeypatch.setattr(dashboard, "serve", lambda *arguments: served.append(arguments[0]))
    app.dashboard(tmp_path / "other.yaml", storage=url)
    assert served == [url]


def test_help_names_every_command_and_loads_no_heavy_library():
    look = "import sys\ntry: main()\nfinally: print(sorted(HEAVY & set(sys.modules)))"
    program = f"from pipeline.cli.app import main\nHEAVY = {HEAVY}\n{look}"
    done = subprocess.run([sys.executable, "-c", program, "--help"], capture_output=True, text=True)
    *lines, loaded = done.stdout.splitlines()
    assert loaded == "[]"
    text = "\n".join(lines)
    for command in (
        "run",
        "worker",
        "submit",
        "status",
        "report",
        "show",
        "cost",
        "evaluate",
        "require",
        "export",
        "devices",
        "dashboard",
        "schema",
    ):
        assert f" {command} " in text


def test_the_readme_study_is_the_default_study():
    study = load_study(Path(__file__).parent.parent / "studies" / "digits.yaml")
    assert study.spec.trials >= 60
    assert len(study.devices) >= 3
