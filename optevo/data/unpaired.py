"""What each step of a training on unpaired images takes of either domain."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from optevo.data.plan import batch_plan
from optevo.data.resident import ResidentImages


@dataclass(frozen=True)
class UnpairedPlan:
    """What each step trains on: a plan for either domain, drawn apart, so that no picture keeps its partner.

    Attributes:
        index_a, index_b: int64 (steps, batch).
        crop_a, crop_b: int32 (steps, batch, 2).
        flip_a, flip_b: bool (steps, batch).
    """

    index_a: Tensor
    crop_a: Tensor
    flip_a: Tensor
    index_b: Tensor
    crop_b: Tensor
    flip_b: Tensor

    def __len__(self) -> int:
        return len(self.index_a)

    def to(self, a: torch.device, b: torch.device) -> UnpairedPlan:
        """The same plan where either domain's images lie, moved once so that no step waits for it."""
        return UnpairedPlan(
            *(part.to(a) for part in (self.index_a, self.crop_a, self.flip_a)),
            *(part.to(b) for part in (self.index_b, self.crop_b, self.flip_b)),
        )


def unpaired_plan(
    a: ResidentImages, b: ResidentImages, *, steps: int, batch_size: int, seed: int, flip: bool = True
) -> UnpairedPlan:
    """Draw a whole run: each domain goes through one shuffle of its images after another.

    Args:
        a, b: The training images.
        steps, batch_size: Number of batches, and of images of either domain in each.
        seed: Any integer below 2**62.
        flip: Whether half of the images are mirrored.
    """
    plans = [
        # Two seeds for two domains: with one, equally many images would be shuffled alike and meet the same partners.
        batch_plan(len(one), steps=steps, batch_size=batch_size, seed=2 * seed + at, jitter_range=one.jitter_range)
        for at, one in enumerate((a, b))
    ]
    parts = [(plan.index, plan.crop, plan.flip if flip else torch.zeros_like(plan.flip)) for plan in plans]
    return UnpairedPlan(*parts[0], *parts[1])


def unpaired_batch(a: ResidentImages, b: ResidentImages, plan: UnpairedPlan, step: int) -> tuple[Tensor, Tensor]:
    """Batch `step` of a plan: images of A and of B, float32 (batch, channels, H, W) in [-1, 1]."""
    return (
        a.batch(plan.index_a[step], crop=plan.crop_a[step], flip=plan.flip_a[step]),
        b.batch(plan.index_b[step], crop=plan.crop_b[step], flip=plan.flip_b[step]),
    )
