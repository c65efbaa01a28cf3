"""The mapping of weight matrices: by hand, and properties of every network."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hw_models.accelerator import Accelerator
from hw_models.devices import load_card
from hw_models.floorplan import copies
from hw_models.layers import MvmLayer
from hw_models.mapping import map_network
from pipeline.analog.tracing import trace

RRAM = load_card("rram").device


def chip(**changes) -> Accelerator:
    values = {"device": RRAM, "crossbar_size": 64, "cell_bits": 2, "weight_bits": 8, "input_bits": 8, "adc_bits": 5}
    return Accelerator(**(values | changes))


def conv(name: str, channels: int, filters: int, kernel: int = 3, pixels: int = 8, **changes) -> MvmLayer:
    return MvmLayer(
        name=name,
        in_height=pixels,
        in_width=pixels,
        in_channels=channels,
        kernel=kernel,
        out_channels=filters,
        windows=pixels**2,
        **changes,
    )


def dense(name: str, inputs: int, outputs: int) -> MvmLayer:
    return conv(name, inputs, outputs, kernel=1, pixels=1)


@st.composite
def networks(draw) -> list[MvmLayer]:
    pixels, channels, layers = draw(st.sampled_from([4, 8, 16])), draw(st.integers(1, 4)), []
    for index in range(draw(st.integers(0, 3))):
        filters, kernel = draw(st.integers(1, 96)), draw(st.sampled_from([1, 3, 5]))
        layers.append(conv(f"conv{index}", channels, filters, kernel, pixels, pooled=draw(st.booleans())))
        channels = filters
        if draw(st.booleans()):
            groups = draw(st.sampled_from([n for n in range(2, channels + 1) if channels % n == 0] or [1]))
            sides = draw(st.sampled_from([3, (1, 7), (2, 2, 2)]))
            layers.append(conv(f"grouped{index}", channels, channels, sides, pixels, groups=groups))
    return [*layers, dense("fc", channels * pixels**2, draw(st.integers(2, 40)))]


@st.composite
def chips(draw, **fixed) -> Accelerator:
    choices = {
        "device": st.sampled_from([RRAM, load_card("fefet").device, load_card("pcm").device]),
        "tech_node_nm": st.sampled_from([7, 10, 14, 22, 32, 45]),
        "crossbar_size": st.sampled_from([32, 64, 128, 256, 512]),
        "cell_bits": st.sampled_from([1, 2, 4]),
        "weight_bits": st.integers(2, 12),
        "weight_encoding": st.sampled_from(["offset", "differential"]),
        "input_bits": st.integers(1, 12),
        "adc_bits": st.integers(3, 10),
        "adc_type": st.sampled_from(["sar", "flash", "flash_voltage"]),
        "cols_per_adc": st.sampled_from([1, 2, 4, 8, 16, 32]),
        "mapping": st.sampled_from(["novel", "conventional"]),
    }
    return Accelerator(**{name: fixed[name] if name in fixed else draw(choice) for name, choice in choices.items()})


def test_novel_mapping_gives_each_kernel_position_its_own_rows():
    # 70 channels on 64 rows: each of the 9 positions takes 64 + 6 rows; 8 bits in 2-bit cells take 4 columns a filter
    mapped = map_network(chip(), [conv("a", 3, 70), conv("b", 70, 40)]).layers[1]
    assert mapped.mapped_as == "novel"
    assert mapped.row_order == "kernel_major"
    assert mapped.columns == 160
    assert mapped.row_blocks[:3] == ((0, 64), (64, 70), (70, 134))
    assert len(mapped.row_blocks) == mapped.row_block_count == 18
    assert mapped.conversions == 64 * 8 * 18 * 160


def test_conventional_mapping_cuts_the_unrolled_matrix():
    # 70 x 9 = 630 rows: nine blocks of 64 and one of 54
    mapped = map_network(chip(mapping="conventional"), [conv("a", 3, 70), conv("b", 70, 40)]).layers[1]
    assert mapped.mapped_as == "conventional"
    assert mapped.row_order == "channel_major"
    assert mapped.row_blocks[-1] == (576, 630)
    assert mapped.row_block_count == 10
    assert mapped.conversions == 64 * 8 * 10 * 160


def test_the_most_frequent_kernel_is_mapped_novel_and_the_first_one_wins_a_tie():
    layers = [conv("a", 64, 64, 5), conv("b", 64, 64, 3), dense("fc", 4096, 10)]
    assert [mapped.mapped_as for mapped in map_network(chip(), layers).layers] == [
        "novel",
        "conventional",
        "conventional",
    ]


def test_a_layer_of_fewer_rows_than_a_crossbar_stays_conventional():
    # 3 x 9 = 27 rows on 64
    assert map_network(chip(), [conv("a", 3, 64), conv("b", 64, 64)]).layers[0].mapped_as == "conventional"


def test_a_layer_with_bits_of_its_own_has_columns_of_its_own():
    # 8 bits take 4 cells of 2 bits, 5 bits take 3
    layers = [dense("as the accelerator", 64, 10), conv("conventional", 64, 10, 1, weight_bits=5)]
    layers.append(conv("novel", 64, 10, 3, weight_bits=5))
    mapped = map_network(chip(), layers).layers
    assert [each.mapped_as for each in mapped] == ["conventional", "conventional", "novel"]
    assert [each.columns_per_weight for each in mapped] == [4, 3, 3]
    assert [each.columns for each in mapped] == [40, 30, 30]


def test_packs_share_the_tiles_of_which_they_fill_most():
    # 256 packs of 7 groups, 63 rows x 28 columns, fill 16 x 16 crossbars: a tile of 1024, or four of 512 as well
    layers = [dense("wide", 1024, 256), conv("a", 1792, 1792, groups=1792)]
    mapping = map_network(chip(mapping="conventional"), layers)
    assert mapping.floorplan.tile_size == 1024
    assert [(each.packs, each.tiles) for each in mapping.layers] == [(1, 1), (256, 1)]


def test_a_network_of_packs_alone_has_a_floorplan():
    plan = map_network(chip(), [conv("a", 256, 1024, 1, groups=4)]).floorplan
    assert (plan.tile_size, plan.pe_size) == (512, 256)


def test_groups_share_a_crossbar_along_its_diagonal():
    # depthwise 3 x 3: 14 groups of 9 rows fit 128 rows, and 8 is the largest divisor of 32 below; 8 x 4 columns
    mapped = map_network(chip(crossbar_size=128), [conv("a", 32, 32, groups=32)]).layers[0]
    assert (mapped.groups_per_pack, mapped.packs) == (8, 4)
    assert (mapped.pack_rows, mapped.pack_columns, mapped.columns) == (72, 32, 128)
    assert mapped.row_blocks == ((0, 72),)
    assert mapped.conversions == 64 * 8 * 1 * 128
    # one tile of 4 x 4 crossbars has room for 4 copies of the 4 packs; 9 cells of each column hold weights
    assert (mapped.tiles, mapped.places, mapped.speedup) == (1, 16, 4)
    assert mapped.utilisation == 4 * 9 * 128 / 512**2


@pytest.mark.parametrize(
    ("layer", "groups_per_pack"),
    [
        pytest.param(conv("a", 10, 10, groups=10), 5, id="7 groups of 9 rows fit 64 rows, and 5 divides 10"),
        pytest.param(conv("a", 8, 64, 1, groups=8), 2, id="2 groups of 32 columns fit 64 columns"),
        pytest.param(conv("a", 7, 7, groups=7), 7, id="all 7 groups fit"),
        pytest.param(conv("a", 22, 22, groups=11), 1, id="3 groups fit, and none but 1 divides 11"),
        pytest.param(conv("a", 16, 16, groups=2), 1, id="a group of 72 rows is larger than a crossbar"),
        pytest.param(conv("a", 2, 40, 1, groups=2), 1, id="a group of 80 columns is larger than a crossbar"),
        pytest.param(conv("a", 7, 7), 1, id="no groups"),
    ],
)
def test_as_many_groups_share_a_crossbar_as_fit_it_and_divide_them(layer, groups_per_pack):
    mapped = map_network(chip(), [layer]).layers[0]
    assert mapped.groups_per_pack == groups_per_pack
    assert mapped.packs == layer.groups // groups_per_pack


def test_a_group_larger_than_a_crossbar_has_row_blocks_of_its_own():
    # 20 x 9 = 180 rows: blocks of 64, 64 and 52 for each of 3 groups, whose 20 filters take 80 columns
    mapped = map_network(chip(), [conv("a", 60, 60, groups=3)]).layers[0]
    assert (mapped.packs, mapped.row_blocks) == (3, ((0, 64), (64, 128), (128, 180)))
    assert mapped.conversions == 64 * 8 * 3 * 240
    # a pack takes 2 x 1 PEs of 128 cells, so that a tile of 256 has room for two: two tiles, and no copy
    assert (mapped.tile_size, mapped.pe_size, mapped.places) == (256, 128, 2)
    assert (mapped.tiles, mapped.speedup) == (2, 1)


def test_a_layer_without_inputs_to_reuse_or_a_square_kernel_is_conventional():
    layers = [conv("wide", 64, 64, (3, 5)), conv("square", 64, 64), conv("grouped", 64, 64, groups=2)]
    layers += [conv("volume", 64, 64, (3, 3, 3)), conv("sequence", 64, 64, (7,))]
    layers += [conv("patches", 64, 64, windows_overlap=False)]
    mapped = map_network(chip(), layers).layers
    assert [each.mapped_as for each in mapped] == ["conventional", "novel"] + 4 * ["conventional"]
    assert [each.layer.rows for each in mapped] == [64 * 15, 64 * 9, 32 * 9, 64 * 27, 64 * 7, 64 * 9]


@pytest.mark.parametrize(("stride", "overlap"), [(2, True), ((4, 3), True), (4, False), (5, False)])
def test_a_traced_convolution_tells_whether_its_windows_overlap(stride, overlap):
    traced = trace(torch.nn.Conv2d(3, 8, 4, stride), torch.zeros(1, 3, 16, 16))
    assert traced.workload.layers[0].windows_overlap == overlap


@pytest.mark.parametrize(
    ("rows", "columns", "expected"),
    [
        pytest.param(100, 60, (4, 8), id="fits a part along both sides: 8 / 2 and 8 / 1 copies"),
        pytest.param(600, 60, (1, 8), id="too many rows to copy along them"),
        pytest.param(600, 600, (1, 1), id="larger than the square"),
        pytest.param(200, 100, (2, 4), id="8 // 4 and 8 // 2"),
    ],
)
def test_a_small_matrix_is_copied_over_a_square_of_512_in_parts_of_64(rows, columns, expected):
    assert copies(rows, columns, 512, 64) == expected


def test_more_channels_than_a_novel_pe_take_more_tiles():
    # two filters' columns ask for a PE of 128 cells; 300 channels need three of them
    mapped = map_network(chip(), [conv("a", 300, 20), conv("b", 20, 2)]).layers[0]
    assert (mapped.tile_size, mapped.row_tiles, mapped.col_tiles) == (128, 3, 1)


def test_of_equally_used_sizes_the_largest_is_taken():
    # a matrix of 1024 x 1024 cells fills tiles of 1024 and of 512
    assert map_network(chip(), [dense("a", 1024, 256)]).floorplan.tile_size == 1024


def test_an_8x8_network_on_256_row_crossbars_keeps_the_smallest_hierarchy():
    mapping = map_network(chip(crossbar_size=256), [conv("a", 1, 8), dense("fc", 512, 10)])
    assert mapping.floorplan.outside_reference
    assert (mapping.floorplan.tile_size, mapping.floorplan.pe_size) == (1024, 512)


def test_a_network_without_layers_is_refused():
    with pytest.raises(ValueError, match="at least one layer"):
        map_network(chip(), [])


@given(chips(), networks())
def test_rows_are_covered_once_and_never_beyond_a_crossbar(accelerator, layers):
    for mapped in map_network(accelerator, layers).layers:
        covered = [row for first, last in mapped.row_blocks for row in range(first, last)]
        assert covered == list(range(mapped.pack_rows))
        assert all(last - first <= accelerator.crossbar_size for first, last in mapped.row_blocks)


@given(chips(), networks())
def test_packs_hold_every_group_once_and_have_a_place(accelerator, layers):
    for mapped in map_network(accelerator, layers).layers:
        assert mapped.packs * mapped.groups_per_pack == mapped.layer.groups
        assert mapped.packs * mapped.pack_rows == mapped.layer.inputs
        assert mapped.packs * mapped.pack_columns == mapped.columns
        assert mapped.packs * mapped.speedup <= mapped.places * mapped.tiles
        assert mapped.groups_per_pack == 1 or max(mapped.pack_rows, mapped.pack_columns) <= accelerator.crossbar_size


@given(chips(), networks())
def test_used_cells_fit_on_the_chip(accelerator, layers):
    mapping = map_network(accelerator, layers)
    assert 0 < mapping.utilisation <= 1
    assert all(0 < mapped.utilisation <= 1 for mapped in mapping.layers)
    assert mapping.cells == mapping.crossbars * accelerator.crossbar_size**2
    rows, columns = mapping.grid
    assert rows * columns >= mapping.tiles > (rows - 1) * columns


@given(chips(), networks())
def test_tiles_hold_the_whole_matrix(accelerator, layers):
    for mapped in map_network(accelerator, layers).layers:
        assert mapped.row_tiles * mapped.tile_size >= mapped.rows_per_position
        assert mapped.col_tiles * mapped.tile_size >= mapped.pack_columns
        assert math.log2(mapped.tile_size / mapped.pe_size).is_integer()
