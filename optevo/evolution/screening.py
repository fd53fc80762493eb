"""Screening: many children are bred, a model predicts what they are worth, and only the most promising are trained.

The objective of an architecture search is a quality, which must be trained for, plus a price, which is known exactly
(`L_Gen + gamma p`, 2002.11581, Eq. 7). So only the quality is predicted, by a Gaussian process on evaluated genomes,
and the price is added. Nothing here is tuned by an iterative optimiser: hyperparameters come from a small grid by their
marginal likelihood, so that every worker finds the same ones.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from optevo.evolution.breeding import Genome, Offspring
from optevo.evolution.genes import Gene

Array = NDArray[np.float64]

# The grid. Features lie in [0, 1], so a length of 4 is nearly linear; the noise is a share of the observed variance.
LENGTHS = (0.5, 1.0, 2.0, 4.0)
NOISES = (0.01, 0.1, 0.3, 1.0)

# What rounding errors of another CPU may change must not change who is chosen.
DIGITS = 6


@dataclass(frozen=True)
class Screening:
    """How children are screened.

    Args:
        candidates: Children that are bred for a generation.
        optimism: How many predicted standard deviations a candidate is given for being unknown, at least 0.
        immigrants: The share of candidates that are drawn at random instead of bred, in [0, 1].
        memory: How many evaluations the model learns from, at least 2. Its work grows with the cube of that.

    Raises:
        ValueError: An argument is out of its range.
    """

    candidates: int = 256
    optimism: float = 0.5
    immigrants: float = 0.0
    memory: int = 512

    def __post_init__(self) -> None:
        if self.candidates < 1:
            raise ValueError(f"candidates must be at least 1, but is {self.candidates}.")
        if self.optimism < 0:
            raise ValueError(f"optimism must not be negative, but is {self.optimism}.")
        if not 0 <= self.immigrants <= 1:
            raise ValueError(f"immigrants must lie in [0, 1], but is {self.immigrants}.")
        if self.memory < 2:
            raise ValueError(f"memory must be at least 2, but is {self.memory}.")


def screen(
    children: Sequence[Offspring],
    *,
    genes: Sequence[Gene],
    known: Sequence[Genome],
    costs: Sequence[float],
    price: Callable[[Genome], float],
    size: int,
    screening: Screening,
) -> list[Offspring]:
    """The most promising of the children, the best first.

    Args:
        children: Candidates; equal genomes count once.
        genes: One for each position of a genome.
        known, costs: The evaluated genomes and their costs, finite, the smaller the better.
        price: The part of a genome's cost that is known without training; the model sees only the rest.
        size: How many to choose.
        screening: How.

    Returns:
        `min(size, number of different children)` of them.
    """
    different = list({child.genome: child for child in children}.values())
    places = remembered(costs, size=screening.memory)
    qualities = np.array([costs[place] - price(known[place]) for place in places])
    mean, deviation = predict(
        features([known[place] for place in places], genes),
        qualities,
        features([child.genome for child in different], genes),
    )
    prices = np.array([price(child.genome) for child in different])
    score = np.round(mean - screening.optimism * deviation + prices, _decimals(qualities))
    return [different[place] for place in np.argsort(score, kind="stable")[:size]]


def remembered(costs: Sequence[float], *, size: int) -> list[int]:
    """Places of the evaluations that a model learns from: the best, and as many of the others, evenly over the ranks.

    The best alone would not show what makes the others worse.
    """
    order = np.argsort(costs, kind="stable")
    if len(order) <= size:
        return list(range(len(order)))
    best = size // 2
    others = order[best:][np.linspace(0, len(order) - best - 1, size - best).round().astype(int)]
    return sorted(int(place) for place in (*order[:best], *others))


def features(genomes: Sequence[Genome], genes: Sequence[Gene]) -> Array:
    """Genomes as numbers of about unit range, shape `(N, F)`: ordered genes are one feature, others one a value."""
    columns = [gene.features(np.array([genome[place] for genome in genomes])) for place, gene in enumerate(genes)]
    return np.concatenate(columns, axis=1)


def predict(known: Array, values: Array, wanted: Array) -> tuple[Array, Array]:
    """Mean and standard deviation of a Gaussian process's predictions, in the unit of `values`.

    The kernel is half linear and half squared exponential: few evaluations already tell the slopes, many the rest.

    Args:
        known: Features of the evaluated, shape `(N, F)`.
        values: Shape `(N,)`, finite.
        wanted: Shape `(M, F)`.

    Returns:
        Two arrays of shape `(M,)`.
    """
    # Loaded here, because it takes a second and only a screening sampler needs it.
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, DotProduct, WhiteKernel

    if len(values) < 2 or np.ptp(values) == 0:
        return np.full(len(wanted), values.mean() if len(values) else 0.0), np.ones(len(wanted))
    centre = known.mean(axis=0)
    models = [
        GaussianProcessRegressor(
            0.5 * DotProduct(0.1) + 0.5 * RBF(length) + WhiteKernel(noise), optimizer=None, normalize_y=True
        ).fit(known - centre, values)
        for length in LENGTHS
        for noise in NOISES
    ]
    best = max(models, key=lambda model: round(model.log_marginal_likelihood_value_, DIGITS))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # A variance below 0 by a rounding error is set to 0, with a warning.
        mean, deviation = best.predict(wanted - centre, return_std=True)
    return mean, deviation


def _decimals(values: Array) -> int:
    spread = float(np.ptp(values)) if len(values) else 0.0
    return DIGITS - round(np.log10(spread)) if spread > 0 else DIGITS
