"""Digital macros from the gates of `tables/technology.csv`; nothing is fitted to a chip."""

import math

from hw_models.accelerator import TECH_NODES_NM
from hw_models.circuits.digital import full_adders_of_tree
from hw_models.circuits.technology import Technology, technology
from hw_models.silicon.macro import Macro

_NAND_ACTIVITY = 0.25  # share of products of two random bits that are 1; assumed for the gate's switching too


def digital_energy_j(macro: Macro) -> float:
    """Energy of one dot product: AND gates and a ripple adder tree, with energies that go with V^2.

    N inputs of 1 bit take N (B_w + 1) - (B_w + log2 N + 1) full adders (ZigZag-IMC); multi-bit inputs take B_x such
    passes. Between the nodes of the table, values are interpolated in logarithms; above 45 nm they are extrapolated,
    below 7 nm they are those of 7 nm.

    Raises:
        ValueError: If the macro is not digital.
    """
    if macro.family != "digital":
        raise ValueError(f"the macro must be digital, got {macro.family}")
    adders = full_adders_of_tree(macro.inputs, macro.weight_bits)
    supply_v = _at_node(macro.node_nm, "supply_v")
    product_j = _NAND_ACTIVITY * _at_node(macro.node_nm, "nand_in_f") * supply_v**2
    pass_j = adders * _at_node(macro.node_nm, "adder_next_j") + macro.inputs * macro.weight_bits * product_j
    return macro.input_bits * pass_j * (macro.supply_v / supply_v) ** 2


def _at_node(node_nm: float, quantity: str) -> float:
    def log_at(node: int) -> float:
        tabulated: Technology = technology(node)
        return math.log(getattr(tabulated, quantity))

    nodes = sorted(TECH_NODES_NM)
    if node_nm <= nodes[0]:
        return math.exp(log_at(nodes[0]))
    upper = next((node for node in nodes if node >= node_nm), nodes[-1])
    lower = nodes[nodes.index(upper) - 1]
    slope = (log_at(upper) - log_at(lower)) / math.log(upper / lower)
    return math.exp(log_at(lower) + slope * math.log(node_nm / lower))
