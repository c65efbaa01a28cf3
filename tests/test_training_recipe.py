"""What a study's training keys promise beside the defaults: optimizers, rates, weights, noise, augmentation."""

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from hw_models.accelerator import Accelerator
from hw_models.devices import load_card
from pipeline.analog import quantise
from pipeline.analog.calibration import calibrate
from pipeline.analog.conversion import to_analog
from pipeline.analog.model import for_each_layer, noisy_layers
from pipeline.analog.quantise import WEIGHT_CLIP_RMS
from pipeline.data.batches import ShuffledBatches
from pipeline.data.task import named_task
from pipeline.study.search_space import SearchSpace
from pipeline.study.study_file import load_study
from pipeline.study.training_spec import TrainingSpec
from pipeline.trial import training
from pipeline.trial.network import build_network
from pipeline.trial.recipe import MovingAverage, optimizer_of, settle_weights
from pipeline.trial.training import train

SHAPE = {"stages": 2, "width1": 4, "stem_kernel": 2, "pool": True, "max_pool": True}


def a_network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 5, 3, bias=False), nn.BatchNorm2d(5), nn.Flatten(), nn.Linear(180, 2))


def images_with_labels(count=16, side=8):
    generator = torch.Generator().manual_seed(1)
    return torch.rand(count, 3, side, side, generator=generator), torch.arange(count) % 2


@pytest.fixture
def traced(tiny, write_study):
    """A resnet on crossbars, not trained yet."""
    tiny["dataset"] = {"train_images": 60, "validation_images": 20, "test_images": 20}
    tiny["network"] = {"family": "resnet", "parameters": SHAPE}
    space = SearchSpace(load_study(write_study(tiny)))
    torch.manual_seed(0)
    return build_network(space.design({name: each.values[0] for name, each in space.dimensions().items()}))


def test_records_of_studies_that_set_no_later_key_stay_what_they_were():
    assert list(TrainingSpec().model_dump()) == [
        *("epochs", "batch_size", "learning_rate", "weight_decay", "noise_strength", "noise_ramp", "augment")
    ]
    assert TrainingSpec(ema=0.9).model_dump()["ema"] == 0.9
    assert TrainingSpec(**TrainingSpec(ema=0.9).model_dump()) == TrainingSpec(ema=0.9)


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"learning_rate": 2.0}, "must be at most 1 with optimizer adam, got 2"),
        ({"noise_start": 0.6, "noise_ramp": 0.6}, "must not exceed 1 together with noise_start, got 0.6 and 0.6"),
        ({"optimizer": "lion"}, "adam"),
    ],
)
def test_keys_that_do_not_fit_are_refused(keys, told):
    with pytest.raises(ValueError, match=told):
        TrainingSpec(**keys)


def test_a_supernet_refuses_keys_that_its_training_does_not_know(tiny, write_study):
    tiny |= {"accuracy": {"from": "supernet"}, "training": {"ema": 0.9}}
    with pytest.raises(ValueError, match=r"a supernet .* knows no ema"):
        load_study(write_study(tiny))


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_a_step_of_muon_turns_filters_by_an_orthogonal_matrix_in_either_memory_format(memory_format):
    network = a_network().to(memory_format=memory_format)
    optimizer, _ = optimizer_of(network, TrainingSpec(optimizer="muon", learning_rate=0.1), 10)
    before, rate = network[0].weight.detach().clone(), optimizer.param_groups[0]["lr"]
    loss = network(images_with_labels()[0]).square().mean()
    loss.backward()
    optimizer.step()
    step = ((before - network[0].weight.detach()) / rate).flatten(1)
    singular = torch.linalg.svdvals(step)
    assert singular.min() > 0.5  # Newton-Schulz brings them near 1 (0.7 to 1.2)
    assert singular.max() < 1.5
    optimizer.zero_grad()
    assert all(each.grad is None for each in network.parameters())


def test_what_is_no_filter_learns_at_a_tenth_of_the_rate_of_muon_with_or_without_filters():
    spec = TrainingSpec(optimizer="muon", learning_rate=0.1, weight_decay=0.01)
    rates = [
        [(group["initial_lr"], group["max_lr"], group["weight_decay"]) for group in optimizer.param_groups]
        for optimizer in (optimizer_of(network, spec, 10)[0] for network in (a_network(), nn.Linear(3, 2)))
    ]
    (filters, others), (alone,) = rates
    assert others == alone
    assert filters[:2] == pytest.approx([10 * rate for rate in alone[:2]])


