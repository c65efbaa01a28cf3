"""Measured trials, read back from the database: what reports, pages and figures are made of. No torch here."""

import dataclasses
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from optuna.trial import FrozenTrial

from hw_models.number_format import FixedPoint
from pipeline.design.design_point import DesignPoint
from pipeline.design.metrics import METRICS
from pipeline.design.results import VariationReport

_ROUNDING = 1e-12  # assumed, of a total: differences below are none


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Evaluated:
    """One measured trial.

    Attributes:
        number: Of the trial.
        measured: Name in `METRICS` -> value, and the figures of the test images.
        design: Hardware and network.
        cost: `hw_models.cost.CostReport.to_dict()`.
        validation, test: Accuracy over simulated chips.
        phase_s: Wall time of each phase in seconds.
        versions: Of Python, nacim and the libraries that computed the result.
        started, finished: When, or None if the database does not say.
        checkpoint: File of the trained weights in the study's folder `checkpoints`, or None.
        remeasured: What `nacim evaluate` recorded later at the study's drift time: settings and reports.
    """

    number: int
    measured: Mapping[str, float]
    design: DesignPoint
    cost: dict[str, Any]
    validation: VariationReport
    test: VariationReport
    phase_s: Mapping[str, float]
    versions: Mapping[str, str]
    started: datetime | None
    finished: datetime | None
    checkpoint: str | None
    remeasured: tuple[dict[str, Any], ...]

    @classmethod
    def from_trial(cls, trial: FrozenTrial, remeasured: Sequence[dict[str, Any]] = ()) -> "Evaluated":
        """Read a complete trial that was not reused; the inverse of `pipeline.database.records.record`."""
        attributes = trial.user_attrs
        names = [*METRICS, "test_accuracy_mean", "test_accuracy_std"]
        return cls(
            number=trial.number,
            measured={name: attributes[name] for name in names},
            design=DesignPoint.from_dict(attributes["design"]),
            cost=attributes["cost"],
            validation=VariationReport.from_dict(attributes["variation"]["validation"]),
            test=VariationReport.from_dict(attributes["variation"]["test"]),
            phase_s=attributes["phase_s"],
            versions=attributes["versions"],
            started=trial.datetime_start,
            finished=trial.datetime_complete,
            checkpoint=attributes["checkpoint"],
            remeasured=tuple(remeasured),
        )

    @property
    def device(self) -> str:
        """Name of the memory device."""
        return self.design.accelerator.device.name

    def over_sigma(self) -> list[tuple[float, VariationReport]]:
        """(programming errors as a multiple of the card's, accuracy on validation images) as measured later.

        Measurements that differ in sigma and number of chips alone make one curve; of several curves the one with
        the most points, and of equal ones the newest.
        """
        curves: dict[str, dict[float, dict[str, Any]]] = {}
        for entry in self.remeasured:
            others = {name: value for name, value in entry["settings"].items() if name not in ("sigma_scale", "chips")}
            curve = curves.pop(json.dumps(others), {})
            curves[json.dumps(others)] = curve | {entry["settings"]["sigma_scale"]: entry["validation"]}
        found = max(reversed(curves.values()), key=len, default={})
        return [(scale, VariationReport.from_dict(found[scale])) for scale in sorted(found)]

    def interval(self, name: str) -> tuple[float, float] | None:
        """95 % confidence interval of a metric, or None for one that is known exactly or has none."""
        return (self.validation.mean_low, self.validation.mean_high) if name == "accuracy_mean" else None

    def show(self, name: str) -> str:
        """A metric for people, without its unit: `96.2`, or `96.2 ± 0.4` if it has an interval."""
        metric, interval = METRICS[name], self.interval(name)
        text = metric.show(self.measured[name])
        return text if interval is None else f"{text} ± {two_digits(half_width(self.validation) * metric.scale)}"


