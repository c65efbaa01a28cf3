"""Accuracy over chips: what varies, what does not, and when it stops."""

import copy
import dataclasses

import pytest
import torch
from torch import nn

from hw_models.accelerator import Accelerator
from hw_models.devices import load_card
from pipeline.analog.calibration import calibrate
from pipeline.analog.model import noisy_layers, program_chip, program_chips
from pipeline.analog.simulated_chip import SimulatedChip
from pipeline.design.design_point import ConvSpec, DesignPoint, HiddenSpec, ImageSpec
from pipeline.design.topology import topology
from pipeline.study.study_spec import VariationSpec
from pipeline.trial import batch_norm as batch_norm_module
from pipeline.trial import variation as variation_module
from pipeline.trial.batch_norm import recalibrated_batch_norm
from pipeline.trial.network import plain_network
from pipeline.trial.variation import accuracy_under_variation, summarize

CLASSES = 4


def train(network: nn.Module, images: torch.Tensor, labels: torch.Tensor, steps: int) -> None:
    optimizer = torch.optim.Adam(network.parameters(), 0.01)
    network.train()
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(images), labels).backward()
        optimizer.step()


@pytest.fixture(scope="module")
def trained():
    """A small network that tells four blurred quadrants apart, on RRAM cells with strong errors."""
    torch.manual_seed(0)
    cell = dataclasses.replace(load_card("rram").device, programming_sigma=(0.12,))
    hardware = Accelerator(device=cell, crossbar_size=64, cell_bits=2, weight_bits=6, input_bits=4, adc_bits=7)
    image = ImageSpec(channels=1, height=4, width=4, classes=CLASSES)
    network = plain_network(
        topology(DesignPoint(accelerator=hardware, image=image, hidden=(HiddenSpec(units=12),))), hardware
    )
    labels = torch.arange(240) % CLASSES
    images = torch.rand(240, 1, 4, 4) * 0.6
    for n, label in enumerate(labels):
        row, column = divmod(int(label), 2)
        images[n, 0, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2] += 0.3
    train(network, images, labels, 150)
    calibrate(network, images[:64])
    return network, [(images[:120], labels[:120]), (images[120:], labels[120:])]


@pytest.fixture(scope="module")
def convolutions(trained):
    """Convolutions before it, so that chips lie side by side in channels."""
    torch.manual_seed(1)
    cell = dataclasses.replace(load_card("rram").device, programming_sigma=(0.1,))
    hardware = Accelerator(device=cell, crossbar_size=64, cell_bits=2, weight_bits=6, input_bits=4, adc_bits=6)
    image = ImageSpec(channels=1, height=4, width=4, classes=CLASSES)
    convs = (ConvSpec(filters=5, kernel=3), ConvSpec(filters=6, kernel=3, stride=2))
    network = plain_network(topology(DesignPoint(accelerator=hardware, image=image, convs=convs)), hardware)
    images, labels = trained[1][0]
    train(network, images, labels, 60)
    calibrate(network, images[:64])
    return network, trained[1]


def chips(count: int, **changes) -> VariationSpec:
    return VariationSpec(**({"min_chips": count, "max_chips": count} | changes))


def test_chips_differ_and_are_worse_than_no_device_errors(trained):
    network, splits = trained
    report, _ = accuracy_under_variation(network, splits, chips(12), 0)
    assert len(set(report.per_chip)) > 3
    assert report.worst < report.mean < report.noiseless
    assert report.noiseless > 0.9
    assert report.mean_low < report.mean < report.mean_high
    assert report.p05 <= report.mean


def test_any_chip_can_be_made_again_and_another_seed_makes_others(trained):
    network, splits = trained
    many, _ = accuracy_under_variation(network, splits, chips(6), 1)
    few, _ = accuracy_under_variation(network, splits, chips(3), 1)
    others, _ = accuracy_under_variation(network, splits, chips(6), 2)
    assert many.per_chip[:3] == few.per_chip
    assert many.per_chip != others.per_chip


