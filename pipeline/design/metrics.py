"""Everything that a trial measures: where it is read, its unit, and which way is better. Any may be an objective."""

import dataclasses
from typing import Literal

_PREFIXES = {"": 1.0, "m": 1e3, "u": 1e6, "n": 1e9, "p": 1e12}  # SI prefix -> prefixed units in one unit


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Metric:
    """One measured quantity.

    Attributes:
        source: Where the value is read: `accuracy` is the `VariationReport` of the validation images; `cost` is the
            `CostReport` at the assumed activity, known before training; `own cost` is the one at the trained network's
            own activity.
        attribute: Of that report.
        direction: Which way is better.
        unit: For people; SI with a prefix.
        label: Short text for tables and axes.
        meaning: One sentence.
        stored_unit: Of the stored value; None: `unit`.
        falls_with_chips: The more chips are simulated, the lower the value: studies need equal numbers of chips.
    """

    source: Literal["accuracy", "cost", "own cost"]
    attribute: str
    direction: Literal["maximize", "minimize"]
    unit: str
    label: str
    meaning: str
    stored_unit: str | None = None
    falls_with_chips: bool = False

    @property
    def is_accuracy(self) -> bool:
        """A fraction from 0 to 1."""
        return self.source == "accuracy"

    @property
    def needs_training(self) -> bool:
        """The cost model alone cannot tell it."""
        return self.source != "cost"

    @property
    def units(self) -> dict[str, float]:
        """Unit -> how many of it make one of the stored unit, such as `{"m2": 1.0, "mm2": 1e6, ...}`."""
        if self.is_accuracy:
            return {"%": 100.0}
        if self.stored_unit is None:
            return {self.unit: 1.0}
        power = 2 if self.stored_unit == "m2" else 1
        scales = {prefix + self.stored_unit: factor**power for prefix, factor in _PREFIXES.items()}
        return {unit: scale for unit, scale in scales.items() if scale <= 1e12}  # um2 is the smallest area

    @property
    def scale(self) -> float:
        """Stored value times this is the number shown."""
        return self.units[self.unit]

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


def _accuracy(attribute: str, label: str, meaning: str, falls_with_chips: bool = False) -> Metric:
    return Metric(
        source="accuracy",
        attribute=attribute,
        direction="maximize",
        unit="%",
        stored_unit="0 to 1",
        label=label,
        meaning=meaning,
        falls_with_chips=falls_with_chips,
    )


METRICS: dict[str, Metric] = {
    "accuracy_mean": _accuracy("mean", "accuracy", "Mean accuracy over simulated chips, validation images."),
    "accuracy_p05": _accuracy(
        "p05", "accuracy, 5th percentile", "5th percentile over simulated chips, validation images.", True
    ),
    "accuracy_worst": _accuracy("worst", "accuracy, worst chip", "Worst simulated chip, validation images.", True),
    "accuracy_noiseless": _accuracy(
        "noiseless", "accuracy, no device errors", "Converters and bit widths, no device errors, validation images."
    ),
    "accuracy_float": _accuracy(
        "float_accuracy", "accuracy, float", "Float weights and activations, no hardware, validation images."
    ),
    "tops_per_watt": Metric(
        source="cost",
        attribute="tops_per_watt",
        direction="maximize",
        unit="TOPS/W",
        label="TOPS/W",
        meaning="Operations (2 per multiply-accumulate, at the design's own bits) per energy, leakage and NeuroSim's "
        "post-layout factor 1.22 included.",
    ),
    "tops": Metric(
        source="cost",
        attribute="tops",
        direction="maximize",
        unit="TOPS",
        label="TOPS",
        meaning="Operations per second, one image at a time.",
    ),
    "tops_per_mm2": Metric(
        source="cost",
        attribute="tops_per_mm2",
        direction="maximize",
        unit="TOPS/mm2",
        label="TOPS/mm2",
        meaning="Operations per second and chip area.",
    ),
    "area_m2": Metric(
        source="cost",
        attribute="area_m2",
        direction="minimize",
        unit="mm2",
        stored_unit="m2",
        label="area",
        meaning="Chip area.",
    ),
    "latency_s": Metric(
        source="cost",
        attribute="latency_s",
        direction="minimize",
        unit="us",
        stored_unit="s",
        label="latency",
        meaning="Time of one inference.",
    ),
    "energy_j": Metric(
        source="cost",
        attribute="energy_j",
        direction="minimize",
        unit="nJ",
        stored_unit="J",
        label="energy",
        meaning="Energy of one inference, leakage included.",
    ),
    "edp_js": Metric(
        source="cost",
        attribute="edp_js",
        direction="minimize",
        unit="pJ s",
        stored_unit="J s",
        label="EDP",
        meaning="Energy times latency of one inference.",
    ),
    "tops_per_watt_own_data": Metric(
        source="own cost",
        attribute="tops_per_watt",
        direction="maximize",
        unit="TOPS/W",
        label="TOPS/W, own data",
        meaning="TOPS/W at the trained network's own bit densities and weights in place of the assumed ones.",
    ),
    "energy_own_data_j": Metric(
        source="own cost",
        attribute="energy_j",
        direction="minimize",
        unit="nJ",
        stored_unit="J",
        label="energy, own data",
        meaning="Energy of one inference at the trained network's own bit densities and weights.",
    ),
    "leakage_power_w": Metric(
        source="cost",
        attribute="leakage_power_w",
        direction="minimize",
        unit="uW",
        stored_unit="W",
        label="leakage",
        meaning="Leakage power of the chip.",
    ),
    "power_w": Metric(
        source="cost",
        attribute="power_w",
        direction="minimize",
        unit="mW",
        stored_unit="W",
        label="power",
        meaning="Mean power while inferring without pause, leakage included.",
    ),
}
