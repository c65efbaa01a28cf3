"""How many TOPS/W silicon would reach, with bars from measured chips. Public face: `Macro`, `silicon_estimate`,
`silicon_estimate_of`, `told_apart`, `ratio_told_apart`.

Ten constants are fitted to published chips; `benchmarks/silicon_fit.py` fits them and writes the tables that this room
reads. Only totals are identified: there is no breakdown. docs/silicon.md.
"""

from hw_models.silicon.estimate import Bars, Figure, SiliconEstimate, silicon_estimate
from hw_models.silicon.macro import Family, Macro
from hw_models.silicon.network import NetworkEstimate, ratio_told_apart, silicon_estimate_of, told_apart
from hw_models.silicon.of_accelerator import measured_macro

__all__ = [
    "Bars",
    "Family",
    "Figure",
    "Macro",
    "NetworkEstimate",
    "SiliconEstimate",
    "measured_macro",
    "ratio_told_apart",
    "silicon_estimate",
    "silicon_estimate_of",
    "told_apart",
]
