"""The supernet: one training for all designs, repeatable, resumable, and found again by those who share it."""

import random
import shutil
from pathlib import Path

import pytest
import torch
import yaml

from pipeline.data.batches import load_images
from pipeline.machine_faults import MachineFault
from pipeline.run.supernet_file import with_supernet
from pipeline.study.search_space import SearchSpace
from pipeline.study.study_file import load_study
from pipeline.trial import supernet
from pipeline.trial.evaluate import evaluate, trained_network
from pipeline.trial.shared_weights import build_channels_last, part_of, shared_weights
from pipeline.trial.supernet import draw_design, train_supernet
from pipeline.trial.supernet_key import supernet_key


@pytest.fixture
def inheriting(tiny, write_study):
    """A study of designs that inherit; absent layers, kernels, pools and units all vary."""
    tiny["network"]["convs"] = [
        {"filters": ["absent", 4, 8], "kernel": [1, 5], "pool": [True, False]},
        {"filters": ["absent", 6], "stride": [1, 2]},
    ]
    tiny["accuracy"] = {"from": "supernet", "supernet_epochs": 3}
    return load_study(write_study(tiny))


def train_to(path, study):
    train_supernet(study, load_images(study.spec.dataset).train, path, lambda epoch, loss: None)
    return torch.load(path, weights_only=True)


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_every_design_of_the_space_takes_its_part_and_passes_gradients_back(inheriting):
    space, chance = SearchSpace(inheriting), random.Random(0)
    shared = shared_weights(inheriting.spec, torch.Generator().manual_seed(0))
    reached = set()
    for _ in range(60):
        design = draw_design(space, chance)
        network = build_channels_last(design)
        leaves = {name: weight.clone().requires_grad_() for name, weight in shared.items()}
        parts = part_of(leaves, design, network)
        assert {name: part.shape for name, part in parts.items()} == {
            name: parameter.shape for name, parameter in network.named_parameters()
        }
        sum(part.sum() for part in parts.values()).backward()
        reached |= {name for name, leaf in leaves.items() if leaf.grad is not None}
    assert reached == shared.keys() - {"classifier.scale"}  # no weight of the supernet lies idle


def test_a_part_is_the_first_filters_and_the_centre_of_the_kernel(inheriting):
    space = SearchSpace(inheriting)
    values = {name: dimension.values[0] for name, dimension in space.dimensions().items()}
    values |= {"conv1_filters": 4, "conv1_kernel": 1, "conv2_filters": 6}
    design = space.design(values)
    shared = shared_weights(inheriting.spec, torch.Generator().manual_seed(0))
    network = build_channels_last(design)
    parts = part_of(shared, design, network)
    first, second = (weight for weight in parts.values() if weight.dim() == 4)
    assert torch.equal(first, shared["conv1"][:4, :, 2:3, 2:3])
    assert torch.equal(second, shared["conv2"][:6, :4, :, :])


def test_a_training_killed_between_epochs_ends_with_the_same_weights(inheriting, tmp_path, monkeypatch):
    whole = train_to(tmp_path / "whole.pt", inheriting)

    class Killed(BaseException):
        pass

    def kill(epoch, loss):
        if epoch == 2:
            raise Killed

    cut = tmp_path / "cut.pt"
    with pytest.raises(Killed):
        train_supernet(inheriting, load_images(inheriting.spec.dataset).train, cut, kill)
    assert not cut.exists()
    epochs = []
    run_epoch = supernet._Training.run_epoch
    monkeypatch.setattr(supernet._Training, "run_epoch", lambda self: epochs.append(self.epoch) or run_epoch(self))
    assert equal(train_to(cut, inheriting), whole)
    assert epochs == [2]
    assert not cut.with_suffix(".unfinished").exists()


