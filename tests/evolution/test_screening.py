"""The model that chooses among children: its features, its predictions, its choice."""

import itertools
import math

import numpy as np
import pytest

from optevo.evolution import CategoricalGene, IntegerGene, RealGene
from optevo.evolution.breeding import Offspring
from optevo.evolution.features import features, owners
from optevo.evolution.screening import (
    LENGTHS,
    NOISES,
    Screening,
    learn,
    predict,
    remembered,
    screen,
    squashed,
)

GENES = (CategoricalGene(4, ordered=True), CategoricalGene(3), CategoricalGene(2))
SPACE = list(itertools.product(range(4), range(3), range(2)))


def offspring(genomes):
    return [Offspring(genome, "crossover", (0,)) for genome in genomes]


def test_ordered_values_are_one_feature_and_others_one_each() -> None:
    found = features([(0, 0, 0), (3, 2, 1), (1, 1, 0)], GENES)
    half = np.sqrt(0.5)
    expected = [[0, half, 0, 0, 0], [1, 0, 0, half, 1], [1 / 3, 0, half, 0, 0]]
    np.testing.assert_allclose(found, expected)
    # Two values without order are as far apart as the ends of an ordered gene.
    assert np.linalg.norm(found[0, 1:4] - found[1, 1:4]) == pytest.approx(1)


def test_numbers_lie_in_the_unit_interval_of_their_range_or_its_logarithm() -> None:
    genes = (IntegerGene(2, 6, step=2), RealGene(1.0, 100.0, log=True), RealGene(5.0, 5.0))
    np.testing.assert_allclose(features([(2, 1.0, 5.0), (4, 10.0, 5.0)], genes), [[0, 0, 0], [0.5, 0.5, 0]], atol=1e-12)


def textbook(known, values, wanted, *, lengths, noise):
    """Likelihood, mean k* K^-1 y and variance k** - k* K^-1 k*, by plain linear algebra."""
    centre, mu, sd = known.mean(axis=0), values.mean(), values.std()
    x, z, y = known - centre, wanted - centre, (values - mu) / sd

    def kernel(a, b):
        far = np.sqrt((((a[:, None] - b[None]) / lengths) ** 2).sum(axis=-1))
        matern = (1 + np.sqrt(5) * far + 5 / 3 * far**2) * np.exp(-np.sqrt(5) * far)
        return 0.3 * (0.01 + a @ b.T) + 0.7 * matern

    covariance = kernel(x, x) + noise * np.eye(len(x))
    likelihood = -0.5 * y @ np.linalg.solve(covariance, y) - 0.5 * np.linalg.slogdet(covariance)[1]
    cross = kernel(z, x)
    mean = mu + sd * cross @ np.linalg.solve(covariance, y)
    variance = np.diag(kernel(z, z)) - np.diag(cross @ np.linalg.solve(covariance, cross.T))
    return likelihood, mean, sd * np.sqrt(variance)


@pytest.fixture
def measured():
    """Features of which the third says nothing, and noisy values."""
    rng = np.random.default_rng(0)
    known, wanted = rng.random((30, 3)), rng.random((5, 3))
    return known, np.sin(6 * known[:, 0]) + known[:, 1] + 0.1 * rng.standard_normal(30), wanted


def test_predictions_are_those_of_the_textbook_formula(measured) -> None:
    known, values, wanted = measured
    chosen = learn(known - known.mean(axis=0), values, np.arange(3))
    _, mean, deviation = textbook(known, values, wanted, lengths=np.array(chosen.lengths), noise=chosen.noise)
    found = predict(known, values, wanted, owner=np.arange(3), sample=range(30))
    np.testing.assert_allclose(found[0], mean, rtol=1e-6)
    np.testing.assert_allclose(found[1], deviation, rtol=1e-6)


