"""What the choices of a readout cost: by hand, in the limits, and that nothing is free."""

import dataclasses
import itertools
import math
import re
from statistics import fmean

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from test_cost_model import NORMAL, near
from test_mapping import RRAM, chip, conv, dense

from hw_models.accelerator import Accelerator
from hw_models.circuits.cell import cell_in_crossbar
from hw_models.circuits.combiner import UNIT_F
from hw_models.circuits.converters import converters
from hw_models.circuits.crossbar import crossbar
from hw_models.circuits.digital import AdderTree, full_adders_of_tree
from hw_models.circuits.gates import gate_f, p_ohm
from hw_models.circuits.periphery import Periphery
from hw_models.circuits.sensing import _mux_s, sensing_s
from hw_models.circuits.technology import _DELAYS, _ENERGIES, _LEAKAGES, Technology, linear_curve, technology
from hw_models.circuits.tile import sum_bits
from hw_models.cost import CostReport, estimate_cost
from hw_models.cost.activity import Activity, LayerActivity, rectified_cycles
from hw_models.devices import load_card
from hw_models.errors import InfeasibleDesign
from hw_models.mapping import map_network
from hw_models.read_errors import COMBINER_SIGMA, bitline_f

LAYERS = [conv("conv", 64, 32), dense("fc", 2048, 10)]


def cost(accelerator: Accelerator, layers=LAYERS) -> CostReport:
    return estimate_cost(accelerator, layers)


# Rows that are read together


def test_rows_that_are_read_later_are_converted_and_accumulated_again():
    # 64 rows in reads of 16: four reads, each with 8 steps at each converter and an accumulation of 2 weights
    whole, parts = (cost(chip(rows_at_once=rows), [dense("a", 64, 16)]) for rows in (None, 16))
    assert parts.conversions == 4 * whole.conversions
    assert parts.latency_by_component_s["adc"] / parts.clock_s == near(
        4 * whole.latency_by_component_s["adc"] / whole.clock_s
    )
    assert parts.latency_by_component_s["shift_add"] / parts.clock_s == near(
        4 * whole.latency_by_component_s["shift_add"] / whole.clock_s
    )
    assert parts.energy_by_component_j["shift_add"] > 4 * whole.energy_by_component_j["shift_add"]


def test_a_converter_takes_its_constant_power_at_every_read():
    # 8 input bits, 64 columns, 4 reads instead of 1; the sum of currents is the same but for its exponent 1.00018
    layer = dense("a", 64, 16)
    whole, parts = (cost(chip(rows_at_once=rows), [layer]).energy_by_component_j["adc"] for rows in (None, 16))
    adc = crossbar(chip()).converters
    assert parts - whole == near(3 * 8 * 64 * adc.constant_w * adc.conversion_s, rel=3e-3)


def test_reading_few_rows_skips_no_conversion_that_reading_all_would_make():
    sparse = dataclasses.replace(RRAM, g_on_siemens=1e-9)  # hardly any current
    energies = [
        cost(chip(device=sparse, rows_at_once=rows)).energy_by_component_j["adc"] for rows in (None, 32, 16, 8, 4)
    ]
    for few, fewer in itertools.pairwise(energies):
        assert fewer > 1.8 * few


def test_a_short_block_takes_no_more_reads_than_it_has_rows():
    # 20 of 64 rows are used: 2 reads of 16 rows, 1 of all
    whole, parts = (cost(chip(rows_at_once=rows), [dense("a", 20, 16)]) for rows in (None, 16))
    assert parts.conversions == 2 * whole.conversions
    assert parts.latency_by_component_s["adc"] / parts.clock_s == near(
        2 * whole.latency_by_component_s["adc"] / whole.clock_s
    )


def test_sums_of_several_reads_are_wider():
    # four reads widen the sum by two bits; an input of one bit needs an accumulator all the same
    one, four = (chip(rows_at_once=rows, input_bits=1, cell_bits=4) for rows in (None, 16))
    assert crossbar(one).accumulations == 0
    assert crossbar(four).accumulations == 4  # 8 columns hold four weights of two columns
    assert crossbar(four).area_m2["shift_add"] > crossbar(one).area_m2["shift_add"]


