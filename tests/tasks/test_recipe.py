"""One training of a recipe search: what it is built from, how it is judged, given up and continued."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_features import SmallFeatures

from optevo.data.resident import images_of
from optevo.errors import InterruptedRunError
from optevo.metrics.distribution import fid, inception_features, kid
from optevo.metrics.unpaired import Inception
from optevo.tasks.evaluation import OverBudgetError
from optevo.tasks.recipe import RecipeTask, generated, windows
from optevo.tasks.recipe_settings import RecipeSearchSettings, assemble
from optevo.training.cegan import train
from optevo.training.continuing import LocalCheckpoints
from optevo.training.engine import resolve
from optevo.training.history import VanishedError
from optevo.training.pix2pix import DivergedError
from optevo.training.recipe import PUBLISHED

ENGINE = resolve(device="cpu", precision="fp32")


def settings(**tables: Any) -> RecipeSearchSettings:
    document: dict[str, Any] = {
        "data": {"root": "x"},
        "networks": {"generator_width": 2, "discriminator_width": 2, "latent": 4},
        "recipe": {"batch_size": 4, "evaluation_size": 6},
        "training": {"steps": 6},
        "quality": {"metric": "kid", "images": 20, "real_images": 15, "every": 2},
        "search": {"learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}, "mutations": ["heuristic", "minimax"]},
    }
    for table, values in tables.items():
        document[table] = {**document.get(table, {}), **values}
    return RecipeSearchSettings.model_validate(document)


def task(**tables: Any) -> RecipeTask:
    pixels = torch.randint(0, 256, (30, 32, 32, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    images = images_of(pixels, device=torch.device("cpu"))
    return RecipeTask(settings(**tables), ENGINE, images, Inception(ENGINE, network=SmallFeatures()))


def test_a_recipe_is_the_published_one_with_what_is_given() -> None:
    made, architecture = assemble(
        settings(recipe={"published": "egan-gp", "beta2": 0.9}),
        {"mutations": "heuristic + wasserstein", "generator_width": 3, "discriminator_steps": 2},
    )
    assert made.mutations == ("heuristic", "wasserstein")
    assert made.betas == (0.5, 0.9)
    assert (made.discriminator_steps, made.penalty_weight, made.fitness) == (2, 10.0, "egan")
    assert made.learning_rate == PUBLISHED["egan-gp"].learning_rate
    assert architecture.generator == (12, 6, 3)
    assert architecture.discriminator == (2, 4, 8)


@pytest.mark.parametrize("metric", ["fid", "kid"])
def test_the_value_is_the_champions_distance_from_the_real_images(metric: str) -> None:
    one = task(quality={"metric": metric})
    found = one.evaluate({"learning_rate": 1e-3}, seed=5)
    champion = found.model.model.champion()
    with torch.no_grad():
        made = torch.cat(list(generated(champion, count=20, seed=5)))
    chosen = np.sort(np.random.default_rng(0).permutation(30)[:15])
    real = one.images.batch(torch.from_numpy(chosen))
    sides = [inception_features([images], network=SmallFeatures()) for images in (made, real)]
    wanted = fid(*sides) if metric == "fid" else kid(*sides).mean
    assert found.value == pytest.approx(wanted, rel=1e-9)
    assert found.metrics[f"{metric}_train_20x15_32x32_tf"] == found.value
    assert found.metrics["steps"] == 6
    assert sum(found.metrics[f"wins_{name}"] for name in ("minimax", "heuristic", "least_squares", "crossover")) == 1


def test_it_trains_as_the_trainer_does() -> None:
    one, other = task(), task()
    found = one.evaluate({"learning_rate": 1e-3}, seed=5).model.model
    from optevo.tasks.recipe import build

    with ENGINE.active():
        alone = build(*assemble(other.settings, {"learning_rate": 1e-3}), engine=ENGINE, seed=5)
        train(alone, other.images, steps=6, seed=5)
    assert torch.equal(found.population.weights, alone.population.weights)


def test_every_report_is_told_and_the_last_is_the_value() -> None:
    told: list[tuple[int, float]] = []
    found = task().evaluate({}, seed=1, steps=5, report=lambda value, step: bool(told.append((step, value))) and False)
    assert [step for step, _ in told] == [2, 4, 5]
    assert found.value == told[-1][1]
    assert not found.pruned


def test_a_hopeless_training_is_given_up_with_its_last_report() -> None:
    told: list[float] = []

    def report(value: float, step: int) -> bool:
        told.append(value)
        return step == 4

    found = task().evaluate({}, seed=1, report=report)
    assert found.pruned
    assert found.value == told[-1]
    assert found.metrics["steps"] == 4
    assert found.metrics["ended"] == "pruned"


def test_what_is_finished_is_never_given_up() -> None:
    asked: list[int] = []

    def hopeless_at_the_end(value: float, step: int) -> bool:
        asked.append(step)
        return step == 4

    found = task().evaluate({}, seed=0, steps=4, report=hopeless_at_the_end)
    assert asked[-1] == 4
    assert not found.pruned
    assert "ended" not in found.metrics


@pytest.mark.parametrize("stop", [1, 2, 3, 4, 6])
def test_an_interrupted_training_goes_on_bit_for_bit(tmp_path: Path, stop: int) -> None:
    whole = task().evaluate({}, seed=1)
    kept = LocalCheckpoints(tmp_path / "c.safetensors")

    def interrupt(step: int) -> None:
        if step == stop:
            raise InterruptedRunError("stopped")

    told: list[tuple[int, float]] = []
    with pytest.raises(InterruptedRunError):
        task().evaluate({}, seed=1, on_step=interrupt, checkpoints=kept)
    resumed = task().evaluate(
        {}, seed=1, checkpoints=kept, report=lambda value, step: bool(told.append((step, value))) and False
    )
    assert resumed.value == whole.value
    assert torch.equal(resumed.model.model.population.weights, whole.model.model.population.weights)
    assert told == list(whole.model.curve)


def test_budgets_and_impossible_recipes_are_over_budget_before_anything_is_built() -> None:
    with pytest.raises(OverBudgetError, match="parameters exceed the budget of 10"):
        task(budget={"max_parameters": 10}).evaluate({}, seed=0)
    with pytest.raises(OverBudgetError, match="MACs exceed"):
        task(budget={"max_macs": 10}).evaluate({}, seed=0)
    with pytest.raises(OverBudgetError, match="crossovers = 1"):
        task().evaluate({"mutations": "heuristic"}, seed=0)


def test_divergence_ends_it() -> None:
    with pytest.raises(DivergedError):
        task(recipe={"discriminator_loss": "wasserstein", "mutations": "wasserstein", "crossovers": 0}).evaluate(
            {"learning_rate": 1e30}, seed=0
        )


def test_vanished_gradients_count_as_what_was_last_reported() -> None:
    patience = {"patience": 2, "tolerance": 1e9, "steps": 100}
    recipe = {"mutations": "heuristic", "crossovers": 0}
    found = task(training=patience, recipe=recipe).evaluate({}, seed=0)
    assert found.pruned
    assert "gradients have vanished" in found.metrics["ended"]
    assert found.metrics["steps"] == 50
    with pytest.raises(VanishedError):
        task(training=patience, recipe=recipe, quality={"every": 100}).evaluate({}, seed=0)


def test_the_history_in_windows() -> None:
    found = task(training={"steps": 120}, quality={"every": 50}).evaluate({}, seed=0)
    rows = windows(found.model)
    history = found.model.model.history
    assert len(rows) == 40
    assert [row["step"] for row in rows] == list(range(3, 121, 3))
    assert rows[4]["fitness"] == pytest.approx(history.champions()[12:15].mean().item())
    assert rows[4]["child"] == pytest.approx(history.crossovers()[12:15, 0, 2].mean().item())
    assert rows[4]["wins_crossover"] == pytest.approx((history.survivors[12:15, 0] == 3).float().mean().item())
    assert np.isnan(rows[15]["value"])
    assert rows[-1]["value"] == found.value


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"search": {"widths": [1]}}, "search.widths: cannot be searched"),
        ({"search": {"discriminator_steps": [1.5]}}, "takes whole numbers"),
        ({"search": {"mutations": {"low": 1, "high": 2}}}, "list of names"),
        ({"search": {"learning_rate": [1e-3, 1e-3]}}, "every choice must differ"),
        ({"search": {"learning_rate": {"low": 1, "high": 0}}}, "low must not be above high"),
        ({"quality": {"every": 100}}, "beyond training.steps"),
        ({"quality": {"average": True}}, "no average is kept"),
        ({"search": {"learning_rate": ["fast"]}}, "takes numbers"),
    ],
)
def test_settings_that_will_not_do(tables: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        settings(**tables)
