"""Screening: many children are bred, a model predicts what they are worth, and only the most promising are trained.

The objective of an architecture search is a quality, which must be trained for, plus a price, which is known exactly
(`L_Gen + gamma p`, 2002.11581, Eq. 7). So only the quality is predicted, by a Gaussian process on evaluated genomes,
with the tail of bad ones drawn in, and the price is added. How much each gene matters is learnt ("automatic relevance
determination"; Rasmussen and Williams, Gaussian Processes for Machine Learning, section 5.1). Who is chosen together
must differ, see :mod:`optevo.evolution.diversity`.
Hyperparameters come from a small grid by their marginal likelihood, a coordinate at a time and not by gradients, so
that every worker finds the same ones.
"""

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optevo.evolution.breeding import Genome, Offspring
from optevo.evolution.checks import whole
from optevo.evolution.diversity import mean_distance, spread_out
from optevo.evolution.features import features, owners
from optevo.evolution.genes import Gene

Array = NDArray[np.float64]

# The grid. Features differ by at most 1, so a gene of length 16 matters hardly. Noise is a share of the variance.
LENGTHS = (0.5, 1.0, 2.0, 4.0, 16.0)
NOISES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
LINEAR = 0.3  # the share of the kernel that is linear: few evaluations already tell the slopes, many the rest
SWEEPS = 2  # at most so often through all genes
LEARNT = 192  # evaluations that hyperparameters are learnt from; the predictions use more
RELEVANCES = 64  # genes that may each have a length of their own; of longer genomes all share one

# What rounding errors of another CPU may change must not change who is chosen.
DIGITS = 6


@dataclass(frozen=True)
class Screening:
    """How children are screened.

    Args:
        candidates: Children that are bred or drawn for a generation.
        optimism: How many predicted standard deviations a candidate is given for being unknown, at least 0.
        immigrants: The share of candidates that are drawn at random instead of bred, in [0, 1]. Children of the best
            ever found stay near them, and some were found best by the luck of their seeds.
        diversity: In how many genes any two of the chosen differ at least, as a share of those that two parents differ
            in on average; at least 0.
        memory: How many evaluations the model predicts from, at least 2. Its work grows with the cube of that.

    Raises:
        ValueError: An argument is out of its range.
    """

    candidates: int = 256
    optimism: float = 0.5
    immigrants: float = 0.5
    diversity: float = 0.5
    memory: int = 512

    def __post_init__(self) -> None:
        for name in ("candidates", "memory"):
            object.__setattr__(self, name, whole(getattr(self, name), name))
        if self.candidates < 1:
            raise ValueError(f"candidates must be at least 1, but is {self.candidates}.")
        for name in ("optimism", "diversity"):
            if not 0 <= (value := getattr(self, name)) < math.inf:
                raise ValueError(f"{name} must be finite and not negative, but is {value}.")
        if not 0 <= self.immigrants <= 1:
            raise ValueError(f"immigrants must lie in [0, 1], but is {self.immigrants}.")
        if self.memory < 2:
            raise ValueError(f"memory must be at least 2, but is {self.memory}.")


def screen(
    children: Sequence[Offspring],
    *,
    genes: Sequence[Gene],
    parents: Sequence[Genome],
    known: Sequence[Genome],
    costs: Sequence[float],
    price: Callable[[Genome], float],
    size: int,
    screening: Screening,
) -> list[Offspring]:
    """The most promising of the children that differ enough, the best first.

    Args:
        children: Candidates; equal genomes count once.
        genes: One for each position of a genome.
        parents: Whom the children were bred from: by how much these differ says by how much the chosen must.
        known, costs: The evaluated genomes and their costs, finite, the smaller the better.
        price: The part of a genome's cost that is known without training; the model sees only the rest.
        size: How many to choose.
        screening: How.

    Returns:
        `min(size, number of different children)` of them.
    """
    different = list({child.genome: child for child in children}.values())
    if not different:
        return []
    places = remembered(costs, size=screening.memory)
    qualities = squashed(np.array([costs[place] - price(known[place]) for place in places]))
    mean, deviation = predict(
        features([known[place] for place in places], genes),
        qualities,
        features([child.genome for child in different], genes),
        owner=owners(different[0].genome, genes),
        sample=remembered([costs[place] for place in places], size=LEARNT),
    )
    prices = np.array([price(child.genome) for child in different])
    score = np.round(mean - screening.optimism * deviation + prices, _decimals(qualities))
    ranked = [different[place] for place in np.argsort(score, kind="stable")]
    least = screening.diversity * mean_distance(parents)
    return [ranked[place] for place in spread_out([child.genome for child in ranked], size=size, least=least)]


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


