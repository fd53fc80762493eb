"""The generator's losses on held-out pairs: what the search calls quality (2002.11581, Eq. 8)."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from optevo.data.resident import ResidentPairs
from optevo.training.engine import Engine
from optevo.training.losses import bce

Mode = Literal["eval", "pix2pix"]


@dataclass(frozen=True)
class Validation:
    """Means per image: `gan` is `-E[log D(x, G(x))]`, `l1` the mean absolute difference of images in [-1, 1]."""

    gan: float
    l1: float

    def loss(self, *, l1_weight: float) -> float:
        """`L_Gen = L_GAN + lambda L_L1` (2002.11581, Eq. 8)."""
        return self.gan + l1_weight * self.l1


def validate(
    generator: nn.Module,
    discriminator: nn.Module,
    data: ResidentPairs,
    *,
    engine: Engine,
    batch_size: int,
    mode: Mode = "eval",
    seed: int = 0,
) -> Validation:
    """Both losses over the whole of `data`, in float32, both networks in eval mode as a user runs the model.

    Args:
        mode: `"pix2pix"` takes the generator as pix2pix tests it: one image at a time, with batch statistics and
            dropout (drawn from `seed`). Neither mode changes the networks.
    """
    gan = torch.zeros((), device=engine.device)
    pixel = torch.zeros((), device=engine.device)
    with evaluated(discriminator), testing(generator, mode=mode, seed=seed, device=engine.device) as tested:
        for source, target in batches(data, batch_size=1 if mode == "pix2pix" else batch_size):
            output = tested(source)
            judged = discriminator(torch.cat((source, output), dim=1))
            gan += bce(judged, target=1.0) * len(source)
            pixel += (output - target).abs().mean() * len(source)
    return Validation(gan=gan.item() / len(data), l1=pixel.item() / len(data))


def batches(data: ResidentPairs, *, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """All pairs in order, uncropped and unmirrored."""
    for index in torch.arange(len(data), device=data.index_device).split(batch_size):
        yield data.batch(index)


@contextmanager
def evaluated(module: nn.Module) -> Iterator[nn.Module]:
    """The module in eval mode without gradients; its own mode afterwards."""
    before = module.training
    module.eval()
    try:
        with torch.inference_mode():
            yield module
    finally:
        module.train(before)


@contextmanager
def testing(generator: nn.Module, *, mode: Mode, seed: int, device: torch.device) -> Iterator[nn.Module]:
    """The generator as it is tested: itself in eval mode, or a copy in train mode (pix2pix's own habit)."""
    if mode == "eval":
        with evaluated(generator):
            yield generator
        return
    # A copy, because batch norm in train mode updates its running statistics.
    with torch.random.fork_rng([device] if device.type == "cuda" else []), torch.inference_mode():
        torch.manual_seed(seed)
        yield copy.deepcopy(generator).train()
