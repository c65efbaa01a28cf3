"""The first steps of somebody new: `nacim init`, `--set`, `-v`, `--version`, completion, a wheel in an empty folder."""

import os
import re
import subprocess
import sys
import tarfile
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml
from PIL import Image

from pipeline.database.open_study import open_study
from pipeline.study.search_space import SearchSpace
from pipeline.study.study_file import load_study

ROOT = Path(__file__).parent.parent
OWN_NETWORK = """
from torch import nn

def convolution(inputs, outputs, kernel):
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)

def build(input, classes, width=8, kernel=3, act="relu", extra=None):
    return nn.Sequential(convolution(input[0], width, kernel), nn.ReLU(), nn.Flatten(), nn.LazyLinear(classes))
"""
OWN_DATA = """
import torch

def make(seed):
    inputs = torch.rand(300, 16, generator=torch.Generator().manual_seed(seed))
    parts = (inputs[:200], inputs[:200, 0]), (inputs[200:250], inputs[200:250, 0]), (inputs[250:], inputs[250:, 0])
    return dict(zip(("train", "validation", "test"), parts, strict=True))
"""


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """The working folder: grey pictures of two classes, a network, and data for regression."""
    for name, level in (("cat", 60), ("dog", 200)):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for number in range(10):
            Image.new("L", (26 + number, 20), level + number).save(tmp_path / "pictures" / name / f"{number}.png")
    (tmp_path / "my_network.py").write_text(OWN_NETWORK)
    (tmp_path / "my_data.py").write_text(OWN_DATA)
    monkeypatch.chdir(tmp_path)
    return tmp_path


ASKED = {
    "nothing": (),
    "pictures": ("--data", "pictures"),
    "own network": ("--network", "my_network.py"),
    "own network and pictures": ("--network", "my_network.py:build", "--data", "pictures"),
    "own data": ("--data", "my_data.py:make", "--task", "regression"),
    "a family": ("--network", "resnet"),
    "a data set": ("--data", "nuclei"),
}


@pytest.mark.parametrize("asked", ASKED.values(), ids=ASKED.keys())
def test_a_study_to_start_from_suits_data_and_network(asked, folder, nacim):
    done = nacim("init", "mine", *asked)
    assert not done.returncode, done.stderr
    SearchSpace(load_study(folder / "mine" / "study.yaml")).check()
    schema = yaml.safe_load((folder / "mine" / "study.schema.json").read_text())
    assert schema["title"] == "StudySpec", "an editor completes the file"


def test_each_setting_that_stands_as_a_comment_can_be_used(folder, nacim):
    assert not nacim("init", "--data", "pictures", "--name", "mine").returncode
    text = (folder / "study.yaml").read_text()
    found = re.findall(r"^ *# [a-z_]+: .*$", text, re.M)
    assert len(found) >= 6
    for line in found:
        (folder / "other.yaml").write_text(text.replace(line, line.replace("# ", "", 1)))
        load_study(folder / "other.yaml")


def test_pictures_start_at_their_own_size_and_colour(folder, nacim):
    nacim("init", "--data", "pictures")
    spec = load_study(folder / "study.yaml").spec
    assert (spec.name, spec.dataset.image_size, spec.dataset.channels) == ("pictures", 20, 1)


def test_a_network_starts_with_its_functions_defaults(folder, nacim):
    nacim("init", "mine", "--network", "my_network.py")
    network = yaml.safe_load((folder / "mine" / "study.yaml").read_text())["network"]
    assert network == {"build": "../my_network.py:build", "parameters": {"width": 8, "kernel": 3, "act": "relu"}}


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (("--data", "picture"), "no folder, no FILE.py:FUNCTION and no data set"),
        (("--data", "pictures/cat"), "must hold one folder of pictures for each class"),
        (("--network", "net.onnx"), "must be FILE.py, FILE.py:FUNCTION or a family"),
        (("--network", "none.py"), "No such file"),
        (("--network", "my_network.py:bild"), "did you mean 'build'?"),
        (("--network", "my_data.py"), "holds no function"),
        (("--data", "my_data.py:make"), "labels of train for classification must be whole numbers"),
        (("--network", "unet"), "must give (1, 10)"),
        (("--name", "a b"), "name: String should match pattern"),
    ],
)
def test_a_wrong_start_is_told_and_writes_nothing(asked, said, folder, nacim):
    done = nacim("init", "mine", *asked)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (folder / "mine" / "study.yaml").exists()


def test_a_study_that_is_there_is_not_written_over(folder, nacim):
    (folder / "study.yaml").write_text("mine")
    assert "exists already" in nacim("init").stderr
    assert (folder / "study.yaml").read_text() == "mine"


