"""Every random draw of a training run, made up front."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Plan:
    """What each step trains on.

    Attributes:
        index: int64 (steps, batch), which pairs.
        crop: int32 (steps, batch, 2), the top and left offset of each crop, in pixels.
        flip: bool (steps, batch), which pairs are mirrored.
    """

    index: Tensor
    crop: Tensor
    flip: Tensor

    def __len__(self) -> int:
        return len(self.index)

    def to(self, device: torch.device | str) -> Plan:
        """The same plan on a device, moved once so that no step waits for it."""
        return Plan(*(part.to(device) for part in (self.index, self.crop, self.flip)))


def batch_plan(n: int, *, steps: int, batch_size: int, seed: int, jitter_range: tuple[int, int]) -> Plan:
    """Draw shuffles, crops and flips for a whole run; a pure function of its arguments.

    Batches run through one shuffle of all pairs after another without a gap, so a batch may span two epochs and none
    is short. The plan for fewer steps is a prefix of the plan for more: a resumed or a longer run agrees. 17 bytes a
    sample.

    Args:
        n: number of pairs.
        steps: number of batches.
        batch_size: pairs a batch; may exceed `n`.
        seed: any integer of 64 bits.
        jitter_range: the largest top and left offset, inclusive: `ResidentPairs.jitter_range`.

    Raises:
        ValueError: an argument is out of range.
    """
    if n < 1 or steps < 0 or batch_size < 1 or min(jitter_range) < 0:
        raise ValueError(f"n = {n}, steps = {steps}, batch_size = {batch_size}, jitter_range = {jitter_range}")
    # A stream for each kind of draw: one shared stream would interleave them, and no plan would be another's prefix.
    shuffles, tops, lefts, flips = _streams(seed, count=4)
    epochs = -(-steps * batch_size // n)
    order = [torch.randperm(n, generator=shuffles) for _ in range(epochs)]
    shape = (steps, batch_size)
    index = torch.cat(order)[: steps * batch_size].view(shape) if order else torch.empty(shape, dtype=torch.int64)
    top = torch.randint(jitter_range[0] + 1, shape, generator=tops, dtype=torch.int32)
    left = torch.randint(jitter_range[1] + 1, shape, generator=lefts, dtype=torch.int32)
    flip = torch.randint(2, shape, generator=flips, dtype=torch.int32).bool()
    return Plan(index=index, crop=torch.stack((top, left), dim=-1), flip=flip)


def _streams(seed: int, *, count: int) -> list[torch.Generator]:
    root = torch.Generator().manual_seed(seed)
    seeds = torch.randint(2**31, (count,), generator=root).tolist()
    return [torch.Generator().manual_seed(int(value)) for value in seeds]
