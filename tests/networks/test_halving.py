"""Convolutions as matrix products: the same as torch's own, once and twice differentiated."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from optevo.networks import halving
from optevo.networks.halving import Doubling, Down, Halving, Kernel, Unfolding, Up


def normal(*shape: int, seed: int = 0) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    made = torch.randn(shape, generator=random, dtype=torch.float64)
    return made.contiguous(memory_format=torch.channels_last).requires_grad_()


X, Y, W = (3, 5, 4, 6), (3, 7, 2, 3), (7, 5, 4, 4)


def test_the_three_maps_are_torchs_own() -> None:
    x, y, w = normal(*X), normal(*Y), normal(*W)
    down = F.conv2d(x, w, stride=2, padding=1)
    torch.testing.assert_close(Down.apply(x, w), down)
    torch.testing.assert_close(Up.apply(y, w), F.conv_transpose2d(y, w, stride=2, padding=1))
    (wanted,) = torch.autograd.grad(down, w, y)
    torch.testing.assert_close(Kernel.apply(y, x), wanted)


@pytest.mark.parametrize(
    ("map_", "one", "other"), [(Down, X, W), (Up, Y, W), (Kernel, Y, X)], ids=["down", "up", "kernel"]
)
def test_gradients_of_both_orders(map_: type, one: tuple[int, ...], other: tuple[int, ...]) -> None:
    arguments = (normal(*one), normal(*other, seed=1))
    assert gradcheck(map_.apply, arguments)
    assert gradgradcheck(map_.apply, arguments)


@pytest.mark.parametrize("layer", [Halving(48, 40), Doubling(40, 48), Halving(48, 40, bias=False)])
def test_layers_give_what_torchs_layers_give_to_bfloat16(
    layer: Halving | Doubling, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied: list[Tensor] = []
    windows = halving._windows
    monkeypatch.setattr(halving, "_windows", lambda *a, **k: copied.append(windows(*a, **k)) or copied[-1])
    x = torch.randn(6, layer.in_channels, 4, 4).requires_grad_()

    def results(*, amx: bool) -> list[Tensor]:
        monkeypatch.setattr(halving, "has_amx", lambda: amx)
        copied.clear()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            y = layer(x)
        weight = torch.randn(y.shape, generator=torch.Generator().manual_seed(1))
        found = [y.float(), *torch.autograd.grad((y.float() * weight).sum(), [x, *layer.parameters()])]
        assert bool(copied) == amx
        return found

    for mine, theirs in zip(results(amx=True), results(amx=False), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=2e-2, atol=3e-2 * theirs.abs().max().item())


def test_in_float32_they_are_torchs_layers() -> None:
    layer, x = Halving(48, 40), torch.randn(2, 48, 8, 8)
    assert torch.equal(layer(x), F.conv2d(x, layer.weight, layer.bias, stride=2, padding=1))
    other, y = Doubling(40, 48), torch.randn(2, 40, 4, 4)
    assert torch.equal(other(y), F.conv_transpose2d(y, other.weight, other.bias, stride=2, padding=1))


@pytest.mark.parametrize("side", [4, 6])
def test_unfolding(side: int) -> None:
    layer, z = Unfolding(10, 12, side=side), torch.randn(3, 10, 1, 1)
    wanted = F.conv_transpose2d(z, layer.weight, layer.bias)
    torch.testing.assert_close(layer(z), wanted)
    assert layer(z).is_contiguous(memory_format=torch.channels_last)
    larger = z.expand(-1, -1, 2, 2)
    torch.testing.assert_close(layer(larger), F.conv_transpose2d(larger, layer.weight, layer.bias))
