"""From a recipe to a model folder: the whole training, and a picture of what its champion makes of noise."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optevo.models.folder import ModelFacts, check_target, save_model
from optevo.models.sample import samples
from optevo.reports.pictures import picture

if TYPE_CHECKING:
    from optevo.tasks.recipe import RecipeTask
    from optevo.training.continuing import Checkpoints

ROWS, ACROSS = 4, 8  # of the picture


def train_recipe(
    task: "RecipeTask",
    params: Mapping[str, Any],
    folder: Path,
    *,
    steps: int,
    seed: int,
    title: str,
    fingerprint: str,
    checkpoints: "Checkpoints",
    study: str | None = None,
    trial: int | None = None,
    versions: Mapping[str, str] | None = None,
    on_step: Callable[[int, int], None] | None = None,
) -> ModelFacts:
    """Train as an individual asks, and write the champion's model folder. An interrupted training goes on.

    Args:
        params: Values of the keys that the specification's `[search]` names.
        steps: Length of the training.
        fingerprint: Of the images.
        on_step: Called with the steps done and the steps in all.

    Raises:
        UsageError: The folder exists already or cannot be written.
        OptevoError: The training diverged, or the disk is full.
    """
    from optevo.cost.dcgan import generator_cost
    from optevo.tasks.recipe_settings import assemble

    check_target(folder)
    found = task.evaluate(
        params,
        seed=seed,
        steps=steps,
        on_step=None if on_step is None else lambda step: on_step(step, steps),
        checkpoints=checkpoints,
    )
    recipe, architecture = assemble(task.settings, dict(params))
    cost = generator_cost(architecture)
    champion = found.model.model.champion(average=task.settings.quality.average)
    facts = ModelFacts(
        architecture=architecture.to_dict(),
        size=(architecture.size, architecture.size),
        direction="noise to image",
        seed=seed,
        fingerprint=fingerprint,
        precision=task.engine.precision,
        parameters=cost.parameters,
        exact_macs=cost.exact_macs,
        literature_macs=cost.literature_macs,
        metrics={task.protocol: found.value},
        training={**vars(recipe), "steps": found.metrics["steps"], "ended": found.metrics.get("ended")},
        study=study,
        trial=trial,
        title=title,
        family="dcgan",
        versions=dict(versions or {}),
    )
    pixels = list(samples(champion, count=ROWS * ACROSS, seed=0))
    rows = {str(row * ACROSS): pixels[row * ACROSS : (row + 1) * ACROSS] for row in range(ROWS)}
    save_model(folder, champion, facts, samples=picture(rows))
    checkpoints.remove()
    return facts
