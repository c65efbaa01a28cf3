"""The documentation keeps its word: links lead somewhere, and every command shown runs."""

import csv
import dataclasses
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import TINY_STUDY
from PIL import Image

from pipeline.design.design_point import load_design
from pipeline.follow_up.network_table import write_table

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
OWN_NETWORK = ROOT / "docs" / "own_network.md"  # its commands need the files that it shows
OWN_DESIGN = ROOT / "docs" / "design_file.md"  # its commands, too
_PROGRAMS = ("nacim", "make", "cp")
ELSEWHERE = {  # commands shown that this test does not run, and what does
    "make": "CI runs `make check` and `make test`; `make help` and the targets: tests/test_repository.py",
    "nacim dashboard": "tests/test_dashboard.py serves it until Ctrl-C",
    "nacim worker": "tests/test_cluster.py",
    "nacim submit": "tests/test_cluster_slurm.py",
    "nacim status": "tests/test_cluster.py",
    "nacim data get": "tests/test_data_command.py, from a local mirror",
    "nacim require": "tests/test_reevaluate.py",
    "nacim cost --table": "tests/test_cost_command.py",
    "nacim run studies/cifar10_best.yaml": "needs CIFAR-10; tests/test_search_space.py reads every study file",
    "nacim evaluate studies/cifar10_best.yaml": "needs the run above",
}
RUN_ALL = """
import json, shutil, shlex, sys
from pipeline.cli.app import main
for line in json.load(sys.stdin):
    program, *arguments = shlex.split(line)
    print("$", line, flush=True)
    if program == "cp":
        shutil.copy(*arguments)
        continue
    sys.argv = [program, *arguments]
    try:
        main()
    except SystemExit as end:
        if end.code:
            sys.exit(f"{line}: ended with {end.code}")
"""


def shown_commands(page: Path) -> list[str]:
    """Lines of a page's indented or fenced blocks that call one of our programs, in order."""
    text = re.sub(
        r"^```.*?\n(.*?)^```", lambda m: re.sub(r"^", "    ", m[1], flags=re.M), page.read_text(), flags=re.M | re.S
    )
    lines = (line.strip().removeprefix("$ ").removeprefix(".venv/bin/") for line in re.findall(r"^    .*", text, re.M))
    return [line.split(" #")[0].strip() for line in lines if line.split()[:1] and line.split()[0] in _PROGRAMS]


def runs_elsewhere(line: str) -> bool:
    return any(line == start or line.startswith(f"{start} ") for start in ELSEWHERE)


def clone(folder: Path) -> None:
    """What the commands need of a clone, with tiny studies in the place of real ones."""
    shutil.copytree(ROOT / "hw_models" / "cards", folder / "hw_models" / "cards")
    (folder / "studies").mkdir()
    for name in ("digits", "mine"):
        tiny = TINY_STUDY | {"name": name, "trials": 1, "training": {"epochs": 1}}
        (folder / "studies" / f"{name}.yaml").write_text(yaml.safe_dump(tiny))


