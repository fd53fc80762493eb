"""Metrics by hand and against another library, and what their names say."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from optevo.data.resident import ResidentImages, ResidentPairs
from optevo.metrics.images import l1_per_image, psnr_per_image, ssim_per_image
from optevo.metrics.paired import paired_metrics
from optevo.training.engine import Engine

CPU = Engine(device=torch.device("cpu"), precision="fp32", threads=1)


def images(seed: int, count: int = 3, size: int = 32) -> torch.Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_l1_and_psnr_by_hand():
    output, target = torch.zeros(2, 1, 2, 2), torch.zeros(2, 1, 2, 2)
    target[0] = 0.5
    target[1, 0, 0, 0] = 1.0
    torch.testing.assert_close(l1_per_image(output, target), torch.tensor([0.5, 0.25]))
    # Range 2, so the peak's square is 4; the mean squares are 1/4 and 1/4.
    torch.testing.assert_close(psnr_per_image(output, target), torch.full((2,), 10 * math.log10(16)))
    assert psnr_per_image(target, target).isinf().all()


def test_ssim_by_the_formula_of_wang_et_al():
    # Constant pictures: no variance, so SSIM is its luminance term (2ab + C1) / (a^2 + b^2 + C1), C1 = (0.01 * 2)^2.
    a, b, c1 = 0.3, -0.2, 0.02**2
    expected = (2 * a * b + c1) / (a * a + b * b + c1)
    scores = ssim_per_image(torch.full((2, 3, 32, 32), a), torch.full((2, 3, 32, 32), b))
    torch.testing.assert_close(scores, torch.full((2,), expected), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(ssim_per_image(images(1), images(1)), torch.ones(3))


class Shift(nn.Module):
    """Adds a constant in eval mode, nothing in train mode."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x if self.training else x + 0.25


def test_means_over_a_split_with_the_protocol_in_the_name():
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 200, (5, 16, 16, 3), dtype=np.uint8))
    half = ResidentImages(pixels, list("abcde"), (16, 16), torch.device("cpu"), "device")
    data = ResidentPairs(half, half)
    module = Shift()
    metrics = paired_metrics(module, data, split="test", engine=CPU, batch_size=2)
    assert set(metrics) == {"l1_test_5x16x16_eval", "psnr_test_5x16x16_eval", "ssim_test_5x16x16_eval"}
    assert metrics["l1_test_5x16x16_eval"] == pytest.approx(0.25)
    assert metrics["psnr_test_5x16x16_eval"] == pytest.approx(10 * math.log10(4 / 0.25**2), rel=1e-5)
    assert module.training
    habit = paired_metrics(module, data, split="test", engine=CPU, mode="pix2pix")
    assert habit["l1_test_5x16x16_pix2pix"] == 0.0
