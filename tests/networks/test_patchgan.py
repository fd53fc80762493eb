"""The discriminator against a nested one written from pix2pix's description."""

import pytest
import torch
from torch import Tensor, nn

from optevo.errors import UsageError
from optevo.networks.patchgan import PatchGAN


class Textbook(nn.Module):
    """Layer after layer as pix2pix's appendix says: C64-C128-C256-C512 with 4x4 kernels, recursively."""

    def __init__(self, source: int, target: int, left: int, *, ndf: int, first: bool = True) -> None:
        super().__init__()
        last_norm = left == 0
        self.conv = nn.Conv2d(source, target, 4, stride=1 if last_norm else 2, padding=1, bias=first)
        self.norm = None if first else nn.BatchNorm2d(target)
        if last_norm:
            self.rest: nn.Module = nn.Conv2d(target, 1, 4, 1, 1)
        else:
            self.rest = Textbook(target, min(2 * target, 8 * ndf), left - 1, ndf=ndf, first=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        if self.norm is not None:
            x = self.norm(x)
        result: Tensor = self.rest(nn.functional.leaky_relu(x, 0.2))
        return result


@pytest.mark.parametrize("layers", [1, 3, 5])
@pytest.mark.parametrize("mode", ["eval", "train"])
def test_it_is_pix2pixs_layer_for_layer(layers: int, mode: str) -> None:
    torch.manual_seed(0)
    critic = PatchGAN(6, ndf=4, layers=layers)
    for parameter in critic.parameters():
        nn.init.normal_(parameter, 0.0, 0.2)
    reference = Textbook(6, 4, layers, ndf=4)
    ours, theirs = critic.state_dict(), reference.state_dict()
    assert [v.shape for v in ours.values()] == [v.shape for v in theirs.values()]
    reference.load_state_dict(dict(zip(theirs, ours.values(), strict=True)))
    critic.train(mode == "train")
    reference.train(mode == "train")
    image = torch.randn(2, 6, 128, 96)
    a, b = critic(image), reference(image)
    assert float(a.detach().std()) > 1e-3
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    for network in (critic, reference):
        network(image).square().mean().backward()
    for p, q in zip(critic.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad, rtol=1e-3, atol=1e-5)


def test_the_default_has_pix2pixs_2_769_m_parameters() -> None:
    assert sum(p.numel() for p in PatchGAN(6).parameters()) == 2_768_705


@pytest.mark.parametrize(
    ("layers", "height", "width", "expected"),
    [(3, 256, 256, (30, 30)), (3, 64, 64, (6, 6)), (3, 64, 24, (6, 1)), (3, 31, 40, (1, 3)), (1, 6, 8, (1, 2))],
)
def test_output_size_is_what_comes_out(layers: int, height: int, width: int, expected: tuple[int, int]) -> None:
    critic = PatchGAN(2, ndf=2, layers=layers)
    assert critic.output_size(height=height, width=width) == expected
    assert critic(torch.randn(1, 2, height, width)).shape == (1, 1, *expected)


def test_one_output_sees_70_pixels() -> None:
    critic = PatchGAN(1, ndf=2).eval()
    for parameter in critic.parameters():
        nn.init.constant_(parameter, 0.1)
    image = torch.randn(1, 1, 256, 256, requires_grad=True)
    critic(image)[0, 0, 15, 15].backward()
    assert image.grad is not None
    rows = image.grad[0, 0].abs().sum(1).nonzero()
    assert int(rows.max() - rows.min()) + 1 == 70


@pytest.mark.parametrize(("height", "width", "name"), [(23, 64, "height = 23"), (64, 16, "width = 16")])
def test_too_small_images_are_refused(height: int, width: int, name: str) -> None:
    with pytest.raises(UsageError, match=f"{name}.*24 pixels"):
        PatchGAN(3, ndf=2)(torch.zeros(1, 3, height, width))


@pytest.mark.parametrize("arguments", [{"layers": 0}, {"ndf": 0}, {"input_channels": 0}])
def test_arguments_out_of_range_are_refused(arguments: dict[str, int]) -> None:
    with pytest.raises(UsageError, match=next(iter(arguments))):
        PatchGAN(**{"input_channels": 3, **arguments})  # type: ignore[arg-type]


def test_bf16_channels_last_trains_at_batch_one() -> None:
    critic = PatchGAN(6, ndf=4).to(memory_format=torch.channels_last)
    image = torch.randn(1, 6, 24, 24).to(memory_format=torch.channels_last)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = critic(image)
    logits.float().sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in critic.parameters())
