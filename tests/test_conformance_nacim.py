"""The conformance suite on this project's simulator, in its three ways to run."""

import pytest
from conformance import CHECKS, NotOffered
from conformance_simulators import Nacim


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize(
    "simulator", [Nacim("exact"), Nacim("exact", compiled=False), Nacim("fast")], ids=lambda simulator: simulator.name
)
def test_nacim(simulator, check):
    try:
        check(simulator)
    except NotOffered as missing:
        if simulator.fidelity != "fast":
            raise
        pytest.skip(str(missing))