def test_a_decoder_selects_the_rows_and_sums_get_wider():
    one, four = (crossbar(chip(rows_at_once=rows)) for rows in (None, 16))
    tech = technology(22)
    assert four.read_j["drivers"] == near(linear_curve(tech.decoder_j, 4))
    assert four.area_m2["drivers"] - one.area_m2["drivers"] == near(4 * 28 * 14 * 3.8 * 22e-9**2, rel=1e-5)
    wider_w = 8 * 2 * (tech.adder_leak_w + tech.flipflop_leak_w)  # two bits more in each of 8 accumulators
    assert four.leakage_w - one.leakage_w == near(wider_w + linear_curve(tech.decoder_leak_w, 4), rel=1e-5)
    assert sum_bits(chip(rows_at_once=16)) == sum_bits(chip()) + 2
    sram = chip(device=load_card("sram").device, cell_bits=1)
    apart = crossbar(dataclasses.replace(sram, rows_at_once=16)).leakage_w - crossbar(sram).leakage_w
    assert apart == near(wider_w + linear_curve(tech.decoder_leak_w, 4), rel=1e-4)


# Combined columns


def test_a_weight_that_is_combined_is_converted_once():
    # 8 bits in 2-bit cells: four columns, one conversion; a converter of 8 columns takes 2 steps instead of 8
    apart, combined = (cost(chip(combine_columns=each)) for each in (False, True))
    assert 4 * combined.conversions == apart.conversions
    assert combined.latency_by_component_s["adc"] / combined.clock_s == near(
        apart.latency_by_component_s["adc"] / apart.clock_s / 4
    )
    assert cost(chip(combine_columns=True, weight_encoding="differential")).conversions == 2 * combined.conversions


def test_all_combined_columns_conduct():
    strong = chip(device=dataclasses.replace(RRAM, g_on_siemens=1e-3), adc_bits=1)  # nearly all energy is current
    apart, combined = (
        cost(dataclasses.replace(strong, combine_columns=each), [dense("a", 64, 16)]).energy_by_component_j["adc"]
        for each in (False, True)
    )
    assert 0.9 * apart < combined < 1.01 * apart


def test_the_capacitors_of_a_combiner_take_area_energy_and_time():
    apart, combined = (crossbar(chip(combine_columns=each)) for each in (False, True))
    farad = (1 + 4 + 16 + 64) * 0.768e-15  # a unit of 1 % mismatch, from 1.2 fF and 0.8 %
    assert near(0.768e-15) == UNIT_F
    assert combined.area_m2["adc"] - apart.area_m2["adc"] == near(8 * farad / 2e-3)
    assert combined.step_j["adc"] - apart.step_j["adc"] == near(8 * farad * 0.85**2)
    assert combined.sensing_s - apart.sensing_s == near(1.4 * 2.3 * technology(22).passgate_ohm * farad)


def test_a_layer_of_fewer_bits_takes_more_steps_of_a_combined_converter():
    # 4 bits in 2-bit cells: two columns a weight, four weights in the 8 columns of a converter; 8 bits: two weights
    wide, narrow = (
        cost(chip(combine_columns=True), [dataclasses.replace(dense("a", 64, 16), weight_bits=bits)]) for bits in (8, 4)
    )
    assert narrow.conversions == wide.conversions
    assert narrow.latency_by_component_s["adc"] == near(2 * wide.latency_by_component_s["adc"])


def test_converters_that_compare_currents_cannot_convert_combined_charges():
    with pytest.raises(InfeasibleDesign, match="combine_columns adds charges: use sar or flash_voltage"):
        chip(combine_columns=True, adc_type="flash")


# Charge


def charge(**changes) -> Accelerator:
    device = dataclasses.replace(load_card("sram_charge").device, capacitor_f=changes.pop("capacitor_f", 1.2e-15))
    return chip(**{"device": device, "readout": "charge", "cell_bits": 1, **changes})


def discharge(**changes) -> Accelerator:
    return chip(**{"device": load_card("sram_discharge").device, "readout": "discharge", "cell_bits": 1, **changes})


def digital(**changes) -> Accelerator:
    sram = load_card("sram").device
    return chip(**{"device": sram, "readout": "digital", "cell_bits": 1, "adc_bits": None, **changes})


SMALL = [dense("a", 64, 8)]  # 64 rows x 64 columns, 8 input bits of which half are 1
HALF = [0.3, 0.7]  # shares of cells that store 0 and 1


def energies(accelerator: Accelerator, density: float = 0.5) -> dict[str, float]:
    record = LayerActivity(plane_densities=(density,) * 8, level_shares=tuple(HALF))
    report = estimate_cost(accelerator, SMALL, activity=Activity(layers=(record,)))
    return dict(report.energy_by_component_j)


