"""Data sets that a function in a user's file makes: called the same everywhere, checked, and part of the identity."""

import random
import re
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from pipeline.data.batches import ShuffledBatches, load_images
from pipeline.data.data_set import DataError
from pipeline.data.spec import DatasetSpec, check_data, image_of
from pipeline.database.open_study import load_study_read_only, open_study, stored_spec
from pipeline.file_function import FileFunction, FileFunctionError
from pipeline.study.search_space import SearchSpace
from pipeline.study.study_file import load_study
from pipeline.trial.evaluate import evaluate
from pipeline.trial.supernet import train_supernet
from pipeline.trial.supernet_key import supernet_key

ROOT = Path(__file__).parent.parent
HEAD = """
import dataclasses
import random
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, TensorDataset

X, Y = torch.rand(30, 5), torch.arange(30) % 3
"""


@pytest.fixture
def built(tmp_path):
    """Write `my_data.py` with this body of `make` and give the record of a study beside it."""

    def write(body: str, arguments: str = "", head: str = "", **keys) -> DatasetSpec:
        text = f"{HEAD}{head}\ndef make({arguments}):\n{textwrap.indent(textwrap.dedent(body).strip(), '    ')}\n"
        (tmp_path / "my_data.py").write_text(text)
        return DatasetSpec.model_validate({"build": "my_data.py:make"} | keys, context={"folder": tmp_path})

    return write


@pytest.mark.parametrize(
    ("body", "head"),
    [
        ("return (X, Y), (X, Y), (X, Y)", ""),
        ("return [TensorDataset(X, Y)] * 3", ""),
        ("return {'test': (X, Y), 'train': Squares(), 'validation': (X.numpy(), Y.numpy())}", "dataset"),
        ("return Parts(Squares(), (X, Y), torch.utils.data.Subset(Squares(), range(30)))", "dataset"),
    ],
    ids=["tuple of pairs", "list of datasets", "dict", "dataclass"],
)
def test_a_function_may_return_what_torch_users_have(built, body, head):
    """A dataset that never raises IndexError, and one whose labels are plain numbers, are read to their length."""
    dataset = """
class Squares(Dataset):
    def __len__(self):
        return 30
    def __getitem__(self, i):
        return X[i % 30].double().numpy(), int(Y[i % 30])

@dataclasses.dataclass
class Parts:
    train: Dataset
    validation: tuple
    test: Dataset
"""
    spec = built(body, head=dataset * bool(head))
    splits = load_images(spec)
    for inputs, labels in (splits.train, splits.validation, splits.test):
        assert inputs.shape == (30, 5)
        assert inputs.dtype is torch.float32
        assert torch.equal(labels, torch.arange(30) % 3)
    assert image_of(spec).input_shape == (5,)
    assert image_of(spec).outputs == 3
    check_data(spec)


@pytest.mark.parametrize(
    ("inputs", "found", "shape", "integers"),
    [
        ("torch.full((30, 1, 4, 4), 51, dtype=torch.uint8)", torch.full((30, 1, 4, 4), 0.2), (1, 4, 4), False),
        ("torch.full((30, 7), 51, dtype=torch.int32)", torch.full((30, 7), 51), (7,), True),
        ("torch.full((30, 2, 100), -0.5).double()", torch.full((30, 2, 100), -0.5), (2, 100), False),
    ],
    ids=["pixels", "words", "signals"],
)
def test_inputs_keep_their_meaning(built, inputs, found, shape, integers):
    spec = built(f"return [({inputs}, Y)] * 3")
    torch.testing.assert_close(load_images(spec).train[0], found)
    image = image_of(spec)
    assert (image.input_shape, image.integers, image.shape is None) == (shape, integers, len(shape) == 3)


@pytest.mark.parametrize(
    ("keys", "labels", "outputs", "masks"),
    [
        ({}, "Y", 3, False),
        ({"outputs": 5}, "Y", 5, False),
        ({"task": "binary"}, "Y == 0", 1, False),
        ({"task": "multilabel"}, "torch.eye(3)[Y]", 3, False),
        ({"task": "regression"}, "X[:, 0]", 1, False),
        ({"task": "regression"}, "X[:, :2]", 2, False),
        ({"task": "segmentation"}, "Y.view(30, 1, 1).expand(30, 4, 4)", 3, True),
        ({"task": "segmentation", "ignore_index": 2}, "Y.view(30, 1, 1).expand(30, 4, 4)", 2, True),
    ],
)
def test_the_number_of_outputs_follows_from_task_and_labels(built, keys, labels, outputs, masks):
    spec = built(f"return [(X[:, :1, None, None].expand(30, 1, 4, 4), {labels})] * 3", **keys)
    image = image_of(spec)
    assert (image.outputs, image.masks, image.input_shape) == (outputs, masks, (1, 4, 4))


