"""A design as text: in one line, and as columns of a table."""

import dataclasses
from typing import Any

from hw_models.number_format import FixedPoint
from pipeline.design.design_point import ConvSpec, DesignPoint, HiddenSpec


def describe(design: DesignPoint) -> str:
    """A design in one line: `rram 22 nm, 128x128, ADC 6 b sar /8, cell 2 b, w 8 b, x 4 b, offset | 16k3p | fc 32`.

    A layer with a fixed-point format of its own ends with it: `16k3p:0.5` has no integer and 5 fraction bits.
    """
    chip = design.accelerator
    convs = " ".join(
        f"{c.filters}k{c.kernel}{f's{c.stride}' if c.stride > 1 else ''}{'p' if c.pool else ''}{_format(c)}"
        for c in design.convs
    )
    hidden = " ".join(f"{layer.units}{_format(layer)}" for layer in design.hidden)
    return (
        f"{chip.device.name} {chip.tech_node_nm} nm, {chip.crossbar_size}x{chip.crossbar_size}, "
        f"ADC {chip.adc_bits} b {chip.adc_type} /{chip.cols_per_adc}, cell {chip.cell_bits} b, w {chip.weight_bits} b, "
        f"x {chip.input_bits} b, {chip.weight_encoding} | {convs or 'no convolution'} | "
        f"{'fc ' + hidden if hidden else 'no hidden layer'}"
    )


def _format(layer: ConvSpec | HiddenSpec) -> str:
    own = layer.weight_format
    return f":{own.integer_bits}.{own.fraction_bits}" if own else ""


def design_columns(design: DesignPoint) -> dict[str, Any]:
    """A design as flat columns: the hardware's fields, then `conv1_filters`, ..., `fc1_units`, ..."""
    chip = design.accelerator
    columns: dict[str, Any] = {f.name: getattr(chip, f.name) for f in dataclasses.fields(chip)}
    columns["device"] = chip.device.name
    for i, conv in enumerate(design.convs, start=1):
        columns |= {f"conv{i}_{name}": getattr(conv, name) for name in ("filters", "kernel", "stride", "pool")}
        columns |= _format_columns(f"conv{i}", conv.weight_format)
    for i, layer in enumerate(design.hidden, start=1):
        columns |= {f"fc{i}_units": layer.units} | _format_columns(f"fc{i}", layer.weight_format)
    return columns | _format_columns("classifier", design.classifier_format)


def _format_columns(layer: str, own: FixedPoint | None) -> dict[str, int]:
    return {f"{layer}_{field}": bits for field, bits in dataclasses.asdict(own).items()} if own else {}