def run_all(lines: list[str], folder: Path) -> subprocess.CompletedProcess:
    """Run commands in one process, which loads the libraries once."""
    command = [sys.executable, "-W", "ignore", "-c", RUN_ALL]
    done = subprocess.run(command, cwd=folder, input=json.dumps(lines), capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done


@pytest.mark.slow
def test_every_command_shown_runs(tmp_path):
    clone(tmp_path)
    lines = ["nacim run studies/mine.yaml --quiet", *shown_commands(ROOT / "docs" / "tour.md")]
    lines += [line for page in PAGES if page not in (OWN_NETWORK, OWN_DESIGN) for line in shown_commands(page)]
    lines = [line for line in dict.fromkeys(lines) if not runs_elsewhere(line)]
    done = run_all(lines, tmp_path)
    assert done.stdout.startswith(f"$ {lines[0]}\n$ {lines[1]}\n"), "a quiet run prints nothing"
    section = (ROOT / "docs" / "tour.md").read_text().split("## 5.")[1].split("## 6.")[0]
    table = set(re.findall(r"`([A-Za-z_]+\.(?:pt|py|yaml|onnx|csv|json|md))`", section))
    written = {path.name for path in (tmp_path / "exported" / "digits-0").iterdir()}
    of_resistive_cells = {"aihwkit.json", "aihwkit_config.py"}
    assert written <= table
    assert table - written <= of_resistive_cells


@pytest.mark.slow
def test_the_page_on_ones_own_network_can_be_followed_word_by_word(tmp_path):
    """Its files and commands, with fewer trials and pictures."""
    text = OWN_NETWORK.read_text()
    files = dict(re.findall(r"Save\s+this\s+as\s+`([\w.]+)`:\n\n```\w+\n(.*?)```", text, re.S))
    assert list(files) == ["my_networks.py", "my_study.yaml", "hardware.yaml"]
    files["my_study.yaml"] = (
        files["my_study.yaml"].replace("trials: 20", "trials: 1").replace("epochs: 20", "epochs: 1")
    )
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    colours = {"cat": (200, 60, 60), "dog": (60, 60, 200)}
    for name, colour in colours.items():
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for number in range(20):
            picture = Image.new("RGB", (20 + number, 24), tuple(channel + number for channel in colour))
            picture.save(tmp_path / "pictures" / name / f"{number:03}.png")
    lines = [line.replace("--chips 20", "--chips 2") for line in shown_commands(OWN_NETWORK)]
    subcommands = [*("data", "run", "report", "show", "export"), *["cost"] * 3, "evaluate"]
    assert [line.split()[1] for line in lines] == subcommands
    run_all(lines, tmp_path)
    assert (tmp_path / "results" / "my_pictures" / "my_pictures-report.html").is_file()
    named = set(re.findall(r"`(\w+\.(?:pt|py|yaml|onnx))`", text.split("## 5.")[1].split("## 6.")[0]))
    assert named <= {path.name for path in (tmp_path / "exported" / "my_pictures-0").iterdir()}


def test_the_page_on_designs_written_by_hand_can_be_followed(tmp_path, nacim, monkeypatch):
    text = OWN_DESIGN.read_text()
    files = dict(re.findall(r"[Ss]ave\s+this\s+as\s+`([\w.]+)`:\n\n```\w+\n(.*?)```", text, re.S))
    assert list(files) == ["my_design.yaml", "network_table.csv", "designs.csv"]
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    monkeypatch.chdir(tmp_path)
    for line in shown_commands(OWN_DESIGN):
        done = nacim(*shlex.split(line)[1:])
        assert not done.returncode, done.stderr
    rows = list(csv.DictReader((tmp_path / "costs.csv").read_text().splitlines()))
    assert [row["error"] for row in rows] == ["", ""]
    design = load_design(tmp_path / "my_design.yaml")
    write_table(design, tmp_path / "written.csv")
    assert (tmp_path / "written.csv").read_text() == files["network_table.csv"], "the two are one network"
    for name in ("tech_node_nm", "weight_encoding", "adc_type", "cols_per_adc", "mapping"):
        default = next(each.default for each in dataclasses.fields(design.accelerator) if each.name == name)
        assert getattr(design.accelerator, name) == default


def test_every_make_target_shown_exists():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
    for page in PAGES:
        for line in shown_commands(page):
            if line.startswith("make"):
                assert shlex.split(line)[1] in targets, f"{page.name}: {line}"


def test_the_site_builds_and_its_links_lead_somewhere(tmp_path):
    pytest.importorskip("mkdocs", reason="the extra `docs` is not installed")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", tmp_path / "site"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    api = (tmp_path / "site" / "api" / "index.html").read_text()
    for name in ("estimate_cost", "to_analog", "accuracy_under_variation"):
        assert f"{name}" in api


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_in_the_repository_lead_to_files(page):
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_readme_fits_on_a_screen_with_one_picture():
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 60
    assert text.count("![") == 1
