"""Everything that a trial measures: where it is read, its unit, and which way is better.

Any metric may be an objective, and any that needs no training a constraint. A new one is an entry in `METRICS`.
"""

import dataclasses
from functools import partial
from typing import Literal

_PREFIXES = {"": 1.0, "m": 1e3, "u": 1e6, "n": 1e9, "p": 1e12}  # SI prefix -> prefixed units in one unit


@dataclasses.dataclass(frozen=True, slots=True)
class Metric:
    """One measured quantity.

    Attributes:
        attribute: Of the report that `source` names. Trials measured before the metric existed get it only if their
            stored report has this attribute (`stored_values`).
        label: Short text for tables and axes.
        unit: As shown; SI with a prefix.
        stored_unit: As stored; None: `unit`.
        source: Where the value is read: `accuracy` is the `VariationReport` of the validation images; `cost` is the
            `CostReport` at the assumed activity, known before training; `own cost` is another `CostReport`, at the
            trained network's own activity; `silicon` is the `NetworkEstimate` of measured chips, known before training.
        falls_with_chips: More chips lower the value, so all trials of a study need the same number of chips.
    """

    attribute: str
    label: str
    meaning: str
    _: dataclasses.KW_ONLY
    direction: Literal["maximize", "minimize"]
    unit: str
    stored_unit: str | None = None
    source: Literal["accuracy", "cost", "own cost", "silicon"] = "cost"
    falls_with_chips: bool = False

    @property
    def is_accuracy(self) -> bool:
        """Whether it is an accuracy, a fraction from 0 to 1."""
        return self.source == "accuracy"

    @property
    def needs_training(self) -> bool:
        """Whether it is not known before the network is trained."""
        return self.source not in ("cost", "silicon")

    @property
    def units(self) -> dict[str, float]:
        """Unit -> factor from the stored unit to it, such as `{"m2": 1.0, "mm2": 1e6, ...}`."""
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
        return f"{value * self.scale:#.4g}".rstrip(".")

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


_accuracy = partial(Metric, direction="maximize", unit="%", stored_unit="0 to 1", source="accuracy")
_maximized = partial(Metric, direction="maximize")
_minimized = partial(Metric, direction="minimize")

METRICS: dict[str, Metric] = {
    "accuracy_mean": _accuracy("mean", "accuracy", "Mean accuracy over simulated chips, validation images."),
    "accuracy_p05": _accuracy(
        "p05",
        "accuracy, 5th percentile",
        "5th percentile over simulated chips, validation images.",
        falls_with_chips=True,
    ),
    "accuracy_worst": _accuracy(
        "worst", "accuracy, worst chip", "Worst simulated chip, validation images.", falls_with_chips=True
    ),
    "accuracy_noiseless": _accuracy(
        "noiseless", "accuracy, no device errors", "Accuracy of a chip without device errors, validation images."
    ),
    "accuracy_float": _accuracy(
        "float_accuracy", "accuracy, float", "Accuracy of the float network, no hardware, validation images."
    ),
    "tops_per_watt": _maximized(
        "tops_per_watt",
        "TOPS/W",
        "Operations (2 per multiply-accumulate, at the design's own bits) per energy of an inference.",
        unit="TOPS/W",
    ),
    "tops_per_watt_silicon": _maximized(
        "tops_per_watt_silicon",
        "TOPS/W, silicon",
        "TOPS/W that silicon would reach, by a model fitted to measured chips; see docs/silicon.md.",
        unit="TOPS/W",
        source="silicon",
    ),
    "tops_per_watt_silicon_low": _maximized(
        "tops_per_watt_silicon_low",
        "TOPS/W, silicon, low end",
        "Lower end of its 80 % bar: families of which measured chips tell little count for less.",
        unit="TOPS/W",
        source="silicon",
    ),
    "tops": _maximized("tops", "TOPS", "Operations per second, one image at a time.", unit="TOPS"),
    "tops_per_mm2": _maximized("tops_per_mm2", "TOPS/mm2", "Operations per second and chip area.", unit="TOPS/mm2"),
    "area_m2": _minimized("area_m2", "area", "Chip area.", unit="mm2", stored_unit="m2"),
    "latency_s": _minimized("latency_s", "latency", "Time of one inference.", unit="us", stored_unit="s"),
    "energy_j": _minimized(
        "energy_j",
        "energy",
        "Energy of one inference: dynamic, leakage, and wiring (NeuroSim's post-layout factor 1.22).",
        unit="nJ",
        stored_unit="J",
    ),
    "edp_js": _minimized("edp_js", "EDP", "Energy times latency of one inference.", unit="pJ s", stored_unit="J s"),
    "ir_drop": _minimized(
        "ir_drop",
        "IR drop, share of current",
        "Share of a column's current that the resistance of wires takes, in the layer that loses most. Simulated "
        "accuracy knows of it only with wires: resistive; the constraint ir_drop <= 0.05 keeps a search to designs "
        "where it is small.",
        unit="",
    ),
    "tops_per_watt_own_data": _maximized(
        "tops_per_watt",
        "TOPS/W, own data",
        "TOPS/W at the trained network's own bit densities and weights in place of the assumed ones.",
        unit="TOPS/W",
        source="own cost",
    ),
    "energy_own_data_j": _minimized(
        "energy_j",
        "energy, own data",
        "Energy of one inference at the trained network's own bit densities and weights.",
        unit="nJ",
        stored_unit="J",
        source="own cost",
    ),
    "leakage_power_w": _minimized(
        "leakage_power_w", "leakage", "Leakage power of the chip, without wiring.", unit="uW", stored_unit="W"
    ),
    "power_w": _minimized(
        "power_w", "power", "Energy per latency: mean power while inferring without pause.", unit="mW", stored_unit="W"
    ),
    "tops_per_watt_8bit": _maximized(
        "tops_per_watt_8bit",
        "TOPS/W, 8 b",
        "TOPS/W normalised to 8-bit operations: one with b-bit inputs and w-bit weights counts as b x w / 64.",
        unit="TOPS/W",
    ),
}
