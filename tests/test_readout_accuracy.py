"""Readouts in the forward pass: what each of them errs, converts, and costs in passes, by arithmetic of its own."""

import dataclasses
import math

import pytest
import torch
import yaml
from test_analog_layers import QUIET, network_of, run

from hw_models.accelerator import Accelerator
from hw_models.devices import CellDevice, load_card
from hw_models.errors import InfeasibleDesign
from hw_models.layers import MvmLayer
from hw_models.mapping import map_network
from hw_models.number_format import FixedPoint
from hw_models.read_errors import COMBINER_SIGMA, is_noisy, read_errors
from pipeline.analog.calibration import calibrate
from pipeline.analog.cells import CellCode, code_sigma, program
from pipeline.analog.layers import NoisyLinear
from pipeline.analog.model import noisy_layers, program_chip
from pipeline.analog.simulated_chip import SimulatedChip
from pipeline.design.design_point import ConvSpec, DesignPoint, HiddenSpec, ImageSpec, load_design
from pipeline.design.topology import mvm_layers

SRAM = load_card("sram").device
CHARGE = dataclasses.replace(SRAM, name="charge", capacitor_f=1.2e-15, capacitor_sigma=0.008)
DISCHARGE = dataclasses.replace(SRAM, name="discharge", discharge_sigma=0.095)
STUCK = {"stuck_on_rate": 0.01, "stuck_off_rate": 0.02}
RRAM = dataclasses.replace(load_card("rram").device, **QUIET)
HARDWARE = {"crossbar_size": 32, "cell_bits": 1, "weight_bits": 6, "input_bits": 4, "adc_bits": 6, "cols_per_adc": 8}


def chip_of(device: CellDevice, **hardware) -> Accelerator:
    return Accelerator(device=device, **(HARDWARE | hardware))


READOUTS = {
    "charge": chip_of(CHARGE, readout="charge"),
    "charge, DACs": chip_of(CHARGE, readout="charge", dac_bits=2),
    "charge, combined columns": chip_of(CHARGE, readout="charge", combine_columns=True, weight_encoding="differential"),
    "charge, few rows at once": chip_of(CHARGE, readout="charge", rows_at_once=8),
    "discharge": chip_of(DISCHARGE, readout="discharge"),
    "discharge, pulses": chip_of(DISCHARGE, readout="discharge", dac_bits=4, input_drive="pulse_width"),
    "discharge, low supply": chip_of(DISCHARGE, readout="discharge", supply_v=0.65),
    "current, combined columns": chip_of(load_card("rram").device, combine_columns=True, cell_bits=2),
    "current, few rows at once": chip_of(load_card("rram").device, rows_at_once=8, cell_bits=2),
    "current, combined, all inputs at once": chip_of(RRAM, combine_columns=True, dac_bits=4),
    "current, few columns": chip_of(load_card("pcm").device, cell_bits=2, crossbar_columns=16),
    "digital": chip_of(dataclasses.replace(SRAM, **STUCK), readout="digital", adc_bits=None),
    "digital, few rows at once": chip_of(SRAM, readout="digital", adc_bits=None, rows_at_once=8),
}
EACH = [pytest.param(chip, id=name) for name, chip in READOUTS.items()]


def design_on(accelerator: Accelerator, image=(3, 9, 11)) -> DesignPoint:
    return DesignPoint(
        accelerator=accelerator,
        image=ImageSpec(channels=image[0], height=image[1], width=image[2], classes=5),
        convs=(ConvSpec(filters=6, kernel=3, pool=True), ConvSpec(filters=7, kernel=3, stride=2)),
        hidden=(HiddenSpec(units=9),),
    )


def linear(accelerator: Accelerator, rows: int, outputs: int) -> NoisyLinear:
    """A layer without bias, of random weights that are multiples of 1/32, for inputs from 0 to 1."""
    torch.manual_seed(0)
    layer = MvmLayer(name="", in_height=1, in_width=1, in_channels=rows, kernel=1, out_channels=outputs, windows=1)
    (mapping,) = map_network(accelerator, [layer]).layers
    fixed = FixedPoint(integer_bits=0, fraction_bits=5)
    model = NoisyLinear(rows, outputs, False, accelerator=accelerator, mapping=mapping, weight_format=fixed).eval()
    model.input_range.fill_(1.0)
    return model


