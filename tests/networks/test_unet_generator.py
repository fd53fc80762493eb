"""The generator against a nested U-Net written from pix2pix's description, and in every setting it will meet."""

import copy
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from optevo.errors import UsageError
from optevo.networks.unet import UNetGenerator
from optevo.spaces.unet import UNetArchitecture, original

SMALL = UNetArchitecture((4, 6, 8), (True, False))


class Nested(nn.Module):
    """One level of a textbook pix2pix U-Net, the deeper levels inside it; returns its input joined to its output."""

    def __init__(self, source: int, widths: list[int], *, level: int, target: int, dropout: float) -> None:
        super().__init__()
        inner, deeper = widths[0], widths[1:]
        self.outermost, self.innermost = level == 1, not deeper
        down: list[nn.Module] = [] if self.outermost else [nn.LeakyReLU(0.2)]
        down.append(nn.Conv2d(source, inner, 4, 2, 1, bias=False))
        if not self.outermost and not self.innermost:
            down.append(nn.BatchNorm2d(inner))
        joined = inner if self.innermost else 2 * inner
        up: list[nn.Module] = [nn.ReLU(), nn.ConvTranspose2d(joined, target, 4, 2, 1, bias=self.outermost)]
        up.append(nn.Tanh() if self.outermost else nn.BatchNorm2d(target))
        if dropout and level >= 5 and not self.innermost:
            up.append(nn.Dropout(dropout))
        self.down, self.up = nn.Sequential(*down), nn.Sequential(*up)
        self.inside = None if self.innermost else Nested(inner, deeper, level=level + 1, target=inner, dropout=dropout)

    def forward(self, x: Tensor) -> Tensor:
        y = self.down(x)
        if self.inside is not None:
            y = self.inside(y)
        y = self.up(y)
        return y if self.outermost else torch.cat([x, y], 1)

    def levels(self) -> "list[Nested]":
        return [self, *(self.inside.levels() if self.inside is not None else [])]


def one(modules: nn.Module, *kinds: type[nn.Module]) -> nn.Module | None:
    return next((module for module in modules.modules() if isinstance(module, kinds)), None)


def textbook(generator: UNetGenerator, dropout: float = 0.0) -> Nested:
    """The nested U-Net with the generator's weights, all of which must find a place."""
    plan = generator.architecture
    nested = Nested(plan.input_channels, list(plan.channels), level=1, target=plan.output_channels, dropout=dropout)
    for level, down, up in zip(nested.levels(), generator.encoder, generator.decoder, strict=True):
        for ours, theirs in ((down, level.down), (up, level.up)):
            for kinds in ((nn.Conv2d, nn.ConvTranspose2d), (nn.BatchNorm2d,)):
                source, target = one(ours, *kinds), one(theirs, *kinds)
                assert (source is None) == (target is None)
                if source is not None and target is not None:
                    target.load_state_dict(source.state_dict(), strict=True)
    assert sum(p.numel() for p in nested.parameters()) == sum(p.numel() for p in generator.parameters())
    return nested


def seasoned(architecture: UNetArchitecture, *, dropout: float = 0.0, seed: int = 0) -> UNetGenerator:
    """A generator whose weights and running statistics are far from their starting values."""
    torch.manual_seed(seed)
    generator = UNetGenerator(architecture, dropout=dropout)
    for layer in generator.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(layer.weight, 0.0, 1.5 / (layer.weight[0].numel()) ** 0.5)
            if layer.bias is not None:
                nn.init.normal_(layer.bias, 0.0, 0.3)
        elif isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.bias, 0.0, 0.3)
            assert layer.running_mean is not None
            assert layer.running_var is not None
            layer.running_mean.normal_(0.0, 0.5)
            layer.running_var.uniform_(0.5, 2.0)
    return generator


