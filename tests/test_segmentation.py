"""Masks instead of labels: the same layers for network, noise and cost, and mean IoU as accuracy."""

import dataclasses
import random
import runpy

import numpy as np
import pytest
import torch
from data_sets import write_nuclei

from hw_models.cost import estimate_cost
from hw_models.errors import InfeasibleDesign
from pipeline.analog.model import noisy_layers
from pipeline.data.batches import ShuffledBatches, load_images
from pipeline.data.data_set import DataError
from pipeline.data.scores import foreground_iou
from pipeline.data.spec import DatasetSpec, check_data, read_parts
from pipeline.design.design_point import ConvSpec, DesignPoint, HiddenSpec, ImageSpec, load_design
from pipeline.design.topology import mvm_layers, topology
from pipeline.follow_up.export import can_write_onnx, export_design
from pipeline.study.search_space import SearchSpace
from pipeline.study.study_file import load_study
from pipeline.trial.batch_norm import RECALIBRATION_IMAGES
from pipeline.trial.evaluate import evaluate
from pipeline.trial.network import load_checkpoint, plain_network
from pipeline.trial.supernet import draw_design, train_supernet
from pipeline.trial.variation import accuracy_under_variation


@pytest.fixture
def nuclei(tiny, write_study, tmp_path):
    """A study of squares on dark ground, 32 x 32."""
    write_nuclei(tmp_path / "nuclei")
    tiny["dataset"] = {"name": "nuclei", "image_size": 32, "data_dir": str(tmp_path)}
    tiny["network"] = {
        "convs": [{"filters": [4, 8], "kernel": [3, 5], "pool": [True, False]}, {"filters": ["absent", 6], "stride": 2}]
    }
    tiny["training"] = {"epochs": 40, "batch_size": 4, "learning_rate": 0.02}
    return load_study(write_study(tiny))


def test_every_convolution_of_the_decoder_is_mapped_and_charged_at_its_real_size(nuclei):
    space = SearchSpace(nuclei)
    values = {name: dimension.values[0] for name, dimension in space.dimensions().items()}
    design = space.design(values | {"conv1_filters": 8, "conv1_kernel": 5, "conv1_pool": True, "conv2_filters": 6})
    layers = [(m.name, m.in_height, m.in_channels, m.kernel, m.out_channels, m.windows) for m in mvm_layers(design)]
    assert layers == [
        ("conv1", 32, 1, 5, 8, 32 * 32),
        ("conv2", 16, 8, 3, 6, 8 * 8),
        ("up1", 16, 6, 3, 6, 16 * 16),
        ("up2", 32, 6, 5, 8, 32 * 32),
        ("classifier", 32, 8, 1, 2, 32 * 32),
    ]
    network = plain_network(topology(design), design.accelerator).train()
    seen = {}
    for layer in noisy_layers(network):
        layer.register_forward_hook(lambda module, _, y: seen.update({module.index: y.shape[2] * y.shape[3]}))
    assert network(torch.rand(2, 1, 32, 32)).shape == (2, 2, 32, 32)
    assert list(seen.values()) == [windows for *_, windows in layers]
    assert [each.name for each in estimate_cost(design.accelerator, mvm_layers(design)).layers] == [
        n for n, *_ in layers
    ]


def test_odd_sizes_come_back_to_the_size_of_the_image(nuclei):
    accelerator = draw_design(SearchSpace(nuclei), random.Random(0)).accelerator
    image = ImageSpec(channels=1, height=23, width=15, classes=2, masks=True)
    convs = (ConvSpec(filters=4, kernel=3, pool=True), ConvSpec(filters=4, kernel=3, stride=3))
    design = DesignPoint(accelerator=accelerator, image=image, convs=convs)
    assert plain_network(topology(design), accelerator).train()(torch.rand(2, 1, 23, 15)).shape == (2, 2, 23, 15)
    assert DesignPoint.from_dict(design.to_dict()) == design
    with pytest.raises(InfeasibleDesign, match="leave the hidden layers out"):
        topology(DesignPoint(accelerator=accelerator, image=image, convs=convs, hidden=(HiddenSpec(units=8),)))


def test_accuracy_is_the_mean_iou():
    truth = torch.zeros(3, 4, 4, dtype=torch.long)
    truth[0, :2] = 1  # 8 pixels, of which 4 are found, and 4 more besides
    logits = torch.zeros(3, 2, 4, 4)
    logits[0, 1, 1:3] = 1.0
    logits[2, 1, 0] = 1.0  # pixels are found where none are
    assert foreground_iou(logits, truth).tolist() == [4 / 12, 1.0, 0.0]


