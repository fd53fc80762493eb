"""From two folders of images to a pair folder: the training, and a picture of what it made."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from optevo.models.folder import check_target
from optevo.models.pair import PairFacts, save_pair
from optevo.models.train import SAMPLES, checkpoint_beside, to_pixels
from optevo.reports.pictures import Pixels, picture
from optevo.tasks.teacher_settings import TeacherSpec
from optevo.tasks.unpaired_splits import UnpairedSplits

if TYPE_CHECKING:
    from torch import nn

    from optevo.tasks.unpaired import UnpairedImages
    from optevo.training.continuing import Checkpoints
    from optevo.training.engine import Engine


def train_pair(
    spec: TeacherSpec,
    splits: UnpairedSplits,
    folder: Path,
    *,
    engine: "Engine",
    title: str = "translators",
    versions: Mapping[str, str] | None = None,
    checkpoints: "Checkpoints | None" = None,
    on_step: Callable[[int, int], None] | None = None,
) -> PairFacts:
    """Train two translators whole and write their pair folder. An interrupted training goes on where it stopped.

    Args:
        checkpoints: Where they lie; by default in :func:`optevo.models.train.checkpoint_beside` the folder. They go
            when the pair is written.

    Raises:
        UsageError: The folder exists already or cannot be written, or an image cannot be used.
        OptevoError: The loss diverged, or the disk is full.
    """
    from optevo.tasks.teacher import train_teachers, warn_of_grey
    from optevo.tasks.unpaired import load_split
    from optevo.training.continuing import LocalCheckpoints

    check_target(folder)
    splits = cut(splits, spec.data.train_images)
    fingerprint = splits.fingerprint
    # Before the training, so that a damaged one does not end it after days.
    shown = load_split(first_of(splits, SAMPLES), "test", spec.data, device=engine.device, jitter=False)
    images = load_split(splits, "whole", spec.data, device=engine.device, jitter=spec.training.jitter)
    for domain, each in (("A", images.a), ("B", images.b)):
        warn_of_grey(each, domain=domain)
    checkpoints = checkpoints or LocalCheckpoints(checkpoint_beside(folder))
    translators = train_teachers(
        spec, images, fingerprint=fingerprint, engine=engine, checkpoints=checkpoints, on_step=on_step
    )
    facts = PairFacts(
        size=spec.data.size,
        fingerprint=fingerprint,
        title=title,
        seed=spec.seed,
        precision=engine.precision,
        training=spec.model_dump(mode="json", include={"data", "networks", "training"}, exclude={"data": {"root"}}),
        versions=dict(versions or {}),
    )
    generators = {"A to B": translators.a_to_b, "B to A": translators.b_to_a}
    with engine.active():
        samples = picture(rows_of_pair(generators, shown))
    save_pair(folder, translators, facts, samples=samples)
    checkpoints.remove()
    return facts


def cut(splits: UnpairedSplits, train_images: int | None) -> UnpairedSplits:
    """At most so many training images of either domain."""
    a, b = (replace(each, whole=each.whole[:train_images]) for each in (splits.a, splits.b))
    return UnpairedSplits(a, b)


def first_of(splits: UnpairedSplits, count: int) -> UnpairedSplits:
    """The first test images of either domain as a test split; without a test split, the first of val."""
    a, b = (replace(each, test=(each.test or each.val)[:count]) for each in (splits.a, splits.b))
    return UnpairedSplits(a, b)


def rows_of_pair(
    generators: "Mapping[str, nn.Module]", images: "UnpairedImages", *, count: int = SAMPLES
) -> dict[str, list[Pixels]]:
    """Rows for a picture: images of A and what becomes of them, then those of B.

    Args:
        generators: By label; labels that begin with "A" take images of A, the others images of B.
        images: The first `count` of each are shown.
    """
    import torch

    from optevo.training.validation import evaluated

    rows: dict[str, list[Pixels]] = {}
    for domain, each in (("A", images.a), ("B", images.b)):
        source = each.batch(torch.arange(min(count, len(each)), device=each.index_device))
        rows[domain] = to_pixels(source)
        for label, generator in generators.items():
            if label.startswith(domain):
                with evaluated(generator):
                    rows[label] = to_pixels(torch.cat([generator(one[None]) for one in source]))
    return rows
