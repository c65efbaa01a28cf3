"""Parts of the cost model: by hand, against what NeuroSim prints, and at the edges."""

import dataclasses
import math
import statistics
from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_mapping import RRAM, chip, conv, dense

from hw_models.circuits.cell import cell_in_crossbar
from hw_models.circuits.converters import CurrentDecision, converters, survey_bound_j
from hw_models.circuits.crossbar import crossbar
from hw_models.circuits.digital import AdderTree, HTree
from hw_models.circuits.gates import addition_cycles, drain_f
from hw_models.circuits.technology import linear_curve, technology
from hw_models.cost import POST_LAYOUT_ENERGY, estimate_cost
from hw_models.cost.activity import (
    Activity,
    LayerActivity,
    assumed_activity,
    assumed_levels,
    normal_levels,
    rectified_planes,
    spread_density,
    tilt_levels,
    zero_levels,
)
from hw_models.cost.column_energy import ConversionEnergy
from hw_models.cost.layer_uses import Piece, tiles_of
from hw_models.devices import load_card
from hw_models.mapping import map_network
from pipeline.analog.cells import CellCode

NODES = (45, 32, 22, 14, 10, 7)


def near(value: float, rel: float = 1e-6, abs: float = 0.0):
    """`pytest.approx` without its absolute tolerance, which would swallow joules and square metres."""
    return pytest.approx(value, rel=rel, abs=abs)


# Cycles of an addition of 8, 10, ..., 24 bits as DNN+NeuroSim V1.3 counts them.
@pytest.mark.parametrize(
    ("node", "cycles"),
    [(45, "223334445"), (32, "122222333"), (22, "111122222"), (14, "1" * 9), (10, "1" * 9), (7, "1" * 9)],
)
def test_the_carry_chain_gives_the_printed_cycles(node, cycles):
    tech = technology(node)
    assert "".join(str(addition_cycles(tech, bits)) for bits in range(8, 25, 2)) == cycles


# Areas in um2 as NeuroSim prints them: a register bit, a full adder, a 5-bit SAR converter, a comparator.
@pytest.mark.parametrize(
    ("node", "flipflop", "adder", "sar", "comparator"),
    [
        (45, 5.171, 5.817, 519.69, 45.678),
        (22, 1.236, 1.39, 124.21, 10.917),
        (14, 0.6981, 0.7853, 70.156, 6.1663),
        (7, 0.1745, 0.1963, 17.539, 1.5416),
    ],
)
def test_layout_rules_give_the_printed_areas(node, flipflop, adder, sar, comparator):
    tech = technology(node)
    assert tech.flipflop_width_m * tech.cell_height_m == near(flipflop * 1e-12, rel=1e-3)
    assert tech.full_adder_m2 == near(adder * 1e-12, rel=1e-3)
    assert converters(node, "sar", 5, 1, 1e-5).area_m2 == near(sar * 1e-12, rel=1e-4)
    gates_of_a_comparator = 106 * 2 * tech.gate_pitch_m * tech.cell_height_m
    assert gates_of_a_comparator == near(comparator * 1e-12, rel=1e-4)


@pytest.mark.parametrize("node", [45, 32, 22])
def test_drain_capacitance_of_a_standard_inverter_is_the_printed_one(node):
    tech = technology(node)
    assert drain_f(tech, tech.inverter_n_f) + drain_f(tech, tech.inverter_p_f) == near(tech.inverter_out_f, rel=1e-3)


def test_inner_folds_share_their_drains():
    # 12 F in 3 folds of 4 F: an end drain and a shared one, each 2.8 F long; one side of 4 F faces no gate
    tech, node = technology(22), 22e-9
    bottom, side = tech.junction_cap_f_per_m2 * 2.8 * 8 * node**2, tech.sidewall_cap_f_per_m * (4 * 2.8 + 4) * node
    assert drain_f(tech, 12, folds=3) == near(bottom + side + tech.contact_cap_f_per_m * 12 * node)


def test_sar_power_and_time_at_22_nm():
    # 5 bits: 0.538 * 5 + 4.3753 = 7.0653 uW over 6 ns
    adc = converters(22, "sar", 5, 16, 1e-5)
    assert adc.constant_w == near(7.0653e-6)
    assert adc.conversion_s == near(6e-9)


