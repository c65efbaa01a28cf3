"""The network's own statistics, by hand and against the cost they change."""

import torch

from hw_models.accelerator import Accelerator
from hw_models.cost import estimate_cost
from hw_models.devices import load_card
from pipeline.analog.calibration import calibrate
from pipeline.analog.model import noisy_layers
from pipeline.design.design_point import ConvSpec, DesignPoint, ImageSpec
from pipeline.design.topology import mvm_layers, topology
from pipeline.trial.activity import measured_activity
from pipeline.trial.network import plain_network


def test_densities_and_levels_are_counted_on_what_the_crossbars_see():
    hardware = Accelerator(
        device=load_card("rram").device, crossbar_size=64, cell_bits=1, weight_bits=4, input_bits=2, adc_bits=6
    )
    image = ImageSpec(channels=1, height=2, width=2, classes=3)
    design = DesignPoint(accelerator=hardware, image=image, convs=(ConvSpec(filters=2, kernel=3),), batch_norm=False)
    network = plain_network(topology(design), hardware)
    images = torch.tensor([[1.0, 2 / 3], [1 / 3, 0.0]]).expand(8, 1, 2, 2).clone()
    network.train()(images)
    calibrate(network, images)
    assert noisy_layers(network)[0].programmed[0].chip.ideal_cells, "activity is that of the nominal chip"
    layer = noisy_layers(network)[0]
    layer.input_range.fill_(1.0)
    first = measured_activity(network, images).layers[0]
    # codes 3, 2, 1, 0: each bit is set in 2 of 4 pixels; each of 4 windows of 9 values sees all 4 pixels and 5 zeros
    torch.testing.assert_close(torch.tensor(first.plane_densities), torch.tensor([8 / 36, 8 / 36]), rtol=1e-6, atol=0)
    assert first.means == first.squares == first.plane_densities
    digits = layer.code.digits(layer.weight_codes())
    assert abs(first.level_shares[1] - float(digits.mean())) < 1e-6
    sparse = measured_activity(network, images * 0.3)
    assert sparse.layers[0].bit_density < first.bit_density
    costs = [
        estimate_cost(hardware, mvm_layers(design), activity=each).energy_j
        for each in (measured_activity(network, images), sparse)
    ]
    assert costs[1] < costs[0]


def test_cycles_of_several_bits_have_a_mean_and_a_mean_square():
    hardware = Accelerator(
        device=load_card("rram").device,
        crossbar_size=64,
        cell_bits=1,
        weight_bits=4,
        input_bits=2,
        dac_bits=2,
        adc_bits=6,
    )
    image = ImageSpec(channels=1, height=2, width=2, classes=3)
    design = DesignPoint(accelerator=hardware, image=image, convs=(ConvSpec(filters=2, kernel=3),), batch_norm=False)
    network = plain_network(topology(design), hardware)
    images = torch.tensor([[1.0, 2 / 3], [1 / 3, 0.0]]).expand(8, 1, 2, 2).clone()
    network.train()(images)
    calibrate(network, images)
    noisy_layers(network)[0].input_range.fill_(1.0)
    activity = measured_activity(network, images)
    # each of 4 windows sees the codes 3, 2, 1, 0 once, and 5 zeros
    first = activity.layers[0]
    expected = (4 * 3 / 36, 4 * (3 + 2 + 1) / 3 / 36, 4 * (9 + 4 + 1) / 9 / 36)
    measured = [each[0] for each in (first.plane_densities, first.means, first.squares)]
    torch.testing.assert_close(torch.tensor(measured), torch.tensor(expected), rtol=1e-6, atol=0)
    assert estimate_cost(hardware, mvm_layers(design), activity=activity).energy_j > 0
