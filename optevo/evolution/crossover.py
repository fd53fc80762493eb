"""Crossover: a random piece of two parents is swapped (2002.11581, section 2.2)."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")


def segment(length: int, rng: np.random.Generator) -> tuple[int, int]:
    """A non-empty half-open piece `[start, stop)` of `length` positions, every such piece equally likely.

    The last position belongs to some of them: the code released with 1907.10804 never changes it.
    """
    start, stop = sorted(int(cut) for cut in rng.choice(length + 1, size=2, replace=False))
    return start, stop


def swap_segment(first: Sequence[T], second: Sequence[T], rng: np.random.Generator) -> tuple[list[T], list[T]]:
    """Two children that have exchanged one random piece.

    Raises:
        ValueError: The parents' chromosomes are empty or differ in length.
    """
    if len(first) != len(second) or not first:
        raise ValueError(f"parents need chromosomes of one length above 0, but have {len(first)} and {len(second)}.")
    start, stop = segment(len(first), rng)
    return (
        [*first[:start], *second[start:stop], *first[stop:]],
        [*second[:start], *first[start:stop], *second[stop:]],
    )
