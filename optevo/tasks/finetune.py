"""The whole training of one architecture: pix2pix's recipe on the whole training set, resumable."""

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from optevo.data.plan import batch_plan
from optevo.data.resident import ResidentPairs
from optevo.spaces.unet import UNetArchitecture
from optevo.tasks.settings import UNetSettings
from optevo.tasks.splits import Splits
from optevo.tasks.unet import build, load_split
from optevo.training.checkpoint import load_checkpoint
from optevo.training.continuing import Checkpoints, Found, Saving
from optevo.training.engine import Engine
from optevo.training.pix2pix import Pix2Pix, Schedule, train

log = logging.getLogger("optevo.training")


def finetune(
    architecture: UNetArchitecture,
    settings: UNetSettings,
    splits: Splits,
    *,
    engine: Engine,
    seed: int,
    checkpoints: Checkpoints,
    on_step: Callable[[int, int], None] | None = None,
) -> Pix2Pix:
    """Train from scratch on the whole training set, or go on from the newest checkpoint.

    Args:
        architecture: Of the generator.
        settings: The recipe.
        seed: Of everything random.
        checkpoints: Where they lie. Saved every `finetune.checkpoint_minutes` and when the training is interrupted;
            who has the result in safety removes them.
        on_step: Called with the steps done and the steps in all, after each; may raise to interrupt.

    Returns:
        The trained networks. Their engine has the threads that the training began with.

    Raises:
        DivergedError: A loss is not finite.
        OptevoError: The checkpoint belongs to another run, or cannot be read or written.
    """
    recipe = settings.finetune
    facts = facts_of(architecture, settings, splits, engine=engine, seed=seed)
    try:
        found = checkpoints.find(facts)
        if found is not None and recipe.threads == 0:
            # Any number will do, but it stays what it was: another one would end in other bits.
            engine = with_threads(engine, found)
            facts["threads"] = engine.threads
        data = load_split(splits.whole, settings, device=engine.device, jitter=settings.training.jitter)
        per_epoch = -(-len(data) // recipe.batch_size)
        steps = per_epoch * (recipe.epochs + recipe.decay_epochs)
        plan = batch_plan(
            len(data), steps=steps, batch_size=recipe.batch_size, seed=seed, jitter_range=data.jitter_range
        )  # fmt: skip
        with engine.active():
            model = build(architecture, settings, engine=engine, seed=seed)
            start = 0
            if found is not None:
                start = load_checkpoint(found.path, model, facts=facts)
                log.info("continues at step %s of %s, from %s", f"{start:,}", f"{steps:,}", found.place)
            saving = Saving(checkpoints, model, facts, minutes=recipe.checkpoint_minutes)

            def after(step: int) -> None:
                saving.after(step, lambda: on_step(step, steps) if on_step is not None else None)

            schedule = Schedule(steps_per_epoch=per_epoch, constant=recipe.epochs, decay=recipe.decay_epochs)
            train(model, data, plan, start=start, schedule=schedule, on_step=after)
    finally:
        checkpoints.close()
    return model


def facts_of(
    architecture: UNetArchitecture, settings: UNetSettings, splits: Splits, *, engine: Engine, seed: int
) -> dict[str, Any]:
    """What a checkpoint and the training that goes on from it must have in common, as plain values for JSON.

    The images' content, not their folder, which is another one on another machine; not how often it is saved.
    """
    chosen = settings.model_dump(
        mode="json",
        include={"data", "training", "finetune"},
        exclude={"data": {"root"}, "finetune": {"checkpoint_minutes"}},
    )
    return {
        "architecture": architecture.to_dict(),
        "settings": chosen,
        "fingerprint": splits.fingerprint,
        "precision": engine.precision,
        "seed": seed,
        "threads": engine.threads,
    }


def with_threads(engine: Engine, found: Found) -> Engine:
    """The engine with the threads that a training began with, for one that may use any number of them."""
    threads = found.notes.facts.get("threads")
    if not isinstance(threads, int) or not 1 <= threads <= 1024 or threads == engine.threads:
        return engine
    log.info("with %d threads, as it began; this machine would take %d", threads, engine.threads)
    return replace(engine, threads=threads)


def judged_on(splits: Splits, settings: UNetSettings, *, engine: Engine) -> tuple[str, ResidentPairs]:
    """What a trained generator is judged on: the test split, or val where there is none. Returns its name too."""
    split = "test" if splits.test else "val"
    return split, load_split(getattr(splits, split), settings, device=engine.device, jitter=False)
