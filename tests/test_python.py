"""nacim from Python: the module's promises, and every example of docs/python.md and docs/start.ipynb run."""

import ast
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import TINY_STUDY

import nacim as nc
from hw_models.devices import load_card
from hw_models.errors import CardError

ROOT = Path(__file__).parent.parent
CHIP = {"crossbar_size": 64, "cell_bits": 2, "weight_bits": 8, "input_bits": 6, "adc_bits": 7}


def test_the_import_loads_nothing_until_a_name_is_used():
    code = (
        "import sys, nacim as nc; ours = {'pipeline', 'hw_models', 'torch', 'optuna', 'numpy', 'yaml'};"
        "assert not ours & set(sys.modules); nc.Accelerator; nc.estimate_cost; nc.load_device('rram');"
        "assert not {'torch', 'optuna', 'pipeline'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_name_leads_to_what_editors_and_type_checkers_see():
    tree = ast.parse(inspect.getsource(nc))
    (guarded,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.name: node.module for node in guarded.body for alias in node.names}
    assert seen == nc._HOMES
    assert set(nc.__all__) < set(dir(nc))
    for name in nc.__all__:
        assert getattr(nc, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'run_studies'"):
        nc.run_studies  # noqa: B018


def test_an_accelerator_takes_a_card_by_name_or_path(tmp_path):
    rram = load_card("rram").device
    assert nc.load_device("rram") == rram
    assert nc.Accelerator(device="rram", **CHIP) == nc.Accelerator(device=rram, **CHIP)
    own = tmp_path / "own.yaml"
    own.write_text((ROOT / "hw_models" / "cards" / "rram.yaml").read_text().replace("name: rram", "name: own"))
    assert nc.Accelerator(device=own, **CHIP).device.name == "own"
    with pytest.raises(CardError, match="did you mean 'rram'"):
        nc.Accelerator(device="rrram", **CHIP)
    with pytest.raises(ValueError, match="device must be a CellDevice, or the name or path of a card, got None"):
        nc.Accelerator(device=None, **CHIP)


@pytest.fixture
def clone(tmp_path, monkeypatch) -> Path:
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "digits.yaml").write_text(yaml.safe_dump(TINY_STUDY | {"name": "digits"}))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_the_examples_of_the_page_run(clone, capsys):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "python.md").read_text(), re.S)
    assert len(blocks) == 6
    names = {"__name__": "__main__"}
    for block in blocks:
        exec(block, names)
    shown = capsys.readouterr().out
    assert names["worse"].device.name == "worse"
    assert re.search(r"^rram: 9\d\.\d% on 4 chips, 9\d\.\d% without errors$", shown, re.M)
    assert (clone / "results" / "from_python" / "from_python-report.html").is_file()


def test_a_study_that_cannot_run_is_told_as_an_exception(clone):
    with pytest.raises(ValueError, match="unknown key 'trainin'"):
        nc.run_study("studies/digits.yaml", changes={"trainin.epochs": 1})
    with pytest.raises(ValueError, match="--trials must be 1 or more"):
        nc.run_study("studies/digits.yaml", trials=0)


@pytest.mark.slow
def test_the_notebook_runs_with_its_progress_redrawn(tmp_path, monkeypatch):
    """All cells, in a kernel of their own, which finds `nacim` beside Python."""
    nbformat = pytest.importorskip("nbformat", reason="nbclient, ipykernel and ipywidgets are not installed")
    nbclient = pytest.importorskip("nbclient", reason="nbclient, ipykernel and ipywidgets are not installed")
    pytest.importorskip("ipykernel")
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=":")
    notebook = nbformat.read(ROOT / "docs" / "start.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "the notebook is kept without outputs"
    client = nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    text = "\n".join(str(output) for output in outputs)
    assert "application/vnd.jupyter.widget-view+json" in text, "the live view"
    assert "Pareto front" in text
    assert "nJ" in text