PLANS = [
    original(ngf=4, depth=2),
    UNetArchitecture((6, 4, 10, 3, 5, 7, 4), (True,) * 6, input_channels=1, output_channels=2),
    original(ngf=4, depth=8),
]


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: f"depth{plan.depth}")
@pytest.mark.parametrize("mode", ["eval", "train"])
def test_with_all_skips_it_is_pix2pixs_nested_unet(plan: UNetArchitecture, mode: str) -> None:
    generator = seasoned(plan).train(mode == "train")
    nested = textbook(generator).train(mode == "train")
    side = 2**plan.depth
    image = torch.randn(2, plan.input_channels, side, side)
    ours, theirs = generator(image.clone()), nested(image.clone())
    assert float(ours.detach().std()) > 0.05  # tanh neither flat nor saturated: the comparison means something
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=2e-6)


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: f"depth{plan.depth}")
def test_gradients_and_running_statistics_are_those_of_the_nested_unet(plan: UNetArchitecture) -> None:
    generator = seasoned(plan)
    nested = textbook(generator).double()
    generator.double()
    side = 2**plan.depth
    image = torch.randn(2, plan.input_channels, side, side, dtype=torch.float64)
    for network in (generator, nested):
        network(image).square().mean().backward()
    for level, down, up in zip(nested.levels(), generator.encoder, generator.decoder, strict=True):
        for ours, theirs in ((down, level.down), (up, level.up)):
            for kinds in ((nn.Conv2d, nn.ConvTranspose2d), (nn.BatchNorm2d,)):
                source, target = one(ours, *kinds), one(theirs, *kinds)
                if source is None or target is None:
                    continue
                for a, b in zip(source.parameters(), target.parameters(), strict=True):
                    torch.testing.assert_close(a.grad, b.grad, rtol=1e-7, atol=1e-12)
                for a, b in zip(source.buffers(), target.buffers(), strict=True):
                    torch.testing.assert_close(a, b)


def test_dropout_falls_where_pix2pixs_does() -> None:
    generator = UNetGenerator(original(ngf=4, depth=8), dropout=0.25)
    found = {
        level: block.dropout.p
        for level, block in enumerate(generator.decoder, start=1)
        if isinstance(block.dropout, nn.Dropout)
    }
    assert found == {5: 0.25, 6: 0.25, 7: 0.25}
    nested = textbook(generator, dropout=0.25)
    assert [k for k, level in enumerate(nested.levels(), 1) if one(level.up, nn.Dropout)] == [5, 6, 7]
    image = torch.randn(2, 3, 256, 256)
    torch.manual_seed(5)
    ours = generator(image)
    torch.manual_seed(5)
    theirs = nested(image)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_dropout_acts_in_train_mode_only_and_can_be_off() -> None:
    generator, image = UNetGenerator(original(ngf=2, depth=6)), torch.randn(2, 3, 64, 64)
    assert not torch.equal(generator(image), generator(image))
    generator.eval()
    assert torch.equal(generator(image), generator(image))
    assert not any(isinstance(m, nn.Dropout) for m in UNetGenerator(original(depth=6, ngf=2), dropout=0.0).modules())


@pytest.mark.parametrize("dropout", [-0.1, 1.0, float("nan")])
def test_dropout_out_of_range_is_refused(dropout: float) -> None:
    with pytest.raises(UsageError, match="dropout"):
        UNetGenerator(SMALL, dropout=dropout)


@pytest.mark.parametrize("skips", [(False, False), (True, False), (False, True), (True, True)])
def test_each_skip_joins_the_encoder_to_its_own_level(skips: tuple[bool, bool]) -> None:
    generator = seasoned(UNetArchitecture((4, 6, 8), skips)).eval()
    for level, skip in enumerate(skips, start=1):
        expected = generator.architecture.channels[level - 1]
        up = generator.decoder[level - 1].conv
        assert up.in_channels == expected * (2 if skip else 1)
    # by hand: three convolutions down, three up
    e, d = generator.encoder, generator.decoder
    image = torch.randn(1, 3, 16, 8)
    with torch.no_grad():
        h1 = e[0].conv(image)
        h2 = e[1].norm(e[1].conv(torch.where(h1 > 0, h1, 0.2 * h1)))
        h3 = e[2].conv(torch.where(h2 > 0, h2, 0.2 * h2))
        u3 = d[2].norm(d[2].conv(h3.clamp(min=0)))
        u2 = d[1].norm(d[1].conv((torch.cat([h2, u3], 1) if skips[1] else u3).clamp(min=0)))
        u1 = d[0].conv((torch.cat([h1, u2], 1) if skips[0] else u2).clamp(min=0)).tanh()
        torch.testing.assert_close(generator(image), u1, rtol=1e-5, atol=1e-6)


