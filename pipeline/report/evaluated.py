"""Measured trials, read back from the database, and how tables and figures show them. Loads no torch."""

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from optuna.trial import FrozenTrial

from hw_models.silicon import NetworkEstimate
from pipeline.database.trials import checkpoint_of
from pipeline.design.design_point import DesignPoint
from pipeline.design.metrics import METRICS
from pipeline.design.results import VariationReport, stored_cost, stored_silicon, stored_values

_ALIKE = " (chips alike)"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Evaluated:
    """One measured trial.

    Attributes:
        measured: `pipeline.design.results.stored_values`: name -> value.
        cost: `hw_models.cost.CostReport.to_dict()`.
        validation, test: Accuracy over simulated chips.
        phase_s: Wall time of each phase in seconds.
        versions: Those of Python, nacim and the libraries that computed the result.
        started, finished: When, or None if the database does not say.
        checkpoint: File of the trained weights in the study's folder `checkpoints`, or None.
        silicon: What silicon would reach; None if the database does not hold it and the network had to be built.
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
    silicon: NetworkEstimate | None
    remeasured: tuple[dict[str, Any], ...]

    @classmethod
    def from_trial(cls, trial: FrozenTrial, remeasured: Sequence[dict[str, Any]] = ()) -> "Evaluated":
        """Read a complete trial that was not reused; the inverse of `pipeline.database.records.record`.

        Raises:
            ValueError: If its checkpoint is no file name.
        """
        attributes = trial.user_attrs
        return cls(
            number=trial.number,
            measured=stored_values(attributes),
            design=DesignPoint.from_dict(attributes["design"]),
            cost=stored_cost(attributes),
            validation=VariationReport.from_dict(attributes["variation"]["validation"]),
            test=VariationReport.from_dict(attributes["variation"]["test"]),
            phase_s=attributes["phase_s"],
            versions=attributes["versions"],
            started=trial.datetime_start,
            finished=trial.datetime_complete,
            checkpoint=checkpoint_of(trial),
            silicon=stored_silicon(attributes),
            remeasured=tuple(remeasured),
        )

    @property
    def device(self) -> str:
        """Name of the memory device."""
        return self.design.accelerator.device.name

    def over_sigma(self) -> list[tuple[float, VariationReport]]:
        """(programming errors as a multiple of the card's, accuracy on validation images) as measured later.

        Measurements whose settings differ only in sigma and number of chips make one curve. Of several curves this is
        the one with the most points, and of equally long ones the newest.
        """
        curves: dict[str, dict[float, dict[str, Any]]] = {}
        for entry in self.remeasured:
            others = {name: value for name, value in entry["settings"].items() if name not in ("sigma_scale", "chips")}
            curve = curves.pop(json.dumps(others), {})
            curves[json.dumps(others)] = curve | {entry["settings"]["sigma_scale"]: entry["validation"]}
        found = max(reversed(curves.values()), key=len, default={})
        return [(scale, VariationReport.from_dict(found[scale])) for scale in sorted(found)]

    def interval(self, name: str) -> tuple[float, float] | None:
        """95 % confidence interval of a metric, or None if it is exact or has no interval."""
        return (self.validation.mean_low, self.validation.mean_high) if name == "accuracy_mean" else None

    def show(self, name: str) -> str:
        """A metric for people, without its unit: `96.2`, or `96.2 ± 0.4` if it has an interval; `-` if not known."""
        if name not in self.measured:
            return "-"
        return METRICS[name].show(self.measured[name]) if self.interval(name) is None else show_mean(self.validation)

    def with_unit(self, name: str) -> str:
        """`show` with the unit: `96.20 ± 0.40 %`, `97.21 % (chips alike)`."""
        number, alike, _ = self.show(name).partition(_ALIKE)
        return f"{number} {METRICS[name].unit}{alike}"


def best_by(trials: Iterable[Evaluated], name: str) -> Evaluated:
    """The trial with the best value of a metric."""
    sign = 1 if METRICS[name].direction == "maximize" else -1
    return max(trials, key=lambda trial: sign * trial.measured[name])


def show_mean(report: VariationReport) -> str:
    """Mean accuracy and half of its 95 % interval in percent: `96.20 ± 0.40`, `97.21 (chips alike)` where none differs.

    Of an interval that is cut at 0 or 1, the wider half.
    """
    half = max(report.mean_high - report.mean, report.mean - report.mean_low)
    return f"{100 * report.mean:.2f}{_ALIKE if half == 0 else f' ± {two_digits(100 * half)}'}"


def two_digits(value: float) -> str:
    """Two significant digits, trailing zeros kept: `1.0`."""
    return f"{value:#.2g}".rstrip(".")