def test_masks_move_with_their_images():
    images = (torch.rand(30, 1, 16, 16, generator=torch.Generator().manual_seed(0)) > 0.5).float()
    split = (images, images[:, 0].long())
    moved = 0
    for x, y in ShuffledBatches(split, 10, seed=1, augment="crop_and_flip"):
        assert torch.equal(x[:, 0].long(), y)
        moved += sum(not (image == images).flatten(1).all(1).any() for image in x)
    assert moved > 20


def test_networks_learn_masks_and_designs_inherit(nuclei, tmp_path):
    design = draw_design(SearchSpace(nuclei), random.Random(1))
    assert evaluate(design, nuclei.spec, 0).validation.mean > 0.5  # marking every pixel gives 0.1
    path = tmp_path / "supernet.pt"
    accuracy = nuclei.spec.accuracy.model_copy(update={"supernet_epochs": 2})

    study = dataclasses.replace(nuclei, spec=nuclei.spec.model_copy(update={"accuracy": accuracy}))
    train_supernet(study, load_images(study.spec.dataset).train, path, lambda epoch, loss: None)
    inherited = evaluate(design, study.with_supernet(path).spec, 0)
    assert 0 <= inherited.validation.mean <= 1


def test_an_exported_network_of_masks_comes_back_the_same(nuclei, tmp_path):
    design = draw_design(SearchSpace(nuclei), random.Random(0))
    spec = nuclei.spec.model_copy(update={"training": nuclei.spec.training.model_copy(update={"epochs": 2})})
    images = load_images(spec.dataset)
    result = evaluate(design, spec, 0, tmp_path / "trial.pt")
    export_design("masks", design, tmp_path / "trial.pt", tmp_path / "out")
    again = load_design(tmp_path / "out" / "design.yaml")
    assert estimate_cost(again.accelerator, mvm_layers(again)).to_dict() == result.cost
    network = load_checkpoint(again, tmp_path / "out" / "checkpoint.pt")
    recalibration = images.train[0][:RECALIBRATION_IMAGES]
    splits = [images.validation, images.test]
    reports = accuracy_under_variation(network, splits, spec.variation, spec.seed, recalibration)
    assert reports == [result.validation, result.test]
    plain = runpy.run_path(str(tmp_path / "out" / "network.py"))
    assert "Output: (n, 2, 32, 32)" in plain["__doc__"]
    with torch.no_grad():
        scores = plain["network"]()(images.validation[0])
    assert scores.shape[1:] == (2, 32, 32)
    assert foreground_iou(scores, images.validation[1]).mean().item() == pytest.approx(result.validation.float_accuracy)
    if can_write_onnx():
        session = pytest.importorskip("onnx.reference").ReferenceEvaluator(str(tmp_path / "out" / "network.onnx"))
        (found,) = session.run(None, {"images": images.validation[0].numpy()})
        np.testing.assert_allclose(found, scores, rtol=1e-4, atol=1e-4)


def test_smaller_images_are_block_means_and_masks_majorities(tmp_path):
    arrays = write_nuclei(tmp_path / "nuclei")
    images, masks = read_parts(DatasetSpec(name="nuclei", image_size=64, data_dir=str(tmp_path)))["test"]
    first = arrays["test_x"][0, :2, :2].mean().round()
    assert images.shape == (6, 1, 64, 64)
    assert images[0, 0, 0, 0] == first
    assert masks.shape == (6, 64, 64)
    assert abs(masks.mean() - arrays["test_y"].mean()) < 0.01


def test_a_damaged_file_of_masks_is_refused_with_the_reason(tmp_path):
    arrays = write_nuclei(tmp_path / "nuclei")
    spec = DatasetSpec(name="nuclei", data_dir=str(tmp_path))
    check_data(spec)
    file = tmp_path / "nuclei" / "dsb2018_stage1_128.npz"
    np.savez(file, **(arrays | {"test_y": arrays["test_y"].astype(float)}))
    with pytest.raises(DataError, match="test_y must be uint8"):
        check_data(spec)
    file.write_bytes(b"no archive")
    with pytest.raises(DataError, match="not a readable file"):
        check_data(spec)
    file.unlink()
    with pytest.raises(DataError, match="does not exist"):
        check_data(spec)


def test_masks_with_hidden_layers_are_refused(tiny, write_study):
    with pytest.raises(ValueError, match="name convs and remove hidden"):
        load_study(write_study(tiny | {"dataset": {"name": "nuclei"}}))
