"""Turn a row of NeuroSim's table into an accelerator, a network and its activity.

The table has one chip per row, computed with DNN+NeuroSim V1.3; docs/cost_model.md lists its columns. Two rules of
NeuroSim hold in this module only. It runs the windows inside the image but counts the operations of a padded image
(`network_from_dict`), and its inputs are two's complement (`activity_from_row`).
"""

import contextlib
import csv
import dataclasses
import difflib
import json
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hw_models.accelerator import Accelerator, AdcType
from hw_models.cost.activity import (
    Activity,
    LayerActivity,
    assumed_levels,
    rectified_planes,
    spread_density,
    tilt_levels,
)
from hw_models.devices import CellDevice, CellKind, load_card
from hw_models.errors import shown
from hw_models.layers import MvmLayer

Row = Mapping[str, str]
_DEVICES: dict[str, tuple[CellKind, float | None, float | None]] = {  # cell, R_on and R_off in ohm
    "RRAM": ("1t1r", 6e3, 900e3),
    "RRAM_HR": ("1t1r", 100e3, 1e6),
    "PCM": ("1t1r", 40e3, 500e3),
    "STTMRAM": ("1t1r", 6e3, 12e3),
    "FeFET": ("fefet", 240e3, 24e6),
    "SRAM": ("sram", None, None),
}
_CARDS: dict[CellKind, str] = {"1t1r": "rram", "fefet": "fefet", "sram": "sram"}
_TOOL_CELLS: dict[str, CellKind] = {"RRAM": "1t1r", "FeFET": "fefet", "SRAM": "sram"}
_ADC_TYPES: dict[str, AdcType] = {"SAR": "sar", "CSA": "flash", "VSA": "flash_voltage"}
_PROFILES = {"base": (0.0, 1.0), "sparse": (0.6745, 1.0), "dense": (0.0, 2.0)}  # threshold, factor on the densities


def read_networks(path: Path) -> dict[str, tuple[MvmLayer, ...]]:
    """Read the networks of a file, by name.

    A JSON file holds several networks by name, or one (an object with `layers`), which gets the file's name. A CSV file
    is NeuroSim's own table of one network, which also gets the file's name.

    Raises:
        ValueError: If the file has another form, or a layer cannot be; the message names the file, layer and value.
    """
    try:
        if path.suffix == ".csv":
            return {path.stem: network_from_dict({"layers": _table_layers(path)})}
        content = _json(path.read_text(encoding="utf-8"))
        if "layers" in content:
            return {path.stem: network_from_dict(content)}
        return {name: network_from_dict(network) for name, network in content.items()}
    except _NO_NETWORKS as error:
        reason = " ".join(str(error).split())[:100]
        raise ValueError(
            f"{path}: not a file of networks ({type(error).__name__}: {reason}); see docs/cost_model.md"
        ) from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _json(text: str) -> dict[str, Any]:
    """A JSON object whose keys stand once in theirs, with names that can be written."""

    def each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            names = [name for name, _ in pairs]
            raise ValueError(
                f"the key {shown(next(n for n in names if names.count(n) > 1))} is given twice; remove one"
            )
        return found

    content = json.loads(text, object_pairs_hook=each_key_once)
    if not isinstance(content, dict):
        raise TypeError(f"an object with networks is wanted, got a {type(content).__name__}")
    return content


_NO_NETWORKS = (
    *(json.JSONDecodeError, csv.Error, UnicodeDecodeError, RecursionError),
    *(AttributeError, KeyError, TypeError),
)
_LARGEST_SIZE = 2**24  # of a layer, in any direction; assumed
_MOST_LAYERS = 10_000  # of a network; assumed
_LONGEST_NAME = 80  # characters of a layer's name that are kept
_READ_KEYS = ("H", "W", "Cin", "K", "Cout", "groups", "stride", "num_vectors", "maxpool2x2_after", "layer")
_NOTES = ("type", "weights", "macs_same_padding")  # in NeuroSim's table's own file; they follow from the others


