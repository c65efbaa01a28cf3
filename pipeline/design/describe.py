"""A design as text: in one line, and as columns of a table."""

import dataclasses
from typing import Any

from hw_models.accelerator import Accelerator
from hw_models.number_format import FixedPoint
from pipeline.design.built_network import BuiltNetwork
from pipeline.design.design_point import ConvSpec, DesignPoint, HiddenSpec

_NONE_MEANS = {"adc_bits": "none", "rows_at_once": "all", "supply_v": "the node's", "crossbar_columns": "as rows"}


def describe(design: DesignPoint) -> str:
    """A design in one line: `rram 22 nm, 128x128, ADC 6 b sar /8, cell 2 b, w 8 b, x 4 b, offset | 16k3p | fc 32`.

    What the readout does otherwise than a plain one follows: `offset, charge, 4 b DACs, columns combined, 16 rows at
    once, 0.7 V`; a digital macro has `digital /8` in place of its converters.
    A layer with a fixed-point format of its own ends with it: `16k3p:0.5` has no integer and 5 fraction bits. A network
    that a function builds is its name and parameters: `resnet depth 2, width1 16 | stages.2.* 4 b`.
    """
    convs = " ".join(
        f"{c.filters}k{c.kernel}{f's{c.stride}' if c.stride > 1 else ''}{'p' if c.pool else ''}{_format(c)}"
        for c in design.convs
    )
    hidden = " ".join(f"{layer.units}{_format(layer)}" for layer in design.hidden)
    hardware = _describe_hardware(design.accelerator)
    if design.network is not None:
        return f"{hardware} | {describe_network(design.network)}"
    return f"{hardware} | {convs or 'no convolution'} | {'fc ' + hidden if hidden else 'no hidden layer'}"


def _describe_hardware(chip: Accelerator) -> str:
    adc = f"ADC {chip.adc_bits} b {chip.adc_type}" if chip.readout != "digital" else "digital"
    parts = [
        f"{chip.device.name} {chip.tech_node_nm} nm",
        f"{chip.crossbar_size}x{chip.columns}",
        f"{adc} /{chip.cols_per_adc}",
        f"cell {chip.cell_bits} b",
        f"w {chip.weight_bits} b",
        f"x {chip.input_bits} b",
        chip.weight_encoding,
    ]
    if chip.readout not in ("current", "digital"):
        parts.append(chip.readout)
    if chip.dac_bits > 1:
        parts.append(f"{chip.dac_bits} b {'DACs' if chip.input_drive == 'voltage' else 'pulses'}")
    if chip.combine_columns:
        parts.append("columns combined")
    if chip.rows_at_once:
        parts.append(f"{chip.rows_at_once} rows at once")
    if chip.supply_v:
        parts.append(f"{chip.supply_v:g} V")
    if chip.wires == "resistive":
        parts.append("resistive wires")
    return ", ".join(parts)


def describe_network(network: BuiltNetwork) -> str:
    """A network that a function builds in one line: `resnet depth 2, width1 16 | stages.2.* 4 b`."""
    parameters = ", ".join(f"{name} {value}" for name, value in network.parameters)
    bits = ", ".join(f"{pattern} {bits} b" for pattern, bits in network.weight_bits)
    return f"{network.builder} {parameters}".strip() + (f" | {bits}" if bits else "")


def _format(layer: ConvSpec | HiddenSpec) -> str:
    own = layer.weight_format
    return f":{own.integer_bits}.{own.fraction_bits}" if own else ""


def design_columns(design: DesignPoint) -> dict[str, Any]:
    """A design as flat columns: the hardware's fields, then `conv1_filters`, ..., `fc1_units`, ...

    For a network that a function builds: `network`, its parameters as `network_depth`, ..., and
    `weight_bits[PATTERN]`. `show_choice` gives a value as text.
    """
    chip = design.accelerator
    columns: dict[str, Any] = {f.name: getattr(chip, f.name) for f in dataclasses.fields(chip)}
    columns["device"] = chip.device.name
    if (built := design.network) is not None:
        columns |= {"network": built.builder} | {f"network_{name}": value for name, value in built.parameters}
        return columns | {f"weight_bits[{pattern}]": bits for pattern, bits in built.weight_bits}
    for i, conv in enumerate(design.convs, start=1):
        columns |= {f"conv{i}_{name}": getattr(conv, name) for name in ("filters", "kernel", "stride", "pool")}
        columns |= _format_columns(f"conv{i}", conv.weight_format)
    for i, layer in enumerate(design.hidden, start=1):
        columns |= {f"fc{i}_units": layer.units} | _format_columns(f"fc{i}", layer.weight_format)
    return columns | _format_columns("classifier", design.classifier_format)


def show_choice(name: str, value: Any) -> str:
    """A value of the column `name` as text."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return _NONE_MEANS.get(name, "absent") if value is None else str(value)


def _format_columns(layer: str, own: FixedPoint | None) -> dict[str, int]:
    return {f"{layer}_{field}": bits for field, bits in dataclasses.asdict(own).items()} if own else {}
