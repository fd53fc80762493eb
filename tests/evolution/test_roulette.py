"""Eq. 4 of 2002.11581."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from optevo.evolution import generator, probabilities, spin


class Wheel:
    """A generator whose next draw is known."""

    def __init__(self, draw: float) -> None:
        self.draw = draw

    def random(self) -> float:
        return self.draw


def test_eq_4_by_hand() -> None:
    assert probabilities(np.array([1.0, 2.0, 5.0])) == pytest.approx([0.125, 0.25, 0.625])


def test_without_any_fitness_everyone_has_the_same_chance() -> None:
    assert probabilities(np.zeros(4)).tolist() == [0.25] * 4


def test_huge_fitness_does_not_overflow() -> None:
    chances = probabilities(np.full(20, 1e308))
    assert chances == pytest.approx([0.05] * 20)
    assert 0 <= spin(chances, generator(1)) < 20
    assert probabilities(np.array([5e-324, 5e-324])).tolist() == [0.5, 0.5]


@pytest.mark.parametrize("fitness", [[], [1.0, -0.1], [1.0, np.nan], [np.inf, 1.0]])
def test_what_is_no_fitness_is_refused(fitness) -> None:
    with pytest.raises(ValueError, match=r"fitness must|at least one"):
        probabilities(np.array(fitness))


def test_spin_by_hand() -> None:
    chances = np.array([0.25, 0.0, 0.5, 0.25])
    expected = {0.0: 0, 0.2499: 0, 0.25: 2, 0.7499: 2, 0.75: 3, 1 - 2**-53: 3}
    assert {draw: spin(chances, Wheel(draw)) for draw in expected} == expected  # type: ignore[arg-type]


@given(
    fitness=st.lists(st.sampled_from([0.0, 1e-9, 0.1, 1.0, 3.0, 1e9]), min_size=1, max_size=40),
    draw=st.sampled_from([0.0, 0.5, 1 - 2**-53]) | st.floats(0, 1, exclude_max=True),
)
def test_the_wheel_never_stops_beside_it_nor_on_someone_without_a_chance(fitness, draw) -> None:
    chances = probabilities(np.array(fitness))
    place = spin(chances, Wheel(draw))  # type: ignore[arg-type]
    assert 0 <= place < len(fitness)
    assert chances[place] > 0


@pytest.mark.parametrize("fitness", [[1.0, 2.0, 5.0, 0.0], [0.0, 0.0, 0.0], [1.0], [1.0] * 32])
def test_frequencies_are_the_probabilities(fitness) -> None:
    chances = probabilities(np.array(fitness))
    rng = generator("roulette", len(fitness))
    n = 20_000
    counts = np.bincount([spin(chances, rng) for _ in range(n)], minlength=len(chances))
    live = chances > 0
    assert counts[~live].sum() == 0
    chi2 = ((counts[live] - n * chances[live]) ** 2 / (n * chances[live])).sum()
    degrees = live.sum() - 1
    assert chi2 < degrees + 4 * np.sqrt(2 * degrees) + 1e-9  # mean and four standard deviations of chi-square
