"""The cost of one inference: area, latency and energy. Public face: `estimate_cost`, `CostReport`."""

from hw_models.cost.estimate import estimate_cost
from hw_models.cost.report import COMPONENTS, DIGITAL, POST_LAYOUT_ENERGY, CostReport, LayerCost

__all__ = ["COMPONENTS", "DIGITAL", "POST_LAYOUT_ENERGY", "CostReport", "LayerCost", "estimate_cost"]