def test_chips_are_added_until_the_interval_is_narrow_enough(trained):
    network, splits = trained
    loose, _ = accuracy_under_variation(network, splits, chips(3, max_chips=40, half_width=0.2), 3)
    tight, _ = accuracy_under_variation(network, splits, chips(3, max_chips=40, half_width=0.03), 3)
    never, _ = accuracy_under_variation(network, splits, chips(3, max_chips=5, half_width=0.0), 3)
    assert len(loose.per_chip) <= len(tight.per_chip) < 40
    assert (tight.mean_high - tight.mean_low) / 2 <= 0.03
    assert len(never.per_chip) == 5


def test_splits_see_the_same_chips_and_keep_their_own_images(trained):
    network, splits = trained
    both = accuracy_under_variation(network, splits, chips(3), 4)
    (alone,) = accuracy_under_variation(network, splits[:1], chips(3), 4)
    assert both[0] == alone
    assert [report.n_images for report in both] == [120, 120]


def test_recalibrated_batch_norm_is_better_and_leaves_the_model_as_it_was(trained):
    network, splits = trained
    before = {name: value.clone() for name, value in network.state_dict().items()}
    plain, _ = accuracy_under_variation(network, splits, chips(12), 5)
    spec = chips(12, recalibrate_batch_norm=True)
    recalibrated, _ = accuracy_under_variation(network, splits, spec, 5, splits[0][0])
    assert recalibrated.mean > plain.mean
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_recalibrated_statistics_are_those_of_the_given_images_alone(trained):
    network, splits = copy.deepcopy(trained[0]), trained[1]
    (norm,) = (module for module in network.modules() if isinstance(module, nn.BatchNorm1d))
    seen = []
    norm.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    chip = SimulatedChip.number(0, 3)
    program_chip(network, chip)
    with recalibrated_batch_norm(network, [chip], splits[0][0][:40]):
        (inputs,) = seen
        assert torch.allclose(norm.forward.mean, inputs.mean(0), atol=1e-5)
        assert torch.allclose(norm.forward.var, inputs.var(0), rtol=1e-4)
        expected = (inputs - inputs.mean(0)) / (inputs.var(0) + norm.eps).sqrt() * norm.weight + norm.bias
        assert torch.allclose(norm(inputs), expected, rtol=1e-3, atol=1e-4)
    assert torch.allclose(norm(inputs), torch.nn.BatchNorm1d.forward(norm, inputs))


@pytest.mark.parametrize("fidelity", ["fast", "exact"])
@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("changes", [{}, {"images_per_chip": 50}, {"recalibrate_batch_norm": True}], ids=str)
def test_several_chips_at_once_are_the_same_chips(convolutions, changes, compiled, fidelity):
    network, splits = copy.deepcopy(convolutions[0]), convolutions[1]
    for layer in noisy_layers(network):
        layer.compiled = compiled
        layer.adc_error_ratio.zero_()  # `fast` is fast in all layers
    spec = chips(2, max_chips=7, half_width=0.02, fidelity=fidelity, **changes)
    one, three = (
        accuracy_under_variation(network, splits, spec, 3, splits[0][0][:40], chips_at_once=at_once)
        for at_once in (1, 3)
    )
    judged = changes.get("images_per_chip", len(splits[0][1]))
    for alone, together in zip(one, three, strict=True):
        assert len(set(alone.per_chip)) > 1
        assert len(together.per_chip) == len(alone.per_chip)
        assert together.per_chip == pytest.approx(alone.per_chip, abs=1.01 / judged)  # rounding may turn an image


@pytest.mark.parametrize("fidelity", ["fast", "exact"])
@pytest.mark.parametrize("compiled", [True, False])
def test_each_chip_of_a_batch_gives_its_own_outputs(convolutions, compiled, fidelity):
    network, splits = copy.deepcopy(convolutions[0]), convolutions[1]
    images, several = splits[0][0][:12], [SimulatedChip.number(7, index) for index in range(3)]
    for layer in noisy_layers(network):
        layer.compiled = compiled
        layer.adc_error_ratio.zero_()

    def outputs(chips: list[SimulatedChip], batch: torch.Tensor) -> torch.Tensor:
        program_chips(network, chips, fidelity)
        with torch.no_grad():
            for chip in chips:
                chip.images = torch.arange(4)
            return network(batch)

    together = outputs(several, images).split(4)
    for chip, part, own in zip(several, images.split(4), together, strict=True):
        torch.testing.assert_close(own, outputs([chip], part), rtol=1e-3, atol=1e-3 * float(own.std()))
    assert (together[0] - together[1]).abs().mean() > 0.01 * together[0].std()
    program_chips(network, several, fidelity)
    with pytest.raises(ValueError, match="10 images are no equal shares of 3 chips"):
        network(images[:10])


