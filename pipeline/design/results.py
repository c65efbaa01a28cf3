"""The results of one trial. No torch here, so that a report opens fast."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from hw_models.cost import POST_LAYOUT_ENERGY, CostReport
from hw_models.errors import shown
from hw_models.silicon import NetworkEstimate, silicon_estimate_of
from pipeline.design.design_point import DesignPoint
from pipeline.design.metrics import METRICS
from pipeline.design.topology import mvm_layers

WITH_WIRING = {"energy_j", "power_w", "edp_js"}  # of a cost report: what earlier releases stored without wiring
TEST_ACCURACIES = {"test_accuracy_mean": "mean", "test_accuracy_std": "std"}  # name -> attribute of `VariationReport`


class TrainingDiverged(RuntimeError):
    """The loss of a training became infinite or NaN."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class VariationReport:
    """Accuracy over simulated chips: a fraction from 0 to 1, or another task's score of at most 1 (docs/data.md).

    Attributes:
        per_chip: Accuracy of each simulated chip, chip 0 first.
        mean, std, p05, worst: Mean, standard deviation (n - 1), 5th percentile and minimum over the chips; the last
            two are at least 0.
        mean_low, mean_high: 95 % confidence interval (Student's t) of the mean over all possible chips, for the same
            images.
        noiseless: Accuracy at the same converters and bit widths, without device errors.
        float_accuracy: Accuracy with float weights and activations, no hardware.
        required, fraction_good: Accuracy that a chip must reach to count as good, and the share of chips that do.
        n_images: Images of the split. If each chip classified a random draw of `images_per_chip`, its accuracy is an
            estimate, which may lie outside 0 to 1.
        fidelity: `fast` or `exact` (pipeline.analog.base).
    """

    per_chip: tuple[float, ...]
    mean: float
    std: float
    p05: float
    worst: float
    mean_low: float
    mean_high: float
    noiseless: float
    float_accuracy: float
    required: float | None
    fraction_good: float | None
    n_images: int
    fidelity: str

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "VariationReport":
        """The inverse of `to_dict`."""
        return cls(**(values | {"per_chip": tuple(values["per_chip"])}))


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class TrialResult:
    """All that one trial measured, in plain values that go between processes and into the database.

    Attributes:
        measured: Name in `pipeline.design.metrics.METRICS` or `TEST_ACCURACIES` -> value.
        cost: `hw_models.cost.CostReport.to_dict()`, with its parts by component and by layer.
        validation, test: Accuracy over chips; the search uses only `validation`.
        phase_s: Wall time of each phase in seconds.
        versions: Of Python, nacim and the libraries that computed the result.
        checkpoint: File of the trained weights.
        checkpoint_sha256: That file's checksum; None without a file.
        silicon: `hw_models.silicon.NetworkEstimate.to_dict()`.
        learning_curve: Accuracies during training, one record per checkpoint: `epoch` and the names of `METRICS`.
        stopped_early: None, or why training ended early (`pipeline.design.pareto.StoppingRule.verdict`). The
            accuracies are then those of an unfinished network on two chips, not a result.
    """

    measured: dict[str, float]
    cost: dict[str, Any]
    validation: VariationReport
    test: VariationReport
    phase_s: dict[str, float]
    versions: dict[str, str]
    checkpoint: str | None
    checkpoint_sha256: str | None = None
    learning_curve: tuple[dict[str, float], ...] = ()
    stopped_early: dict[str, float] | None = None
    silicon: dict[str, Any] | None = None

    def check(self, objectives: Sequence[str]) -> None:
        """Raise ValueError as `check_objectives`."""
        check_objectives(self.measured, objectives)


def check_objectives(measured: Mapping[str, Any], objectives: Sequence[str]) -> None:
    """Raise ValueError if an objective is missing, infinite or no number: a search cannot compare it."""
    for name in objectives:
        value = measured.get(name)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise ValueError(f"the objective {name} of the result is {shown(value)}, which is no finite number")


def accuracies(report: VariationReport) -> dict[str, float]:
    """Name -> value of all accuracies in `METRICS`."""
    return {name: getattr(report, metric.attribute) for name, metric in METRICS.items() if metric.is_accuracy}


def measured_values(
    cost: CostReport,
    own_cost: CostReport,
    silicon: NetworkEstimate,
    validation: VariationReport,
    test: VariationReport,
) -> dict[str, float]:
    """All of `METRICS` and `TEST_ACCURACIES`; `cost` is at the assumed activity, `own_cost` at the network's own."""
    sources = {"accuracy": validation, "cost": cost, "own cost": own_cost, "silicon": silicon}
    values = {name: getattr(sources[metric.source], metric.attribute) for name, metric in METRICS.items()}
    return values | {name: getattr(test, attribute) for name, attribute in TEST_ACCURACIES.items()}


def stored_cost(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """The cost report of a measured trial, from its attributes in the database.

    Earlier releases counted wiring (`POST_LAYOUT_ENERGY`) in TOPS/W, but not in energy, power and EDP. Their reports
    name no `wiring_energy_j`; they are given with it.
    """
    cost: dict[str, Any] = attributes["cost"]
    if "dynamic_energy_j" not in cost or "wiring_energy_j" in cost:
        return cost
    before_j, latency_s = cost["dynamic_energy_j"] + cost["leakage_energy_j"], cost["latency_s"]
    energy_j = POST_LAYOUT_ENERGY * before_j
    wiring_j = (POST_LAYOUT_ENERGY - 1) * before_j
    wired = {"energy_j": energy_j, "power_w": energy_j / latency_s, "edp_js": energy_j * latency_s}
    return cost | wired | {"wiring_energy_j": wiring_j}


def stored_values(attributes: Mapping[str, Any]) -> dict[str, float]:
    """The metrics of a measured trial, from its attributes in the database; energies as `stored_cost` gives them.

    A metric added to `METRICS` after the trial was measured is read from the trial's stored cost report or validation
    report, or from `stored_silicon`. It is left out if they do not hold it.
    """
    cost = stored_cost(attributes)
    values = {n: cost[m.attribute] for n, m in METRICS.items() if m.source == "cost" and m.attribute in cost}
    if silicon := stored_silicon(attributes):
        values |= {n: getattr(silicon, m.attribute) for n, m in METRICS.items() if m.source == "silicon"}
    values |= accuracies(VariationReport.from_dict(attributes["variation"]["validation"]))
    own = {name: attributes[name] for name in (*METRICS, *TEST_ACCURACIES) if name in attributes}
    if cost is not attributes["cost"]:  # of an earlier release
        for name in own.keys() & METRICS.keys():
            if METRICS[name].attribute in WITH_WIRING:
                own[name] *= POST_LAYOUT_ENERGY if METRICS[name].source == "own cost" else 1.0
                own[name] = cost[METRICS[name].attribute] if METRICS[name].source == "cost" else own[name]
    return values | own


def stored_silicon(attributes: Mapping[str, Any]) -> NetworkEstimate | None:
    """The silicon estimate of a measured trial, from its attributes in the database.

    For a trial that was measured before there was one, it is computed. That of a network which a function builds would
    have to build it; it is None.
    """
    if (stored := attributes.get("silicon")) is not None:
        return NetworkEstimate.from_dict(stored)
    design = DesignPoint.from_dict(attributes["design"]) if "design" in attributes else None
    if design is None or design.network is not None:
        return None
    return silicon_estimate_of(design.accelerator, mvm_layers(design), clock_s=attributes["cost"].get("clock_s"))