def test_no_step_of_the_grid_makes_the_hyperparameters_likelier(measured) -> None:
    known, values, wanted = measured
    chosen = learn(known - known.mean(axis=0), values, np.arange(3))

    def likelihood(lengths, noise):
        return textbook(known, values, wanted, lengths=np.array(lengths), noise=noise)[0]

    best = likelihood(chosen.lengths, chosen.noise)
    assert all(likelihood(chosen.lengths, noise) <= best + 1e-6 for noise in NOISES)
    for gene, length in itertools.product(range(3), LENGTHS):
        lengths = [*chosen.lengths[:gene], length, *chosen.lengths[gene + 1 :]]
        assert likelihood(lengths, chosen.noise) <= best + 1e-6
    alike = max(likelihood((length,) * 3, noise) for length, noise in itertools.product(LENGTHS, NOISES))
    assert best > alike


def test_a_gene_that_says_nothing_is_found_out(measured) -> None:
    known, values, _ = measured
    chosen = learn(known - known.mean(axis=0), values, np.arange(3))
    assert chosen.lengths[2] >= 4 * chosen.lengths[0]


def test_all_features_of_a_gene_share_its_length() -> None:
    genes = (*GENES, RealGene(1.0, 100.0, log=True))
    assert owners((0, 0, 0, 10.0), genes).tolist() == [0, 1, 1, 1, 2, 3]


def test_of_no_children_none_is_chosen() -> None:
    nothing = screen(
        [],
        genes=GENES,
        parents=SPACE[:3],
        known=SPACE[:3],
        costs=[1.0, 2.0, 3.0],
        price=lambda genome: 0.0,
        size=2,
        screening=Screening(),
    )
    assert nothing == []


def test_genes_of_very_long_genomes_share_one_length() -> None:
    rng = np.random.default_rng(0)
    known = rng.random((20, 65))
    chosen = learn(known - known.mean(axis=0), known[:, 0], np.arange(65))
    assert len(set(chosen.lengths)) == 1


@pytest.mark.parametrize("values", [[], [3.0], [2.0, 2.0, 2.0]])
def test_too_little_to_learn_from_predicts_one_value(values) -> None:
    count = len(values)
    mean, deviation = predict(
        np.zeros((count, 2)), np.array(values), np.ones((4, 2)), owner=np.arange(2), sample=range(count)
    )
    assert np.ptp(mean) == 0
    assert np.ptp(deviation) == 0


def quality(genome) -> float:
    return float(-genome[0] - 2 * (genome[1] == 1) + 0.5 * genome[2])


def test_where_those_learnt_from_are_equal_the_others_still_count() -> None:
    known, values = features(SPACE, GENES), np.zeros(len(SPACE))
    values[0] = 1.0
    owner = owners(SPACE[0], GENES)
    with np.errstate(invalid="raise"):
        mean, deviation = predict(known, values, known[:2], owner=owner, sample=range(1, len(SPACE)))
    assert mean[0] > mean[1]
    assert np.isfinite(deviation).all()


