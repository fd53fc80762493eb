"""Instance norm: the textbook's values and gradients, whatever lies how in memory."""

import pytest
import torch

from optevo.networks.norm import InstanceNorm

LAYOUTS = [torch.contiguous_format, torch.channels_last]


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("gradient_layout", LAYOUTS)
def test_values_and_gradients(batch: int, layout: torch.memory_format, gradient_layout: torch.memory_format) -> None:
    torch.manual_seed(0)
    image, gradient = torch.randn(batch, 16, 4, 6), torch.randn(batch, 16, 4, 6)
    expected = image.double().requires_grad_()
    mean = expected.mean(dim=(2, 3), keepdim=True)
    normed = (expected - mean) / (expected.var(dim=(2, 3), keepdim=True, unbiased=False) + 1e-5).sqrt()
    normed.backward(gradient.double())
    found = image.contiguous(memory_format=layout).requires_grad_()
    result = InstanceNorm(16)(found)
    result.backward(gradient.contiguous(memory_format=gradient_layout))
    torch.testing.assert_close(result.double(), normed, atol=1e-5, rtol=1e-5)
    assert found.grad is not None
    torch.testing.assert_close(found.grad.double(), expected.grad, atol=1e-5, rtol=1e-4)


def test_it_has_no_state() -> None:
    assert not InstanceNorm(3).state_dict()
