"""A generator's quality on pairs, each number with its protocol in its name."""

import torch
from torch import nn

from optevo.data.resident import ResidentPairs
from optevo.metrics.images import l1_per_image, psnr_per_image, ssim_per_image
from optevo.training.engine import Engine
from optevo.training.validation import Mode, batches, testing

METRICS = {"l1": l1_per_image, "psnr": psnr_per_image, "ssim": ssim_per_image}


def paired_metrics(
    generator: nn.Module,
    data: ResidentPairs,
    *,
    split: str,
    engine: Engine,
    batch_size: int = 16,
    mode: Mode = "eval",
    seed: int = 0,
) -> dict[str, float]:
    """L1, PSNR and SSIM over a split, means of the images' own values, in float32.

    Args:
        split: Only for the names, such as `l1_test_106x256x256_eval`: split, images x height x width, generator's mode.
        mode: `"eval"`, as a user runs the model, or `"pix2pix"` (batch statistics and dropout, one image at a time).
    """
    sums = torch.zeros(len(METRICS), dtype=torch.float64)
    with testing(generator, mode=mode, seed=seed, device=engine.device) as tested:
        for source, target in batches(data, batch_size=1 if mode == "pix2pix" else batch_size):
            output = tested(source)
            sums += torch.stack([metric(output, target).double().sum() for metric in METRICS.values()]).cpu()
    protocol = f"{split}_{len(data)}x{data.size[0]}x{data.size[1]}_{mode}"
    return {f"{name}_{protocol}": value / len(data) for name, value in zip(METRICS, sums.tolist(), strict=True)}