@pytest.mark.parametrize("optimizer", ["adam", "sgd", "muon"])
def test_every_optimizer_lowers_the_loss(optimizer):
    network, data = a_network(), images_with_labels()
    loss = nn.functional.cross_entropy(network(data[0]), data[1])
    train(network, data, TrainingSpec(epochs=10, batch_size=8, optimizer=optimizer, learning_rate=0.05), 0)
    assert nn.functional.cross_entropy(network(data[0]), data[1]) < 0.6 * loss


@pytest.mark.parametrize("optimizer", ["adam", "sgd", "muon"])
def test_batch_norm_biases_have_their_own_rate(optimizer):
    network = a_network()
    chosen, _ = optimizer_of(network, TrainingSpec(optimizer=optimizer, learning_rate=0.01, bias_rate=64.0), 10)
    rate = {id(each): group["lr"] for group in chosen.param_groups for each in group["params"]}
    assert rate[id(network[1].bias)] == pytest.approx(64 * rate[id(network[1].weight)])


def test_filters_keep_norm_1_and_weights_their_clip():
    network = a_network()
    spec = TrainingSpec(epochs=2, batch_size=8, learning_rate=0.5, unit_filters=True, clip_weights=True)
    train(network, images_with_labels(), spec, 0)
    assert network[0].weight.flatten(1).norm(dim=1).tolist() == pytest.approx([1] * 5, abs=0.05)
    for layer in (network[0], network[3]):
        assert layer.weight.abs().max() < 1.1 * WEIGHT_CLIP_RMS * layer.weight.square().mean().sqrt()
    with torch.no_grad():
        network[3].weight[0, 0] = 100.0
    settle_weights(network, spec)
    assert network[3].weight.abs().max() < 50


def test_the_moving_average_replaces_weights_and_statistics():
    network = nn.Sequential(nn.Linear(1, 1, bias=False), nn.BatchNorm1d(1))
    average = MovingAverage(network, 0.75)
    for value in (4.0, 8.0):
        with torch.no_grad():
            network[0].weight.fill_(value)
            network[1].running_mean.fill_(-value)
        average.update()
    average.move_into_network()
    # the first step is taken as it is: 0.75 * 4 + 0.25 * 8
    assert (network[0].weight.item(), network[1].running_mean.item()) == (5.0, -5.0)


def test_noise_sets_in_late_and_then_rises(monkeypatch):
    """Four steps: none in the first half, then a ramp over the next quarter."""
    seen = []
    monkeypatch.setattr(training, "set_noise_strength", lambda network, strength: seen.append(strength))
    spec = TrainingSpec(epochs=2, batch_size=8, noise_start=0.25, noise_ramp=0.5, learning_rate=0.01)
    train(a_network(), images_with_labels(), spec, 0)
    assert seen == pytest.approx([0, 0, 0.5, 1])


def test_labels_are_smoothed_where_they_are_classes_alone():
    data = images_with_labels()
    spec = TrainingSpec(epochs=1, batch_size=16, label_smoothing=0.5, learning_rate=1e-9)
    module = training.NoisyTraining(a_network(), named_task("classification"), data[1], spec, 1, None)
    outputs = torch.tensor([[2.0, 0.0]])
    # cross entropy of (0.75, 0.25): 0.75 ln(1 + e^-2) + 0.25 (2 + ln(1 + e^-2))
    assert module._loss(outputs, torch.tensor([0])).item() == pytest.approx(0.626928, abs=1e-6)
    with pytest.raises(ValueError, match="label_smoothing needs labels that are classes"):
        train(a_network(), (data[0], torch.rand(16, 2)), spec, 0, task=named_task("regression"))


def test_each_image_is_mirrored_in_every_second_epoch_and_no_zeros_move_in():
    images = 1 + torch.arange(32.0).expand(20, 1, 32, 32)
    batches = ShuffledBatches((images, torch.arange(20)), 20, 3, "shift_and_alternate")
    mirrored = []
    for _ in range(4):
        ((x, labels),) = list(batches)
        assert x.min() >= 1
        mirrored.append((x[:, 0, 0, 20] < x[:, 0, 0, 10])[labels.argsort()])
    assert 0 < mirrored[0].sum() < 20
    assert torch.equal(mirrored[1], ~mirrored[0])
    assert torch.equal(mirrored[2], mirrored[0])


