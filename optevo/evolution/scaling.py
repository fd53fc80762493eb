"""From objective values to fitness: the larger the better, never negative.

Values arrive as costs, the smaller the better (a study that maximises negates them before). `None` and NaN mark an
individual whose training failed. One rule covers what no formula does:

* NaN, `None` and +inf get fitness 0: they are chosen only when nobody has a positive one.
* -inf counts as the smallest finite cost.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Scaling = Callable[[Sequence[float | None]], Array]


def proportional(costs: Sequence[float | None]) -> Array:
    """The paper's fitness `f = 1 / v` for positive costs (2002.11581, Eq. 7).

    When a finite cost is not positive, the reciprocal has no meaning and the costs are turned over instead:
    `f = (max v - v) + (max v - min v) / 10`, or 1 for all when they are equal.

    Args:
        costs: Shape `(K,)`; the smaller the better.

    Returns:
        Fitness of shape `(K,)`, each at least 0.
    """
    values, finite = _finite(costs)
    fitness = np.zeros(len(values))
    good = values[finite]
    if not good.size:
        return fitness
    if good.min() > 0:
        # Dividing by the smallest cost keeps subnormal costs from overflowing; the roulette only sees ratios.
        fitness[finite] = good.min() / good
    else:
        scale = max(np.abs(good).max(), 1e-300)
        good = good / scale
        spread = good.max() - good.min()
        fitness[finite] = (good.max() - good) + spread / 10 if spread > 0 else 1.0
    return fitness


def rank(costs: Sequence[float | None]) -> Array:
    """`f = 1 / rank`, the best individual having rank 1; equal costs share the mean of their ranks.

    Unlike :func:`proportional` it presses equally hard whether the costs differ by 1 % or by a factor of ten.
    """
    values, finite = _finite(costs)
    fitness = np.zeros(len(values))
    good = values[finite]
    below = (good[None, :] < good[:, None]).sum(axis=1)
    equal = (good[None, :] == good[:, None]).sum(axis=1)
    fitness[finite] = 1 / (below + (equal + 1) / 2)
    return fitness


def sigma(costs: Sequence[float | None]) -> Array:
    """Goldberg's sigma scaling `f = max(0, 1 + (mean v - v) / (2 std v))` of the finite costs."""
    values, finite = _finite(costs)
    fitness = np.zeros(len(values))
    good = values[finite]
    if good.size:
        scale = max(np.abs(good).max(), 1e-300)
        good = good / scale
        spread = good.std()
        # Costs that agree to the last bits have a spread of rounding errors only.
        fitness[finite] = np.maximum(0, 1 + (good.mean() - good) / (2 * spread)) if spread > 1e-12 else 1.0
    return fitness


SCALINGS: dict[str, Scaling] = {"proportional": proportional, "rank": rank, "sigma": sigma}


def _finite(costs: Sequence[float | None]) -> tuple[Array, NDArray[np.bool_]]:
    values = np.array([np.nan if cost is None else cost for cost in costs], dtype=np.float64)
    if np.isneginf(values).any():
        finite = values[np.isfinite(values)]
        values[np.isneginf(values)] = finite.min() if finite.size else 1.0
    return values, np.isfinite(values)