REFUSED = {
    "two parts": ("return (X, Y), (X, Y)", {}, "must return train, validation and test .*got tuple"),
    "no test": ("return {'train': (X, Y), 'validation': (X, Y)}", {}, "got train, validation$"),
    "loader": (
        "return [DataLoader(TensorDataset(X, Y))] * 3",
        {},
        "train must be a torch Dataset.*got DataLoader; give its",
    ),
    "one tensor": ("return X, X, X", {}, "train must be a torch Dataset or a pair of tensors"),
    "empty": ("return [(X[:0], Y[:0])] * 3", {}, "train is empty"),
    "fewer labels": ("return [(X, Y[:20])] * 3", {}, "labels of train: 20 labels for 30 inputs"),
    "NaN": ("return [(X / 0 * 0, Y)] * 3", {}, "train: inputs are NaN or infinite"),
    "numbers": ("return [(X[:, 0], Y)] * 3", {}, r"inputs must have the shape \(n, ...\), got \(n\); a single number"),
    "int pixels": (
        "return [(Y.view(30, 1, 1, 1), Y)] * 3",
        {},
        "images .* must be uint8 of 0 to 255 or float, got torch.int64",
    ),
    "bytes": ("return [(X.byte(), Y)] * 3", {}, r"are uint8; use .float\(\) for values, .long\(\) for indices"),
    "other shape": (
        "return (X, Y), (X, Y), (X[:, :4], Y)",
        {},
        r"inputs of test are torch.float32 \(4,\), those of train",
    ),
    "from 1": ("return [(X, Y + 1)] * 3", {}, "labels go up to 3, but no training label is 0; count classes from 0"),
    "0 and 255": (
        "return [(X.view(30, 5, 1, 1), 255 * (Y > 0).long().view(30, 1, 1))] * 3",
        {"task": "segmentation"},
        "no training label is 1, 2, 3, 4, ...; count classes from 0, divide masks by 255, name ignore_index",
    ),
    "new class in test": ("return (X, Y), (X, Y), (X, 2 * Y)", {}, "labels go up to 4, but no training label is 3, 4"),
    "above outputs": ("return [(X, Y)] * 3", {"outputs": 2}, "labels of train must be classes from 0 to 1"),
    "not the task": (
        "return [(X, Y)] * 3",
        {"task": "regression"},
        "labels of train for regression must be float targets",
    ),
    "masks": (
        "return [(X, Y.view(30, 1, 1))] * 3",
        {},
        r"for classification must be whole numbers, one class for each input",
    ),
    "unknown": (
        "return X",
        {"parameters": {"nois": 1}},
        r"no parameter 'nois' \(did you mean 'noise'\?\); it takes noise, kind",
    ),
    "missing": ("return X", {}, "needs the parameter 'kind'; set dataset.parameters.kind"),
    "no folder": ("return X", {"data_dir": "here", "parameters": {"kind": 1}}, "has no parameter 'data_dir'"),
    "chance": (
        "return [(torch.tensor(np.random.default_rng().random((30, 5))), Y)] * 3",
        {},
        "gives other data at each call",
    ),
    "pictures": ("return [[('picture', 1)]] * 3", {}, "train must be a torch Dataset .*got list"),
}


