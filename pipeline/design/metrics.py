"""Everything that a trial measures: names, units and which way is better. Any of them may be an objective."""

import dataclasses
from typing import Literal


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Metric:
    """One measured quantity.

    Attributes:
        direction: Which way is better.
        unit: For people; SI with the prefix of `scale`.
        scale: Stored value times this is the number shown.
        label: Short text for tables and axes.
        meaning: One sentence.
        stored_unit: Of the stored value; None: `unit`.
    """

    direction: Literal["maximize", "minimize"]
    unit: str
    scale: float
    label: str
    meaning: str
    stored_unit: str | None = None

    def show(self, value: float) -> str:
        """The value with four significant digits, in `unit`."""
        return f"{value * self.scale:.4g}"

    @property
    def title(self) -> str:
        """Label and unit of the number shown, such as `area [mm2]`; a label that names its unit stands alone."""
        return self._with(self.unit)

    @property
    def stored_title(self) -> str:
        """Label and unit of the stored value, such as `area [m2]`."""
        return self._with(self.stored_unit or self.unit)

    def _with(self, unit: str) -> str:
        return self.label if unit in self.label else f"{self.label} [{unit}]"


def _accuracy(label: str, meaning: str) -> Metric:
    return Metric(direction="maximize", unit="%", stored_unit="0 to 1", scale=100, label=label, meaning=meaning)


METRICS: dict[str, Metric] = {
    "accuracy_mean": _accuracy("accuracy", "Mean accuracy over simulated chips, validation images."),
    "accuracy_p05": _accuracy("accuracy, 5th percentile", "5th percentile over simulated chips, validation images."),
    "accuracy_worst": _accuracy("accuracy, worst chip", "Worst simulated chip, validation images."),
    "accuracy_noiseless": _accuracy(
        "accuracy, no device errors", "Converters and bit widths, no device errors, validation images."
    ),
    "accuracy_float": _accuracy("accuracy, float", "Float weights and activations, no hardware, validation images."),
    "tops_per_watt": Metric(
        direction="maximize",
        unit="TOPS/W",
        scale=1,
        label="TOPS/W",
        meaning="Operations (2 per multiply-accumulate, at the design's own bits) per energy, with leakage and the "
        "reference's post-layout factor 1.22.",
    ),
    "tops": Metric(
        direction="maximize",
        unit="TOPS",
        scale=1,
        label="TOPS",
        meaning="Operations per second, one image at a time.",
    ),
    "tops_per_mm2": Metric(
        direction="maximize",
        unit="TOPS/mm2",
        scale=1,
        label="TOPS/mm2",
        meaning="Operations per second and chip area.",
    ),
    "area_m2": Metric(
        direction="minimize", unit="mm2", stored_unit="m2", scale=1e6, label="area", meaning="Chip area."
    ),
    "latency_s": Metric(
        direction="minimize", unit="us", stored_unit="s", scale=1e6, label="latency", meaning="Time of one inference."
    ),
    "energy_j": Metric(
        direction="minimize",
        unit="nJ",
        stored_unit="J",
        scale=1e9,
        label="energy",
        meaning="Energy of one inference, leakage included.",
    ),
    "edp_js": Metric(
        direction="minimize",
        unit="pJ s",
        stored_unit="J s",
        scale=1e12,
        label="EDP",
        meaning="Energy times latency of one inference.",
    ),
    "tops_per_watt_own_data": Metric(
        direction="maximize",
        unit="TOPS/W",
        scale=1,
        label="TOPS/W, own data",
        meaning="TOPS/W at the trained network's own bit densities and weights in place of the assumed ones.",
    ),
    "energy_own_data_j": Metric(
        direction="minimize",
        unit="nJ",
        stored_unit="J",
        scale=1e9,
        label="energy, own data",
        meaning="Energy of one inference at the trained network's own bit densities and weights.",
    ),
    "leakage_power_w": Metric(
        direction="minimize",
        unit="uW",
        stored_unit="W",
        scale=1e6,
        label="leakage",
        meaning="Leakage power of the chip.",
    ),
}
