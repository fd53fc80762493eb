"""The distillation losses against their definitions, other people's implementations, and what they must ignore."""

import math

import pytest
import torch
from torch import nn
from torchmetrics.functional.image import structural_similarity_index_measure

from optevo.networks.norm import InstanceNorm
from optevo.training.image_distillation import (
    channel_distillation,
    feature_matching,
    features_of,
    gram,
    inner_layers,
    kernel_alignment,
    ssim,
    style,
    tapped,
    total_variation,
)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_ssim_equals_torchmetrics() -> None:
    x, y = noise(2, 3, 40, 30), noise(2, 3, 40, 30, seed=1)
    y = 0.7 * x + 0.3 * y
    expected = structural_similarity_index_measure(x, y, data_range=2.0)
    assert ssim(x, y).item() == pytest.approx(float(expected), abs=2e-5)
    assert ssim(x, x).item() == pytest.approx(1, abs=1e-6)
    assert ssim(x, y) < 0.99


def test_ssim_of_two_constants_by_hand() -> None:
    """No variance: what is left is the comparison of means."""
    x, y = torch.full((1, 1, 12, 12), 0.5), torch.full((1, 1, 12, 12), -0.25)
    c1 = 0.02**2
    expected = (2 * 0.5 * -0.25 + c1) / (0.25 + 0.0625 + c1)
    assert ssim(x, y).item() == pytest.approx(expected, rel=1e-3)


def test_total_variation_by_hand() -> None:
    image = torch.tensor([[0.0, 1.0], [3.0, 1.0]]).view(1, 1, 2, 2)
    assert total_variation(image).item() == pytest.approx((3 + 0) / 2 + (1 + 2) / 2)


def test_total_variation_against_omgd_s_sum() -> None:
    image = noise(1, 3, 256, 256)
    summed = (image[..., 1:, :] - image[..., :-1, :]).abs().sum() + (image[..., 1:] - image[..., :-1]).abs().sum()
    assert 1e-5 * summed.item() == pytest.approx(2 * total_variation(image).item(), rel=0.03)


def test_gram_and_style_by_hand() -> None:
    features = torch.tensor([[1.0, 2.0], [3.0, 0.0]]).view(1, 2, 1, 2)
    expected = torch.tensor([[[5.0, 3.0], [3.0, 9.0]]]) / 4
    assert torch.equal(gram(features), expected)
    zero = torch.zeros_like(features)
    assert style([features, zero], [zero, zero]).item() == pytest.approx(20 / 4 / 4)
    # Where things are does not matter to a Gram matrix.
    assert style([features], [features.flip(3)]).item() == 0


def test_feature_matching_is_the_mean_over_layers() -> None:
    ours, theirs = [torch.ones(1, 2, 3, 3), torch.zeros(1, 4)], [torch.zeros(1, 2, 3, 3), torch.full((1, 4), -3.0)]
    assert feature_matching(ours, theirs).item() == pytest.approx((1 + 3) / 2)


def test_channel_distillation_by_hand() -> None:
    teacher = torch.tensor([1.0, 3.0]).view(1, 2, 1, 1).expand(1, 2, 4, 4)
    student = torch.tensor([[0.0, 2.0], [0.0, 2.0]]).view(1, 1, 2, 2)
    adapter = nn.Conv2d(1, 2, 1, bias=False)
    with torch.no_grad():
        adapter.weight.copy_(torch.tensor([1.0, 2.0]).view(2, 1, 1, 1))
    # Means 1 and 2 against 1 and 3.
    assert channel_distillation(student, teacher, adapter=adapter).item() == pytest.approx(0.5)
    assert channel_distillation(teacher, teacher).item() == 0


def test_kernel_alignment_by_its_definition_and_its_kernels() -> None:
    x, y = noise(2, 3, 4, 5), noise(2, 7, 4, 5, seed=2)
    rows_x, rows_y = (one.permute(0, 2, 3, 1).reshape(40, -1).double() for one in (x, y))
    kernel_x, kernel_y = rows_x @ rows_x.T, rows_y @ rows_y.T
    cosine = (kernel_x * kernel_y).sum() / (kernel_x.norm() * kernel_y.norm())
    assert kernel_alignment(x, y).item() == pytest.approx(cosine.item(), rel=1e-5)


def test_kernel_alignment_ignores_rotation_and_scale_only() -> None:
    x = noise(1, 4, 6, 6)
    rotation, _ = torch.linalg.qr(noise(4, 4, seed=3))
    turned = 1e4 * torch.einsum("dc,bchw->bdhw", rotation, x)
    assert kernel_alignment(x, turned).item() == pytest.approx(1, abs=1e-5)
    assert kernel_alignment(x, noise(1, 4, 6, 6, seed=4)).item() < 0.7
    assert math.isfinite(kernel_alignment(x * 0, x).item())


def test_channel_means_hold_nothing_behind_an_instance_norm_but_alignment_does() -> None:
    """Why the generator's own feature loss is alignment: see the module's docstring."""
    norm = InstanceNorm(4)
    student, teacher = norm(noise(1, 4, 8, 8)), norm(noise(1, 4, 8, 8, seed=1))
    assert channel_distillation(student, teacher).item() < 1e-12
    assert kernel_alignment(student, teacher).item() < 0.9


def test_gradients_flow_to_the_student_alone() -> None:
    student, teacher = noise(1, 3, 16, 16).requires_grad_(), noise(1, 3, 16, 16, seed=1)
    loss = (
        1 - ssim(student, teacher) + total_variation(student) + style([student], [teacher])
        + 1 - kernel_alignment(student, teacher)
    )  # fmt: skip
    loss.backward()
    assert student.grad is not None
    assert student.grad.abs().min() > 0


def test_taps_collect_what_layers_read_and_go_away() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(inplace=True), nn.Conv2d(4, 2, 1), nn.Conv2d(2, 1, 1))
    with tapped(network, inner_layers(network)) as found:
        network(noise(1, 3, 5, 5))
    ours = features_of(found, ["2", "3"])
    assert [one.shape[1] for one in ours] == [4, 2]
    assert torch.equal(network[2](ours[0]), ours[1])
    assert (ours[0] >= 0).all()
    network(noise(1, 3, 5, 5, seed=1))
    assert found["3"] is ours[1]


def test_inner_layers_are_spread_evenly() -> None:
    network = nn.Sequential(*(nn.Conv2d(1, 1, 1) for _ in range(9)))
    assert inner_layers(network) == list("12345678")
    assert inner_layers(network, count=4) == list("2468")
    assert inner_layers(network, count=1) == ["8"]
    assert inner_layers(network, count=99) == inner_layers(network)
