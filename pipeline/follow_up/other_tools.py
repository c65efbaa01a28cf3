"""A design's hardware as aihwkit and ZigZag describe hardware, as far as they have a word for it, and what is lost.

aihwkit 1.1.0 has no file format of its own: `aihwkit.json` holds the fields of its `InferenceRPUConfig`, and
`aihwkit_config.py` builds the configuration from it. ZigZag 3.9 reads `zigzag.yaml`.
"""

import math
from typing import Any

from hw_models.accelerator import Accelerator
from hw_models.devices import CellDevice

Described = tuple[dict[str, Any], list[str]]  # plain values, and what they leave out, a sentence each
_DRIFT_POINTS = 11  # conductances at which the drift exponent is written

AIHWKIT_LOADER = '''"""Builds aihwkit's configuration from aihwkit.json. README.md says what is lost."""

import json
from pathlib import Path

from aihwkit.inference import CustomDriftPCMLikeNoiseModel
from aihwkit.inference.converter.conductance import SinglePairConductanceConverter
from aihwkit.simulator.configs import InferenceRPUConfig
from aihwkit.simulator.parameters.enums import WeightNoiseType


def rpu_config(kind=InferenceRPUConfig):
    """The configuration for `aihwkit.nn.conversion.convert_to_analog(model, rpu_config())`.

    `TorchInferenceRPUConfig` as `kind` takes the tile in plain torch, which has no read noise (`forward.w_noise`).
    """
    values = json.loads(Path(__file__).with_name("aihwkit.json").read_text())
    noise = values["noise_model"]
    model = CustomDriftPCMLikeNoiseModel(
        custom_drift_model=noise["custom_drift_model"],
        prog_coeff=noise["prog_coeff"],
        g_converter=SinglePairConductanceConverter(g_max=noise["g_max"], g_min=noise["g_min"]),
        t_0=noise["t_0"],
        read_noise_scale=0.0,
    )
    config = kind(noise_model=model, drift_compensation=None)
    for part in ("forward", "mapping"):
        for name, value in values[part].items():
            setattr(getattr(config, part), name, value)
    if kind is InferenceRPUConfig:
        config.forward.w_noise_type = WeightNoiseType.ADDITIVE_CONSTANT
    else:
        config.forward.w_noise = 0.0
    return config
'''


def aihwkit_config(chip: Accelerator) -> Described:
    """The fields of aihwkit's inference configuration. Long because it is a table: one entry a field.

    Raises:
        ValueError: If aihwkit has no such cell or readout.
    """
    device = chip.device
    if device.g_on_siemens is None or chip.readout != "current":
        raise ValueError(f"aihwkit has no {device.name} cells with the readout {chip.readout}")
    if device.error_curves is not None:
        raise ValueError("aihwkit describes programming errors by a polynomial, this card by measured curves")
    if chip.adc_bits is None:
        raise ValueError("the converters are ideal")
    g_max, to_weight = 1e6 * device.g_on_siemens, math.sqrt(2) / (1 - device.lowest_u)  # two cells of a weight err
    shares = [device.lowest_u + (1 - device.lowest_u) * step / (_DRIFT_POINTS - 1) for step in range(_DRIFT_POINTS)]
    values = {
        "forward": {
            "inp_res": 1 / (2**chip.input_bits - 2) if chip.input_bits > 1 else 1.0,
            "out_res": 1 / (2**chip.adc_bits - 2) if chip.adc_bits > 1 else 1.0,
            "out_noise": 0.0,
            "w_noise": device.read_sigma * to_weight,
        },
        "mapping": {
            "digital_bias": True,
            "weight_scaling_omega": 1.0,
            "max_input_size": chip.crossbar_size,
            "max_output_size": chip.columns // chip.cells_per_weight,
        },
        "noise_model": {
            "g_max": g_max,
            "g_min": g_max * device.lowest_u,
            "prog_coeff": [g_max * coefficient for coefficient in device.programming_sigma],
            "t_0": device.drift_t0_s,
            "custom_drift_model": {
                "g_lst": [g_max * u for u in shares],
                "nu_mean_lst": [_exponent(device.drift_nu_law, device.drift_nu, u) for u in shares],
                "nu_std_lst": [_exponent(device.drift_nu_sigma_law, device.drift_nu_sigma, u) for u in shares],
            },
        },
    }
    return values, _lost_in_aihwkit(chip)


