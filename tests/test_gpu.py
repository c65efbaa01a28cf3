"""On a GPU: the accuracies of the CPU, and the same at each run. Skipped where there is none."""

import copy
import dataclasses

import pytest
import torch

from pipeline.analog.calibration import CALIBRATION_IMAGES, calibrate
from pipeline.compute_device import compute_device
from pipeline.data.batches import load_images
from pipeline.study.search_space import SearchSpace
from pipeline.study.study_file import load_study
from pipeline.study.study_spec import VariationSpec
from pipeline.trial.evaluate import evaluate, trained_network
from pipeline.trial.network import load_checkpoint
from pipeline.trial.supernet import train_supernet
from pipeline.trial.variation import accuracy_under_variation

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@pytest.fixture
def study(tiny, write_study):
    tiny["hardware"]["device"] = ["rram", "pcm"]
    tiny["training"] = {"epochs": 12, "batch_size": 50, "augment": "crop"}
    tiny["variation"] |= {"recalibrate_batch_norm": True}
    return load_study(write_study(tiny))


def a_design(study, **values):
    space = SearchSpace(study)
    return space.design({name: dimension.values[-1] for name, dimension in space.dimensions().items()} | values)


@pytest.mark.parametrize("fidelity", ["exact", "fast"])
def test_accuracy_over_chips_is_that_of_the_cpu(study, fidelity):
    """Column sums differ in their last digit, so that a few conversions in a million round the other way."""
    images = load_images(study.spec.dataset)
    network = trained_network(a_design(study), study.spec, 0, images)
    calibrate(network, images.train[0][:CALIBRATION_IMAGES])
    spec = VariationSpec(min_chips=16, max_chips=16, fidelity=fidelity, recalibrate_batch_norm=True)
    reports = []
    for there in (compute_device(), torch.device("cpu")):
        x, y, recalibration = (part.to(there) for part in (*images.test, images.train[0][:64]))
        moved = copy.deepcopy(network).to(there)
        reports += accuracy_under_variation(moved, [(x, y)], spec, 0, recalibration)
    on_gpu, on_cpu = reports
    assert on_gpu.mean > 0.5
    assert on_gpu.per_chip == pytest.approx(on_cpu.per_chip, abs=0.012)
    assert on_gpu.mean == pytest.approx(on_cpu.mean, abs=0.003)
    assert on_gpu.noiseless == pytest.approx(on_cpu.noiseless, abs=0.006)


def test_a_trial_is_the_same_at_each_run_and_its_checkpoint_needs_no_gpu(study, tmp_path):
    design, path = a_design(study), tmp_path / "trial.pt"
    first, again = evaluate(design, study.spec, 5, path), evaluate(design, study.spec, 5)
    assert (first.measured, first.validation, first.test) == (again.measured, again.validation, again.test)
    assert all(value.device.type == "cpu" for value in torch.load(path, weights_only=True).values())
    images, spec = load_images(study.spec.dataset), study.spec
    network = load_checkpoint(design, path)
    recalibration = images.train[0][:256]
    (validation,) = accuracy_under_variation(network, [images.validation], spec.variation, spec.seed, recalibration)
    assert validation.noiseless == first.validation.noiseless


def test_a_supernet_trained_there_is_the_same_at_each_run(study, tmp_path):
    spec = study.spec.model_copy(update={"accuracy": study.spec.accuracy.model_copy(update={"supernet_epochs": 3})})
    study = dataclasses.replace(study, spec=spec)
    images, weights = load_images(spec.dataset), []
    for path in (tmp_path / "one.pt", tmp_path / "two.pt"):
        train_supernet(study, images.train, path, lambda epoch, loss: None)
        weights.append(torch.load(path, weights_only=True))
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
