"""The conformance suite on IBM aihwkit, another simulator, where it is installed.

Run it in an environment of its own: `pip install -e ".[dev]"`, then `pip install --no-deps aihwkit==1.1.0` and
`pip install requests tqdm protobuf`. What fails there is written down in docs/noise_model.md.
"""

import pytest
from conformance import CHECKS, NotOffered

pytest.importorskip("aihwkit", reason="aihwkit 1.1.0 is not installed: the second simulator is NOT tested here")


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_aihwkit(check):
    from conformance_simulators import Aihwkit

    try:
        check(Aihwkit())
    except NotOffered as missing:
        pytest.skip(str(missing))
