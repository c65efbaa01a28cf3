"""`nacim submit` on a real SLURM and a real PostgreSQL, with real training; and what the scripts and logs say."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from conftest import TINY_STUDY
from postgres import PASSWORD, Server
from slurm import Cluster
from test_cluster import check_whole, closed_connections, wait_until  # noqa: F401

from pipeline.cli.submit import job_script

pytestmark = pytest.mark.xdist_group("cluster")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    started = Server()
    yield started
    started.remove()


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    started = Cluster()
    yield started
    started.remove()


def nacim(*arguments: object, cwd: Path, environment: dict) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "pipeline", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120)


def everything_written(folder: Path) -> str:
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pt"]
    return "\n".join(path.read_bytes().decode(errors="replace") for path in files)


def held_in_mid_trial(in_work: Callable[[], list[dict]]) -> dict:
    """A worker that is stopped while it has a trial, so that its death cannot fall between two trials."""
    while True:
        victims = in_work()
        if not victims:
            continue
        victim = victims[0]
        os.kill(victim["pid"], signal.SIGSTOP)
        if (victim["pid"], victim["trial"]) in [(worker["pid"], worker["trial"]) for worker in in_work()]:
            return victim
        os.kill(victim["pid"], signal.SIGCONT)


@pytest.mark.slow
@pytest.mark.slurm
def test_a_submitted_study_reaches_its_goal_though_a_worker_is_killed(cluster, server, tmp_path):
    url = server.new_database()
    bare = url.replace(f":{PASSWORD}", "")
    study = TINY_STUDY | {"name": "grown", "trials": 5, "training": {"epochs": 100, "batch_size": 32}}
    (tmp_path / "grown.yaml").write_text(yaml.safe_dump(study))
    environment = cluster.environment | {"PGPASSWORD": PASSWORD, "COLUMNS": "200"}
    options = ("--workers", 2, "--storage", bare, "--heartbeat", 1)
    submitted = nacim("submit", "grown.yaml", *options, cwd=tmp_path, environment=environment)
    assert submitted.returncode == 0, submitted.stderr
    assert "Submitted batch job" in submitted.stdout

    def status() -> dict:
        shown = nacim("status", "grown.yaml", "--storage", bare, "--json", cwd=tmp_path, environment=environment)
        assert shown.returncode == 0, shown.stderr
        return json.loads(shown.stdout)

    def in_work() -> list[dict]:
        return [worker for worker in status()["workers"] if worker["outlived"] == 0]

    wait_until(lambda: len(in_work()) == 2, "two workers have a trial each")
    victim = held_in_mid_trial(in_work)
    assert victim["job"] is not None
    os.kill(victim["pid"], signal.SIGKILL)
    wait_until(lambda: status()["evaluated"] == 5, "the other one reaches the goal")
    wait_until(lambda: not cluster.jobs(), "all jobs end")
    trials = check_whole(url, 5, "grown").get_trials()
    deaths = trials[victim["trial"]].user_attrs["deaths"]
    assert [death["pid"] for death in deaths] == [victim["pid"]]
    text = nacim("status", "grown.yaml", "--storage", bare, cwd=tmp_path, environment=environment).stdout
    assert "5/5 evaluated trials" in text
    report = nacim("report", "grown.yaml", "--storage", bare, cwd=tmp_path, environment=environment)
    assert report.returncode == 0, report.stderr
    assert PASSWORD not in everything_written(tmp_path) + submitted.stdout + submitted.stderr + text
    dump = subprocess.run(
        [server.program("pg_dump"), bare.replace("+psycopg", "")], env=environment, capture_output=True, text=True
    )
    assert "grown" in dump.stdout, dump.stderr
    assert PASSWORD not in dump.stdout


@pytest.mark.parametrize("scheduler", ["slurm", "lsf", "pbs"])
def test_a_dry_run_prints_the_script_without_the_password(tmp_path, scheduler, write_study, tiny):
    url = f"postgresql://me{'' if scheduler == 'pbs' else ':hush'}@db.example:5432/nacim"
    write_study(tiny)
    arguments = ("submit", "study.yaml", "--workers", 7, "--scheduler", scheduler, "--dry-run", "--option", "-q long")
    arguments += ("--data-dir", "images")
    done = nacim(*arguments, cwd=tmp_path, environment=os.environ | {"NACIM_STORAGE": url, "PGPASSWORD": "hush"})
    assert done.returncode == 0, done.stderr
    assert "PGPASSWORD" not in done.stdout, "PBS would show it to all users"
    assert "hush" not in done.stdout + done.stderr
    assert ("--storage" in done.stdout) == (scheduler == "pbs"), "else the environment says it"
    assert "1-7" in done.stdout
    assert f"#{ {'slurm': 'SBATCH', 'lsf': 'BSUB', 'pbs': 'PBS'}[scheduler] } -q long" in done.stdout
    assert f"--data-dir {tmp_path / 'images'}" in done.stdout
    assert not list(tmp_path.rglob("*.sh"))
    subprocess.run(["bash", "-n"], input=done.stdout, text=True, check=True)


def test_a_password_in_the_url_is_refused_for_pbs(tmp_path, write_study, tiny):
    write_study(tiny)
    environment = os.environ | {"NACIM_STORAGE": "postgresql://me:hush@db.example/nacim"}
    arguments = ("submit", "study.yaml", "--workers", 2, "--scheduler", "pbs", "--dry-run")
    done = nacim(*arguments, cwd=tmp_path, environment=environment)
    assert done.returncode == 2
    assert "~/.pgpass" in done.stderr
    assert "hush" not in done.stdout + done.stderr


def test_a_password_on_the_command_line_of_submit_is_refused_with_two_ways_out(tmp_path, write_study, tiny):
    write_study(tiny)
    url = "postgresql://me:hush@db.example/nacim"
    arguments = ("submit", "study.yaml", "--workers", 2, "--storage", url)
    done = nacim(*arguments, cwd=tmp_path, environment=os.environ)
    assert done.returncode == 2
    assert "~/.pgpass" in done.stderr
    assert "NACIM_STORAGE" in done.stderr
    assert "hush" not in done.stdout + done.stderr


@pytest.mark.parametrize("command", ["worker", "run", "status"])
def test_errors_do_not_show_the_password(tmp_path, write_study, tiny, command):
    write_study(tiny)
    url = "postgresql://me:hush@127.0.0.1:1/nacim"
    patience = ["--patience", 0] if command != "status" else []
    done = nacim(command, "study.yaml", "--storage", url, *patience, cwd=tmp_path, environment=os.environ)
    assert done.returncode in (2, 3)
    assert "127.0.0.1" in done.stderr
    assert "hush" not in done.stdout + done.stderr + everything_written(tmp_path)


def test_workers_on_sqlite_are_refused_with_the_way_out(tmp_path, write_study, tiny):
    write_study(tiny)
    done = nacim("worker", "study.yaml", cwd=tmp_path, environment=os.environ)
    assert done.returncode == 2
    assert "nacim run --workers K" in done.stderr
    assert not (tmp_path / "results").exists()


def test_an_option_of_two_lines_is_refused(tmp_path):
    with pytest.raises(ValueError, match="one line"):
        job_script("slurm", "n", 1, tmp_path, ["-q a\nrm -rf /"], ["true"])


@pytest.mark.parametrize("scheduler", ["slurm", "lsf", "pbs"])
@pytest.mark.parametrize(
    "folder",
    ["a\n#SBATCH --wrap=id", "a\rb", 'a" --mail-user="b', "a\\b", "%x"],
    ids=["new line", "carriage return", "quote", "backslash", "percent"],
)
def test_an_output_folder_adds_nothing_to_a_job_script(tmp_path, scheduler, folder):
    with pytest.raises(ValueError, match=r"a job script cannot hold line breaks|means something else to"):
        job_script(scheduler, "n", 1, tmp_path / folder / "workers", [], ["true", "--out", str(tmp_path / folder)])


def test_a_line_break_in_an_argument_adds_no_line_to_a_job_script(tmp_path):
    with pytest.raises(ValueError, match="a job script cannot hold line breaks"):
        job_script("lsf", "n", 1, tmp_path, [], ["true", "a\n#BSUB -u all"])