def in_codes(layer: NoisyLinear, outputs: torch.Tensor) -> torch.Tensor:
    return outputs / (layer.input_step * layer.weight_step)


@pytest.mark.parametrize("accelerator", EACH)
def test_each_readout_makes_the_conversions_and_cycles_that_are_charged(accelerator):
    design = design_on(accelerator)
    network, images = network_of(design)
    calibrate(network, images)
    run(network, images, SimulatedChip.number(0, 0), "exact")
    charged = map_network(design.accelerator, mvm_layers(design)).layers
    for layer, place in zip(noisy_layers(network), charged, strict=True):
        assert layer.conversions == place.conversions * len(images)
        assert layer.cycles == place.layer.windows * place.input_cycles * len(images)
    if accelerator.readout == "digital":
        assert not any(place.conversions for place in charged)


@pytest.mark.parametrize("accelerator", [each for each in EACH if each.values[0].adc_bits])
def test_compiled_and_torch_paths_give_the_same_outputs(accelerator):
    network, images = network_of(design_on(accelerator))
    calibrate(network, images)
    outputs = []
    for compiled in (True, False):
        for layer in noisy_layers(network):
            layer.compiled = compiled
        outputs.append(run(network, images, SimulatedChip.number(3, 1), "exact"))
    step = (outputs[0] - outputs[1]).abs() / outputs[1].std()
    assert (step > 1e-4).float().mean() < 0.02  # a sum on the edge between two codes may fall either way
    assert step.max() < 0.1


@pytest.mark.parametrize("accelerator", [each for each in EACH if "few" not in each.id])
def test_fast_outputs_of_both_paths_are_the_same(accelerator):
    network, images = network_of(design_on(accelerator))
    calibrate(network, images)
    outputs = []
    for compiled in (True, False):
        for layer in noisy_layers(network):
            layer.compiled = compiled
            layer.adc_error_ratio.fill_(0)  # all layers stay fast
        outputs.append(run(network, images, SimulatedChip.number(3, 1), "fast"))
    torch.testing.assert_close(*outputs, rtol=1e-4, atol=float(1e-4 * outputs[1].std()))


@pytest.mark.parametrize("accelerator", [each for each in EACH if "combined" not in each.id])
def test_readouts_without_a_converter_differ_by_their_cells_only(accelerator):
    """With ideal cells and converters each of them gives the quantised product."""
    ideal = linear(dataclasses.replace(accelerator, adc_bits=None), 100, 20)
    x = torch.rand(30, 100)
    found = in_codes(ideal, run(ideal, x, SimulatedChip.nominal(), "exact"))
    expected = ideal.input_codes(x).double() @ ideal.weight_codes().double().t()
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-2)


def test_digital_sums_of_sram_have_no_error_at_all():
    chip = READOUTS["digital, few rows at once"]
    assert not is_noisy(chip)
    layer, x = linear(chip, 100, 20), torch.rand(30, 100)
    expected = layer.input_codes(x).double() @ layer.weight_codes().double().t()
    for fidelity in ("exact", "fast"):
        found = in_codes(layer, run(layer, x, SimulatedChip.number(0, 3), fidelity)).double()
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-2)


def test_digital_cells_are_stuck_where_those_of_current_are():
    """A study compares readouts on the same chips."""
    cell = dataclasses.replace(SRAM, **STUCK, programming_sigma=(0.1,), read_sigma=0.1, drift_nu=0.1)
    digital, current = chip_of(cell, readout="digital", adc_bits=None), chip_of(dataclasses.replace(SRAM, **STUCK))
    codes = torch.randint(-31, 32, (2000,), generator=torch.Generator().manual_seed(0))
    levels = [
        program(CellCode(accelerator=chip, weight_bits=6), codes, torch.Generator().manual_seed(7), drift_time_s=1e6)
        for chip in (digital, current)
    ]
    assert torch.equal(*levels)
    assert not torch.equal(levels[0], CellCode(accelerator=digital, weight_bits=6).digits(codes))
    assert is_noisy(digital)