def test_a_normalisation_that_does_more_is_not_recalibrated(trained):
    class Activated(nn.BatchNorm1d):
        def forward(self, x):
            return super().forward(x).relu()

    network = nn.Sequential(copy.deepcopy(trained[0]), Activated(CLASSES))
    with (
        pytest.raises(ValueError, match="Activated does more than normalise"),
        recalibrated_batch_norm(network, [SimulatedChip.nominal()], trained[1][0][0]),
    ):
        pass


def test_recalibration_and_judging_share_no_read_noise(trained, monkeypatch):
    network, splits = trained
    seen = []

    def logits(model, chips, images, numbers, own=variation_module.logits_of_chips):
        seen.append(set(numbers.flatten().tolist()))
        return own(model, chips, images, numbers)

    for module in (variation_module, batch_norm_module):
        monkeypatch.setattr(module, "logits_of_chips", logits)
    accuracy_under_variation(network, splits, chips(2, recalibrate_batch_norm=True), 0, splits[0][0])
    *_, recalibration, first, second = seen
    assert not recalibration & first
    assert not first & second


def test_a_model_without_ranges_or_images_to_recalibrate_on_is_refused(trained):
    network, splits = trained
    with pytest.raises(ValueError, match="recalibration_images"):
        accuracy_under_variation(network, splits, chips(2, recalibrate_batch_norm=True), 0)
    fresh = copy.deepcopy(network)
    for layer in noisy_layers(fresh):
        layer.adc_full_scale.zero_()
    with pytest.raises(ValueError, match=r"layer 0 has no ADC range; call .*calibrate"):
        accuracy_under_variation(fresh, splits, chips(2), 0)
    with pytest.raises(ValueError, match="2 images or more"):
        calibrate(fresh, splits[0][0][:1])


def test_statistics_by_hand():
    report = summarize([0.8, 0.9, 1.0], 0.95, 0.97, 50, chips(3, required_accuracy=0.9))
    # mean 0.9, s = 0.1, t(2 degrees, 97.5 %) = 4.3027: half width 4.3027 * 0.1 / sqrt(3) = 0.2484
    assert (report.mean, report.std, report.worst) == pytest.approx((0.9, 0.1, 0.8))
    assert (report.mean_low, report.mean_high) == pytest.approx((0.9 - 0.2484, 1.0), abs=1e-4)
    assert report.fraction_good == pytest.approx(2 / 3)
    assert report.p05 == pytest.approx(0.81)


def test_no_chip_is_shown_below_nothing():
    report = summarize([-0.02, 0.08, 0.1], 0.4, 0.5, 2000, chips(3, images_per_chip=50))
    assert (report.worst, report.p05, report.mean) == (0, 0, pytest.approx(0.16 / 3))


def test_chips_on_their_own_images_estimate_the_same_mean_more_narrowly_than_chips_on_the_same_few(trained):
    network, splits = trained
    whole, _ = accuracy_under_variation(network, splits, chips(30), 6)
    own, _ = accuracy_under_variation(network, splits, chips(30, images_per_chip=20), 6)
    few = [(splits[0][0][:20], splits[0][1][:20]), splits[1]]
    same, _ = accuracy_under_variation(network, few, chips(30), 6)
    reach = (own.mean_high - own.mean_low) / 2
    assert own.mean == pytest.approx(whole.mean, abs=1.5 * reach)
    assert own.n_images == 120
    # 30 x 20 classifications each: the same 20 images carry their own error into every chip
    errors = []
    for start in range(0, 120, 20):
        part = [(splits[0][0][start : start + 20], splits[0][1][start : start + 20])]
        errors.append(accuracy_under_variation(network, part, chips(30), 6)[0].mean - whole.mean)
    assert abs(own.mean - whole.mean) < max(map(abs, errors))
    assert same.n_images == 20


def test_a_chip_sees_its_own_images_again(trained):
    network, splits = trained
    first, again = (
        accuracy_under_variation(network, splits, chips(3, images_per_chip=15), 7)[0].per_chip for _ in range(2)
    )
    assert first == again
