"""Promises about the repository itself: arrows between packages, and files that must say the same."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
MODULES = sorted(
    path.relative_to(ROOT) for folder in ("hw_models", "pipeline") for path in (ROOT / folder).rglob("*.py")
)


def imported_names(path: Path) -> set[str]:
    """Top-level packages that a module imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            names.add((node.module or "").split(".")[0])
    return names


MEASURING_AGAIN = ("measure_again.py", "device_requirements.py")  # finished trials, in the process of the command


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_hardware_models_know_nothing_of_the_search(path):
    names = imported_names(path)
    if path.parts[0] == "hw_models":
        outside = names - {"hw_models", "numpy", "yaml"} - set(sys.stdlib_module_names)
        assert not outside
    assert "studies" not in names
    if "optuna" in names:
        assert "torch" not in names or path.name in MEASURING_AGAIN


LIGHT = [
    "pipeline.report.page",
    "pipeline.database.open_study",
    "pipeline.study.search_space",
    "pipeline.run.runner",
    "pipeline.cli.app",
]


@pytest.mark.parametrize("module", LIGHT)
def test_looking_at_results_does_not_load_torch(module):
    code = f"import sys, {module}; sys.exit('torch' in sys.modules or 'pytorch_lightning' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


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
