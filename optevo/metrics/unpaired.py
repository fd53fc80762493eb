"""How close translated images come to real ones of the other domain, each number with its protocol in its name."""

import hashlib
import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from optevo.data.placement import cache_folder
from optevo.data.resident import ResidentImages
from optevo.metrics.distribution import WEIGHTS, Features, Resize, fid, inception_features, kid, load_inception
from optevo.training.engine import Engine
from optevo.training.validation import evaluated

if TYPE_CHECKING:
    from torch import nn

log = logging.getLogger("optevo.metrics")

BATCH = 8


@dataclass
class Inception:
    """The network that takes features, loaded when the first ones are needed.

    Args:
        engine: Where it runs.
        resize: How images come to 299 pixels, see :mod:`optevo.metrics.distribution`.
        network: Instead of the 2015 Inception network, for tests; features are then not kept.
    """

    engine: Engine
    resize: Resize = "tf"
    network: "nn.Module | None" = None

    def __post_init__(self) -> None:
        self._keeps = self.network is None

    def features(self, batches: Iterator[Tensor]) -> Features:
        """Features of images in [-1, 1]."""
        return inception_features(batches, network=self.loaded(), device=str(self.engine.device))

    def loaded(self) -> "nn.Module":
        """The network, on the device; loaded now if it was not yet.

        Raises:
            UsageError: Its weights cannot be read.
        """
        if self.network is None:
            self.network = load_inception(resize=self.resize, device=str(self.engine.device))
        return self.network.to(self.engine.device)

    def features_of(self, images: ResidentImages) -> Features:
        """Features of real images, kept by their content in the cache folder: they are wanted again and again."""
        if not self._keeps:
            return self.features(real_batches(images))
        path = cache_folder() / f"features-{_digest(images, resize=self.resize)}.npy"
        try:
            kept: Features = np.load(path, allow_pickle=False)
            if kept.ndim == 2 and len(kept) == len(images):
                return kept
        except (OSError, ValueError):  # None yet, or half of them: they are taken anew.
            pass
        found = self.features(real_batches(images))
        _keep(found, path)
        return found


def translation_metrics(
    generator: "nn.Module",
    source: ResidentImages,
    target: ResidentImages,
    *,
    direction: str,
    split: str,
    inception: Inception,
) -> dict[str, float]:
    """FID and KID of translated images against real ones, and of the untranslated images, which they must beat.

    The names, such as `fid_AtoB_testB_120x140_64x64_tf`, say the direction, the real images, how many translated x how
    many real ones, the pixels that both have, and how they came to Inception's 299. `fid_untranslated_A_...` and so on
    are those of the inputs themselves; `kid_spread_...` is the standard deviation over the subsets (100 of 100 images,
    or of as many as there are).

    Args:
        generator: (B, C, H, W) in [-1, 1] to the same.
        source: Its inputs.
        target: Real images of the other domain, of the same height and width.
        direction: "AtoB" or "BtoA".
        split: Of both, for the names.
    """
    domain = direction[-1]
    height, width = target.size
    protocol = f"{split}{domain}_{len(source)}x{len(target)}_{height}x{width}_{inception.resize}"
    real = inception.features_of(target)
    with evaluated(generator):
        translated = inception.features(translated_batches(generator, source))
    found: dict[str, float] = {}
    both = {direction: translated, f"untranslated_{direction[0]}": inception.features_of(source)}
    for label, features in both.items():
        distance = kid(features, real)
        found[f"fid_{label}_{protocol}"] = fid(features, real)
        found[f"kid_{label}_{protocol}"] = distance.mean
        found[f"kid_spread_{label}_{protocol}"] = distance.spread
    return found


def real_batches(images: ResidentImages) -> Iterator[Tensor]:
    """All images in order, uncropped and unmirrored."""
    for index in torch.arange(len(images), device=images.index_device).split(BATCH):
        yield images.batch(index)


def translated_batches(generator: "Callable[[Tensor], Tensor]", images: ResidentImages) -> Iterator[Tensor]:
    """All of them, translated."""
    for batch in real_batches(images):
        yield generator(batch)


def _digest(images: ResidentImages, *, resize: str) -> str:
    """Of the pixels, of how they are resized, and of the weights that look at them."""
    total = hashlib.sha256(f"{tuple(images.images.shape)} {resize}".encode())
    for image in images.images:
        total.update(image.cpu().numpy().tobytes())
    weights = os.environ.get(WEIGHTS)
    if weights and Path(weights).is_file():
        with Path(weights).open("rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()[:24]


def _keep(features: Features, path: Path) -> None:
    """Write them whole or not at all. Without a cache they are only taken again the next time."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            np.save(file, features)
        os.replace(temporary, path)
    except OSError as error:
        log.warning("%s: cannot be kept (%s)", path, error.strerror or error)
    finally:
        temporary.unlink(missing_ok=True)
