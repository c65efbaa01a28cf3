"""What one inference on a chip costs: area, latency and energy, by component and by layer."""

from hw_models.cost.estimate import estimate_cost
from hw_models.cost.report import COMPONENTS, POST_LAYOUT_ENERGY, CostReport, LayerCost

__all__ = ["COMPONENTS", "POST_LAYOUT_ENERGY", "CostReport", "LayerCost", "estimate_cost"]