def squashed(values: Array) -> Array:
    """Values with the upper half drawn in: at most as far above the median as the smallest lies below it.

    Bad networks are bad by far more than good ones are good (one that diverges, by orders of magnitude). A model that
    has to follow that tail tells the good ones apart badly, and by how much the bad are worse decides nothing. The
    values up to the median stay, and nobody overtakes another.

    Args:
        values: Shape `(N,)`, finite, the smaller the better.
    """
    if not len(values):  # Nobody has a value yet.
        return values
    middle = float(np.median(values))
    reach = middle - float(values.min())
    if reach == 0:
        return values
    with np.errstate(over="ignore"):  # Of the largest numbers the quotient is infinite, which tanh takes to 1.
        return np.where(values > middle, middle + reach * np.tanh((values - middle) / reach), values)


def predict(
    known: Array, values: Array, wanted: Array, *, owner: NDArray[np.int64], sample: Sequence[int]
) -> tuple[Array, Array]:
    """Mean and standard deviation of a Gaussian process's predictions, in the unit of `values`.

    The kernel is partly linear, `x . y + 0.01` of centred features, and for the most part a Matern kernel (nu = 5/2)
    with a length for each gene.

    Args:
        known: Features of the evaluated, shape `(N, F)`.
        values: Shape `(N,)`, finite.
        wanted: Shape `(M, F)`.
        owner: The gene of each feature, shape `(F,)`, counting up from 0.
        sample: Places of the evaluations that hyperparameters are learnt from.

    Returns:
        Two arrays of shape `(M,)`; the deviation is that of the mean of many evaluations, without their noise.
    """
    if len(values) < 2 or np.ptp(values) == 0:
        return np.full(len(wanted), values.mean() if len(values) else 0.0), np.ones(len(wanted))
    centre, learnt = known.mean(axis=0), list(sample)
    chosen = learn(known[learnt] - centre, values[learnt], owner)
    model = _process(chosen, owner).fit(known - centre, values)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # A variance below 0 by a rounding error is set to 0, with a warning.
        mean, deviation = model.predict(wanted - centre, return_std=True)
    return mean, deviation


@dataclass(frozen=True)
class Hyperparameters:
    """Of the Gaussian process: a length for each gene, and the variance of the noise as a share of the observed."""

    lengths: tuple[float, ...]
    noise: float


def learn(known: Array, values: Array, owner: NDArray[np.int64]) -> Hyperparameters:
    """The likeliest hyperparameters: of those with one length for all genes, then changed a coordinate at a time.

    Args:
        known: Features, centred, shape `(N, F)`.
        values: Shape `(N,)`.
        owner: The gene of each feature, shape `(F,)`.
    """
    from scipy.linalg import cho_solve, cholesky

    genes = int(owner.max()) + 1
    # The learnt ones may all be equal where the others are not.
    normal = (values - values.mean()) / (values.std() or 1.0)
    linear, one = _linear()(known), np.eye(len(values))

    @cache
    def covariance(lengths: tuple[float, ...]) -> Array:
        return np.asarray(linear + _matern(lengths, owner)(known))

    @cache
    def likelihood(chosen: Hyperparameters) -> float:
        """Rasmussen and Williams, Algorithm 2.1, but for a constant; the process's own takes twice as long."""
        factor = cholesky(covariance(chosen.lengths) + chosen.noise * one, lower=True, check_finite=False)
        fit = normal @ cho_solve((factor, True), normal, check_finite=False)
        # Rounded, so that the order of a CPU's additions decides nothing; of equals the first stays.
        return round(float(-fit / 2 - np.log(factor.diagonal()).sum()), DIGITS)

    best = max((Hyperparameters((length,) * genes, noise) for length in LENGTHS for noise in NOISES), key=likelihood)
    for _ in range(SWEEPS if genes <= RELEVANCES else 0):
        before = best
        for gene in range(genes):
            best = max((best, *_with_lengths(best, gene)), key=likelihood)
        best = max((best, *(Hyperparameters(best.lengths, noise) for noise in NOISES)), key=likelihood)
        if best == before:
            break
    return best


def _with_lengths(chosen: Hyperparameters, gene: int) -> list[Hyperparameters]:
    head, tail = chosen.lengths[:gene], chosen.lengths[gene + 1 :]
    return [Hyperparameters((*head, length, *tail), chosen.noise) for length in LENGTHS]


def _process(chosen: Hyperparameters, owner: NDArray[np.int64]) -> Any:
    # Loaded here and below, because it takes a second and only a screening sampler needs it.
    from sklearn.gaussian_process import GaussianProcessRegressor

    kernel = _linear() + _matern(chosen.lengths, owner)
    return GaussianProcessRegressor(kernel, alpha=chosen.noise, optimizer=None, normalize_y=True)


def _linear() -> Any:
    from sklearn.gaussian_process.kernels import ConstantKernel, DotProduct

    return ConstantKernel(LINEAR) * DotProduct(0.1)


def _matern(lengths: tuple[float, ...], owner: NDArray[np.int64]) -> Any:
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern

    return ConstantKernel(1 - LINEAR) * Matern(np.array(lengths)[owner], nu=2.5)


def _decimals(values: Array) -> int:
    spread = float(np.ptp(values)) if len(values) else 0.0
    return DIGITS - round(np.log10(spread)) if spread > 0 else DIGITS