def test_the_encoder_curve_is_extrapolated_beyond_its_table():
    # 22 nm: 9.223 fJ at 128 and 18.17 fJ at 256 levels, so 18.17 + 2 * 8.947 at 512; 1.378 - 1.149 / 2 at 8
    tech = technology(22)
    assert linear_curve(tech.encoder_j, 512) == near(36.064e-15)
    assert linear_curve(tech.encoder_j, 8) == near(0.8035e-15)
    assert linear_curve(tech.encoder_j, 2) > 0


def test_survey_bound_of_eight_bits_is_a_twentieth_of_a_picojoule():
    assert survey_bound_j(8) == near(0.05e-12, rel=0.05)


def test_decision_time_of_a_low_current_is_longer_and_never_below_a_nanosecond():
    fefet = CurrentDecision(levels=32, rows=128, r_on_ohm=240e3, r_off_ohm=24e6)
    assert fefet.slowest_s() > 1e-9
    assert CurrentDecision(levels=32, rows=128, r_on_ohm=6e3, r_off_ohm=900e3).slowest_s() == 1e-9


def test_more_columns_wait_longer_for_the_slowest():
    # current-mode comparators at 45 nm: of more columns, the one that conducts least conducts less
    slow = chip(device=load_card("fefet").device, tech_node_nm=45, adc_type="flash", adc_bits=5)
    layer, conversions = dense("a", 64, 8), ConversionEnergy(model="reference", factor=1, column_bits=5)
    activity, mapped = assumed_activity(slow, [layer]).layers[0], map_network(slow, [layer]).layers[0]
    few, many = (conversions.block_j(crossbar(slow), activity, mapped, 64, columns) / columns for columns in (4, 64))
    assert many > 1.01 * few


def test_adder_tree_of_five_inputs():
    # stages of 5 >> 1, 5 >> 2 and 5 >> 3 adders: 2 x 10 + 1 x 11 + 0 x 12 bits in each of 3 trees
    assert AdderTree(tech=technology(22), inputs=5, width=10, trees=3).full_adders(5) == 93


def test_one_tile_needs_no_bus():
    tree = HTree(tech=technology(22), grid=(1, 1), leaf_m=1e-3, bus_bits=64, folding=4)
    assert (tree.area_m2(), tree.route().bit_j, tree.route().transfer_cycles) == (0, 0, 0)


def test_low_resistance_widens_the_cell():
    # at 22 nm the access transistor of 3 kOhm is 86357 x 0.2 / 750 = 23 F wide, the cell 12 F
    wide = dataclasses.replace(RRAM, g_on_siemens=1 / 3e3)
    cell = cell_in_crossbar(chip(device=wide))
    assert cell.is_widened
    assert cell.width_m == near(23.03 * 22e-9, rel=1e-3)
    assert any(
        "access transistor" in reason
        for reason in estimate_cost(chip(device=wide), [dense("a", 64, 64)]).outside_reference
    )


def test_only_a_1t1r_cell_has_a_transistor_in_series():
    # a 1T1R cell's access transistor has a quarter of the resistance of its highest level, 6 kOhm
    assert cell_in_crossbar(chip()).access_ohm == near(1500)
    assert cell_in_crossbar(chip(device=load_card("fefet").device)).access_ohm == 0


def test_mux_of_one_column_costs_nothing():
    alone = crossbar(chip(cols_per_adc=1))
    assert alone.area_m2["multiplexers"] == 0
    assert alone.step_j["multiplexers"] == 0
    no_shift_add = crossbar(chip(cols_per_adc=1, cell_bits=2, weight_bits=2, input_bits=1))
    assert no_shift_add.leakage_w == near(2 * 64 * technology(22).flipflop_leak_w)  # registers of rows and columns only


def test_sram_cells_leak_and_resistive_cells_do_not():
    # a cell at 22 nm: two inverters of (0.1 nA/um x 44 nm + 0.1 nA/um x 22 nm) / 2 at 0.85 V, 5.61 pW; 64 x 64 of them
    sram, rram = (crossbar(chip(device=load_card(name).device, cell_bits=1)) for name in ("sram", "rram"))
    tech = technology(22)
    sides = 64 * (tech.precharger_leak_w + tech.write_driver_leak_w + tech.flipflop_leak_w)
    switches = 2 * 64 * tech.flipflop_leak_w + linear_curve(tech.decoder_leak_w, 8)
    assert sram.leakage_w - sides == near(rram.leakage_w - switches + 4096 * 5.61e-12, rel=1e-3)


