"""The house of docs/architecture.md: rooms, the arrows between them, and sizes, read from the sources."""

import ast
import graphlib
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in ("hw_models", "pipeline")
    for path in sorted((ROOT / package).rglob("*.py"))
}
FLOORS = (  # from the top; a room imports from floors below its own
    ("cli",),
    ("run", "follow_up", "report"),
    ("trial", "database"),
    ("samplers",),
    ("study",),
    ("data",),
    ("networks",),
    ("analog", "design"),
    ("root",),
    ("hw_models",),
)
FLOOR_OF = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
DOORS = {"pipeline", "pipeline.__main__"}  # the two ways in from outside; they hand on and hold nothing
LIGHT = (  # what must open fast: it loads no torch
    *("pipeline.report.page", "pipeline.report.dashboard_server", "pipeline.report.dashboard_notes"),
    *("pipeline.run.runner", "pipeline.run.queue", "pipeline.cli.app", "pipeline.cli.trial_page"),
    *("pipeline.database.open_study", "pipeline.study.search_space", "pipeline.samplers", "hw_models.cost"),
    *("pipeline.analog", "pipeline.trial.supernet_key"),
)


def room_of(module: str) -> str:
    package, *inner = module.split(".")
    if package == "hw_models":
        return package
    return inner[0] if inner and (ROOT / package / inner[0]).is_dir() else "root"


@cache
def imports_of(module: str, while_loading: bool = False) -> frozenset[str]:
    """Modules that a module imports: anywhere in it, or only what runs when it is loaded."""
    tree = ast.parse(SOURCES[module].read_text())
    nodes = list(_loaded(tree.body)) if while_loading else list(ast.walk(tree))
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: imports are absolute"
            assert node.module
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in SOURCES else node.module for name in inner}
    return frozenset(found - {module})


def _loaded(body: list[ast.stmt]):
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        yield node
        for part in ("body", "orelse", "finalbody"):
            yield from _loaded([child for child in getattr(node, part, []) if isinstance(child, ast.stmt)])
        for handler in getattr(node, "handlers", []):
            yield from _loaded(handler.body)


def ours(module: str, while_loading: bool = False) -> set[str]:
    return {name for name in imports_of(module, while_loading) if name in SOURCES}


def outside(module: str) -> set[str]:
    return (
        {name.split(".")[0] for name in imports_of(module)} - {"pipeline", "hw_models"} - set(sys.stdlib_module_names)
    )


def test_every_room_stands_on_a_floor():
    assert {room_of(module) for module in SOURCES} == set(FLOOR_OF)
    assert len([module for module in SOURCES if room_of(module) == "root"]) <= 12


@pytest.mark.parametrize("room", sorted(FLOOR_OF))
def test_arrows_point_down(room):
    for module in SOURCES:
        if room_of(module) == room and module not in DOORS:
            for other in ours(module):
                inside = room_of(other) == room
                assert inside or FLOOR_OF[room_of(other)] > FLOOR_OF[room], f"{module} imports {other}"


def test_no_file_leads_back_to_itself():
    def walk(module: str, way: tuple[str, ...]) -> None:
        assert module not in way, " -> ".join([*way[way.index(module) :], module])
        if module not in done:
            for other in sorted(ours(module)):
                walk(other, (*way, module))
            done.add(module)

    done: set[str] = set(DOORS)
    for module in SOURCES:
        walk(module, ())


def test_any_module_can_be_the_first_to_be_imported():
    """A module also loads the rooms that it imports from, whose `__init__` must not wait for that module."""

    def loaded_by(module: str) -> set[str]:
        names = [name.split(".") for name in imports_of(module, while_loading=True)]
        rooms = {".".join(parts[:length]) for parts in names for length in range(1, len(parts) + 1)}
        return {name for name in rooms & SOURCES.keys() if name != module and not module.startswith(f"{name}.")}

    graphlib.TopologicalSorter({module: loaded_by(module) for module in SOURCES}).prepare()


def test_trials_and_databases_do_not_know_each_other():
    for module in SOURCES:
        if room_of(module) in ("trial", "database"):
            assert not {room_of(other) for other in ours(module)} & {"trial", "database"} - {room_of(module)}, module


def test_analog_layers_can_be_taken_alone():
    for module in SOURCES:
        if room_of(module) == "analog":
            allowed = {"pipeline.seeds", "pipeline.compute_device"}
            searching = {other for other in ours(module) if room_of(other) not in ("analog", "hw_models")} - allowed
            assert not searching, f"{module} imports {searching}"
            assert outside(module) <= {"numpy", "torch", "numba", "llvmlite"}, module


def test_hardware_models_need_yaml_alone():
    for module in SOURCES:
        if room_of(module) == "hw_models":
            assert outside(module) <= {"yaml"}, module


def test_what_must_open_fast_loads_no_torch():
    for light in LIGHT:
        seen, left = set(), [light]
        while left:
            module = left.pop()
            seen.add(module)
            loaded = {name.split(".")[0] for name in imports_of(module, while_loading=True)}
            assert not loaded & {"torch", "pytorch_lightning"}, module
            left += [other for other in ours(module, while_loading=True) if other not in seen]
    code = f"import sys, {', '.join(LIGHT)}; sys.exit(bool({{'torch', 'pytorch_lightning'}} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0, "a library loads torch"


def test_functions_and_classes_fit_on_a_screen_or_say_why_not():
    """A reason reads `Long because ...` in its docstring, or `name is long because ...` in the module's (commands)."""
    silent = []
    for module, path in SOURCES.items():
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                limit = 150 if isinstance(node, ast.ClassDef) else 40  # lines, docstring included
                told = "Long because" in (ast.get_docstring(node) or "")
                told = told or f"`{node.name}` is long because" in (ast.get_docstring(tree) or "")
                if node.end_lineno - node.lineno + 1 > limit and not told:
                    silent.append(f"{module}.{node.name}")
    assert not silent


def test_every_module_of_hw_models_can_be_the_first_to_load():
    """A user's import decides which module loads first; a circle of imports may fail from one side only."""
    modules = [module for module in SOURCES if room_of(module) == "hw_models"]
    code = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]:\n"
        "    for loaded in [each for each in sys.modules if each.startswith('hw_models')]: del sys.modules[loaded]\n"
        "    importlib.import_module(name)\n"
    )
    found = subprocess.run([sys.executable, "-c", code, *modules], cwd=ROOT, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
