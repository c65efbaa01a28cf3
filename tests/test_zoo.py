"""Public architectures of torchvision and timm, and forms of network that users write, on ideal crossbars.

Outside the quick tests, for it takes long: `make test-zoo` installs both libraries and runs it.
docs/networks_tried.md shows what it measures.
"""

import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

if missing := [library for library in ("torchvision", "timm") if find_spec(library) is None]:
    pytest.skip(f"{' and '.join(missing)} not installed: the zoo is NOT tested", allow_module_level=True)

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
from zoo import LIMIT, RESAMPLING, architectures, measure

pytestmark = [pytest.mark.zoo, pytest.mark.filterwarnings("ignore")]  # warnings of the libraries
MOST_COST_S = 1.0  # process time of tracing on the meta device and of the cost model


def test_the_zoo_has_at_least_40_public_architectures():
    assert sum(each.source != "own" for each in architectures().values()) >= 40


@pytest.mark.parametrize("name", architectures())
def test_an_architecture_on_ideal_crossbars_is_what_torch_computes_and_its_products_are_all_charged(name):
    found = measure(architectures()[name])
    assert found.macs == found.expected_macs
    more = found.digital_macs - found.expected_digital_macs
    assert more > 0 if name in RESAMPLING else more == 0
    assert found.trace_s + found.cost_s < MOST_COST_S
    assert found.errors[12] <= max(LIMIT, 1.5 * found.rounding), "12 bits: no more than rounding makes in torch"
    assert found.errors.get(16, 0.0) <= LIMIT
    assert not found.named, "no matrix stays digital, no operation is free without reason, nothing is cut"
