"""The IR drop that is told for a design, beside a nodal solution of its wires and cells."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import sparse
from scipy.sparse.linalg import spsolve

from hw_models.accelerator import Accelerator
from hw_models.circuits.cell import cell_in_crossbar
from hw_models.cost import estimate_cost
from hw_models.cost.activity import LayerActivity, assumed_activity
from hw_models.cost.wires import Line, in_words, ir_drop, wire_lines
from hw_models.devices import load_card
from hw_models.layers import MvmLayer
from hw_models.mapping import map_network
from pipeline.analog.calibration import calibrate
from pipeline.analog.cells import CellCode
from pipeline.analog.layers import NoisyLinear
from pipeline.analog.model import program_chip
from pipeline.analog.simulated_chip import SimulatedChip
from pipeline.analog.wires import with_wires
from pipeline.design.constraints import Constraint


def chip_of(device="rram", size=64, **changes):
    plain = {"crossbar_size": size, "cell_bits": 1, "weight_bits": 8, "input_bits": 8, "adc_bits": 6}
    return Accelerator(device=load_card(device).device, **plain | changes)


def layer_of(rows, columns=64):
    return MvmLayer(
        name="fc", in_height=1, in_width=1, in_channels=rows, kernel=1, out_channels=columns, windows=1, relu=False
    )


def column_currents(siemens, active, row_ohm, column_ohm):
    """Currents at the feet of all columns, by Kirchhoff's law at every crossing of a row and a column.

    Rows are driven with 1 V at their first column, columns are held at 0 V below their last row, and the cells of a row
    that is not active are switched off.
    """
    rows, columns = siemens.shape
    on_row = np.arange(rows * columns).reshape(rows, columns)
    on_column = on_row + rows * columns
    first, second, values = [], [], []

    def connect(a, b, conductance):
        for one, other, sign in ((a, a, 1), (b, b, 1), (a, b, -1), (b, a, -1)):
            first.append(one.ravel())
            second.append(other.ravel())
            values.append(np.broadcast_to(sign * conductance, one.shape).ravel())

    connect(on_row[:, 1:], on_row[:, :-1], 1 / row_ohm)
    connect(on_column[1:], on_column[:-1], 1 / column_ohm)
    connect(on_row, on_column, siemens * active[:, None])
    feet, heads = on_column[-1], on_row[:, 0]
    for nodes, conductance in ((feet, 1 / column_ohm), (heads, 1 / row_ohm)):
        first.append(nodes)
        second.append(nodes)
        values.append(np.full(len(nodes), conductance))
    injected = np.zeros(2 * rows * columns)
    injected[heads] = 1 / row_ohm
    places = np.concatenate(first), np.concatenate(second)
    matrix = sparse.csc_matrix((np.concatenate(values), places), shape=(len(injected),) * 2)
    return spsolve(matrix, injected)[feet] / column_ohm


@pytest.mark.parametrize("device", ["rram", "pcm", "fefet", "stt_mram"])
@pytest.mark.parametrize(("size", "density"), [(32, 0.5), (64, 0.25), (128, 0.1)])
def test_drop_agrees_with_the_nodal_solution_of_random_arrays(device, size, density):
    chip = chip_of(device, size, adc_type="sar")
    cell, card, random = cell_in_crossbar(chip), chip.device, np.random.default_rng(size)
    shares = LayerActivity(plane_densities=(density,) * 8, level_shares=(0.5, 0.5))
    mapped = map_network(chip, [layer_of(size, size // 8)]).layers[0]
    assert mapped.pack_columns == size
    lost = []
    for _ in range(4):
        ohm = np.where(random.random((size, size)) < 0.5, card.r_on_ohm, card.r_off_ohm) + cell.access_ohm
        active = random.permutation(size) < round(density * size)
        ideal = (1 / ohm)[active].sum(0)
        delivered = column_currents(1 / ohm, active, cell.row_wire_ohm, cell.column_wire_ohm)
        lost.append(1 - delivered.sum() / ideal.sum())
    found, limit = ir_drop(cell, mapped, shares), max(0.01, 0.12 * np.mean(lost))
    assert found == pytest.approx(np.mean(lost), abs=limit)


def test_drop_grows_with_the_crossbar_and_shrinks_with_rows_at_once_and_resistance():
    def drop(chip, rows=512):
        layers = [layer_of(rows)]
        return estimate_cost(chip, layers).ir_drop if chip.rows_at_once is None else _of_layer(chip, layers)

    def _of_layer(chip, layers):
        return ir_drop(
            cell_in_crossbar(chip), map_network(chip, layers).layers[0], assumed_activity(chip, layers).layers[0]
        )

    sizes = [drop(chip_of(size=size)) for size in (32, 64, 128, 256)]
    assert sizes == sorted(sizes)
    assert sizes[0] > 0.01
    assert sizes[-1] > 0.5
    assert drop(chip_of(size=256, rows_at_once=16)) < sizes[-1]
    assert drop(chip_of("fefet", 256)) < drop(chip_of("pcm", 256)) < sizes[-1]
    assert drop(chip_of(size=256), rows=32) < sizes[-1], "only rows that are used conduct"


def test_sram_has_no_steady_current():
    assert estimate_cost(chip_of("sram"), [layer_of(512)]).ir_drop == 0


def test_the_layer_that_loses_most_decides():
    small, large = layer_of(16, 2), dataclasses.replace(layer_of(512), name="large")
    chip = chip_of()
    assert estimate_cost(chip, [small, large]).ir_drop > estimate_cost(chip, [small]).ir_drop
    alone = [
        ir_drop(cell_in_crossbar(chip), mapped, each)
        for mapped, each in zip(
            map_network(chip, [small, large]).layers, assumed_activity(chip, [small, large]).layers, strict=True
        )
    ]
    assert estimate_cost(chip, [small, large]).ir_drop == max(alone)


def test_the_table_in_the_docs_is_what_the_model_gives():
    text = (Path(__file__).parents[1] / "docs" / "cost_model.md").read_text()
    table = text[text.index("## Wires") : text.index("Real macros with such cells")]
    for device in ("rram", "pcm", "fefet", "stt_mram"):
        line = next(line for line in table.splitlines() if line.startswith(f"| `{device}`"))
        chips = [chip_of(device, size, adc_bits=8) for size in (32, 64, 128, 256, 512)]
        found = [f"{estimate_cost(chip, [layer_of(1024, 128)]).ir_drop:.0%}".replace("%", " %") for chip in chips]
        assert [cell.strip() for cell in line.split("|")[2:-1]] == found


def test_readers_are_told_of_a_drop_that_matters():
    assert in_words(0.04) == ""
    assert "56% of a column's current" in in_words(0.56)


def arrays_through_wires(device, size, patterns=6):
    """Column currents over those of ideal wires' full scale: (nodal, as the forward pass weighs cells, ideal wires)."""
    chip = chip_of(device, size, wires="resistive", weight_bits=2, input_bits=4)
    mapped = map_network(chip, [layer_of(size, size // 2)]).layers[0]
    code = CellCode(accelerator=chip, weight_bits=2)
    cell, random = cell_in_crossbar(chip), np.random.default_rng(size)
    digits = torch.from_numpy(random.integers(0, 2, (2, size // 2, size))).float()
    row, column = wire_lines(chip, mapped, is_first=True)
    weighed = (with_wires(code, digits, mapped, 0) + code.baseline) * row.delivered * column.delivered
    ideal = digits + code.baseline
    of_places = [each.movedim(-1, 0).flatten(1) for each in (weighed, ideal)]  # (rows, (columns of a weight, outputs))
    places = np.array([output * 2 + k for k in range(2) for output in range(size // 2)])
    per_level = (row.k**2 / cell.row_wire_ohm) / float(ideal.mean())  # a cell of mean conductance, over its levels
    siemens = np.empty((size, size))
    siemens[:, places] = per_level * of_places[1].numpy()
    sums = []
    for _ in range(patterns):
        active = random.random(size) < 0.5
        currents = column_currents(siemens[::-1], active[::-1], cell.row_wire_ohm, cell.column_wire_ohm)[places]
        sums.append([currents / per_level, *(each[active].sum(0).numpy() for each in of_places)])
    nodal, simulated, without = np.array(sums).transpose(1, 0, 2)
    return nodal / without.max(), simulated / without.max(), without / without.max()


def rms(values):
    return float(np.sqrt((values**2).mean()))


@pytest.mark.parametrize(
    ("device", "size", "most"),
    [("fefet", 64, 0.003), ("fefet", 128, 0.006), ("pcm", 32, 0.007), ("pcm", 64, 0.012), ("pcm", 128, 0.02),
     ("rram", 32, 0.03), ("rram", 64, 0.03)],
)  # fmt: skip
def test_simulated_wires_err_little_against_the_nodal_solution(device, size, most):
    nodal, simulated, ideal = arrays_through_wires(device, size)
    assert rms(simulated - nodal) < most
    assert rms(simulated - nodal) < 0.35 * rms(ideal - nodal), "most of the drop is in the profile"


def test_wires_take_accuracy_of_a_product_and_more_on_larger_crossbars():
    def error(size, **changes):
        torch.manual_seed(1)
        chip = chip_of("pcm", size, **{"adc_bits": 10, "weight_bits": 4, "input_bits": 4} | changes)
        layer = layer_of(256, 64)
        linear = NoisyLinear(256, 64, bias=False, accelerator=chip, mapping=map_network(chip, [layer]).layers[0])
        x = torch.rand(64, 256)
        calibrate(linear, x)
        ideal = F.linear(x, linear.weight)
        program_chip(linear, SimulatedChip.nominal(), "exact")
        return rms((linear(x) - ideal).detach().numpy()) / rms(ideal.detach().numpy())

    small, large = (error(size, wires="resistive") for size in (32, 256))
    assert error(256) < small < large
    assert error(256, wires="resistive", rows_at_once=32, crossbar_columns=32) < large
    assert error(256, wires="resistive", weight_encoding="differential") < large, "an offset is subtracted digitally"


def test_a_line_that_loses_almost_all_has_a_profile():
    short, long = Line(0.1, 8), Line(1.5, 1024)
    assert sum(short.profile) / 8 == pytest.approx(short.delivered, rel=0.001)
    ladder = [np.cosh(0.1 * (8 - place - 0.5)) / np.cosh(0.8) for place in range(8)]
    assert short.profile == pytest.approx(ladder)
    assert long.profile == pytest.approx([np.exp(-1.5 * (place + 0.5)) for place in range(1024)])


def test_sram_has_ideal_wires_whatever_is_asked():
    assert chip_of("sram", wires="resistive") == chip_of("sram")
    assert chip_of("rram", wires="resistive") != chip_of("rram")


def test_a_limit_in_percent_is_refused_because_the_drop_is_a_share():
    assert Constraint.parse("ir_drop <= 0.05").limit == 0.05
    with pytest.raises(ValueError, match=r"write 0\.05 for 5 %"):
        Constraint.parse("ir_drop <= 5")