def _exponent(law: tuple[float, ...] | None, at_top: float, u: float) -> float:
    """Mean or standard deviation of the drift exponent at the relative conductance u (`CellDevice.drift_nu_law`)."""
    return at_top if law is None else min(max(law[0] * math.log(u) + law[1], law[2]), law[3])


def _lost_in_aihwkit(chip: Accelerator) -> list[str]:
    lost = [
        "the range of the converters, which nacim calibrates for each layer: aihwkit has one, `forward.out_bound`",
        "weights are continuous: aihwkit writes a weight of any value into one pair of cells",
        "energy, latency, area, and which columns share a converter",
    ]
    if chip.slices() > 1:
        lost.append(f"the {chip.slices()} cells over which a weight of {chip.weight_bits} bits is spread")
    if chip.weight_encoding == "offset":
        lost.append("the offset encoding: aihwkit stores signed weights in pairs")
    if chip.input_cycles > 1:
        lost.append(f"the {chip.input_cycles} cycles of an input, each with a conversion: it goes in at once")
    if chip.reads > 1:
        lost.append(f"rows are read in {chip.reads} groups, each with conversions of its own")
    if chip.combine_columns:
        lost.append("columns of a weight are combined before a conversion, by elements that differ")
    if chip.wires == "resistive":
        lost.append("current lost to the resistance of wires")
    return lost + _stuck(chip.device)


def _stuck(device: CellDevice) -> list[str]:
    return ["stuck cells"] if device.stuck_on_rate or device.stuck_off_rate else []


def zigzag_architecture(chip: Accelerator) -> Described:
    """An architecture with in-memory computing, as ZigZag's validator reads it."""
    inputs, weights = (2 ** math.ceil(math.log2(bits)) for bits in (chip.input_bits, chip.weight_bits))
    steps = min(inputs, 2 ** math.ceil(math.log2(chip.dac_bits)))
    is_digital = chip.readout == "digital"
    array = {
        "is_imc": True,
        "imc_type": "digital" if is_digital else "analog",
        "input_precision": [inputs, weights],
        "bit_serial_precision": steps,
        "adc_resolution": 0 if is_digital else chip.adc_bits or 0,
        "dimensions": ["D1", "D2"],
        "sizes": [chip.columns // chip.cells_per_weight, chip.crossbar_size],
    }
    memories = {
        "cells": _memory(weights, ["I2"], weights, []),
        "outside": _memory(2**40, ["I1", "I2", "O"], 64, ["D1", "D2"]),
    }
    lost = [
        "the memory cell and the node: ZigZag takes SRAM cells at 28 nm",
        "buffers, interconnect and their costs: `outside` stands for all memory and costs nothing; put yours there",
        "how many crossbars there are: ZigZag's array is one of them",
        f"the {chip.cols_per_adc} columns that share a converter: ZigZag has one for each column",
        "all errors of devices and converters, and the encoding of signed weights",
    ]
    if chip.cell_bits > 1:
        lost.append(f"the {chip.cell_bits} bits of a cell: ZigZag's cells hold one")
    if chip.reads > 1:
        lost.append(f"the {chip.reads} reads in which the rows of a crossbar take turns: ZigZag reads all at once")
    if chip.combine_columns:
        lost.append("columns that are combined before a conversion: ZigZag converts each")
    if chip.supply_v is not None:
        lost.append(f"the supply of {chip.supply_v:g} V")
    for name, own, rounded in (("inputs", chip.input_bits, inputs), ("weights", chip.weight_bits, weights)):
        if own != rounded:
            lost.append(f"{name} of {own} bits: ZigZag takes powers of two, so {rounded}")
    return {"name": "nacim", "memories": memories, "operational_array": array}, lost


def _memory(size: int, operands: list[str], width: int, served: list[str]) -> dict[str, Any]:
    """A memory that costs nothing, with one port for everything."""
    ways = {"I1": ("fh", "tl"), "I2": ("fh", "tl"), "O": ("fh", "tl", "fl", "th")}
    port = {
        "name": "rw_port_1",
        "type": "read_write",
        "bandwidth_min": width,
        "bandwidth_max": width,
        "allocation": [f"{operand}, {way}" for operand in operands for way in ways[operand]],
    }
    return {
        "size": size,
        "r_cost": 0.0,
        "w_cost": 0.0,
        "area": 0.0,
        "latency": 1 if served else 0,
        "operands": operands,
        "ports": [port],
        "served_dimensions": served,
    }