def test_set_changes_what_a_study_file_says(tiny, write_study, nacim, tmp_path, monkeypatch):
    path = write_study(tiny)
    changes = {"training.epochs": 1, "network.convs.0.filters": [4], "early_stopping": {}, "variation.half_width": 0.1}
    spec = load_study(path, changes=changes).spec
    assert (spec.training.epochs, spec.network.convs[0].filters.values) == (1, (4,))
    assert spec.early_stopping
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results" / "try").mkdir(parents=True)
    study = load_study(path, changes={"name": "try", "training.epochs": 1})
    open_study(study, f"sqlite:///{tmp_path / 'results' / 'try' / 'study.db'}").enqueue_trial({})
    for command in ("status", "report"):
        assert not nacim(command, path, "--set", "name=try").returncode
        assert "no such database" in nacim(command, path).stderr
    refused = nacim("run", path, "--set", "name=try", "--trials", 1)
    assert "was made with training.epochs = 1, the file now says 2" in refused.stderr
    assert "give the study a new name, in the file or by --set name=NAME" in refused.stderr


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("training.epochs", "--set must be KEY=VALUE"),
        ("training..epochs=3", "--set must be KEY=VALUE"),
        ("training.epochs=[3", "cannot be read as YAML"),
        ("training.epoch=3", "unknown key 'training.epoch' (did you mean 'epochs'?)"),
        ("training.epochs=many", "training.epochs: must be a number, got 'many'"),
        ("training.epochs.first=3", "training.epochs is 2, which has no keys"),
        ("network.convs.1.kernel=3", "network.convs has 1 entries, numbered from 0; there is no '1'"),
    ],
)
def test_a_wrong_set_is_told_in_one_line(word, said, tiny, write_study, nacim):
    done = nacim("run", write_study(tiny), "--set", word)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_version_is_written_once(nacim):
    assert nacim("--version").stdout == f"nacim {version('nacim')}\n"
    import nacim as nc

    assert nc.__version__ == version("nacim")
    text = (ROOT / "pyproject.toml").read_text()
    (written,) = re.findall(r'^version = "(.*)"', text, re.M)
    change = re.search(r"^## ([\d.]+)", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert change
    assert change[1] == written
    others = (path for path in (*ROOT.glob("*.cff"), *ROOT.glob("*/__init__.py"), ROOT / "nacim.py"))
    assert not [
        path for path in others if f'"{written}"' in path.read_text() or f"version: {written}" in path.read_text()
    ]


def _command(*words: str, **settings) -> subprocess.CompletedProcess:
    code = "import sys; from pipeline.cli.app import main; sys.argv[0] = 'nacim'; main()"
    return subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, cwd=ROOT, **settings)


def test_verbose_also_shows_where_an_error_arose():
    plain, told = (_command("run", "none.yaml", *more) for more in ((), ("-v",)))
    assert plain.stderr == "nacim: none.yaml: no such study file\n"
    assert told.returncode == plain.returncode == 2
    assert told.stderr.endswith(plain.stderr)
    assert "Traceback" in told.stderr


def test_the_shell_completes_commands_and_options():
    def completed(words: str) -> list[str]:
        asked = {"_NACIM_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
        return _command(env=os.environ | asked).stdout.split()

    assert completed("nacim re") == ["report", "require"]
    assert "--trials" in completed("nacim run --t")
    assert "check" in completed("nacim devices c")


@pytest.mark.slow
def test_a_wheel_serves_in_an_empty_folder(tmp_path):
    """Built as `python -m build` does, from the source archive; the libraries are those of this environment."""
    backend = "import sys, setuptools.build_meta as b; getattr(b, sys.argv[1])(sys.argv[2])"

    def built(what: str, source: Path) -> Path:
        command = [sys.executable, "-W", "ignore", "-c", backend, f"build_{what}", tmp_path]
        done = subprocess.run(command, cwd=source, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
        (archive,) = tmp_path.glob("*.tar.gz" if what == "sdist" else "*.whl")
        return archive

    copy = tmp_path / "clone"
    files = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\n")
    for name in filter(None, files):
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes((ROOT / name).read_bytes())
    with tarfile.open(built("sdist", copy)) as archive:
        archive.extractall(tmp_path / "source", filter="data")
    (source,) = (tmp_path / "source").iterdir()
    wheel = built("wheel", source)
    empty = tmp_path / "empty"
    empty.mkdir()
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    (site,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    libraries = next(path for path in sys.path if path.endswith("site-packages"))
    (site / "libraries.pth").write_text(libraries + "\n")  # .pth files in there, such as nacim's own, do not count
    pip = [sys.executable, "-m", "pip", "--python", tmp_path / "venv", "install", "--no-deps", "--quiet"]
    subprocess.run([*pip, "--ignore-installed", "--no-index", wheel], check=True, cwd=empty)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def run(*words: str) -> str:
        command = [tmp_path / "venv" / "bin" / words[0], *words[1:]]
        done = subprocess.run(command, cwd=empty, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert str(site) in run("python", "-c", "import nacim, pipeline; print(nacim.__file__, pipeline.__file__)")
    run("nacim", "init", "mine")
    quick = ("--set", "training.epochs=1", "--set", "dataset.train_images=200", "--trials", "1", "--workers", "1")
    assert "Pareto front" in run("nacim", "run", "mine/study.yaml", *quick)
    assert (empty / "results" / "my_study" / "my_study-report.html").is_file()
    assert run("nacim", "--version") == f"nacim {version('nacim')}\n"