NORMAL = [statistics.NormalDist().inv_cdf((index + 0.5) / 20_000) for index in range(20_000)]  # equally likely


@pytest.mark.parametrize(("bits", "threshold"), [(1, 0), (4, 0), (8, 0.6745), (12, 0)])
def test_planes_of_a_rectified_gaussian_are_those_of_counted_codes(bits, threshold):
    codes = [min(round(0.25 * 2**bits * max(z - threshold, 0)), 2**bits - 1) for z in NORMAL]
    counted = [statistics.fmean(code >> place & 1 for code in codes) for place in reversed(range(bits))]
    assert rectified_planes(bits, threshold) == near(counted, abs=1e-3)


def test_planes_below_the_twelfth_are_as_dense_as_the_twelfth():
    twelve = rectified_planes(12, 0)
    assert rectified_planes(16, 0) == twelve + twelve[-1:] * 4


# Densities of NeuroSim's traces, sign included: 4 bits 0.122 (0.051 sparse), 8 bits 0.166 (0.078 sparse).
@pytest.mark.parametrize(
    ("bits", "threshold", "density"), [(4, 0, 0.122), (8, 0, 0.166), (4, 0.6745, 0.051), (8, 0.6745, 0.078)]
)
def test_rectified_gaussian_has_the_density_of_the_traces(bits, threshold, density):
    assert sum(rectified_planes(bits - 1, threshold)) / bits == near(density, rel=0.03)


@given(st.floats(0, 0.9), st.integers(1, 9), st.booleans())
def test_spreading_a_density_keeps_it(density, bits, signed):
    planes = spread_density(density, bits, signed=signed)
    value_bits = bits - signed
    assert len(planes) == bits
    assert sum(planes) / bits == near(min(density, value_bits / bits), abs=2e-3)
    assert not (signed and planes[0])


# Beyond 10 bits the model counts only some codes, and its levels are off by up to 0.01.
@pytest.mark.parametrize(
    ("weight_bits", "cell_bits", "error"), [(2, 1, 1e-3), (5, 2, 1e-3), (8, 1, 1e-3), (8, 4, 1e-3), (13, 2, 1.1e-2)]
)
@pytest.mark.parametrize("weight_encoding", ["offset", "differential"])
def test_normal_weights_fill_levels_as_counting_codes_does(weight_bits, cell_bits, error, weight_encoding):
    accelerator = chip(weight_bits=weight_bits, cell_bits=cell_bits, weight_encoding=weight_encoding)
    half, counts = 2 ** (weight_bits - 1), Counter()
    for z in NORMAL:
        weight = min(max(round(0.3 * half * z), 1 - half), half - 1)
        for stored in [max(weight, 0), max(-weight, 0)] if weight_encoding == "differential" else [weight + half]:
            counts.update(stored >> cell_bits * cell & 2**cell_bits - 1 for cell in range(accelerator.slices()))
    counted = [counts[level] / counts.total() for level in range(2**cell_bits)]
    assert normal_levels(accelerator) == near(counted, abs=error)


# Mean levels of NeuroSim's cells (column mean_cell_level of its table).
@pytest.mark.parametrize(
    ("weight_bits", "cell_bits", "mean"), [(8, 2, 0.5007), (4, 2, 0.52109), (6, 4, 0.3011), (4, 4, 0.53333)]
)
def test_mean_level_is_that_of_neurosim(weight_bits, cell_bits, mean):
    record = LayerActivity(
        plane_densities=(0.5,), level_shares=normal_levels(chip(weight_bits=weight_bits, cell_bits=cell_bits))
    )
    assert record.mean_level == near(mean, abs=2e-3)


@given(st.floats(0, 1))
def test_tilting_reaches_the_mean(mean):
    tilted = LayerActivity(plane_densities=(0.5,), level_shares=tilt_levels((0.4, 0.3, 0.2, 0.1), mean))
    assert tilted.mean_level == near(mean, abs=1e-9)


