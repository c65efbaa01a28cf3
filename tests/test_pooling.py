"""Max pooling in its fast form against torch's own."""

import pytest
import torch
from torch import nn

from pipeline.analog.layers import MaxPool2d

SETTINGS = [
    {"kernel_size": 2},
    {"kernel_size": 3},
    {"kernel_size": 3, "stride": 2},
    {"kernel_size": 2, "padding": 1},
    {"kernel_size": 2, "dilation": 2},
    {"kernel_size": 2, "ceil_mode": True},
    {"kernel_size": (2, 3)},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=str)
def test_pooling_gives_the_values_of_torch(settings, memory_format):
    images = torch.randn(2, 5, 9, 11).to(memory_format=memory_format)
    pool = nn.MaxPool2d(**settings)
    with torch.no_grad():
        assert torch.equal(MaxPool2d.like(pool)(images), pool(images))


def test_pooling_passes_gradients_like_torch():
    images = torch.randn(2, 5, 8, 8)
    gradients = []
    for pool in (nn.MaxPool2d(2), MaxPool2d(2)):
        x = images.clone().requires_grad_()
        pool(x).square().sum().backward()
        gradients.append(x.grad)
    assert torch.equal(*gradients)