def test_products_in_bfloat16_train_weights_in_float32(traced):
    seen = []
    for_each_layer(
        traced, lambda layer: layer.register_forward_hook(lambda layer, inputs, output: seen.append(output.dtype))
    )
    data = torch.rand(60, 1, 8, 8), torch.arange(60) % 10
    train(traced, data, TrainingSpec(epochs=1, batch_size=20, precision="bfloat16"), 0)
    assert set(seen) == {torch.bfloat16}
    assert {each.dtype for each in traced.parameters()} == {torch.float32}
    train(traced, data, TrainingSpec(epochs=1, batch_size=20), 0)
    assert seen[-1] == torch.float32


def test_volumes_train_in_bfloat16_too():
    network = nn.Sequential(nn.Conv3d(1, 2, 3), nn.Flatten(), nn.Linear(16, 2))
    chip = {"crossbar_size": 64, "cell_bits": 1, "weight_bits": 4, "input_bits": 4, "adc_bits": 6}
    analog = to_analog(network, Accelerator(device=load_card("rram").device, **chip), torch.rand(2, 1, 4, 4, 4))
    before = analog[0].weight.detach().clone()
    data = torch.rand(8, 1, 4, 4, 4), torch.arange(8) % 2
    train(analog, data, TrainingSpec(epochs=1, batch_size=4, precision="bfloat16", optimizer="muon"), 0)
    assert not torch.equal(before, analog[0].weight)


def test_a_traced_network_learns_with_all_keys_at_once(traced):
    data = torch.rand(60, 1, 8, 8), torch.arange(60) % 10
    keys = {"unit_filters": True, "clip_weights": True, "ema": 0.5, "label_smoothing": 0.1, "precision": "bfloat16"}
    before = {name: each.clone() for name, each in traced.state_dict().items()}
    train(traced, data, TrainingSpec(epochs=2, batch_size=20, optimizer="muon", learning_rate=0.05, **keys), 0)
    after = traced.state_dict()
    assert all(torch.isfinite(each).all() for each in after.values())
    assert not torch.equal(before["stem.weight"], after["stem.weight"])


def test_a_training_step_on_a_gpu_waits_only_now_and_then(traced, monkeypatch):
    """Played on the CPU: of 33 passes, the first and the last read a value from the device."""
    monkeypatch.setattr(quantise, "may_wait", lambda device: False)
    traced.train()
    reads = []
    for _ in range(quantise._LOOK_EVERY + 1):
        with CountingReads() as counting:
            traced(torch.rand(8, 1, 8, 8)).sum().backward()
        reads.append(counting.reads)
    assert reads[0] > 0
    assert reads[1:-1] == [0] * (quantise._LOOK_EVERY - 1)
    assert reads[-1] > 0


class CountingReads(TorchDispatchMode):
    """Counts how often a value is read out of a tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.reads += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


def test_signs_that_appear_late_are_seen_at_the_next_look(traced, monkeypatch):
    monkeypatch.setattr(quantise, "may_wait", lambda device: False)
    layer = noisy_layers(traced)[0]
    traced.train()
    traced(torch.rand(8, 1, 8, 8))
    assert layer.input_bounds[0] == 0
    for _ in range(quantise._LOOK_EVERY):
        traced(torch.rand(8, 1, 8, 8) - 0.5)
    assert layer.input_bounds[0] < 0
    traced.eval()
    assert layer.input_bounds[0] < 0


@pytest.mark.filterwarnings("ignore:layer ")  # noise images are no data to calibrate on
def test_calibration_chooses_fresh_ranges_where_the_recipe_says_so(traced):
    data = torch.rand(60, 1, 8, 8), torch.arange(60) % 10
    for fresh in (False, True):
        train(traced, data, TrainingSpec(epochs=1, batch_size=20, fresh_ranges=fresh), 0)
        calibrate(traced, data[0])
        assert all(layer.input_range > 0 for layer in noisy_layers(traced))
        assert {bool(layer.calibrated_range) for layer in noisy_layers(traced)} == {fresh}
