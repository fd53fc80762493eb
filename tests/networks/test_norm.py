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


@pytest.mark.filterwarnings("ignore")  # torch.jit.trace is deprecated, but still used
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("batch", [1, 3])
def test_it_is_one_function_with_gradients_and_without_and_exported(dtype: torch.dtype, batch: int) -> None:
    torch.manual_seed(1)
    image = (3 + 2 * torch.randn(batch, 5, 8, 6)).to(dtype).contiguous(memory_format=torch.channels_last)
    exported = torch.export.export(InstanceNorm(5), (image,)).module()(image)
    traced = torch.jit.trace(InstanceNorm(5), (image[:1],))(image)
    with torch.no_grad():
        plain = InstanceNorm(5)(image)
    found = InstanceNorm(5)(image.clone().requires_grad_())
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert found.dtype == dtype
    assert torch.equal(found, plain)
    for graph in (exported, traced):
        torch.testing.assert_close(graph, plain, atol=0.04 if dtype == torch.bfloat16 else 1e-5, rtol=0)


def test_it_has_no_state() -> None:
    assert not InstanceNorm(3).state_dict()
