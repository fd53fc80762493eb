"""The roulette wheel (2002.11581, Eq. 4)."""

import numpy as np
from numpy.typing import NDArray


def probabilities(fitness: NDArray[np.float64]) -> NDArray[np.float64]:
    """`Pr(b_j) = f(b_j) / sum_k f(b_k)`; uniform where every fitness is 0.

    Args:
        fitness: Shape `(K,)`, finite, at least 0.

    Raises:
        ValueError: There is no individual, or a fitness is negative or not finite.
    """
    if not fitness.size:
        raise ValueError("the roulette needs at least one individual.")
    if not np.all(np.isfinite(fitness)) or fitness.min() < 0:
        raise ValueError(f"fitness must be finite and not negative, but is {fitness}.")
    # Relative to the largest: a sum of huge numbers overflows.
    fitness = fitness / (fitness.max() or 1.0)
    total = fitness.sum()
    if total <= 0:
        return np.full(len(fitness), 1 / len(fitness))
    shares: NDArray[np.float64] = fitness / total
    return shares


def spin(chances: NDArray[np.float64], rng: np.random.Generator) -> int:
    """The index of one individual, drawn with the given probabilities of shape `(K,)`."""
    # Where rounding leaves the last cumulative sum below 1, the draw must still fall on someone who has a chance.
    wheel = np.cumsum(chances)
    return int(np.searchsorted(wheel, rng.random() * wheel[-1], side="right"))
