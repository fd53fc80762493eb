"""A pair of unpaired translators with their discriminators: what CycleGAN trains, and what co-evolution shrinks."""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class Translators:
    """Two generators between image domains A and B, and the discriminators of each domain's real images.

    Attributes:
        a_to_b, b_to_a: (B, C, H, W) in [-1, 1] to the same of the other domain.
        judge_a, judge_b: Images of A, of B, to logits of any shape.
    """

    a_to_b: nn.Module
    b_to_a: nn.Module
    judge_a: nn.Module
    judge_b: nn.Module

    def named(self) -> Iterator[tuple[str, nn.Module]]:
        """Their names and modules, in a fixed order."""
        for name in ("a_to_b", "b_to_a", "judge_a", "judge_b"):
            yield name, getattr(self, name)
