"""Where energy, area and latency come from: by component and by layer."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from hw_models.cost import POST_LAYOUT_ENERGY
from pipeline.report.evaluated import Evaluated

_ROUNDING = 1e-12  # assumed share of a total: smaller differences are rounding


def component_parts(trial: Evaluated, name: str) -> dict[str, float]:
    """Component -> its part of `energy_j`, `area_m2` or `latency_s`; parts that are zero are left out."""
    stem, unit = name.rsplit("_", 1)
    parts: dict[str, float] = dict(trial.cost[f"{stem}_by_component_{unit}"])
    if name == "energy_j":
        parts |= {name: trial.cost[f"{name}_energy_j"] for name in ("leakage", "wiring")}
    return {component: value for component, value in parts.items() if value}


def layer_components(trial: Evaluated, name: str) -> dict[str, dict[str, float]]:
    """Layer -> component -> part of `energy_j`, `area_m2` or `latency_s`.

    `shared` holds the area that belongs to no layer, `digital` the energy and latency of digital operations.
    """
    stem, unit = name.rsplit("_", 1)
    layers: list[dict[str, Any]] = trial.cost["layers"]
    key = f"{stem}_by_component_{unit}"
    if any(key not in layer for layer in layers):  # early databases hold only a layer's total area
        whole = {layer["name"]: {"other": layer[name]} for layer in layers}
        return whole | {"shared": {"other": trial.cost["shared_area_m2"]}}
    parts: dict[str, dict[str, float]] = {layer["name"]: layer[key] for layer in layers}
    if name == "energy_j":
        parts = {layer["name"]: parts[layer["name"]] | {"leakage": layer["leakage_energy_j"]} for layer in layers}
    if name != "area_m2" and "digital" in trial.cost[key]:
        parts["digital"] = {"digital": trial.cost[key]["digital"]}
        if name == "energy_j":
            leakage_j = math.fsum(layer["leakage_energy_j"] for layer in layers)
            parts["digital"]["leakage"] = trial.cost["leakage_energy_j"] - leakage_j
    if name == "energy_j":
        added = POST_LAYOUT_ENERGY - 1
        parts = {layer: part | {"wiring": added * math.fsum(part.values())} for layer, part in parts.items()}
    if name == "area_m2":
        owned = {key: math.fsum(part.get(key, 0.0) for part in parts.values()) for key in component_parts(trial, name)}
        left = {key: value - owned[key] for key, value in component_parts(trial, name).items()}
        parts["shared"] = {key: value for key, value in left.items() if value > _ROUNDING * trial.cost["area_m2"]}
    return parts


def layer_parts(trial: Evaluated, name: str) -> dict[str, float]:
    """Layer -> its part of `energy_j`, `area_m2` or `latency_s`."""
    return {layer: math.fsum(parts.values()) for layer, parts in layer_components(trial, name).items()}


def mean_shares(parts: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Component -> its share of the total, mean over designs, largest first."""
    shares = dict.fromkeys((key for part in parts for key in part), 0.0)
    for part in parts:
        for key, value in part.items():
            shares[key] += value / sum(part.values()) / len(parts)
    return dict(sorted(shares.items(), key=lambda item: -item[1]))


def grouped(parts: Sequence[Mapping[str, float]], names: Collection[str]) -> Iterable[tuple[str, list[float]]]:
    """Each named component, then `other` for the rest, with its value in each of `parts`; groups of zeros left out."""
    rest = [key for key in dict.fromkeys(key for part in parts for key in part) if key not in names]
    for group, members in [*((name, [name]) for name in names), ("other", rest)]:
        values = [sum(part.get(member, 0.0) for member in members) for part in parts]
        if any(values):
            yield group, values
