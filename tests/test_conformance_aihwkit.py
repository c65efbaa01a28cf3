"""The conformance suite on IBM aihwkit, another simulator, where it is installed.

Run it in an environment of its own: `pip install -e ".[dev]"`, then `pip install --no-deps aihwkit==1.1.0` and
`pip install requests tqdm protobuf`.
"""

import pytest
from conformance import CHECKS, NotOffered

pytest.importorskip("aihwkit", reason="aihwkit 1.1.0 is not installed: the second simulator is NOT tested here")


FAIL = {  # docs/noise_model.md says why
    "errors_are_independent_between_cells",
    "output_variance_is_that_of_theory",
    "adc_range_is_frozen_across_batches",
    "adc_saturates",
    "adc_has_its_resolution",
}


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_aihwkit(check):
    from conformance_simulators import Aihwkit

    try:
        if check.__name__ in FAIL:
            with pytest.raises(AssertionError):
                check(Aihwkit())
        else:
            check(Aihwkit())
    except NotOffered as missing:
        pytest.skip(str(missing))