def test_capacitors_take_c_v_squared_where_bit_and_input_are_1():
    # 8 cycles, half of 64 x 64 products with an input of 1, 0.7 of which store 1; 0.85 V
    more, less = (energies(charge(capacitor_f=farad))["array"] for farad in (1.2e-15, 1.0e-15))
    wires = 64 * (8 * 32) * 0.2e-9 * (cell_width(1.2e-15) - cell_width(1.0e-15)) * 0.85**2
    assert more - less == near(8 * 64 * 64 * 0.5 * 0.7 * 0.2e-15 * 0.85**2 + wires, rel=1e-6)


def cell_width(capacitor_f: float) -> float:
    return cell_in_crossbar(charge(capacitor_f=capacitor_f)).width_m


def test_a_column_of_capacitors_has_no_current_but_its_converter_works_as_long():
    adc, current = crossbar(charge()).converters, crossbar(chip()).converters
    assert adc == dataclasses.replace(current, kappa=0.0)
    # 64 columns x 8 cycles; with half of the inputs 1 no cycle is empty
    assert energies(charge())["adc"] == near(512 * adc.constant_w * adc.conversion_s, rel=1e-6)


def test_a_cell_with_a_capacitor_is_as_large_as_both_need():
    # at 45 nm 41 % more than 280 F2; at 22 nm 1.2 fF take 0.6 um2 of metal, three times as much
    large, small = (cell_in_crossbar(charge(tech_node_nm=node)) for node in (45, 22))
    assert large.height_m * large.width_m == near(1.41 * 280 * 45e-9**2)
    assert small.height_m * small.width_m == near(0.6e-12)
    assert small.is_widened
    assert any("capacitor is wider" in reason for reason in cost(charge()).outside_reference)


def test_a_larger_capacitor_is_never_free():
    small, large = (cost(charge(capacitor_f=farad)) for farad in (1e-15, 2e-15))
    assert large.area_m2 > small.area_m2
    assert large.dynamic_energy_j > small.dynamic_energy_j
    assert large.clock_s > small.clock_s


def test_rows_of_held_columns_are_driven_once_a_read():
    # converters of 8 columns take 8 steps; a current is driven anew in each, a charge is held
    one, eight = (energies(charge(cols_per_adc=columns)) for columns in (1, 8))
    assert eight["array"] == one["array"]
    assert eight["precharge"] == one["precharge"]
    assert eight["drivers"] == one["drivers"]
    sram = chip(device=load_card("sram").device, cell_bits=1)
    one, eight = (energies(dataclasses.replace(sram, cols_per_adc=columns)) for columns in (1, 8))
    assert eight["precharge"] == near(8 * one["precharge"])


def test_lines_of_rows_and_columns_take_c_v_squared():
    # 64 columns of 64 cells; each cell has two gates of 1 F on its row. One read in each of 8 cycles
    tech, cell = technology(22), cell_in_crossbar(charge())
    row_f = 64 * (cell.width_m * 0.2e-9 + 2 * gate_f(tech, 1))
    assert crossbar(charge()).reading.active_row_j["array"] == near(row_f * 0.85**2)
    assert energies(charge())["precharge"] == near(8 * 64 * (64 * cell.height_m * 0.2e-9) * 0.85**2)


def test_capacitors_are_reset_and_share_their_charge_before_the_conversion():
    # at 45 nm the cell is as large with 1.0 as with 1.2 fF; 5 bits settle in 6 ln 2 time constants
    tech, cell = technology(45), cell_in_crossbar(charge(tech_node_nm=45))
    column_ohm, precharge_ohm = tech.wire_ohm_per_m * 64 * cell.height_m, p_ohm(tech, 28 - 3.6)
    share = 6 * math.log(2) * (tech.r_n_ohm + 64 * column_ohm / 2)
    reset = math.log(2) * 64 * (precharge_ohm + column_ohm / 2)
    short, long = (crossbar(charge(tech_node_nm=45, capacitor_f=farad)).sensing_s for farad in (1.0e-15, 1.2e-15))
    assert long - short == near(1.4 * 0.2e-15 * (share + reset), rel=1e-6)


# Discharge


def test_charging_bitlines_again_takes_the_swing_that_ones_took():
    # half of the supply for 64 rows of 1: C V 0.5 V / 64 for each product of 1
    accelerator = discharge()
    product_j = bitline_f(accelerator) * 0.85 * 0.5 * 0.85 / 64
    assert energies(accelerator)["precharge"] == near(8 * 64 * 64 * 0.5 * 0.7 * product_j)
    assert energies(accelerator, density=0.25)["precharge"] == near(4 * 64 * 64 * 0.5 * 0.7 * product_j)