@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_any_architecture_gives_an_image_of_the_same_size(data: st.DataObject) -> None:
    depth = data.draw(st.integers(2, 6))
    plan = UNetArchitecture(
        tuple(data.draw(st.lists(st.integers(1, 9), min_size=depth, max_size=depth))),
        tuple(data.draw(st.lists(st.booleans(), min_size=depth - 1, max_size=depth - 1))),
        input_channels=data.draw(st.integers(1, 4)),
        output_channels=data.draw(st.integers(1, 4)),
    )
    height, width = (2**depth * data.draw(st.integers(1, 3)) for _ in range(2))
    image = torch.randn(1, plan.input_channels, height, width)
    before = image.clone()
    result = UNetGenerator(plan)(image)
    result.mean().backward()
    assert result.shape == (1, plan.output_channels, height, width)
    assert float(result.detach().abs().max()) <= 1.0
    assert torch.equal(image, before)


@pytest.mark.parametrize("size", [(12, 16), (16, 12), (4, 8)])
def test_sizes_that_cannot_be_halved_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match="multiple of 8"):
        UNetGenerator(SMALL)(torch.zeros(1, 3, *size))


def test_channels_last_changes_nothing_but_the_layout() -> None:
    generator = seasoned(original(ngf=8, depth=5)).eval()
    image = torch.randn(2, 3, 64, 32)
    expected = generator(image)
    result = generator.to(memory_format=torch.channels_last)(image.to(memory_format=torch.channels_last))
    assert result.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(result, expected, rtol=1e-4, atol=2e-6)


def test_bf16_autocast_trains_at_batch_one() -> None:
    generator = seasoned(original(ngf=8, depth=6), dropout=0.5)
    image = torch.randn(1, 3, 64, 64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = generator(image)
    result.float().mean().backward()
    assert result.dtype == torch.bfloat16
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in generator.parameters())
    generator.eval()
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        low = generator(image).float()
    with torch.no_grad():
        assert float((low - generator(image)).abs().mean()) < 0.05


def test_two_passes_through_one_module_can_be_differentiated() -> None:
    """Activations in place must not spoil what autograd keeps: against finite differences, in float64."""
    generator = seasoned(UNetArchitecture((3, 2, 3), (True, True), 1, 1)).double().eval()
    image = torch.randn(1, 1, 8, 8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: generator(generator(x)), (image,), fast_mode=True)


def test_it_exports_with_a_free_batch_and_size_and_traces() -> None:
    generator = seasoned(SMALL).eval()
    images = torch.randn(2, 3, 16, 24)
    # torch.export tells sizes of 1 apart, so the innermost level has at least 2 x 2 pixels
    free = [torch.export.Dim(name, min=2, max=64) for name in ("batch", "rows", "columns")]
    shapes = ({0: free[0], 2: 8 * free[1], 3: 8 * free[2]},)
    exported = torch.export.export(generator, (images,), dynamic_shapes=shapes).module()
    for shape in ((5, 3, 16, 24), (3, 3, 32, 16)):
        other = torch.randn(shape)
        torch.testing.assert_close(exported(other), generator(other))
    more = torch.randn(5, 3, 16, 24)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecated, but the older ONNX exporter still goes through it
        traced = torch.jit.trace(generator, (images,))
    torch.testing.assert_close(traced(more), generator(more))


def test_state_dict_names_are_levels_and_copies_are_independent() -> None:
    generator = UNetGenerator(SMALL)
    names = set(generator.state_dict())
    assert {"encoder.0.conv.weight", "encoder.1.norm.weight", "decoder.0.conv.bias", "decoder.2.norm.bias"} <= names
    assert not any(name.startswith(("encoder.0.norm", "encoder.2.norm", "decoder.0.norm")) for name in names)
    other = copy.deepcopy(generator)
    with torch.no_grad():
        next(other.parameters()).zero_()
    assert next(generator.parameters()).any()
