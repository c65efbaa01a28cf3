"""The documentation keeps its word: links lead somewhere, and every command shown runs."""

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

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
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


def test_every_command_shown_runs(tmp_path):
    clone(tmp_path)
    lines = ["nacim run studies/mine.yaml --quiet", *shown_commands(ROOT / "docs" / "tour.md")]
    lines += [line for page in PAGES for line in shown_commands(page)]
    lines = [line for line in dict.fromkeys(lines) if not runs_elsewhere(line)]
    command = [sys.executable, "-W", "ignore", "-c", RUN_ALL]  # one process: it loads the libraries once
    done = subprocess.run(command, cwd=tmp_path, input=json.dumps(lines), capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    assert done.stdout.startswith(f"$ {lines[0]}\n$ {lines[1]}\n"), "a quiet run prints nothing"
    table = set(re.findall(r"`([a-z_]+\.(?:pt|py|yaml|onnx|csv))`", (ROOT / "docs" / "tour.md").read_text()))
    assert {path.name for path in (tmp_path / "exported" / "digits-0").iterdir()} == table


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
