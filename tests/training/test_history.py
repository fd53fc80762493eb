"""What is recorded of an evolution, and when it counts as ended."""

import pytest
import torch

from optevo.training.history import History, Outcome, Patience, VanishedError
from optevo.training.pix2pix import DivergedError
from optevo.training.recipe import Recipe

RECIPE = Recipe(parents=2, crossovers=2)  # mutants 0..5, crossovers 6 and 7


def outcome(survivors: list[int], fitness: list[float], pairs: list[list[int]], loss: float = 1.0) -> Outcome:
    return Outcome(torch.tensor(survivors), torch.tensor(fitness), torch.tensor(pairs), torch.tensor(loss))


def two_steps() -> History:
    history = History(RECIPE)
    history.add(outcome([7, 1], [0.0, 2.0, 1.0, 0.0, 1.5, 0.0, 1.0, 3.0], [[1, 4], [1, 2]]))
    history.add(outcome([4, 6], [0.0, 2.0, 1.0, 0.0, 5.0, 0.0, 4.0, 1.0], [[4, 1], [4, 2]]))
    return history


def test_operators_parents_and_children_are_told() -> None:
    history = two_steps()
    assert len(history) == 2
    # Mutants are parent by parent: 1 and 4 are both parents' heuristic children.
    assert history.wins() == {"minimax": 0, "heuristic": 2, "least_squares": 0, "crossover": 2}
    assert history.wins(start=1) == {"minimax": 0, "heuristic": 1, "least_squares": 0, "crossover": 1}
    assert history.champions().tolist() == [3.0, 5.0]
    assert history.crossovers().tolist() == [[[2.0, 1.5, 1.0], [2.0, 1.0, 3.0]], [[5.0, 2.0, 4.0], [5.0, 1.0, 1.0]]]


def test_it_comes_back_from_its_state() -> None:
    history, other = two_steps(), History(RECIPE)
    other.add(outcome([0, 1], [0.0] * 8, [[0, 1], [0, 2]]))
    other.restore(history.state())
    other.add(outcome([0, 1], [9.0] * 8, [[0, 1], [0, 2]]))
    assert other.champions().tolist() == [3.0, 5.0, 9.0]
    with pytest.raises(ValueError, match="another recipe"):
        History(Recipe()).restore(history.state())


@pytest.mark.parametrize(("fitness", "loss"), [(float("nan"), 1.0), (0.0, float("inf"))])
def test_what_is_not_finite_is_found_with_its_step(fitness: float, loss: float) -> None:
    history = two_steps()
    history.check()
    history.add(outcome([4, 6], [fitness] + [0.0] * 7, [[4, 1], [4, 2]], loss))
    with pytest.raises(DivergedError, match="at step 3"):
        history.check()


def run(children: list[int], values: list[float]) -> History:
    history = History(Recipe())
    for child, value in zip(children, values, strict=True):
        fitness = [-9.0] * 4
        fitness[child] = value
        history.add(outcome([child], fitness, [[0, 1]]))
    return history


@pytest.mark.parametrize(
    ("children", "values", "vanished"),
    [
        ([1] * 10, [0.5] * 10, True),
        ([3, *[1] * 10], [7.0, *[0.5] * 10], True),
        ([1] * 10, [-300.0 - 0.1 * at for at in range(10)], True),  # 0.9 of 300 is nothing
        ([1] * 10, [0.5 + 0.01 * at for at in range(10)], False),  # it moves
        ([1] * 9 + [2], [0.5] * 10, False),  # two mutations win
        ([3] * 10, [0.5] * 10, False),  # the crossover wins: it learns from all
        ([1] * 9, [0.5] * 9, False),  # too early to tell
    ],
)
def test_stagnation_under_one_mutation_is_found(children: list[int], values: list[float], vanished: bool) -> None:
    history, patience = run(children, values), Patience(steps=10, tolerance=0.01)
    if vanished:
        with pytest.raises(VanishedError, match="alone has won"):
            history.check(patience)
    else:
        history.check(patience)


def test_impossible_patience_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        Patience(steps=1)