def test_derived_quantities_follow_from_energy_time_and_area():
    report = estimate_cost(chip(), [conv("a", 3, 16), dense("fc", 1024, 10)])
    assert report.ops == 2 * (64 * 27 * 16 + 1024 * 10)
    parts_j = report.dynamic_energy_j + report.leakage_energy_j + report.wiring_energy_j
    assert report.energy_j == near(parts_j) == near(POST_LAYOUT_ENERGY * (parts_j - report.wiring_energy_j))
    assert report.power_w == near(report.energy_j / report.latency_s)
    assert report.tops_per_watt == near(report.ops / report.energy_j / 1e12)
    assert report.tops_per_mm2 == near(report.ops / report.latency_s / report.area_m2 / 1e18)
    assert report.edp_js == near(report.energy_j * report.latency_s)
    share = chip().input_bits * chip().weight_bits / 64
    assert report.tops_per_watt_8bit == near(share * report.tops_per_watt)


def test_a_layer_without_a_relu_costs_none():
    with_one, without = (estimate_cost(chip(), [conv("a", 3, 16, relu=relu)]) for relu in (True, False))
    assert with_one.energy_by_component_j["activation"] > 0
    assert without.energy_by_component_j["activation"] == without.latency_by_component_s["activation"] == 0


def test_idle_adder_trees_leak_what_another_layer_last_needed():
    # quirk: 300 rows end in a PE of 44 rows, one crossbar; 384 rows in one of 128, two crossbars
    tiny = dense("tiny", 32, 8)
    one, two = (estimate_cost(chip(), [tiny, dense("long", rows, 64)]).layers[0].leakage_power_w for rows in (300, 384))
    assert one < two