def test_equal_keys_share_one_training_and_other_studies_do_not(inheriting, tiny, write_study, tmp_path):
    said = []
    ready = with_supernet(inheriting, tmp_path / "first", said.append)
    assert said[-1].startswith("supernet: epoch 3 of 3")
    longer = load_study(write_study(tiny | {"trials": 99, "objectives": ["accuracy_mean"], "name": "other"}))
    assert ready.identity() == inheriting.identity()
    assert supernet_key(longer) == supernet_key(inheriting)
    said.clear()
    copied = with_supernet(longer, tmp_path / "second", said.append).spec.accuracy.checkpoint
    assert said == []
    assert str(tmp_path / "second") in copied
    shutil.rmtree(tmp_path / "first")
    assert torch.load(copied, weights_only=True)
    for change in (
        {"seed": 8},
        {"training": tiny["training"] | {"noise_strength": 0.5}},
        {"dataset": {"train_images": 9}},
    ):
        assert supernet_key(load_study(write_study(tiny | change))) != supernet_key(inheriting)


def test_a_damaged_supernet_is_named_with_the_way_out_and_not_copied(inheriting, tmp_path):
    ready = Path(with_supernet(inheriting, tmp_path / "first", print).spec.accuracy.checkpoint)
    whole = ready.read_bytes()
    weights, half = torch.load(ready, weights_only=True), len(whole) // 2
    for damaged in (b"", whole[:half], whole[:half] + bytes([whole[half] ^ 8]) + whole[half + 1 :]):
        ready.write_bytes(damaged)
        with pytest.raises(MachineFault, match=rf"^{ready} is damaged; remove it, and the same command trains"):
            with_supernet(inheriting, tmp_path / "first", print)
        with pytest.raises(MachineFault, match="is damaged; remove it, and the supernet is trained again"):
            supernet._read.__wrapped__(ready)
    second = Path(with_supernet(inheriting, tmp_path / "second", print).spec.accuracy.checkpoint)
    assert equal(torch.load(second, weights_only=True), weights), "trained anew, not copied"


def test_a_damaged_state_between_epochs_is_named_with_the_way_out(inheriting, tmp_path):
    split, path = load_images(inheriting.spec.dataset).train, tmp_path / "net.pt"
    for content in (b"no archive", None):
        path.with_suffix(".unfinished").write_bytes(content or b"")
        if content is None:
            torch.save({"epoch": 1}, path.with_suffix(".unfinished"))
        with pytest.raises(MachineFault, match=r"net\.unfinished is damaged; remove it, and the training starts"):
            train_supernet(inheriting, split, path, lambda epoch, loss: None)


def test_designs_inherit_what_the_supernet_learnt(tiny, write_study, tmp_path):
    """Of ten classes, chance gives 10 %. Three epochs of a training of its own give less than the long supernet."""
    tiny["accuracy"] = {"from": "supernet", "supernet_epochs": 40}
    tiny["training"] |= {"learning_rate": 0.01}
    study = load_study(write_study(tiny))
    train_to(tmp_path / "supernet.pt", study)
    study = study.with_supernet(tmp_path / "supernet.pt")
    design = draw_design(SearchSpace(study), random.Random(2))
    result = evaluate(design, study.spec, 0)
    assert result.validation.mean > 0.7
    again = evaluate(design, study.spec, 0)
    assert again.validation == result.validation
    accuracy = study.spec.accuracy.model_copy(update={"fine_tune_epochs": 1})
    tuned = trained_network(
        design, study.spec.model_copy(update={"accuracy": accuracy}), 0, load_images(study.spec.dataset)
    )
    plain = trained_network(design, study.spec, 0, load_images(study.spec.dataset))
    assert not equal(dict(tuned.named_parameters()), dict(plain.named_parameters()))


def test_a_supernet_whose_training_fails_says_so(tiny, write_study, tmp_path):
    tiny["accuracy"] = {"from": "supernet", "supernet_epochs": 3}
    tiny["dataset"] = {"name": "mnist", "data_dir": str(tmp_path)}
    with pytest.raises(ValueError, match="train-images-idx3-ubyte"):
        with_supernet(load_study(write_study(tiny)), tmp_path / "out", print)


def test_the_study_file_names_the_source_of_weights_from(tiny, write_study):
    path = write_study(tiny | {"accuracy": {"from": "supernet"}})
    assert load_study(path).spec.accuracy.source == "supernet"
    assert yaml.safe_load(path.read_text())["accuracy"] == {"from": "supernet"}
    with pytest.raises(ValueError, match=r"accuracy\.from: .*'superb'"):
        load_study(write_study(tiny | {"accuracy": {"from": "superb"}}))
