"""Private parts of Optuna are reached in one module, and each of them is there in the installed release."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import optuna
import pytest
from optuna.samplers import GPSampler, NSGAIISampler, RandomSampler, TPESampler

import pipeline

ROOM = Path(pipeline.__file__).parent
OURS = ROOM / "optuna_private.py"
IMPORTED = {
    ("optuna._hypervolume", "compute_hypervolume"),
    ("optuna.study._multi_objective", "_is_pareto_front"),
    ("optuna.study._multi_objective", "_fast_non_domination_rank"),
    ("optuna.study._frozen", "FrozenStudy"),
    ("optuna.storages._rdb.models", "BaseModel"),
    ("optuna.storages._rdb.models", "StudyModel"),
    ("optuna.storages._rdb.models", "TrialModel"),
    ("optuna.storages._rdb.models", "TrialHeartbeatModel"),
    ("optuna.storages._rdb.models", "TrialUserAttributeModel"),
    ("optuna_dashboard", "_app"),
    ("optuna_dashboard._pareto_front", "get_pareto_front_trials"),
}
ATTRIBUTES = {
    "study": ("_study_id", "_storage", "_get_trials"),
    "trial": ("_trial_id",),
    "cache": (
        "_backend",
        "_lock",
        "_studies",
        "_trial_id_to_study_id_and_number",
        "_study_id_and_number_to_trial_id",
    ),
    "random": ("_rng",),
    "nsga2": ("_rng", "_random_sampler"),
    "tpe": ("_rng", "_random_sampler"),
    "gp": ("_rng", "_independent_sampler", "_gprs_cache_list", "_constraints_gprs_cache_list"),
}
NAMES = {name for names in ATTRIBUTES.values() for name in names}


@pytest.fixture(scope="module")
def owners(tmp_path_factory):
    url = f"sqlite:///{tmp_path_factory.mktemp('study') / 'study.db'}"
    study = optuna.create_study(storage=url)
    study.ask()
    samplers = {"random": RandomSampler(), "nsga2": NSGAIISampler(), "tpe": TPESampler(), "gp": GPSampler()}
    return {"study": study, "trial": study.trials[0], "cache": study._storage} | samplers


@pytest.mark.parametrize(("module", "name"), sorted(IMPORTED))
def test_optuna_still_has_the_private_functions_and_tables_that_are_used(module, name):
    try:
        found = hasattr(importlib.import_module(module), name)
    except ImportError:
        found = False
    assert found, f"Optuna {optuna.__version__} moved {module}.{name}; mend pipeline/optuna_private.py"


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize("owner", ATTRIBUTES)
def test_optuna_still_has_the_private_attributes_that_are_used(owners, owner):
    moved = [name for name in ATTRIBUTES[owner] if not hasattr(owners[owner], name)]
    assert not moved, f"Optuna {optuna.__version__} moved {moved} of {owner}; mend pipeline/optuna_private.py"


def test_no_private_name_is_used_that_is_not_looked_for_here():
    imported, reached = set(), set()
    for node in ast.walk(ast.parse(OURS.read_text())):
        if isinstance(node, ast.ImportFrom):
            imported |= {(node.module, alias.name) for alias in node.names if _is_private(node.module, alias.name)}
        elif isinstance(node, ast.Attribute) and node.attr.startswith("_"):
            reached.add(node.attr)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith("_"):
            reached.add(node.value)
    assert imported == IMPORTED
    assert reached - {name for _, name in IMPORTED} <= NAMES


def test_no_other_file_touches_private_parts_of_optuna():
    touched = []
    for path in sorted(set(ROOM.rglob("*.py")) - {OURS}):
        tree = ast.parse(path.read_text())
        own_names = _own_names(tree)
        touched += [f"{path.relative_to(ROOM)}: {use}" for node in ast.walk(tree) if (use := _touched(node, own_names))]
    assert not touched, f"let pipeline/optuna_private.py do it: {touched}"


def test_importing_the_module_loads_nothing():
    code = "import sys, pipeline.optuna_private; sys.exit(bool({'optuna', 'numpy', 'sqlalchemy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def _is_private(module, name):
    parts = f"{module}.{name}".split(".")
    return parts[0] in ("optuna", "optuna_dashboard") and any(part.startswith("_") for part in parts)


def _own_names(tree):
    """Attributes that the file's own classes give themselves: `self._lock = ...`."""
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and _is_self(node)
    } - {"_gprs_cache_list", "_constraints_gprs_cache_list"}


def _is_self(node):
    return isinstance(node.value, ast.Name) and node.value.id == "self"


def _touched(node, own_names):
    if isinstance(node, ast.ImportFrom):
        return next((alias.name for alias in node.names if _is_private(node.module, alias.name)), None)
    if isinstance(node, ast.Import):
        return next((alias.name for alias in node.names if _is_private(alias.name, "")), None)
    if isinstance(node, ast.Attribute) and node.attr in NAMES and not (_is_self(node) and node.attr in own_names):
        return ast.unparse(node)
    return None
