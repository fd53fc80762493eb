"""What a recipe may say."""

import pytest

from optevo.errors import UsageError
from optevo.training import adversarial, recipe
from optevo.training.recipe import PUBLISHED, Recipe


def test_the_defaults_are_the_papers() -> None:
    recipe = Recipe()
    assert recipe == PUBLISHED["cegan"]
    assert (recipe.learning_rate, recipe.betas) == (1e-4, (0.5, 0.99))
    assert (recipe.discriminator_steps, recipe.batch_size, recipe.evaluation_size) == (3, 32, 256)
    assert (recipe.parents, recipe.mutants, recipe.crossovers, recipe.brood) == (1, 3, 1, 4)
    assert PUBLISHED["egan"].learning_rate == 2e-4
    assert PUBLISHED["cegan-gp"].penalty_weight == 10


def test_real_images_are_counted() -> None:
    assert PUBLISHED["cegan"].real_images == 96
    assert PUBLISHED["egan"].real_images == 96 + 256
    assert Recipe(mutations=("relativistic", "heuristic")).real_images == 96 + 32
    assert PUBLISHED["gan-heuristic"].real_images == 96
    assert not PUBLISHED["gan-heuristic"].selects
    assert Recipe(mutations=("heuristic",), crossovers=0, order="released").selects


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"parents": 0}, "parents = 0"),
        ({"mutations": ()}, "at least one"),
        ({"mutations": ("heuristic", "heuristic")}, "each only once"),
        ({"mutations": ("hinge",)}, "must be one of minimax, heuristic"),
        ({"crossovers": 4}, "3 mutants make 3 pairs"),
        ({"crossovers": -1}, "crossovers = -1"),
        ({"fitness": "fid"}, "must be one of cgan, egan"),
        ({"discriminator_loss": "log"}, "discriminator_loss = 'log'"),
        ({"batch_size": 33, "parents": 2}, "give a multiple of 2"),
        ({"learning_rate": 0.0}, "must be above 0"),
        ({"learning_rate": float("nan")}, "must be above 0"),
        ({"penalty_weight": -1.0}, "must not be negative"),
        ({"betas": (0.5, 1.0)}, "betas ="),
        ({"average": 1.0}, "average = 1.0"),
        ({"order": "released", "evaluation_size": 64}, "give at least 96"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message) as refused:
        Recipe(**wrong)
    assert "\n" not in str(refused.value)


def test_the_names_are_those_of_the_losses() -> None:
    assert list(recipe.MUTATIONS) == list(adversarial.MUTATIONS)
    assert list(recipe.RELATIVE_MUTATIONS) == list(adversarial.RELATIVE_MUTATIONS)
    assert list(recipe.DISCRIMINATOR_LOSSES) == list(adversarial.DISCRIMINATOR_LOSSES)
