"""A model of any form computes on ideal crossbars what it computes in torch, and all of its matrices lie there.

`users_networks.FORMS` lists the forms: computed weights, hooks, products without a layer, layers in lists and closures,
shared weights, recurrent layers, attention.
"""

import copy
import sys
from pathlib import Path

import pytest
import torch
from crossbar_checks import COARSE, IDEAL, LIMIT, error, on_chip
from torch import nn
from users_networks import FORMS

from hw_models.mapping import map_network
from pipeline.analog.calibration import calibrate
from pipeline.analog.conversion import to_analog
from pipeline.analog.model import noisy_layers
from pipeline.analog.tracing import UntraceableModel, trace

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
from product_counter import count_products

REFUSED = {  # form: what the refusal names
    "mapped_over_the_batch": "torch.vmap",
    "complex_numbers": "matmul of complex64 numbers",
    "whole_numbers": "matmul of int64 numbers",
    "sparse_weight": "_sparse_mm",
    "distances": "cdist",
    "scripted_function": "runs in compiled code",
    "numpy_weight": "the weight of linear is made outside torch",
}
NOT_COUNTED = {
    "bilinear",
    "augmented_addition",
    "numpy_between",
    "learned_queries",
}  # what torch's flop counter does not know, or cannot follow
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # torch's own, of padding and of its LSTM


def network(form: str) -> tuple[nn.Module, tuple]:
    build, inputs = FORMS[form]
    torch.manual_seed(0)
    return build().eval(), inputs()


@pytest.mark.parametrize("form", [form for form in FORMS if form not in REFUSED])
def test_on_ideal_crossbars_a_model_computes_what_it_computes_in_torch(form):
    model, inputs = network(form)
    with torch.no_grad():
        right = model(*copy.deepcopy(inputs))
    analog = to_analog(model, IDEAL)
    assert isinstance(analog, type(model)) or isinstance(model, torch.fx.GraphModule)
    calibrate(analog, *copy.deepcopy(inputs))
    for fidelity in ("float", "fast", "exact"):
        found = on_chip(analog, *inputs, fidelity=fidelity)
        assert error(found, right) <= (1e-5 if fidelity == "float" else LIMIT), fidelity
    with torch.no_grad():
        assert error(model(*copy.deepcopy(inputs)), right) == 0, "the user's model must not change"


@pytest.mark.parametrize("form", [form for form in FORMS if form not in REFUSED.keys() | NOT_COUNTED])
def test_every_product_with_a_static_matrix_lies_on_crossbars(form):
    model, inputs = network(form)
    expected = count_products(model, *copy.deepcopy(inputs))
    recurrent = any(isinstance(each, nn.RNNBase | nn.RNNCellBase) for each in model.modules())
    first_states = expected.constant if recurrent else 0  # of zeros: their matrix runs at each step
    workload = trace(model, *inputs).workload
    assert sum(layer.macs for layer in workload.layers) == expected.static + first_states
    digital = sum(each.count for each in workload.digital if each.kind == "multiply_accumulate")
    assert digital == expected.of_activations


@pytest.mark.parametrize("form", [form for form in FORMS if form not in REFUSED])
def test_each_matrix_makes_the_conversions_that_are_charged(form):
    """So no product is digital in silence."""
    model, inputs = network(form)
    charged = map_network(COARSE, trace(model, *copy.deepcopy(inputs)).workload.layers).layers
    analog = to_analog(model, COARSE)
    calibrate(analog, *copy.deepcopy(inputs))
    on_chip(analog, *inputs)
    assert [layer.conversions for layer in noisy_layers(analog)] == [place.conversions for place in charged]


@pytest.mark.parametrize(("form", "name"), REFUSED.items())
def test_what_cannot_be_followed_is_refused_by_name(form, name):
    model, inputs = network(form)
    with pytest.raises(UntraceableModel, match=name):
        to_analog(model, IDEAL, *inputs)