@pytest.mark.parametrize("encoding", ["offset", "differential"])
@pytest.mark.parametrize("name", ["charge", "discharge", "current, combined columns"])
def test_training_sees_the_spread_of_weights_that_the_readout_gives(name, encoding):
    cell = dataclasses.replace(READOUTS[name].device, **QUIET)
    layer = linear(dataclasses.replace(READOUTS[name], weight_encoding=encoding, device=cell), 2, 40_000)
    codes = torch.tensor([-20, -1, 3, 22])
    layer.weight.data[:] = codes.repeat(10_000)[:, None] / 32
    program_chip(layer, SimulatedChip.number(0, 0))
    errors = (layer.programmed[0].folded - layer.weight_codes())[:, 0].view(-1, 4)
    expected = code_sigma(layer.code)[codes + layer.code.max_code]
    torch.testing.assert_close(errors.std(0), expected, rtol=4 / math.sqrt(2 * 10_000), atol=0)


def test_each_crossbar_has_gains_of_its_own_however_many_rows_are_read_at_once():
    chip = chip_of(RRAM, cell_bits=2, combine_columns=True, weight_encoding="differential", adc_bits=None)
    gains = []
    for rows_at_once in (None, 8):
        layer = linear(dataclasses.replace(chip, rows_at_once=rows_at_once), 64, 500)
        layer.weight.data.fill_(1.0)
        layer.weight.data[0, 0] = -1.0
        program_chip(layer, SimulatedChip.number(0, 0), "exact")
        read = in_codes(layer, run(layer, torch.eye(64), SimulatedChip.number(0, 0), "exact")) / 15
        gains.append(read[:, 1:] / layer.weight_codes()[1, 1])
    torch.testing.assert_close(*gains, rtol=1e-4, atol=0)
    first, second = gains[0][:32], gains[0][32:]
    for crossbar in (first[1:], second):
        assert (crossbar - crossbar[0]).abs().max() < 1e-4
    rho = torch.corrcoef(torch.stack([first[5], second[5]]))[0, 1]
    assert abs(rho) < 5 / math.sqrt(500)
    assert first[5].std() > 0.2 * COMBINER_SIGMA


def test_gains_of_a_novel_layer_follow_its_crossbars():
    """Each kernel position has crossbars, so that the rows of one position share gains and others do not."""
    chip = chip_of(RRAM, cell_bits=2, combine_columns=True, crossbar_size=16, weight_bits=5, mapping="novel")
    network, images = network_of(design_on(chip, image=(16, 6, 6)))
    calibrate(network, images)
    layer = noisy_layers(network)[0]
    assert layer.mapping.mapped_as == "novel"
    layer.weight.data.fill_(1.0)
    layer.weight.data[0, 0, 0, 0] = -1.0
    calibrate(network, images)
    program_chip(network, SimulatedChip.number(0, 0))
    error = (layer.programmed[0].folded - layer.weight_codes())[1:]  # (outputs, inputs, 3, 3)
    assert (error - error[:, :1]).abs().max() < 1e-4, "inputs of one position lie on one crossbar"
    assert len(error[0, 0].flatten().unique()) == 9


def test_noise_of_combined_columns_adds_in_their_weights():
    cell = dataclasses.replace(RRAM, read_sigma=0.02)
    layer = linear(chip_of(cell, combine_columns=True, cell_bits=2, adc_bits=None), 32, 400)
    x = torch.rand(1, 32).expand(100, -1).contiguous()
    for fidelity in ("exact", "fast"):
        chip = SimulatedChip.number(0, 0)
        quiet = dataclasses.replace(chip, ideal_reads=True)
        error = in_codes(layer, run(layer, x, chip, fidelity) - run(layer, x, quiet, "exact"))
        codes = layer.input_codes(x[0]).int()
        active = sum(4**i * int(((codes >> i) & 1).sum()) for i in range(4))
        theory = 0.02 / layer.code.step * math.sqrt(active * (1 + 4**2 + 4**4))
        assert error.std().item() == pytest.approx(theory, rel=0.03)