def test_fewer_rows_at_once_discharge_more_for_each_product():
    # the swing is the same for 16 rows as for 64
    whole, parts = (energies(discharge(rows_at_once=rows))["precharge"] for rows in (None, 16))
    assert parts == near(4 * whole)


def test_a_bitline_is_discharged_by_a_pulse_and_charged_again():
    p = Periphery(discharge(), True)
    line_f, ohm = bitline_f(discharge()), p_ohm(p.tech, 28 - 3.6)
    charged_s = math.log(2) * (ohm * (line_f + p.tech.precharger_out_f) + p.bitline_ohm * line_f / 2)
    current_s = sensing_s(Periphery(digital(readout="current", adc_bits=5), True))
    assert sensing_s(p) == near(1.4 * (_mux_s(p) + 1e-10 + charged_s + 6e-9))
    assert sensing_s(p) < current_s


def test_a_cell_with_a_read_port_is_30_percent_larger():
    cell, plain = (cell_in_crossbar(each) for each in (discharge(), digital()))
    assert cell.width_m == near(1.3 * plain.width_m)
    assert cell.height_m == plain.height_m


# Digital


@pytest.mark.parametrize(("inputs", "bits"), [(2, 1), (64, 1), (128, 8), (256, 4)])
def test_full_adders_of_a_tree_are_those_of_the_published_formula(inputs, bits):
    tree = AdderTree(tech=technology(22), inputs=inputs, width=bits, trees=1)
    assert tree.full_adders(inputs) == full_adders_of_tree(inputs, bits)


def test_a_digital_macro_converts_nothing_and_has_no_converters():
    report = cost(digital())
    assert report.conversions == 0
    assert report.energy_by_component_j["adc"] == report.area_by_component_m2["adc"] == 0


def test_an_adder_tree_adds_the_products_of_a_column_in_each_cycle():
    # columns alone: 64 columns x 8 cycles; stages of 32, 16, 8, 4, 2 and 1 adders of 1 to 6 bits: 63 first, 57 further
    tech = technology(22)
    tree_j = 63 * tech.adder_first_j + 57 * tech.adder_next_j
    register_j = 0.5 * 7 * tech.register_access_j  # a sum of up to 64 has 7 bits
    assert energies(digital(cols_per_adc=1))["adder_trees"] == near(64 * 8 * (tree_j + register_j))
    # weights of 8 columns: 8 trees; 64 (8 + 1) - (8 + 6 + 1) = 561 full adders; a sum of up to 64 x 255 has 14 bits
    tree_j = 63 * tech.adder_first_j + (561 - 63) * tech.adder_next_j
    register_j = 0.5 * 14 * tech.register_access_j
    assert energies(digital())["adder_trees"] == near(8 * 8 * (tree_j + register_j))


def test_lines_and_gates_of_a_digital_macro_switch_with_the_data():
    # 8 cycles, half of 64 inputs; each line passes 64 columns and the gates of 64 products. 0.7 of the cells store 1
    tech, square = technology(22), 0.85**2
    line_j = (64 * cell_in_crossbar(digital()).width_m * 0.2e-9 + 64 * tech.nand_in_f) * square
    gate_j = (tech.nand_out_f + tech.inverter_in_f + tech.inverter_out_f) * square
    assert energies(digital())["array"] == near(8 * 32 * (line_j + 64 * 0.7 * gate_j))


@pytest.mark.parametrize("rows", [None, 16])
def test_each_bit_of_a_weight_is_read_once_for_an_input_vector(rows):
    assert energies(digital(rows_at_once=rows))["precharge"] == near(64 * bitline_f(digital()) * 0.85**2)


def test_adder_trees_leak():
    # 8 trees of 561 full adders with a sum of 14 bits, and accumulators of 15 bits with registers of 23
    tech = technology(22)
    cells_w = 64 * 64 * 5.61e-12 + 64 * (tech.precharger_leak_w + tech.write_driver_leak_w + tech.flipflop_leak_w)
    sums_w = 8 * ((561 + 15) * tech.adder_leak_w + (14 + 23) * tech.flipflop_leak_w)
    assert crossbar(digital()).leakage_w == near(cells_w + sums_w, rel=1e-4)


