"""Figures of the paper that this project follows, as reference marks.

Source: W. Jiang et al., "Device-Circuit-Architecture Co-Exploration for Computing-in-Memory Neural Accelerators"
(NACIM), IEEE Transactions on Computers, 2021; arXiv:1911.00139. All on CIFAR-10, under the paper's own noise and cost
models, at its own bits: marks for orientation, not results to be beaten on another data set.
"""

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Published:
    """A published design; accuracies are fractions, without and with device variation. None: not in the paper."""

    name: str
    tops_per_watt: float | None = None
    accuracy_noiseless: float | None = None
    accuracy_mean: float | None = None


DATASET = "cifar10"
PAPER = (
    Published(name="paper, no variation in mind", tops_per_watt=5.14, accuracy_noiseless=0.8492, accuracy_mean=0.0848),
    Published(name="paper, most robust", accuracy_noiseless=0.739, accuracy_mean=0.734),
    Published(name="paper, most efficient", tops_per_watt=16.3),
)
