"""How close generated images are to their targets: L1, PSNR and SSIM, pure functions of two batches."""

import torch
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

RANGE = 2.0  # images lie in [-1, 1]


def l1_per_image(output: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference of each image, in [0, 2]. Inputs `(B, C, H, W)` in [-1, 1]; result `(B,)`."""
    return (output - target).abs().flatten(1).mean(1)


def psnr_per_image(output: Tensor, target: Tensor) -> Tensor:
    """`10 log10(2^2 / MSE)` of each image, in dB; infinite for equal ones. Shapes as in :func:`l1_per_image`."""
    mse = (output - target).square().flatten(1).mean(1)
    return 10 * torch.log10(RANGE**2 / mse)


def ssim_per_image(output: Tensor, target: Tensor) -> Tensor:
    """Structural similarity (Wang et al. 2004: Gaussian window 11, sigma 1.5) of each image, at most 1."""
    scores = structural_similarity_index_measure(output, target, data_range=RANGE, reduction="none")
    assert isinstance(scores, Tensor)
    return scores
