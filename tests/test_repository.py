"""Promises about the repository itself: files that must say the same."""

import re
import subprocess
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_conda_users_get_all_that_make_installs():
    makefile = (ROOT / "Makefile").read_text()
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    (pip,) = [entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict)]
    *_, (pins, editable, everything) = re.findall(r"pip install .*?(-c constraints\.txt) (-e) \"(.*?)\"", makefile)
    assert pip == [pins, f"{editable} {everything}"]
    (python,) = [entry for entry in environment["dependencies"] if str(entry).startswith("python=")]
    low, high = re.findall(r"3\.(\d+)", PYPROJECT["project"]["requires-python"])
    assert int(low) <= int(python.removeprefix("python=3.")) < int(high)


def test_every_dependency_is_pinned_inside_its_range():
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    pins = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            name, version = line.split("==")
            pins[canonicalize_name(name)] = version
    project = PYPROJECT["project"]
    for text in [*project["dependencies"], *project["optional-dependencies"]["dev"]]:
        requirement = Requirement(text)
        assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)]), text


def test_what_runs_here_is_what_is_pinned():
    from importlib.metadata import version

    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    for name in ("torch", "optuna", "numpy", "pytorch-lightning"):
        assert version(name).split("+")[0] == pins[name]


def test_make_help_lists_every_target():
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^\.PHONY: (.*)$", makefile, re.M)[0].split())
    shown = subprocess.run(["make", "--silent", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert {line.split()[0] for line in shown.splitlines()} == targets


def test_the_editors_schema_is_the_one_that_checks():
    import json

    from pipeline.study.study_file import study_schema

    assert json.loads((ROOT / "studies" / "study.schema.json").read_text()) == study_schema()