def test_adder_trees_of_a_tile_leak_what_its_last_tile_needs():
    # two tiles of 2 x 2 PEs; the trees of the second one add up one PE of 128 rows, or two
    one, two = (estimate_cost(chip(), [dense("a", rows, 8)]).layers[0] for rows in (384, 512))
    assert one.tiles == two.tiles == 2
    tree = AdderTree(tech=technology(22), inputs=2, width=5 + 8 + 4 + 1 + 1, trees=2 * 64 // 8)
    assert two.leakage_power_w - one.leakage_power_w == near(2 * tree.leakage_w(2), rel=1e-6)


@pytest.mark.parametrize("changes", [{}, {"weight_encoding": "differential"}, {"weight_bits": 7, "cell_bits": 4}])
def test_weights_of_zero_are_the_cells_that_the_crossbar_layers_write(changes):
    accelerator = chip(**changes)
    digits = (
        CellCode(accelerator=accelerator, weight_bits=accelerator.weight_bits).digits(torch.zeros(1)).long().flatten()
    )
    shares = torch.bincount(digits, minlength=2**accelerator.cell_bits) / len(digits)
    assert zero_levels(accelerator) == near(shares.tolist())


def test_zeros_beside_groups_take_their_share_of_the_cells():
    # 8 groups on a crossbar: an eighth of the cells are weights; zeros of 8 bits in 2-bit cells are 2, 0, 0, 0
    accelerator, layer = chip(crossbar_size=128), conv("a", 32, 32, groups=32)
    weights, mixed = normal_levels(accelerator), assumed_levels(accelerator, layer)
    zeros = (3 / 4, 0, 1 / 4, 0)
    assert mixed == near(tuple(weight / 8 + zero * 7 / 8 for weight, zero in zip(weights, zeros, strict=True)))
    assert assumed_activity(accelerator, [layer]).layers[0].level_shares == mixed
    assert assumed_levels(accelerator, conv("a", 32, 32)) == weights


def test_groups_on_one_crossbar_cost_what_the_matrix_with_its_zeros_costs():
    # 4 groups of 2 channels: 72 rows x 32 columns on 128 x 128; the dense matrix computes four times the operations
    accelerator = chip(crossbar_size=128, mapping="conventional")
    grouped = conv("a", 8, 8, groups=4)
    ours = estimate_cost(accelerator, [grouped])
    whole = estimate_cost(accelerator, [conv("a", 8, 8)], activity=assumed_activity(accelerator, [grouped]))
    assert 4 * ours.ops == whole.ops
    assert 4 * ours.utilisation == whole.utilisation
    for name in ("area_m2", "latency_s", "dynamic_energy_j", "energy_by_component_j", "latency_by_component_s"):
        assert getattr(ours, name) == getattr(whole, name), name


def test_each_pack_pays_for_crossbars_inputs_and_traffic_of_its_own():
    # packs of 7 groups, 63 rows x 28 columns; the smallest tile has 16 crossbars
    one, many = (estimate_cost(chip(), [conv("a", 7 * n, 7 * n, groups=7 * n, relu=False)]) for n in (1, 16))
    assert (one.tiles, one.crossbars, one.layers[0].speedup) == (many.tiles, many.crossbars, 16) == (1, 16, 16)
    assert many.layers[0].speedup == 1
    for name in ("array", "adc", "shift_add", "drivers", "multiplexers", "registers"):
        assert many.energy_by_component_j[name] == near(16 * one.energy_by_component_j[name], rel=1e-3), name
    # the 16 copies of one pack share its windows; without copies, reading takes 16 times as long
    for name in ("adc", "registers"):
        assert many.latency_by_component_s[name] == near(16 * one.latency_by_component_s[name], rel=1e-3), name
    # a pack on one crossbar leaves the adder trees idle, which leak no more for many packs
    assert many.energy_by_component_j["adder_trees"] == one.energy_by_component_j["adder_trees"] == 0
    assert many.leakage_power_w == one.leakage_power_w
    # bits in 63 rows, 7 sums out, and each crosses the chip and the tile
    assert many.energy_by_component_j["buffers"] == near(16 * one.energy_by_component_j["buffers"])


def tree(inputs: int, width: int, side: int) -> AdderTree:
    return AdderTree(tech=technology(22), inputs=inputs, width=width, trees=side // 8)


def test_a_pack_over_two_pes_adds_their_sums():
    # 3 groups of 180 rows x 80 columns; PEs of 128 cells, of which a tile has 2 x 2: 2 packs on a tile, 1 on another
    layer = conv("a", 60, 60, groups=3, relu=False)
    mapped = map_network(chip(), [layer]).layers[0]
    assert tiles_of(mapped) == [Piece(180, 80, 1, 2), Piece(180, 80, 1, 1)]
    # sums of 5 + 8 + 4 + 1 bits of 2 crossbars, in the first of a pack's PEs: 64 windows x 2 weights a scan;
    # then of 2 PEs, once on each tile
    expected = 3 * 128 * tree(2, 18, 128).use_j(2) + 2 * 128 * tree(2, 19, 128).use_j(2)
    assert estimate_cost(chip(), [layer]).energy_by_component_j["adder_trees"] == near(expected)


def test_packs_side_by_side_on_a_pe_share_its_adder_trees():
    # 8 groups of 99 rows x 40 columns on the 2 x 2 crossbars of a PE: two packs on each of a tile's 4 PEs
    layer = conv("a", 88, 80, groups=8, relu=False)
    mapped = map_network(chip(), [layer]).layers[0]
    assert (mapped.tiles, mapped.places, mapped.speedup) == (1, 8, 1)
    expected = 4 * 128 * tree(2, 18, 128).use_j(2)
    assert estimate_cost(chip(), [layer]).energy_by_component_j["adder_trees"] == near(expected)


def test_rows_of_packs_on_a_tile_have_adders_of_their_own():
    # 96 groups of 300 rows x 64 columns on tiles of 1024 and PEs of 256: a pack takes 2 PEs along the rows, and a PE
    # has places for 4 side by side. So 3 tiles hold 2 rows of 16 packs each.
    layers = [dense("wide", 1024, 256), dense("small", 200, 50), conv("a", 28800, 1536, 1, groups=96)]
    accelerator = chip(mapping="conventional")
    mapped = map_network(accelerator, layers).layers[2]
    assert (mapped.tile_size, mapped.pe_size, mapped.tiles, mapped.places) == (1024, 256, 3, 32)
    # 4 packs share a use of a PE's trees; in its other PE, a pack has 44 rows on one crossbar
    expected = 96 * 128 / 4 * tree(4, 18, 256).use_j(4) + 3 * 2 * 128 * tree(4, 20, 256).use_j(2)
    assert estimate_cost(accelerator, layers).layers[2].energy_by_component_j["adder_trees"] == near(expected)


def test_packs_on_pes_of_their_own_take_the_time_of_one():
    # 3 groups of 99 rows x 80 columns take 3 of the 4 PEs of a tile; 99 x 64 x 8 bits in by 512 bits,
    # 20 weights x 64 sums of 18 bits out by 144 bits
    report = estimate_cost(chip(), [conv("a", 33, 60, groups=3, relu=False)])
    assert (report.tiles, report.layers[0].speedup) == (1, 1)
    assert report.latency_by_component_s["registers"] == near((99 + 160) * report.clock_s)


def test_operations_of_a_padded_image_can_count_more_windows_than_run():
    layer = conv("a", 3, 16, counted_windows=100)
    assert estimate_cost(chip(), [layer]).ops == 2 * 100 * 27 * 16


@pytest.mark.parametrize(
    ("changes", "way_out"),
    [
        pytest.param({"adc_bits": None}, "give 1 to 14 bits", id="an ideal converter has no cost"),
    ],
)
def test_an_accelerator_without_a_cost_model_is_refused(changes, way_out):
    with pytest.raises(ValueError, match=way_out):
        estimate_cost(chip(**changes), [dense("a", 64, 10)])


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        pytest.param({"crossbar_size": 512}, "crossbar_size 512", id="crossbar"),
        pytest.param({"adc_bits": 9}, "adc_bits 9", id="converter"),
        pytest.param({"cols_per_adc": 64}, "cols_per_adc 64", id="multiplexer"),
        pytest.param({"input_bits": 12}, "input_bits 12", id="inputs"),
        pytest.param({"weight_bits": 12}, "weight_bits 12", id="weights"),
        pytest.param({"weight_encoding": "differential"}, "differential", id="encoding"),
    ],
)
def test_settings_outside_neurosims_table_are_flagged(changes, reason):
    wide = dense("a", 512, 512)
    assert not estimate_cost(chip(), [wide]).outside_reference
    assert any(reason in each for each in estimate_cost(chip(**changes), [wide]).outside_reference)


