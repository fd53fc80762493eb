"""The whole training of one architecture: pix2pix's recipe on the whole training set, resumable."""

import time
from collections.abc import Callable
from pathlib import Path

from optevo.data.plan import batch_plan
from optevo.data.resident import ResidentPairs
from optevo.spaces.unet import UNetArchitecture
from optevo.tasks.settings import UNetSettings
from optevo.tasks.splits import Splits
from optevo.tasks.unet import build, load_split
from optevo.training.checkpoint import load_checkpoint, save_checkpoint
from optevo.training.engine import Engine
from optevo.training.pix2pix import Pix2Pix, Schedule, train


def finetune(
    architecture: UNetArchitecture,
    settings: UNetSettings,
    splits: Splits,
    *,
    engine: Engine,
    seed: int,
    checkpoint: Path,
    on_step: Callable[[int, int], None] | None = None,
) -> Pix2Pix:
    """Train from scratch on the whole training set, or go on from `checkpoint`.

    Args:
        architecture: Of the generator.
        settings: The recipe.
        seed: Of everything random.
        checkpoint: Written every `finetune.checkpoint_minutes` and when the training is interrupted.
        on_step: Called with the steps done and the steps in all, after each; may raise to interrupt.

    Returns:
        The trained networks.

    Raises:
        DivergedError: A loss is not finite.
        OptevoError: The checkpoint belongs to another run, or cannot be written.
    """
    recipe = settings.finetune
    data = load_split(splits.whole, settings, device=engine.device, jitter=settings.training.jitter)
    per_epoch = -(-len(data) // recipe.batch_size)
    steps = per_epoch * (recipe.epochs + recipe.decay_epochs)
    plan = batch_plan(
        len(data), steps=steps, batch_size=recipe.batch_size, seed=seed, jitter_range=data.jitter_range
    )  # fmt: skip
    facts = {
        "architecture": architecture.to_dict(),
        "settings": settings.model_dump(mode="json", include={"data", "training", "finetune"}),
        "precision": engine.precision,
        "threads": engine.threads,
        "seed": seed,
    }
    with engine.active():
        model = build(architecture, settings, engine=engine, seed=seed)
        start = load_checkpoint(checkpoint, model, facts=facts) if checkpoint.exists() else 0
        saved = time.monotonic()

        def after(step: int) -> None:
            nonlocal saved
            due = time.monotonic() - saved > 60 * recipe.checkpoint_minutes
            try:
                if on_step is not None:
                    on_step(step, steps)
            except BaseException:
                due = True
                raise
            finally:
                if due:
                    save_checkpoint(checkpoint, model, step=step, facts=facts)
                    saved = time.monotonic()

        schedule = Schedule(steps_per_epoch=per_epoch, constant=recipe.epochs, decay=recipe.decay_epochs)
        train(model, data, plan, start=start, schedule=schedule, on_step=after)
    return model


def judged_on(splits: Splits, settings: UNetSettings, *, engine: Engine) -> tuple[str, ResidentPairs]:
    """What a trained generator is judged on: the test split, or val where there is none. Returns its name too."""
    split = "test" if splits.test else "val"
    return split, load_split(getattr(splits, split), settings, device=engine.device, jitter=False)