def serving(trials: Sequence[Evaluated]) -> list[Evaluated]:
    """Those at least half as accurate as the best one: a front may end in designs that are of no use."""
    best = max((trial.measured["accuracy_mean"] for trial in trials), default=0.0)
    enough = min(best, best / 2)  # estimates from few images may be below 0
    return [trial for trial in trials if trial.measured["accuracy_mean"] >= enough]


def winner(trials: Iterable[Evaluated], name: str) -> Evaluated:
    """The trial with the best value of a metric."""
    sign = 1 if METRICS[name].direction == "maximize" else -1
    return max(trials, key=lambda trial: sign * trial.measured[name])


def half_width(report: VariationReport) -> float:
    """Half of the 95 % interval of the mean; the side that is not cut off at 0 or 1."""
    return max(report.mean_high - report.mean, report.mean - report.mean_low)


def two_digits(value: float) -> str:
    """Two significant digits, a zero included: `1.0`."""
    return f"{value:#.2g}".rstrip(".")


def design_columns(design: DesignPoint) -> dict[str, Any]:
    """A design as flat columns: the hardware's fields as really used, then `conv1_filters`, ..., `fc1_units`, ..."""
    chip = design.accelerator
    columns: dict[str, Any] = {f.name: getattr(chip, f.name) for f in dataclasses.fields(chip)}
    columns["device"] = chip.device.name
    for i, conv in enumerate(design.convs, start=1):
        columns |= {f"conv{i}_{name}": getattr(conv, name) for name in ("filters", "kernel", "stride", "pool")}
        columns |= _format_columns(f"conv{i}", conv.weight_format)
    for i, fc in enumerate(design.hidden, start=1):
        columns |= {f"fc{i}_units": fc.units} | _format_columns(f"fc{i}", fc.weight_format)
    return columns | _format_columns("classifier", design.classifier_format)


def _format_columns(layer: str, weight_format: FixedPoint | None) -> dict[str, int]:
    if weight_format is None:
        return {}
    return {
        f"{layer}_integer_bits": weight_format.integer_bits,
        f"{layer}_fraction_bits": weight_format.fraction_bits,
    }


def component_parts(trial: Evaluated, name: str) -> dict[str, float]:
    """Component -> its part of `energy_j`, `area_m2` or `latency_s`; parts that are zero are left out."""
    stem, unit = name.rsplit("_", 1)
    parts: dict[str, float] = dict(trial.cost[f"{stem}_by_component_{unit}"])
    if name == "energy_j":
        parts["leakage"] = trial.cost["leakage_energy_j"]
    return {component: value for component, value in parts.items() if value}


def layer_components(trial: Evaluated, name: str) -> dict[str, dict[str, float]]:
    """Layer -> component -> part of `energy_j`, `area_m2` or `latency_s`; the layer `shared` is what no layer owns."""
    stem, unit = name.rsplit("_", 1)
    layers: list[dict[str, Any]] = trial.cost["layers"]
    key = f"{stem}_by_component_{unit}"
    if any(key not in layer for layer in layers):  # early databases know a layer's area as a whole alone
        whole = {layer["name"]: {"other": layer[name]} for layer in layers}
        return whole | {"shared": {"other": trial.cost["shared_area_m2"]}}
    parts: dict[str, dict[str, float]] = {layer["name"]: layer[key] for layer in layers}
    if name == "energy_j":
        return {layer["name"]: parts[layer["name"]] | {"leakage": layer["leakage_energy_j"]} for layer in layers}
    if name == "area_m2":
        owned = {key: math.fsum(part.get(key, 0.0) for part in parts.values()) for key in component_parts(trial, name)}
        left = {key: value - owned[key] for key, value in component_parts(trial, name).items()}
        parts["shared"] = {key: value for key, value in left.items() if value > _ROUNDING * trial.cost["area_m2"]}
    return parts


def layer_parts(trial: Evaluated, name: str) -> dict[str, float]:
    """Layer -> its part of `energy_j`, `area_m2` or `latency_s`."""
    return {layer: math.fsum(parts.values()) for layer, parts in layer_components(trial, name).items()}