def test_weights_that_share_a_tree_take_turns():
    # 8, 16 and 64 columns hold 1, 2 and 8 weights; single columns work at the same time, as one weight does
    reports = [cost(digital(cols_per_adc=columns), SMALL) for columns in (1, 8, 16, 64)]
    cycles = [report.latency_by_component_s["adc"] / report.clock_s for report in reports]
    assert cycles == near([cycles[0], cycles[0], 2 * cycles[0], 8 * cycles[0]])
    alone, shared = reports[1], reports[3]
    assert shared.area_by_component_m2["adder_trees"] < alone.area_by_component_m2["adder_trees"]


def test_a_tree_of_fewer_rows_is_smaller_and_used_more_often():
    whole, parts = (digital(rows_at_once=rows) for rows in (None, 16))
    assert crossbar(parts).area_m2["adder_trees"] < crossbar(whole).area_m2["adder_trees"] / 3
    latencies = [cost(each, SMALL).latency_by_component_s["adc"] / cost(each).clock_s for each in (whole, parts)]
    assert latencies[1] == near(4 * latencies[0])


def test_no_clock_is_shorter_than_the_cycle_that_digital_circuits_count():
    fast = digital(crossbar_size=16, rows_at_once=1, weight_bits=2, tech_node_nm=7)
    assert cost(fast).clock_s == 1e-9
    assert cost(digital(crossbar_size=1024)).clock_s > 1.2e-9


def test_the_survey_of_converters_says_nothing_of_a_macro_without_any():
    reference, survey = (estimate_cost(digital(), LAYERS, adc_model=model) for model in ("reference", "survey"))
    assert survey.energy_j == reference.energy_j


# Inputs of several bits at once


def test_statistics_of_a_cycle_follow_from_those_of_its_bits():
    # two bits, half of each 1: inputs 0, 1, 2, 3 of 3 are equally likely
    record = LayerActivity.of_planes((0.5, 0.5), 2, (1.0,))
    assert record.plane_densities == near((0.75,))
    assert record.means == near((0.5,))
    assert record.squares == near((14 / 36,))
    # three bits in cycles of two: the highest alone, at most a third of a full input
    odd = LayerActivity.of_planes((0.6, 0.5, 0.5), 2, (1.0,))
    assert odd.plane_densities == near((0.6, 0.75))
    assert odd.means == near((0.2, 0.5))
    assert odd.squares == near((0.6 / 9, 14 / 36))


@pytest.mark.parametrize(("bits", "dac_bits"), [(8, 4), (6, 4), (5, 5)])
def test_cycles_of_a_rectified_gaussian_are_those_of_counted_codes(bits, dac_bits):
    codes = [min(round(0.25 * 2**bits * max(z, 0)), 2**bits - 1) for z in NORMAL]
    full = 2**dac_bits - 1
    for place, statistics in enumerate(reversed(list(zip(*rectified_cycles(bits, dac_bits), strict=True)))):
        inputs = [(code >> dac_bits * place & full) / full for code in codes]
        counted = (fmean(x > 0 for x in inputs), fmean(inputs), fmean(x * x for x in inputs))
        assert statistics == near(counted, abs=1e-3)


def several(drive: str = "voltage", dac_bits: int = 2, **changes) -> Accelerator:
    return chip(**{"dac_bits": dac_bits, "input_drive": drive if dac_bits > 1 else "voltage", **changes})


def with_inputs(accelerator: Accelerator, active: float, mean: float, square: float) -> dict[str, float]:
    cycles = accelerator.input_cycles
    record = LayerActivity(
        plane_densities=(active,) * cycles,
        level_shares=(0.25,) * 4 if accelerator.cell_bits == 2 else tuple(HALF),
        mean_inputs=(mean,) * cycles,
        mean_squares=(square,) * cycles,
    )
    report = estimate_cost(accelerator, [dense("a", 64, 16)], activity=Activity(layers=(record,)))
    return dict(report.energy_by_component_j)


def test_cycles_of_several_bits_are_fewer_conversions():
    one, two, three = (cost(several(dac_bits=bits)) for bits in (1, 2, 3))
    assert (one.conversions, 3 * one.conversions) == (2 * two.conversions, 8 * three.conversions)  # ceil(8 / 3) = 3
    assert two.latency_by_component_s["adc"] / two.clock_s == near(one.latency_by_component_s["adc"] / one.clock_s / 2)