def test_the_most_promising_come_first_and_each_genome_once() -> None:
    known = SPACE[::2]
    rest = [genome for genome in SPACE if genome not in known]
    chosen = screen(
        offspring([*rest, *rest]),
        genes=GENES,
        parents=[],
        known=known,
        costs=[quality(genome) for genome in known],
        price=lambda genome: 0.0,
        size=4,
        screening=Screening(optimism=0.0),
    )
    assert chosen[0].genome == min(rest, key=quality)
    worst = sorted(map(quality, rest))[len(rest) // 2]
    assert all(quality(child.genome) < worst for child in chosen)
    assert len({child.genome for child in chosen}) == 4


def test_the_price_is_added_and_not_predicted() -> None:
    """A price that turns the order over must turn the choice over, though no evaluation shows it."""

    def choose(factor: float):
        return screen(
            offspring(SPACE),
            genes=GENES,
            parents=[],
            known=SPACE[::3],
            costs=[quality(genome) + factor * genome[0] for genome in SPACE[::3]],
            price=lambda genome: factor * genome[0],
            size=1,
            screening=Screening(optimism=0.0),
        )[0].genome

    assert choose(0.0)[0] == 3
    assert choose(10.0)[0] == 0


def test_those_chosen_differ_by_a_share_of_what_their_parents_do() -> None:
    def choose(diversity: float):
        chosen = screen(
            offspring(SPACE),
            genes=GENES,
            parents=SPACE,
            known=SPACE[::3],
            costs=[quality(genome) for genome in SPACE[::3]],
            price=lambda genome: 0.0,
            size=4,
            screening=Screening(optimism=0.0, diversity=diversity),
        )
        pairs = itertools.combinations((child.genome for child in chosen), 2)
        return chosen, min(sum(a != b for a, b in zip(*pair, strict=True)) for pair in pairs)

    # Two of the parents differ in 24 / 23 (3/4 + 2/3 + 1/2) = 2 genes on average.
    (near, one), (half, still), (far, two) = choose(0.0), choose(0.5), choose(0.51)
    assert (one, still, two) == (1, 1, 2)
    assert near == half
    assert near[0] == far[0]


def test_rounding_errors_change_no_choice() -> None:
    rng = np.random.default_rng(1)
    values = np.array([quality(genome) for genome in SPACE[::2]]) + 0.1 * rng.standard_normal(len(SPACE[::2]))

    def choose(noise: float):
        return screen(
            offspring(SPACE),
            genes=GENES,
            parents=[],
            known=SPACE[::2],
            costs=list(values * (1 + noise)),
            price=lambda genome: 0.0,
            size=12,
            screening=Screening(),
        )

    assert choose(0.0) == choose(1e-15)


def test_the_tail_of_the_bad_is_drawn_in_and_the_good_stay() -> None:
    values = np.array([3.0, 1.0, 2.0, 1.7e308, 4.0, 1e3, 0.5])
    found = squashed(values)
    good = values <= np.median(values)
    assert found[good].tolist() == values[good].tolist()
    assert (np.diff(found[np.argsort(values)]) >= 0).all()
    assert found[4] == pytest.approx(3 + 2.5 * np.tanh(1 / 2.5))
    assert found[[3, 5]].tolist() == [5.5, 5.5]
    assert squashed(np.array([1.0, 1.0, 1.0, 5.0])).tolist() == [1, 1, 1, 5]


def test_a_training_that_diverged_spoils_no_choice() -> None:
    known = SPACE[::2]
    costs = [quality(genome) for genome in known]
    costs[known.index((3, 0, 0))] = 1e6

    chosen = screen(
        offspring(genome for genome in SPACE if genome not in known),
        genes=GENES,
        parents=[],
        known=known,
        costs=costs,
        price=lambda genome: 0.0,
        size=1,
        screening=Screening(optimism=0.0),
    )
    assert chosen[0].genome[:2] in ((2, 1), (3, 1))


def test_a_long_past_is_remembered_by_its_best_and_a_sample_of_the_rest() -> None:
    costs = list(np.random.default_rng(0).permutation(1000).astype(float))
    places = remembered(costs, size=100)
    kept = sorted(costs[place] for place in places)
    assert len(set(places)) == 100
    assert kept[:50] == list(range(50))
    assert kept[-1] == 999
    assert max(np.diff(kept[50:])) < 25
    assert remembered(costs, size=1000) == list(range(1000))


def test_impossible_settings() -> None:
    with pytest.raises(ValueError, match="candidates must be at least 1"):
        Screening(candidates=0)
    for name, value in itertools.product(("optimism", "diversity"), (-1.0, math.nan, math.inf)):
        with pytest.raises(ValueError, match=f"{name} must be finite and not negative, but is {value}"):
            Screening(**{name: value})
    with pytest.raises(ValueError, match="memory must be at least 2"):
        Screening(memory=1)
    with pytest.raises(ValueError, match="immigrants must lie in"):
        Screening(immigrants=1.5)