def test_activity_must_fit_the_network():
    layers = [dense("a", 64, 10)]
    record = assumed_activity(chip(), layers).layers[0]
    with pytest.raises(ValueError, match="one per layer"):
        estimate_cost(chip(), layers, activity=Activity(layers=(record, record)))
    short = dataclasses.replace(record, plane_densities=(0.5,) * 3)
    with pytest.raises(ValueError, match="must have 8 values, got 3"):
        estimate_cost(chip(), layers, activity=Activity(layers=(short,)))


@pytest.mark.parametrize("shares", [(0.5, 0.6), (1.5, -0.5), ()])
def test_level_shares_are_a_distribution(shares):
    with pytest.raises(ValueError, match="level_shares must"):
        LayerActivity(plane_densities=(0.5,), level_shares=shares)


@pytest.mark.parametrize("node", NODES)
def test_every_node_has_every_value(node):
    tech = technology(node)
    planar_only = ("fin_height_m", "fin_width_m", "fin_pitch_m")
    for field in dataclasses.fields(tech):
        value = getattr(tech, field.name)
        assert value or (node > 14 and field.name in planar_only), field.name
    assert tech.is_finfet == (node <= 14)
    assert math.isclose(tech.unit_width_m, tech.node_m) == (node > 14)


def test_a_weight_wider_than_the_shared_columns_is_accumulated_except_as_neurosim_does():
    wide = chip(cols_per_adc=4, cell_bits=1, weight_bits=8)  # 8 columns a weight, 4 share a converter
    layers = [dense("a", 256, 64)]
    ours, neurosim = (estimate_cost(wide, layers, accumulate_wide_weights=each) for each in (True, False))
    assert ours.energy_by_component_j["shift_add"] > 1.2 * neurosim.energy_by_component_j["shift_add"]
    assert any("more columns than share a converter" in each for each in ours.outside_reference)
    assert not any("more columns than share a converter" in each for each in neurosim.outside_reference)
    narrow = chip(cols_per_adc=8, cell_bits=1, weight_bits=8)
    same = [estimate_cost(narrow, layers, accumulate_wide_weights=each) for each in (True, False)]
    assert same[0] == same[1]