def test_bits_that_travel_are_as_many_as_before():
    one, two = (cost(several(dac_bits=bits)) for bits in (1, 2))
    assert two.energy_by_component_j["buffers"] == near(one.energy_by_component_j["buffers"], rel=1e-9)
    assert two.area_by_component_m2["buffers"] == one.area_by_component_m2["buffers"]


@pytest.mark.parametrize("kind", ["voltage", "pulse_width"])
def test_a_columns_current_goes_with_the_mean_input(kind):
    low, high = (with_inputs(several(kind), 0.9, mean, 0.3)["adc"] for mean in (0.2, 0.4))
    fixed = 64 * 4 * crossbar(several(kind)).converters.constant_w * 6e-9
    assert high - fixed == near(2 * (low - fixed), rel=2e-3)


def test_a_line_is_charged_to_the_square_of_its_voltage_or_by_a_pulse_in_full():
    for kind, halved in (("voltage", (0.8, 0.2)), ("pulse_width", (0.4, 0.4))):
        read_j = 4 * crossbar(several(kind)).read_j["array"]
        full = with_inputs(several(kind), 0.8, 0.4, 0.4)["array"] - read_j
        half = with_inputs(several(kind), halved[0], 0.4, halved[1])["array"] - read_j
        assert half == near(full / 2)


def test_capacitors_take_the_mean_square_and_discharges_the_mean():
    squares = [with_inputs(charge(dac_bits=2), 0.9, 0.5, square)["array"] for square in (0.2, 0.4)]
    assert squares[1] == near(2 * squares[0])
    pulses = discharge(dac_bits=2, input_drive="pulse_width")
    means = [with_inputs(pulses, 0.9, mean, 0.1)["precharge"] for mean in (0.2, 0.4)]
    assert means[1] == near(2 * means[0])


def test_each_row_has_a_converter_that_works_once_a_cycle():
    # 64 rows, 4 cycles: 50 fF for each of 2 bits
    drive = crossbar(several()).drive
    assert drive.cycle_j == near(2 * 50e-15 * 0.85**2)
    bare = with_inputs(several(), 1e-12, 0.0, 0.0)["drivers"]
    registers_j = 8 * 64 * 2 * technology(22).register_access_j * 4
    assert bare == near(4 * 64 * drive.cycle_j + registers_j)
    register_w = 64 * technology(22).flipflop_leak_w  # the second bit of each input
    assert crossbar(several()).leakage_w - crossbar(several(dac_bits=1)).leakage_w == near(register_w, rel=1e-6)
    areas = [crossbar(several(dac_bits=bits)).area_m2["drivers"] for bits in (1, 2, 4, 8)]
    assert areas == sorted(areas)
    assert areas[3] > 3 * areas[0]


def test_pulses_take_time_counters_and_current():
    # row and column settle within the shortest pulse of 1 ns; three unit pulses, 1.4 for the layout
    voltage, pulses = (crossbar(several(kind)) for kind in ("voltage", "pulse_width"))
    assert pulses.sensing_s - voltage.sensing_s == near(1.4 * 3e-9)
    assert pulses.drive.drive_j > 0
    assert pulses.drive.area_m2 > 0
    # eight steps a read, each with pulses of its own
    counters = 4 * 64 * 8 * pulses.drive.drive_j
    registers_j = 8 * 64 * 2 * technology(22).register_access_j * 4
    assert with_inputs(several("pulse_width"), 1e-12, 0.0, 0.0)["drivers"] == near(counters + registers_j)
    long = several("pulse_width", dac_bits=4)
    assert crossbar(long).pulses_s == near(15e-9)
    short_j, long_j = (
        with_inputs(each, 1.0, 1.0, 1.0)["adc"] / each.input_cycles for each in (several("pulse_width"), long)
    )
    constant_j = 64 * crossbar(long).converters.constant_w * 6e-9
    assert long_j - constant_j == near(15 / 6 * (short_j - constant_j), rel=1e-6)


def test_a_discharge_takes_as_long_as_its_pulses():
    one, four = (
        crossbar(discharge(dac_bits=bits, input_drive=drive)) for bits, drive in ((1, "voltage"), (4, "pulse_width"))
    )
    assert four.sensing_s - one.sensing_s == near(1.4 * (15 - 1) * 1e-10)


def test_activity_of_single_bits_is_refused_where_cycles_have_several():
    record = LayerActivity(plane_densities=(0.5,) * 4, level_shares=(0.25,) * 4)
    with pytest.raises(ValueError, match="must have mean_inputs and mean_squares for cycles of 2 bits"):
        estimate_cost(several(), [dense("a", 64, 16)], activity=Activity(layers=(record,)))