def test_a_converter_range_of_combined_columns_is_that_of_their_sum():
    plain, combined = (
        linear(chip_of(CHARGE, readout="charge", combine_columns=combine, adc_bits=8, dac_bits=4), 32, 40)
        for combine in (False, True)
    )
    x = torch.rand(128, 32)
    for layer in (plain, combined):
        calibrate(layer, x)
    highest = float((combined.input_codes(x) @ (combined.weight_codes() + 32).t()).max())
    assert 0.3 * highest < combined.adc_full_scale <= highest + 1e-3
    assert plain.adc_full_scale <= 32 * 15


def test_ranges_are_void_where_columns_or_rows_are_read_otherwise():
    marks = {
        linear(chip_of(SRAM, **changes), 32, 4).hardware_fingerprint
        for changes in (
            {},
            {"combine_columns": True},
            {"rows_at_once": 16},
            {"rows_at_once": 8},
            {"crossbar_columns": 64},
        )
    }
    assert len(marks) == 5
    assert linear(chip_of(SRAM), 32, 4).hardware_fingerprint == 28867402626227282, (
        "checkpoints of before this choice are known"
    )


def test_mismatch_of_discharge_currents_grows_as_the_supply_falls():
    at_node, low = read_errors(READOUTS["discharge"]), read_errors(READOUTS["discharge, low supply"])
    assert at_node.cell_sigma == 0.095
    assert low.cell_sigma == pytest.approx(0.095 * (0.85 - 0.4) / (0.65 - 0.4))
    codes = torch.full((100_000,), -31)  # offset 32: one stored 1
    code = CellCode(accelerator=READOUTS["discharge, low supply"], weight_bits=6)
    levels = program(code, codes, torch.Generator().manual_seed(0))
    assert levels[0].std() == pytest.approx(low.cell_sigma, rel=0.02)
    current = chip_of(load_card("sram_current").device, supply_v=0.65)  # the same transistors, read by current
    levels_by_current = program(CellCode(accelerator=current, weight_bits=6), codes, torch.Generator().manual_seed(0))
    assert levels_by_current[0].std() == pytest.approx(low.cell_sigma, rel=0.02)
    assert levels[1:].abs().max() == 0


def test_sram_cells_that_conduct_take_no_input_as_a_voltage():
    """The input is the gate of their transistors. Summed charge and resistors are linear in a voltage."""
    for device, readout in ((SRAM, "current"), (DISCHARGE, "discharge")):
        with pytest.raises(InfeasibleDesign, match="not linear in the voltage of its gate"):
            chip_of(device, readout=readout, dac_bits=2)
        assert chip_of(device, readout=readout, dac_bits=2, input_drive="pulse_width").input_cycles == 2
    assert chip_of(CHARGE, readout="charge", dac_bits=2).input_cycles == 2
    assert chip_of(RRAM, dac_bits=2).input_cycles == 2


def test_a_card_of_varying_currents_is_exact_where_sums_are_digital():
    cell = load_card("sram_current").device
    assert cell.readouts == ("current", "digital")
    assert is_noisy(chip_of(cell))
    assert not is_noisy(chip_of(cell, readout="digital", adc_bits=None))
    codes = torch.full((100_000,), -31)  # offset 32: one stored 1
    levels = program(CellCode(accelerator=chip_of(cell), weight_bits=6), codes, torch.Generator().manual_seed(0))
    assert levels[0].std() == pytest.approx(load_card("sram_discharge").device.discharge_sigma, rel=0.02)
    assert levels[1:].abs().max() == 0


@pytest.mark.parametrize("accelerator", EACH)
def test_a_design_file_holds_each_readout(accelerator, tmp_path):
    design, path = design_on(accelerator), tmp_path / "design.yaml"
    path.write_text(yaml.safe_dump(design.to_dict()))
    assert load_design(path) == design
