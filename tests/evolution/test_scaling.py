"""Fitness from objective values, by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from optevo.evolution import SCALINGS, probabilities, proportional, rank, sigma

NAN, INF = math.nan, math.inf
costs_of_any_kind = st.lists(st.none() | st.floats(allow_nan=True, allow_infinity=True), min_size=1, max_size=12)


def test_proportional_is_the_reciprocal_up_to_a_factor() -> None:
    fitness = proportional([2.0, 4.0, 8.0])
    assert probabilities(fitness) == pytest.approx([4 / 7, 2 / 7, 1 / 7])
    assert fitness[0] / fitness[1] == pytest.approx(2)


@pytest.mark.parametrize("failed", [None, NAN, INF])
@pytest.mark.parametrize("scaling", SCALINGS.values(), ids=SCALINGS)
def test_failed_individuals_get_no_share_and_change_nobody_elses(scaling, failed) -> None:
    assert scaling([2.0, failed, 4.0, failed]).tolist() == [
        scaling([2.0, 4.0])[0], 0.0, scaling([2.0, 4.0])[1], 0.0,
    ]  # fmt: skip


@pytest.mark.parametrize("scaling", SCALINGS.values(), ids=SCALINGS)
def test_everybody_failed(scaling) -> None:
    assert scaling([None, NAN, INF]).tolist() == [0.0, 0.0, 0.0]


def test_costs_that_are_not_all_positive_are_turned_over() -> None:
    # scaled by the largest magnitude, 10: v = 1, 0, -1; f = (1 - v) + 2 / 10
    assert proportional([10.0, 0.0, -10.0]) == pytest.approx([0.2, 1.2, 2.2])
    # v = 0, 1: one zero is enough, the reciprocal has no meaning there
    assert proportional([0.0, 5.0]) == pytest.approx([1.1, 0.1])
    assert proportional([-3.0, -3.0, None]).tolist() == [1.0, 1.0, 0.0]
    assert proportional([0.0, 0.0]).tolist() == [1.0, 1.0]


def test_minus_infinity_counts_as_the_smallest_finite_cost() -> None:
    for scaling in SCALINGS.values():
        assert scaling([-INF, 2.0, 4.0, None]).tolist() == scaling([2.0, 2.0, 4.0, None]).tolist()
        assert scaling([-INF, None]).tolist() == [1.0, 0.0]
        assert scaling([-INF, INF]).tolist() == [1.0, 0.0]


def test_rank_with_ties() -> None:
    # ranks: 1 (cost 1), 2 and 3 shared as 2.5 (cost 5 twice), 4 (cost 9)
    assert rank([5.0, 1.0, 9.0, 5.0]) == pytest.approx([1 / 2.5, 1, 1 / 4, 1 / 2.5])
    assert rank([7.0, 7.0]) == pytest.approx([1 / 1.5, 1 / 1.5])


def test_sigma_by_hand() -> None:
    # mean 3, standard deviation sqrt(2): 1 + (3 - v) / (2 sqrt 2)
    expected = [1 + (3 - v) / (2 * math.sqrt(2)) for v in (1, 2, 3, 4, 5)]
    assert sigma([1.0, 2.0, 3.0, 4.0, 5.0]) == pytest.approx(expected)
    # 99 equal costs and one far away: that one would be negative
    assert sigma([1.0] * 99 + [100.0])[-1] == 0
    assert sigma([2.5, 2.5]).tolist() == [1.0, 1.0]


@pytest.mark.parametrize("scaling", SCALINGS.values(), ids=SCALINGS)
@pytest.mark.parametrize(
    "costs",
    [
        [5e-324, 1e-323, 1.0],
        [1e308, 1.7e308],
        [-1.7e308, 1.7e308],
        [0.0, 5e-324],
        [-5e-324, 5e-324],
        [1e-300, 1e300],
        [1.0, 1.0 + 2**-52],
    ],
)
def test_extreme_costs_neither_overflow_nor_lose_the_best(scaling, costs) -> None:
    with np.errstate(over="raise", divide="raise", invalid="raise"):
        chances = probabilities(scaling(costs))
    assert chances.sum() == pytest.approx(1)
    assert chances[0] == chances.max() > 0


@given(costs=costs_of_any_kind)
@pytest.mark.parametrize("scaling", SCALINGS.values(), ids=SCALINGS)
def test_fitness_is_finite_not_negative_and_falls_with_the_cost(scaling, costs) -> None:
    fitness = scaling(costs)
    assert fitness.shape == (len(costs),)
    assert np.isfinite(fitness).all()
    assert (fitness >= 0).all()
    usable = [(c, f) for c, f in zip(costs, fitness, strict=True) if c is not None and not math.isnan(c)]
    for c1, f1 in usable:
        for c2, f2 in usable:
            if c1 < c2:
                assert f1 >= f2
    assert all(f == 0 for c, f in zip(costs, fitness, strict=True) if c is None or math.isnan(c) or c == INF)
    if any(c is not None and c < INF for c in costs):
        assert fitness.max() > 0


@given(
    costs=st.lists(st.floats(1e-3, 1e3), min_size=2, max_size=8),
    factor=st.sampled_from([2.0**k for k in range(-40, 40)]),
)
@pytest.mark.parametrize("scaling", SCALINGS.values(), ids=SCALINGS)
def test_the_unit_of_the_cost_does_not_matter(scaling, costs, factor) -> None:
    assert scaling([cost * factor for cost in costs]) == pytest.approx(scaling(costs), rel=1e-9)
