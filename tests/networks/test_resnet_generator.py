"""The residual generator against a textbook one, and in every width it will meet."""

import pytest
import torch
from torch import Tensor, nn

from optevo.errors import UsageError
from optevo.networks.resnet import ResNetGenerator
from optevo.spaces.resnet import ResNetArchitecture, cyclegan

SMALL = ResNetArchitecture(stem=3, down=(5, 6), inner=(4, 2), up=(7, 3))


def textbook(model: ResNetGenerator, x: Tensor) -> Tensor:
    """CycleGAN's generator as a list of functions, with the model's weights in the order of their layers."""
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
    weights = iter([(m.weight, m.bias) for m in convolutions])

    def reflect(image: Tensor, by: int) -> Tensor:
        return torch.nn.functional.pad(image, (by,) * 4, mode="reflect")

    def norm(image: Tensor) -> Tensor:
        mean = image.mean(dim=(2, 3), keepdim=True)
        variance = image.var(dim=(2, 3), keepdim=True, unbiased=False)
        return (image - mean) / torch.sqrt(variance + 1e-5)

    conv, up = torch.nn.functional.conv2d, torch.nn.functional.conv_transpose2d
    plan = model.architecture
    x = torch.relu(norm(conv(reflect(x, 3), *next(weights))))
    for _ in plan.down:
        x = torch.relu(norm(conv(x, *next(weights), stride=2, padding=1)))
    for _ in plan.inner:
        inside = torch.relu(norm(conv(reflect(x, 1), *next(weights))))
        x = x + norm(conv(reflect(inside, 1), *next(weights)))
    for _ in plan.up:
        x = torch.relu(norm(up(x, *next(weights), stride=2, padding=1, output_padding=1)))
    x = torch.tanh(conv(reflect(x, 3), *next(weights)))
    assert next(weights, None) is None
    return x


@pytest.mark.parametrize("plan", [SMALL, cyclegan(ngf=4, blocks=3), ResNetArchitecture(2, (3,), (), (2,), 1, 2)])
def test_it_computes_what_the_textbook_says(plan: ResNetArchitecture) -> None:
    torch.manual_seed(0)
    model = ResNetGenerator(plan)
    image = torch.randn(2, plan.input_channels, 16, 24)
    with torch.no_grad():
        expected = textbook(model, image)
        torch.testing.assert_close(model(image), expected, atol=1e-5, rtol=1e-4)
    assert expected.shape == (2, plan.output_channels, 16, 24)


def test_the_paper_s_network_has_the_known_size_and_names() -> None:
    with torch.device("meta"):
        model = ResNetGenerator(cyclegan())
    assert sum(p.numel() for p in model.parameters()) == 11_378_179
    names = list(model.state_dict())
    # Of latest_net_G_A.pth as pytorch-CycleGAN-and-pix2pix writes it.
    for name in ("model.1.weight", "model.4.weight", "model.10.conv_block.1.weight", "model.18.conv_block.5.bias",
                 "model.19.weight", "model.22.bias", "model.26.weight"):  # fmt: skip
        assert name in names


@pytest.mark.parametrize("size", [(30, 32), (32, 6), (4, 4)])
def test_sizes_that_do_not_fit_are_named(size: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match="multiple of 4"):
        ResNetGenerator(SMALL)(torch.zeros(1, 3, *size))


@pytest.mark.parametrize(
    "change",
    [{"stem": 0}, {"down": ()}, {"up": (3,)}, {"inner": (1, -2)}, {"inner": (True,)}, {"down": "ab"}, {"stem": 2.0}],
)
def test_impossible_architectures(change) -> None:
    with pytest.raises(UsageError):
        ResNetArchitecture(**{**SMALL.to_dict(), **change})


def test_dictionaries_round_trip_and_are_not_trusted() -> None:
    assert ResNetArchitecture.from_dict(SMALL.to_dict()) == SMALL
    for bad in (None, [], {"stem": 3}, {**SMALL.to_dict(), "more": 1}):
        with pytest.raises(UsageError):
            ResNetArchitecture.from_dict(bad)