# Supply


def test_energies_go_with_the_square_of_the_supply_and_leakage_with_the_supply():
    own, low = technology(22), technology(22, 0.68)  # 0.8 of 0.85 V
    for name in ("adder_next_j", "flipflop_clock_j", "bus_j_per_m", "global_core_read_j"):
        assert getattr(low, name) == near(0.64 * getattr(own, name))
    assert linear_curve(low.decoder_j, 8) == near(0.64 * linear_curve(own.decoder_j, 8))
    assert low.flipflop_leak_w == near(0.8 * own.flipflop_leak_w)
    assert technology(22, 0.85).adder_next_j == own.adder_next_j


def test_gates_slow_down_by_the_alpha_power_law():
    # 0.8 x (0.45 V / 0.28 V)^1.3
    own, low = technology(22), technology(22, 0.68)
    assert low.slowdown == near(0.8 * (0.45 / 0.28) ** 1.3)
    assert low.r_n_ohm == near(low.slowdown * own.r_n_ohm)
    assert technology(22, 1.0).slowdown < 1


@pytest.mark.parametrize("adc_type", ["sar", "flash", "flash_voltage"])
def test_a_converter_gets_nothing_from_another_supply(adc_type):
    low, own, high = (converters(22, adc_type, 5, 1, 1e-5, None, supply_v) for supply_v in (0.68, None, 1.0))
    energies = [adc.constant_w * adc.conversion_s for adc in (low, own, high)]
    assert energies[0] == near(energies[1])
    assert energies[2] == near(energies[1] * (1 / 0.85) ** 2)
    assert low.conversion_s == near(technology(22, 0.68).slowdown * own.conversion_s)
    assert high.conversion_s == own.conversion_s


@pytest.mark.parametrize("kind", [chip, charge, discharge, digital])
def test_a_lower_supply_takes_less_energy_and_more_time(kind):
    low, own, high = (cost(kind(supply_v=supply_v)) for supply_v in (0.68, None, 1.0))
    for name in ("drivers", "shift_add", "adder_trees", "registers", "activation", "buffers", "interconnect"):
        parts = [report.energy_by_component_j[name] for report in (low, own, high)]
        assert parts == sorted(parts)
        assert parts[0] < parts[1]
    assert low.clock_s > 1.2 * own.clock_s
    assert low.leakage_power_w < own.leakage_power_w


def test_every_energy_leakage_and_delay_of_a_node_follows_the_supply():
    scaled = {*_ENERGIES, *_LEAKAGES, *_DELAYS}
    by_unit = {f.name for f in dataclasses.fields(Technology) if re.search(r"(_j|_leak_w|_ohm|_s|_per_m)$", f.name)}
    kept = {"gate_cap_f_per_m", "ioff_n_a_per_m", "ioff_p_a_per_m", "sidewall_cap_f_per_m", "contact_cap_f_per_m"}
    assert by_unit - kept == scaled


# Rectangular crossbars


def test_a_wide_crossbar_is_two_square_ones_side_by_side_with_rows_in_common():
    square, wide = crossbar(chip()), crossbar(chip(crossbar_columns=128))
    assert wide.area_m2["array"] == near(2 * square.area_m2["array"])
    assert wide.area_m2["adc"] == near(2 * square.area_m2["adc"])
    assert square.area_m2["drivers"] < wide.area_m2["drivers"] < 2 * square.area_m2["drivers"]
    assert wide.step_j["adc"] == near(2 * square.step_j["adc"])
    assert wide.step_j["drivers"] == square.step_j["drivers"]
    assert wide.reading.active_row_j["array"] == near(2 * square.reading.active_row_j["array"])


def test_conversions_follow_the_rows_of_a_crossbar_not_its_columns():
    layers = [dense("a", 256, 64)]
    square, wide, narrow = (
        cost(chip(**each), layers).conversions for each in ({}, {"crossbar_columns": 128}, {"crossbar_columns": 32})
    )
    assert square == wide == narrow
    assert cost(chip(crossbar_size=128, crossbar_columns=64), layers).conversions == square / 2


@pytest.mark.parametrize("columns", [32, 128, 256])
def test_cells_of_the_chip_are_those_of_its_crossbars(columns):
    report = cost(chip(crossbar_columns=columns))
    assert report.cells == report.crossbars * 64 * columns
    assert 0 < report.utilisation <= 1