def network_from_dict(network: Mapping[str, Any]) -> tuple[MvmLayer, ...]:
    """Layers of a NeuroSim network.

    Each has H, W, Cin, K (one side of a square kernel, or both sides along H and W) and Cout, and may have groups,
    stride, num_vectors, maxpool2x2_after and layer (its name).

    Quirk: `num_vectors` windows run (those inside the image, at least one), but the operations of all H x W pixels
    count.

    Raises:
        ValueError: If a value is not a whole number of 1 or more, or a layer has a key with another meaning; the
            message names the layer.
    """
    layers = network["layers"]
    if not isinstance(layers, list | tuple) or not 1 <= len(layers) <= _MOST_LAYERS:
        raise ValueError(f"layers must be a list of 1 to {_MOST_LAYERS} layers, got {shown(layers)}")
    return tuple(_layer(index, values) for index, values in enumerate(layers, start=1))


def _layer(index: int, values: Mapping[str, Any]) -> MvmLayer:
    if not isinstance(values, Mapping):
        raise ValueError(f"layer {index} must be an object with H, W, Cin, K and Cout, got {shown(values)}")
    name = values.get("layer", index)
    if not isinstance(name, str | int) or not str(name).isprintable():
        raise ValueError(f"layer of layer {index} must be its name in one line, got {shown(name)}")
    name = str(name)[:_LONGEST_NAME]
    if unknown := [key for key in values if key not in _READ_KEYS + _NOTES]:
        known = ", ".join(_READ_KEYS)
        raise ValueError(f"layer {name} has the key {shown(unknown[0])}, but only these are read: {known}")
    if missing := [key for key in _READ_KEYS[:5] if key not in values]:
        raise ValueError(f"{missing[0]} of layer {name} is missing")
    height, width = _size(name, "H", values["H"]), _size(name, "W", values["W"])
    kernel = _kernel(name, values["K"])
    vectors = values.get("num_vectors")
    stride = _size(name, "stride", values.get("stride", 1))
    return MvmLayer(
        name=name,
        in_height=height,
        in_width=width,
        in_channels=_size(name, "Cin", values["Cin"]),
        kernel=kernel,
        out_channels=_size(name, "Cout", values["Cout"]),
        windows=_windows_inside((height, width), kernel, stride)
        if vectors is None
        else _size(name, "num_vectors", vectors),
        pooled=_flag(name, "maxpool2x2_after", values.get("maxpool2x2_after", False)),
        counted_windows=height * width,
        groups=_size(name, "groups", values.get("groups", 1)),
    )


def _size(name: str, key: str, value: Any) -> int:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 1 <= value <= _LARGEST_SIZE or value != int(value):
        raise ValueError(f"{key} of layer {name} must be a whole number of 1 to {_LARGEST_SIZE}, got {shown(value)}")
    return int(value)


def _flag(name: str, key: str, value: Any) -> bool:
    if value not in (False, True):
        raise ValueError(f"{key} of layer {name} must be true or false (1 or 0 in a CSV file), got {shown(value)}")
    return bool(value)


def _kernel(name: str, value: Any) -> tuple[int, int]:
    sides = value if isinstance(value, list | tuple) else [value, value]
    if len(sides) != 2:
        raise ValueError(f"K of layer {name} must be one side or [side along H, side along W], got {shown(value)}")
    return _size(name, "K", sides[0]), _size(name, "K", sides[1])


def _windows_inside(image: tuple[int, int], kernel: tuple[int, int], stride: int) -> int:
    high, wide = (max(0, size - side + 1) for size, side in zip(image, kernel, strict=True))
    return max(1, int(high / stride * wide / stride))


_NETWORK_COLUMNS = ("H", "W", "Cin", "K", "K of the other side", "Cout", "maxpool2x2_after", "stride")


