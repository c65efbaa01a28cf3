"""One trial as a whole: one hardware for cost and accuracy, cost before training, everything from the seed."""

import dataclasses

import pytest
import torch

from pipeline.analog.model import noisy_layers, program_chip
from pipeline.analog.simulated_chip import SimulatedChip
from pipeline.design.results import TrainingDiverged
from pipeline.networks import workload
from pipeline.study.search_space import SearchSpace
from pipeline.study.study_file import load_study
from pipeline.trial import judging, training
from pipeline.trial.evaluate import evaluate
from pipeline.trial.network import load_checkpoint
from pipeline.trial.training import train


@pytest.fixture
def study(tiny, write_study):
    tiny["dataset"] = {"train_images": 500, "validation_images": 60, "test_images": 30}
    tiny["training"] = {"epochs": 12, "batch_size": 50, "noise_strength": 0.0}
    return load_study(write_study(tiny))


def a_design(study, **values):
    space = SearchSpace(study)
    return space.design({name: dimension.values[-1] for name, dimension in space.dimensions().items()} | values)


def test_cost_and_accuracy_come_from_the_very_same_hardware(study, monkeypatch):
    """What the evaluated network really converts is what the cost model was told and charges."""
    seen = {}
    estimate, measure = workload.estimate_cost, judging.accuracy_under_variation

    def spy_on_cost(accelerator, layers, **options):
        seen["charged"] = estimate(accelerator, layers, **options)
        seen["accelerator"] = accelerator
        return seen["charged"]

    def spy_on_accuracy(network, splits, *rest):
        seen["network"], seen["images"] = network, splits[0][0]
        return measure(network, splits, *rest)

    monkeypatch.setattr(workload, "estimate_cost", spy_on_cost)
    monkeypatch.setattr(judging, "accuracy_under_variation", spy_on_accuracy)
    design = a_design(study)
    result = evaluate(design, study.spec, 0)
    layers = noisy_layers(seen["network"])
    assert {layer.accelerator for layer in layers} == {seen["accelerator"]} == {design.accelerator}
    chip = SimulatedChip.number(0, 0)
    program_chip(seen["network"], chip, "exact")
    chip.images = torch.arange(3)
    with torch.no_grad():
        seen["network"](seen["images"][:3])
    assert (
        sum(layer.conversions for layer in layers) == 3 * result.cost["conversions"] == 3 * seen["charged"].conversions
    )


def test_the_device_of_the_design_decides_the_errors(study):
    quiet = evaluate(a_design(study, device="sram"), study.spec, 0)
    noisy_study = dataclasses.replace(
        study, devices=study.devices | {"rram": dataclasses.replace(study.devices["rram"], programming_sigma=(0.5,))}
    )
    noisy = evaluate(a_design(noisy_study, device="rram"), study.spec, 0)
    assert noisy.validation.noiseless > 0.5
    assert noisy.validation.mean < noisy.validation.noiseless - 0.1
    assert abs(quiet.validation.mean - quiet.validation.noiseless) < 0.05


def test_a_trial_is_a_function_of_seed_and_number(study):
    design = a_design(study)
    first, again = evaluate(design, study.spec, 5), evaluate(design, study.spec, 5)
    assert (first.measured, first.validation, first.test) == (again.measured, again.validation, again.test)
    assert evaluate(design, study.spec, 6).validation != first.validation


def test_a_checkpoint_gives_the_trained_network_back(study, tmp_path):
    design = a_design(study)
    path = tmp_path / "trial.pt"
    evaluate(design, study.spec, 1, path)
    network = load_checkpoint(design, path)
    for layer in noisy_layers(network):
        assert layer.adc_full_scale > 0
        assert layer.input_range > 0
    assert torch.load(path, weights_only=True).keys() == network.state_dict().keys()
    assert [file.name for file in tmp_path.iterdir() if file.suffix in (".pt", ".part")] == ["trial.pt"]


def test_divergence_is_an_error_and_not_a_result(study):
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2))
    images = torch.full((8, 1, 2, 2), torch.nan)
    with pytest.raises(TrainingDiverged, match=r"loss is nan in epoch 0; lower training\.learning_rate"):
        train(network, (images, torch.zeros(8, dtype=torch.long)), study.spec.training, 0)


@pytest.mark.parametrize(("ramp", "expected"), [(0.0, [1, 1, 1, 1]), (1.0, [0, 0.5, 1, 1.5]), (0.5, [0, 1, 2, 2])])
def test_noise_rises_over_its_ramp(study, monkeypatch, ramp, expected):
    """Four steps: two epochs of two batches."""
    seen = []
    monkeypatch.setattr(training, "set_noise_strength", lambda network, strength: seen.append(strength))
    spec = study.spec.training.model_copy(
        update={"epochs": 2, "batch_size": 4, "noise_strength": 2.0 if ramp else 1.0, "noise_ramp": ramp}
    )
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2))
    train(network, (torch.rand(8, 1, 2, 2), torch.zeros(8, dtype=torch.long)), spec, 0)
    assert seen == pytest.approx(expected)