# All of them


@st.composite
def choices(draw) -> dict[str, object]:
    return {
        "rows_at_once": draw(st.sampled_from([None, 1, 8, 32])),
        "combine_columns": draw(st.booleans()),
        "crossbar_columns": draw(st.sampled_from([None, 32, 256])),
        "dac_bits": draw(st.sampled_from([1, 3])),
        "supply_v": draw(st.sampled_from([None, 0.7, 1.0])),
    }


@settings(deadline=None, max_examples=25)
@given(st.sampled_from([chip, charge, discharge, digital]), choices())
def test_breakdowns_sum_to_totals_and_conversions_are_those_of_the_mapping(kind, values):
    if kind is digital:
        values |= {"combine_columns": False, "dac_bits": 1}
    if kind is discharge and values["dac_bits"] > 1:
        values["input_drive"] = "pulse_width"
    accelerator = kind(**values)
    report = cost(accelerator)
    assert sum(report.area_by_component_m2.values()) == near(report.area_m2, rel=1e-9)
    assert sum(report.energy_by_component_j.values()) == near(report.dynamic_energy_j, rel=1e-9)
    assert sum(report.latency_by_component_s.values()) == near(report.latency_s, rel=1e-9)
    assert sum(layer.area_m2 for layer in report.layers) + report.shared_area_m2 == near(report.area_m2, rel=1e-9)
    assert report.conversions == map_network(accelerator, LAYERS).conversions


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"rows_at_once": 32}, "rows_at_once 32: the reference knows all rows only"),
        ({"combine_columns": True}, "combine_columns true: the reference knows a conversion of each column only"),
        ({"crossbar_columns": 32}, "crossbar_columns 32: the reference knows square crossbars only"),
        (
            {"supply_v": 0.8},
            "supply_v 0.8: the reference knows the node's supply only",
        ),
        (
            {"dac_bits": 2},
            "dac_bits 2: the reference knows 1 only",
        ),
        (
            {"device": load_card("sram").device, "readout": "digital", "adc_bits": None, "cell_bits": 1},
            "readout digital: the reference knows current only",
        ),
    ],
)
def test_a_choice_that_the_reference_does_not_know_is_named(values, said):
    assert said in cost(chip(**values)).outside_reference
    assert said not in cost(chip()).outside_reference


FULL = [dense("a", 512, 64), dense("b", 256, 16)]  # fills all rows


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from([chip, charge, discharge, digital]),
    choices(),
    st.sampled_from(
        [
            {"supply_v": 0.75},
            {"supply_v": 0.95},
            {"combine_columns": False},
            {"rows_at_once": 4},
            {"input_drive": "pulse_width"},
        ]
    ),
)
def test_nothing_that_leaves_accuracy_as_good_saves_energy_time_and_area_at_once(kind, values, change):
    if kind is digital:
        values |= {"combine_columns": False, "dac_bits": 1}
        assume("rows_at_once" not in change)  # trees of fewer inputs are smaller and faster, and sums stay exact
    if kind is discharge and values["dac_bits"] > 1:
        values["input_drive"] = "pulse_width"
    values |= {"supply_v": None}
    assume("input_drive" not in change or (kind is chip and values["dac_bits"] > 1))
    assume("rows_at_once" not in change or values["rows_at_once"] != 1)
    before, after = (cost(kind(crossbar_size=64, **each), FULL) for each in (values, values | change))
    names = ("energy_j", "latency_s", "area_m2")
    assert max(getattr(after, name) / getattr(before, name) for name in names) >= 1


@pytest.mark.parametrize("name", ["rram", "sram", "fefet"])
def test_fewer_rows_at_once_never_take_less_energy_or_time(name):
    base = chip(device=load_card(name).device, cell_bits=1, crossbar_size=128)
    layers = [dense("a", 2048, 64)]  # fills all rows: reading half of a crossbar's rows would suffice for half as many
    reports = [cost(dataclasses.replace(base, rows_at_once=rows), layers) for rows in (None, 64, 16, 4, 1)]
    for more, fewer in itertools.pairwise(reports):
        assert fewer.dynamic_energy_j > more.dynamic_energy_j
        assert fewer.latency_s > more.latency_s


def test_the_combiner_is_made_of_the_capacitors_of_the_card():
    card = load_card("sram_charge").device
    assert card.capacitor_f * (card.capacitor_sigma / COMBINER_SIGMA) ** 2 == pytest.approx(UNIT_F)
