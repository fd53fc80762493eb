"""Instance norm: the textbook's values and gradients, whatever lies how in memory."""

import copy

import pytest
import torch
from torch import nn

from optevo.networks.norm import InstanceNorm, right_norms

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


def textbook(norm: nn.InstanceNorm2d, image: torch.Tensor) -> torch.Tensor:
    """Instance norm by its formula, in the image's precision."""
    mean = image.mean(dim=(2, 3), keepdim=True)
    normed = (image - mean) / (image.var(dim=(2, 3), keepdim=True, unbiased=False) + norm.eps).sqrt()
    if not norm.affine:
        return normed
    return normed * norm.weight[:, None, None] + norm.bias[:, None, None]


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("options", [{}, {"affine": True}, {"affine": True, "track_running_stats": True, "eps": 1e-3}])
def test_torch_s_own_norms_in_a_network_become_right(options: dict, batch: int, layout: torch.memory_format) -> None:
    torch.manual_seed(2)
    theirs = nn.Sequential(nn.InstanceNorm2d(6, **options), nn.InstanceNorm2d(6))
    if "affine" in options:
        nn.init.uniform_(theirs[0].weight, 0.5, 2)
        nn.init.uniform_(theirs[0].bias, -1, 1)
    plain = copy.deepcopy(theirs).double()
    seen = []
    theirs[0].register_forward_hook(lambda *_: seen.append(1))
    assert right_norms(theirs) is theirs
    assert [type(layer) for layer in theirs] == [InstanceNorm, InstanceNorm]
    assert list(theirs.state_dict()) == list(plain.state_dict())
    image, gradient = torch.randn(batch, 6, 5, 7), torch.randn(batch, 6, 5, 7)
    found, expected = image.clone().contiguous(memory_format=layout).requires_grad_(), image.double().requires_grad_()
    result, wanted = theirs(found), textbook(plain[1], textbook(plain[0], expected))
    result.backward(gradient.contiguous(memory_format=layout))
    wanted.backward(gradient.double())
    torch.testing.assert_close(result.double(), wanted, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found.grad.double(), expected.grad, atol=1e-4, rtol=1e-3)
    for ours, one in zip(theirs.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours.grad.double(), one.grad, atol=1e-4, rtol=1e-3)
    assert seen == [1]
    # Kept statistics are torch's own, and what it does with them in eval mode.
    plain(image.double())
    for ours, one in zip(theirs.buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(ours.double(), one.double(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(theirs.eval()(image).double(), plain.eval()(image.double()), atol=1e-5, rtol=1e-5)


def test_a_norm_of_somebody_s_own_is_left_alone() -> None:
    class Own(nn.InstanceNorm2d):
        pass

    assert type(right_norms(nn.Sequential(Own(3)))[0]) is Own