def _table_layers(path: Path) -> list[dict[str, Any]]:
    """Layers of NeuroSim's own table: one row of whole numbers each, without a header."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = [row for row in csv.reader(file) if row]
    try:
        layers: list[dict[str, Any]] = [dict(zip(_NETWORK_COLUMNS, map(int, row), strict=True)) for row in rows]
    except ValueError as error:
        raise TypeError(f"each row needs {len(_NETWORK_COLUMNS)} whole numbers: {str(error)[:80]}") from error
    for layer in layers:
        layer["K"] = [layer["K"], layer.pop("K of the other side")]
    return layers


def accelerator_from_row(row: Row) -> Accelerator:
    """The accelerator of a row. Missing or empty columns take the values of the table's base design.

    Raises:
        ValueError: If a value is not a number or out of its range; the message names the column.
    """
    cell_bits = integer(row, "cell_bits", 1 if row.get("device") in ("SRAM", "STTMRAM") else 2)
    adc_type = row.get("adc_type") or "CSA"
    mapping = row.get("mapping") or "NM"
    if adc_type not in _ADC_TYPES:
        raise ValueError(f"adc_type must be one of {', '.join(_ADC_TYPES)}, got {shown(adc_type)}")
    if mapping not in ("NM", "CM"):
        raise ValueError(f"mapping must be NM or CM, got {shown(mapping)}")
    return Accelerator(
        device=_device(row, cell_bits),
        tech_node_nm=integer(row, "tech_node_nm", 22),
        crossbar_size=integer(row, "array_size", 128),
        cell_bits=cell_bits,
        weight_bits=integer(row, "weight_bits", 8),
        input_bits=integer(row, "input_bits", 8),
        adc_bits=_adc_bits(row),
        adc_type=_ADC_TYPES[adc_type],
        cols_per_adc=integer(row, "col_mux", 8),
        mapping="novel" if mapping == "NM" else "conventional",
    )


def _device(row: Row, cell_bits: int) -> CellDevice:
    label = row.get("device") or "RRAM"
    cell, r_on, r_off = _DEVICES.get(label, ("1t1r", None, None))
    if row.get("tool_cell_type"):
        if row["tool_cell_type"] not in _TOOL_CELLS:
            raise ValueError(
                f"tool_cell_type must be one of {', '.join(_TOOL_CELLS)}, got {shown(row['tool_cell_type'])}"
            )
        cell = _TOOL_CELLS[row["tool_cell_type"]]
    card = load_card(_CARDS[cell]).device
    card = dataclasses.replace(
        card,
        name=label.lower(),
        cell_height_f=_number(row, "cell_h_F") or card.cell_height_f,
        cell_width_f=_number(row, "cell_w_F") or card.cell_width_f,
    )
    if cell == "sram":
        return card
    r_on, r_off = _number(row, "r_on_ohm") or r_on, _number(row, "r_off_ohm") or r_off
    if r_on is None or r_off is None:
        raise ValueError(f"device {shown(label)} is none of {', '.join(_DEVICES)}: give its r_on_ohm and r_off_ohm")
    return dataclasses.replace(
        card,
        g_on_siemens=1 / r_on,
        on_off_ratio=r_off / r_on,
        conductance_levels=2 ** min(max(1, cell_bits), 8),
        programming_sigma=(0.0,),
    )


def _adc_bits(row: Row) -> int:
    bits = integer(row, "adc_bits", 0)
    levels = integer(row, "adc_levels", 2 ** min(bits, 64) if bits else 32)
    if levels < 2 or levels & (levels - 1):
        raise ValueError(f"adc_levels must be a power of two from 2, got {shown(row['adc_levels'])}")
    if bits and levels.bit_length() - 1 != min(bits, 64):
        raise ValueError(f"adc_bits {bits} and adc_levels {shown(row['adc_levels'])} disagree; remove one")
    return bits or levels.bit_length() - 1


def _number(row: Row, column: str) -> float | None:
    text = (row.get(column) or "").strip()
    if not text:
        return None
    try:
        number = float(text)
    except ValueError:
        raise ValueError(f"{column} must be a number, got {shown(text)}") from None
    if not math.isfinite(number) or number <= 0:
        raise ValueError(f"{column} must be above 0, got {shown(text)}")
    return number


def _share(row: Row, column: str) -> float | None:
    number = _number(row, column)
    if number is not None and number > 1:
        raise ValueError(f"{column} must be above 0, at most 1, got {shown(row[column])}")
    return number


def integer(row: Row, column: str, default: int) -> int:
    """A whole number above 0 from a row; `default` if the column is missing or empty.

    Raises:
        ValueError: If the column holds anything else; the message names it.
    """
    number = _number(row, column)
    if number is None:
        return default
    if number > _LARGEST_SIZE or number != int(number):
        raise ValueError(f"{column} must be a whole number of 1 to {_LARGEST_SIZE}, got {shown(row[column])}")
    return int(number)


_IMAGE_DENSITY = 0.5  # bit density of the first layer, whose inputs are signed and symmetric


def _mean_to_layers(layers: Sequence[MvmLayer], mean: float) -> list[float]:
    """`_IMAGE_DENSITY` for the first layer, and for the others the density that gives `mean` over rows x windows."""
    if len(layers) == 1:
        return [mean]
    weights = [layer.rows * layer.windows for layer in layers]
    others = (mean * sum(weights) - _IMAGE_DENSITY * weights[0]) / sum(weights[1:])
    return [_IMAGE_DENSITY] + [min(max(others, 0.0), 1.0)] * (len(layers) - 1)


def _profile_densities(row: Row, accelerator: Accelerator, layers: Sequence[MvmLayer]) -> list[float]:
    profile = row.get("activity_profile") or "base"
    if profile not in _PROFILES:
        raise ValueError(f"activity_profile must be one of {', '.join(_PROFILES)}, got {shown(profile)}")
    threshold, scale = _PROFILES[profile]
    ones = scale * sum(rectified_planes(accelerator.input_bits - 1, threshold)) if accelerator.input_bits > 1 else 0.0
    return [_IMAGE_DENSITY] + [ones / accelerator.input_bits] * (len(layers) - 1)


LayerDensities = Mapping[tuple[str, int], float]  # (id of the row, number of the layer from 1) -> share of ones


def read_densities(path: Path) -> LayerDensities:
    """Read the bit density of each layer from a CSV file with the columns id, layer, bit_density.

    Raises:
        ValueError: If a column is missing, does not hold a number from 0 to 1, or a layer stands twice.
    """
    densities: dict[tuple[str, int], float] = {}
    for line, row in enumerate(read_rows(path), start=2):
        try:
            key, density = (row["id"], int(row["layer"])), float(row["bit_density"])
        except (KeyError, TypeError, ValueError) as error:
            reason = str(error)[:80]
            raise ValueError(f"{path} line {line}: needs the columns id, layer, bit_density ({reason})") from error
        if not 0 <= density <= 1:
            raise ValueError(f"{path} line {line}: bit_density must be 0 to 1, got {shown(row['bit_density'])}")
        if key in densities:
            raise ValueError(f"{path} line {line}: layer {key[1]} of {shown(key[0])} stands twice; remove one")
        densities[key] = density
    return densities


def activity_from_row(
    row: Row, accelerator: Accelerator, layers: Sequence[MvmLayer], densities: LayerDensities | None
) -> Activity:
    """The activity of a row: from `densities` if they have the row, else from its columns (docs/cost_model.md).

    Inputs are two's complement, as in NeuroSim's traces: their sign is 0 in all layers but the first.

    Raises:
        ValueError: If `densities` have only some of the layers, or a column is wrong; the message names it.
    """
    level, mean = _share(row, "mean_cell_level"), _share(row, "mean_bit_density")
    found = [(densities or {}).get((row.get("id", ""), index)) for index in range(1, len(layers) + 1)]
    per_layer = [density for density in found if density is not None]
    if per_layer and len(per_layer) < len(found):
        raise ValueError(f"the activity file has {len(per_layer)} of {len(found)} layers of {shown(row.get('id'))}")
    if (row.get("id", ""), len(layers) + 1) in (densities or {}):
        raise ValueError(f"the activity file has more than the {len(layers)} layers of {shown(row.get('id'))}")
    if not per_layer:
        per_layer = _profile_densities(row, accelerator, layers) if mean is None else _mean_to_layers(layers, mean)
    records, bits = [], accelerator.input_bits
    for index, (layer, density) in enumerate(zip(layers, per_layer, strict=True)):
        planes = spread_density(density, bits, signed=True) if index else (density,) * bits
        levels = assumed_levels(accelerator, layer)
        levels = levels if level is None else tilt_levels(levels, level)
        records.append(LayerActivity(plane_densities=planes, level_shares=levels))
    return Activity(layers=tuple(records))


def layers_from_row(row: Row, networks: Mapping[str, Sequence[MvmLayer]]) -> Sequence[MvmLayer]:
    """The network that a row names: one of `networks`, or the path of a file.

    Raises:
        ValueError: If it is neither.
    """
    name = row.get("network") or ""
    if name in networks:
        return networks[name]
    path = Path(name)
    with contextlib.suppress(OSError):  # a text that is too long for a path
        if path.suffix in (".json", ".csv") and path.is_file():
            return next(iter(read_networks(path).values()))
    known = ", ".join(networks)[:100] or "none: give --networks"
    raise ValueError(f"network {shown(name)} is neither a path of a JSON or CSV file nor one of {known}")


def read_rows(path: Path) -> list[dict[str, str]]:
    """Read a CSV file with a header line. Missing fields of a row are empty.

    Raises:
        ValueError: If it is not a CSV file, names a column twice, or has a line with more fields than columns.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restval="")
            columns = [name for name in reader.fieldnames or () if name]
            rows = list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: not a CSV file: {error}") from error
    if twice := next((name for name in columns if columns.count(name) > 1), None):
        raise ValueError(f"{path}: the column {shown(twice)} stands twice; remove one")
    for line, row in enumerate(rows, start=2):
        if any(row.get(None) or ()):
            raise ValueError(
                f"{path} line {line}: more fields than the {len(columns)} columns; quote texts with commas"
            )
    return [{name: text for name, text in row.items() if name} for row in rows]


_READ_COLUMNS = (
    *("id", "network", "device", "tool_cell_type", "r_on_ohm", "r_off_ohm", "tech_node_nm", "array_size", "adc_type"),
    *("adc_levels", "adc_bits", "cell_bits", "weight_bits", "input_bits", "col_mux", "mapping", "activity_profile"),
    *("cell_h_F", "cell_w_F", "mean_bit_density", "mean_cell_level"),
)
_ALIKE = 0.8  # share of letters above which a column counts as misspelt (difflib); assumed


def unread_columns(columns: Iterable[str], known: Collection[str] = ()) -> list[str]:
    """Columns of a table that are neither read nor `known`, such as notes.

    Raises:
        ValueError: If one of them looks like a column that is read: it is misspelt, and the default would be taken.
    """
    unread = [column for column in columns if column not in (*_READ_COLUMNS, *known)]
    for column in unread:
        lower = {name.lower(): name for name in _READ_COLUMNS}
        if near := difflib.get_close_matches(column.strip().lower(), lower, n=1, cutoff=_ALIKE):
            raise ValueError(
                f"column {shown(column)} is not read; did you mean {lower[near[0]]!r}? Rename or remove it"
            )
    return unread
