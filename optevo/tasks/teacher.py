"""The training of a pair of teachers: CycleGAN's recipe on two folders of images, resumable."""

import logging
from collections.abc import Callable
from typing import Any

from torch import nn

from optevo.data.resident import ResidentImages
from optevo.data.unpaired import unpaired_plan
from optevo.networks.custom import custom_generator
from optevo.networks.patchgan import PatchGAN
from optevo.networks.resnet import ResNetGenerator
from optevo.spaces.resnet import cyclegan
from optevo.tasks.finetune import with_threads
from optevo.tasks.teacher_settings import TeacherSpec
from optevo.tasks.translators import Translators
from optevo.tasks.unpaired import UnpairedImages
from optevo.training.checkpoint import load_checkpoint
from optevo.training.continuing import Checkpoints, Saving
from optevo.training.cyclegan import CycleGAN, train
from optevo.training.engine import Engine
from optevo.training.pix2pix import Schedule

log = logging.getLogger("optevo.training")


def train_teachers(
    spec: TeacherSpec,
    images: UnpairedImages,
    *,
    fingerprint: str,
    engine: Engine,
    checkpoints: Checkpoints,
    on_step: Callable[[int, int], None] | None = None,
) -> Translators:
    """Train from scratch, or go on from the newest checkpoint.

    Args:
        spec: The recipe.
        images: The training images of both domains.
        fingerprint: Of the images: a checkpoint of others is refused.
        checkpoints: Where they lie. Saved every `training.checkpoint_minutes` and when the training is interrupted;
            who has the result in safety removes them.
        on_step: Called with the steps done and the steps in all, after each; may raise to interrupt.

    Raises:
        DivergedError: A loss is not finite.
        OptevoError: The checkpoint belongs to another run, or cannot be read or written.
    """
    recipe = spec.training
    per_epoch = -(-max(len(images.a), len(images.b)) // recipe.batch_size)
    steps = per_epoch * (recipe.epochs + recipe.decay_epochs)
    plan = unpaired_plan(
        images.a, images.b, steps=steps, batch_size=recipe.batch_size, seed=spec.seed, flip=recipe.flip
    )  # fmt: skip
    facts = facts_of(spec, fingerprint=fingerprint, engine=engine)
    try:
        found = checkpoints.find(facts)
        if found is not None and spec.engine.threads == 0:
            # Any number will do, but it stays what it was.
            engine = with_threads(engine, found)
            facts["threads"] = engine.threads
        with engine.active():
            translators = build(spec, engine=engine)
            model = training_of(translators, spec, engine=engine)
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
    return Translators(**model.result(), judge_a=model.judge_a, judge_b=model.judge_b)


def training_of(translators: Translators, spec: TeacherSpec, *, engine: Engine) -> CycleGAN:
    """CycleGAN's training of these networks by the specification's recipe."""
    return CycleGAN(
        a_to_b=translators.a_to_b,
        b_to_a=translators.b_to_a,
        judge_a=translators.judge_a,
        judge_b=translators.judge_b,
        engine=engine,
        seed=spec.seed,
        average=spec.training.average,
        **spec.training.recipe(),
    )


def build(spec: TeacherSpec, *, engine: Engine) -> Translators:
    """Fresh generators and discriminators, drawn from the specification's seed.

    Raises:
        UsageError: The specification's own generator is not installed, cannot be built, or does not fit the images.
    """
    networks, data = spec.networks, spec.data
    engine.seed(spec.seed)

    def generator(takes: int, gives: int) -> nn.Module:
        if networks.generator is not None:
            return custom_generator(
                networks.generator, networks.arguments, input_channels=takes, output_channels=gives, size=data.size
            )
        blocks = networks.blocks_at(data.size)
        return ResNetGenerator(cyclegan(ngf=networks.ngf, blocks=blocks, input_channels=takes, output_channels=gives))

    def judge(channels: int) -> PatchGAN:
        return PatchGAN(channels, ndf=networks.ndf, layers=networks.discriminator_layers, norm="instance")

    return Translators(
        a_to_b=generator(data.channels_a, data.channels_b),
        b_to_a=generator(data.channels_b, data.channels_a),
        judge_a=judge(data.channels_a),
        judge_b=judge(data.channels_b),
    )


def facts_of(spec: TeacherSpec, *, fingerprint: str, engine: Engine) -> dict[str, Any]:
    """What a checkpoint and the training that goes on from it must have in common, as plain values for JSON.

    The images' content, not their folder, which is another one on another machine; not how often it is saved.
    """
    return {
        "settings": spec.model_dump(
            mode="json",
            include={"data", "networks", "training"},
            exclude={"data": {"root"}, "training": {"checkpoint_minutes"}},
        ),
        "fingerprint": fingerprint,
        "precision": engine.precision,
        "seed": spec.seed,
        "threads": engine.threads,
    }


def warn_of_grey(images: ResidentImages, *, domain: str) -> None:
    """Say which images have no colours where images with colours are wanted: they are taken as they are."""
    grey = grey_names(images)
    if not grey:
        return
    if len(grey) == len(images):
        log.warning("all %d images of %s are grey: data.channels_%s = 1 is faster", len(grey), domain, domain.lower())
        return
    log.warning(
        "%d of %d images of %s are grey, the first %s: a translator may learn from them to drop the colours; remove "
        "them if they do not belong there",
        len(grey), len(images), domain, grey[0],
    )  # fmt: skip


def grey_names(images: ResidentImages) -> list[str]:
    """The images of three channels whose three channels are equal everywhere."""
    if images.images.shape[-1] != 3:
        return []
    return [
        name
        for name, pixels in zip(images.names, images.images, strict=True)
        if bool((pixels[..., :1] == pixels[..., 1:]).all())
    ]
