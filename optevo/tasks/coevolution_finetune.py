"""Training two small translators together to the end, with their teachers or without, resumable."""

import copy
import logging
from collections.abc import Callable, Mapping
from typing import Any

from optevo.data.unpaired import unpaired_plan
from optevo.tasks.coevolution_settings import CoevolutionSettings
from optevo.tasks.finetune import with_threads
from optevo.tasks.translators import Translators
from optevo.tasks.unpaired import load_split
from optevo.tasks.unpaired_splits import UnpairedSplits
from optevo.training.checkpoint import load_checkpoint
from optevo.training.continuing import Checkpoints, Saving
from optevo.training.cyclegan import CycleGAN, train
from optevo.training.distilled_cyclegan import DistillationWeights, DistilledCycleGAN, Teacher
from optevo.training.engine import Engine
from optevo.training.pix2pix import Schedule

log = logging.getLogger("optevo.training")


def finetune_pair(
    students: Translators,
    settings: CoevolutionSettings,
    splits: UnpairedSplits,
    *,
    teachers: Translators,
    about: Mapping[str, Any],
    engine: Engine,
    seed: int,
    checkpoints: Checkpoints,
    on_step: Callable[[int, int], None] | None = None,
) -> CycleGAN:
    """Train on the whole training set from the students' weights, or go on from the newest checkpoint.

    Args:
        students: What is trained, with the discriminators that it begins with: of
            :func:`optevo.tasks.coevolution.compressed`, or a baseline. They are copied.
        settings: The recipe.
        teachers: Whom the students learn from where `distillation.mode` is not "off".
        about: JSON-safe facts that say which students these are, such as their masks: a checkpoint of others is
            refused.
        seed: Of everything random.
        checkpoints: Where they lie. Saved every `finetune.checkpoint_minutes` and when the training is interrupted;
            who has the result in safety removes them.
        on_step: Called with the steps done and the steps in all, after each; may raise to interrupt.

    Returns:
        The trained networks; :meth:`optevo.training.cyclegan.CycleGAN.result` gives the translators. Their engine has
        the threads that the training began with.

    Raises:
        DivergedError: A loss is not finite.
        OptevoError: The checkpoint belongs to another run, or cannot be read or written.
    """
    facts = facts_of(settings, about=about, fingerprint=splits.fingerprint, engine=engine, seed=seed)
    recipe = settings.finetune
    try:
        found = checkpoints.find(facts)
        if found is not None and recipe.threads == 0:
            engine = with_threads(engine, found)
            facts["threads"] = engine.threads
        images = load_split(splits, "whole", settings.data, device=engine.device, jitter=settings.training.jitter)
        per_epoch = -(-max(len(images.a), len(images.b)) // recipe.batch_size)
        steps = per_epoch * (recipe.epochs + recipe.decay_epochs)
        plan = unpaired_plan(
            images.a, images.b, steps=steps, batch_size=recipe.batch_size, seed=seed, flip=settings.training.flip
        )
        with engine.active():
            model = build(students, settings, teachers=teachers, engine=engine, seed=seed)
            start = 0
            if found is not None:
                start = load_checkpoint(found.path, model, facts=facts)
                log.info("continues at step %s of %s, from %s", f"{start:,}", f"{steps:,}", found.place)
            saving = Saving(checkpoints, model, facts, minutes=recipe.checkpoint_minutes)

            def after(step: int) -> None:
                saving.after(step, lambda: on_step(step, steps) if on_step is not None else None)

            schedule = Schedule(steps_per_epoch=per_epoch, constant=recipe.epochs, decay=recipe.decay_epochs)
            train(model, images.a, images.b, plan, start=start, schedule=schedule, on_step=after)
    finally:
        checkpoints.close()
    return model


def build(
    students: Translators, settings: CoevolutionSettings, *, teachers: Translators, engine: Engine, seed: int
) -> CycleGAN:
    """The students with their optimizers, and their teachers where they learn from them."""
    engine.seed(seed)
    given: dict[str, Any] = {
        **{name: copy.deepcopy(module) for name, module in students.named()},
        **settings.training.recipe(),
        "average": settings.finetune.average,
        "engine": engine,
        "seed": seed,
    }
    distillation = settings.distillation
    if distillation.mode == "off":
        return CycleGAN(**given)
    return DistilledCycleGAN(
        **given,
        teachers={
            "a_to_b": Teacher(teachers.a_to_b, teachers.judge_b),
            "b_to_a": Teacher(teachers.b_to_a, teachers.judge_a),
        },
        weights=DistillationWeights(**distillation.weights()),
        alone=distillation.mode == "alone",
    )


def facts_of(
    settings: CoevolutionSettings, *, about: Mapping[str, Any], fingerprint: str, engine: Engine, seed: int
) -> dict[str, Any]:
    """What a checkpoint and the training that goes on from it must have in common, as plain values for JSON."""
    return {
        "about": dict(about),
        "settings": settings.model_dump(
            mode="json",
            include={"data", "training", "finetune", "distillation"},
            exclude={"data": {"root"}, "finetune": {"checkpoint_minutes"}},
        ),
        "fingerprint": fingerprint,
        "precision": engine.precision,
        "threads": engine.threads,
        "seed": seed,
    }