@pytest.mark.parametrize(("body", "keys", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_data_set_of_the_task_is_refused_with_what_was_found(built, body, keys, message):
    arguments = "noise=0.1, *, kind" if body == "return X" else ""
    with pytest.raises(DataError, match=message) as caught:
        check_data(built(body, arguments, **keys))
    assert str(caught.value).startswith("my_data.py:make")


def test_items_that_are_no_pairs_of_tensors_are_refused_by_their_number(built):
    dataset = "class Own(Dataset):\n    def __len__(self): return 3\n    def __getitem__(self, i): return "
    for item, message in {
        "{'x': 1}": r"train\[0\] must be a pair of an input and its label, got dict",
        "'picture', 1": r"train\[0\]: the input must be a tensor, got str; turn pictures into tensors",
        "torch.rand(3 + i), 1": r"train\[1\]: the input has the shape \(4,\), the first one \(3,\)",
    }.items():
        with pytest.raises(DataError, match=message):
            load_images(built("return Own(), Own(), Own()", head=dataset + item))


def test_global_random_numbers_start_alike_at_each_call_and_go_on_afterwards(built):
    body = "return [(torch.rand(30, 4) + float(np.random.rand()) + random.random(), Y)] * 3"
    spec = built(body)
    before = torch.get_rng_state(), np.random.get_state()[2], random.getstate()  # noqa: NPY002
    check_data(spec)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[2] == before[1]  # noqa: NPY002
    assert random.getstate() == before[2]


def test_a_function_gets_its_parameters_a_seed_and_the_data_folder(built, tmp_path):
    body = "return [(torch.full((30, 3), float(seed + shift)), Y)] * 3 if data_dir == 'there' else None"
    for parameters, value in (({}, 2.0), ({"seed": 5, "shift": 1}, 6.0)):
        spec = built(body, "seed, data_dir, shift=2", parameters=parameters, data_dir="there")
        assert float(load_images(spec).train[0][0, 0]) == value


def test_errors_name_file_and_line(built, tmp_path):
    for body, line in (("a = 1\nreturn X @ Y.nothing", 12), ("return", None)):
        with pytest.raises(ValueError, match=rf"my_data\.py:{line}: AttributeError" if line else "got NoneType"):
            check_data(built(body))
    for text, message in {
        "import torch\n\n1 / 0": r"own\.py:3: ZeroDivisionError: division by zero",
        "def make(:": r"own\.py:1: SyntaxError: invalid syntax",
        "import helper_beside": r"own\.py:1: ModuleNotFoundError: .*; it may import installed packages, and no file",
        "def mak(): pass": r"own\.py has no function 'make' \(did you mean 'mak'\?\)",
    }.items():
        (tmp_path / "own.py").write_text(text)
        with pytest.raises(FileFunctionError, match=message):
            FileFunction.parse("own.py:make", tmp_path).load()
    with pytest.raises(FileFunctionError, match=r"none\.py: No such file.*starts in the study file's folder"):
        FileFunction.parse("none.py:make", tmp_path)
    for text in ("own.py", "make", "own.txt:make", "own.py:1"):
        with pytest.raises(ValueError, match=r"must be FILE\.py:FUNCTION, such as my_data\.py:make"):
            FileFunction.parse(text, tmp_path)


def test_files_of_one_name_do_not_collide_and_a_changed_file_is_loaded_anew(tmp_path):
    for folder, value in (("a", 1), ("b", 2)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "json.py").write_text(f"def make(): return {value}\n")
    made = [FileFunction.parse("json.py:make", tmp_path / folder).load() for folder in "ab"]
    assert [make() for make in made] == [1, 2]
    assert len({make.__module__ for make in made} - {"json"}) == 2
    assert all(vars(sys.modules[make.__module__])["make"]() == make() for make in made)
    first = FileFunction.parse("json.py:make", tmp_path / "a")
    (tmp_path / "a" / "json.py").write_text("def make(): return 3\n")
    assert FileFunction.parse("json.py:make", tmp_path / "a").load()() == 3
    with pytest.raises(FileFunctionError, match=r"json\.py has changed since it was read"):
        first.load()
    assert sys.modules["json"].__name__ == "json"


@pytest.fixture
def study(built, tiny, write_study):
    """A tiny study of vectors whose data come from `my_data.py`."""
    built("return [(X, Y)] * 3", "shift=0")
    network = {"hidden": [{"units": [4, 8]}]}
    return lambda **keys: load_study(
        write_study(tiny | {"network": network, "dataset": {"build": "my_data.py:make"} | keys})
    )


def test_the_files_content_is_part_of_the_studys_identity_and_of_what_is_stored(study, tmp_path):
    definition = study()
    url = f"sqlite:///{tmp_path / 'study.db'}"
    open_study(definition, url)
    assert study(parameters={"shift": 1}).identity_hash != definition.identity_hash
    stored = stored_spec(load_study_read_only(url), None, tmp_path)
    assert stored.dataset == definition.spec.dataset
    assert load_images(stored.dataset).train[0].shape == (30, 5)
    (tmp_path / "my_data.py").write_text((tmp_path / "my_data.py").read_text() + "# another\n")
    with pytest.raises(ValueError, match=r"made with dataset\.build = my_data\.py:make@\w{12}, the file now says"):
        open_study(study(), url)
    with pytest.raises(ValueError, match=r"my_data\.py has changed since the study was made \(its hash was \w{12} and"):
        stored_spec(load_study_read_only(url), None, tmp_path)


def test_supernets_of_the_same_content_are_shared_and_of_other_content_are_not(study, tmp_path):
    key = supernet_key(study())
    path = tmp_path / "my_data.py"
    path.write_text(path.read_text() + "# another\n")
    assert supernet_key(study()) == key
    assert supernet_key(study(train_images=20)) != key
    assert supernet_key(study(outputs=4)) != key
    path.write_text(path.read_text().replace("X, Y)]", "X + shift + 1, Y)]"))
    assert supernet_key(study()) != key


def test_keys_that_do_not_belong_together_are_refused(study, tmp_path):
    for keys, message in {
        "name: mnist": "name belongs to a named data set, not to build; remove it",
        "image_size: 32": "image_size belongs to a named data set",
        "ignore_index: 3": "ignore_index belongs to task segmentation",
        "task: regresion": r"dataset\.task: must be one of classification.*did you mean 'regression'",
        "task: {loss: 'my_data.py:make'}": "a task of your own is {loss: FILE.py:FUNCTION, score: FILE.py:FUNCTION}",
        "task: {loss: 'my_data.py:make', score: 'my_data.py:make'}": "outputs is missing: with a loss of your own",
    }.items():
        with pytest.raises(ValueError, match=message) as caught:
            study(**yaml.safe_load(keys))
        assert "\n" not in str(caught.value)
    for keys, message in (
        ({"task": "regression"}, "task of digits must be classification or binary, got regression"),
        ({"parameters": {"a": 1}}, "parameters belongs to build"),
        ({"outputs": 3}, "outputs belongs to build"),
    ):
        with pytest.raises(ValueError, match=message):
            DatasetSpec(**keys)
    with pytest.raises(DataError, match="task binary needs 2 classes, digits has 10"):
        image_of(DatasetSpec(task="binary"))


def test_what_is_no_image_is_not_augmented(study, tiny, write_study):
    definition = study()
    moved = definition.spec.model_copy(
        update={"training": definition.spec.training.model_copy(update={"augment": "crop"})}
    )
    object.__setattr__(definition, "spec", moved)
    with pytest.raises(ValueError, match=r"training\.augment 'crop' moves images .*inputs have the shape \(5,\)"):
        SearchSpace(definition).check()
    with pytest.raises(ValueError, match="moves images"):
        ShuffledBatches((torch.rand(9, 5), torch.zeros(9)), 3, 0, "crop")


def test_images_that_are_not_scaled_or_turned_are_told(built):
    with pytest.warns(UserWarning, match="pixels go up to 255; divide them by 255 or give uint8"):
        load_images(built("return [(torch.full((30, 1, 4, 4), 255.0), Y)] * 3"))
    with pytest.warns(UserWarning, match=r"look like \(n, height, width, channels\); permute\(0, 3, 1, 2\)"):
        load_images(built("return [(torch.zeros(30, 8, 8, 3), Y)] * 3"))


def first_result(definition):
    """A trial of the first values of each parameter, in this process."""
    space = SearchSpace(definition)
    space.check()
    check_data(definition.spec.dataset)
    values = {name: dimension.values[0] for name, dimension in space.dimensions().items()}
    return evaluate(space.design(values), definition.spec, 0)


def test_a_loss_and_a_score_of_ones_own_train_and_judge(built, tiny, write_study, tmp_path):
    """The loss teaches to name the class before the right one, and the score counts that; one number an input."""
    body = "return [(torch.eye(3)[Y] + 0.1 * torch.rand(30, 3), Y)] * 3"
    built(body)
    (tmp_path / "my_task.py").write_text(
        "import torch\n\n"
        "def loss(outputs, labels):\n    return torch.nn.functional.cross_entropy(outputs, (labels - 1) % 3)\n\n"
        "def before(outputs, labels):\n    return (outputs.argmax(1) == (labels - 1) % 3).float()\n\n"
        "def infinite(outputs, labels):\n    return outputs.sum() / 0\n\n"
        "def points(outputs, labels):\n    return 70.0\n"
    )
    dataset = {"build": "my_data.py:make", "outputs": 3}
    tiny |= {"network": {"hidden": [{"units": 16}]}, "training": {"epochs": 60, "batch_size": 10}}

    def of(score: str):
        own = {"loss": "my_task.py:loss", "score": f"my_task.py:{score}"}
        return load_study(write_study(tiny | {"dataset": dataset | {"task": own}}))

    assert first_result(of("before")).validation.float_accuracy == 1.0
    assert of("before").spec.dataset.score_name == "before"
    assert of("before").identity_hash != of("infinite").identity_hash
    for score, found in (("infinite", "(-?inf|nan)"), ("points", "70")):
        wanted = f"my_task.py:{score} must give a number of at most 1, .*; got values up to {found} for 30 inputs"
        with pytest.raises(ValueError, match=wanted):
            first_result(of(score))


def test_a_network_of_ones_own_reads_words(built, tiny, write_study, tmp_path):
    built("return [(torch.stack([Y, 0 * Y, 2 - Y], 1), Y == 2)] * 3")
    (tmp_path / "my_networks.py").write_text(
        "from torch import nn\n\n"
        "def words(input, classes, width):\n"
        "    return nn.Sequential(nn.Embedding(3, width), nn.Flatten(), nn.Linear(input[0] * width, classes))\n"
    )
    network = {"build": "my_networks.py:words", "parameters": {"width": [4, 8]}}
    training = {"epochs": 40, "batch_size": 10, "learning_rate": 0.05}
    content = tiny | {
        "dataset": {"build": "my_data.py:make", "task": "binary"},
        "network": network,
        "training": training,
    }
    assert first_result(load_study(write_study(content))).validation.float_accuracy == 1.0
    plain = content | {"network": {"hidden": [{"units": 4}]}}
    with pytest.raises(ValueError, match="inputs are whole numbers, which need an embedding; a plain network has none"):
        SearchSpace(load_study(write_study(plain))).check()


def test_a_supernet_learns_another_task(built, tiny, write_study, tmp_path):
    built("return [(X, X[:, :2])] * 3")
    content = tiny | {
        "dataset": {"build": "my_data.py:make", "task": "regression"},
        "network": {"hidden": [{"units": [4, 8]}]},
    }
    content["accuracy"] = {"from": "supernet", "supernet_epochs": 30}
    study = load_study(write_study(content | {"training": {"epochs": 1, "batch_size": 10, "learning_rate": 0.02}}))
    losses = []
    images = load_images(study.spec.dataset)
    train_supernet(study, images.train, tmp_path / "supernet.pt", lambda epoch, loss: losses.append(loss))
    assert losses[-1] < 0.5 * losses[0]
    assert first_result(study.with_supernet(tmp_path / "supernet.pt")).validation.float_accuracy > 0


def test_the_example_of_the_documentation_runs(tmp_path, nacim, monkeypatch):
    """Its file and its study, in worker processes, up to a report that names the score."""
    page = (ROOT / "docs" / "data.md").read_text()
    page = page[page.index("## A data set of your own") :]
    blocks = [
        textwrap.dedent(text).strip() + "\n" for text in re.findall(r"(?:^    .*\n|^\n)+", page, re.M) if text.strip()
    ]
    (code,) = [text for text in blocks if text.startswith("import")]
    (study,) = [text for text in blocks if text.startswith("name:")]
    (tmp_path / "my_data.py").write_text(code)
    (tmp_path / "pumps.yaml").write_text(study)
    monkeypatch.chdir(tmp_path)
    looked = nacim("data", "look", "pumps.yaml").stdout
    assert re.search(r"train .*\(400, 64\) .*float32 .*\(400\) ", looked)
    assert "my_data.py:make: task regression, score R2, outputs of a network 1" in looked
    done = nacim("run", "pumps.yaml", "--quiet")
    assert done.returncode == 0, done.stderr
    shown = nacim("show", "pumps.yaml", "--trial", "0").stdout
    assert "R2 over simulated chips [%]" in shown
    page = (tmp_path / "results" / "pumps" / "pumps-report.html").read_text()
    assert "Data set: my_data.py:make. The search sees the R2 on 100 validation images." in page
    assert "R2 [%]" in page
    assert "accuracy [%]" not in page
