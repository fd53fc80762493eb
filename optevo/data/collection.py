"""Images of one kind, without pairs, ready for a training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from optevo.data.collection_files import Collection, Pixels, read_array, too_few
from optevo.data.images import to_array, to_channels
from optevo.data.resident import ResidentImages, images_of, load_images
from optevo.errors import UsageError


def load_collection(
    found: Collection, *, size: int, channels: int, device: torch.device, most: int | None = None, seed: int = 0
) -> ResidentImages:
    """Decode the images once, resized to `size` x `size` pixels by Pillow's bicubic filter, and keep them.

    Args:
        size: Pixels a side.
        channels: 1 (grey) or 3 (RGB).
        device: Where batches are wanted.
        most: Take at most so many, chosen by `seed`; None takes all.

    Raises:
        UsageError: A file cannot be used, or there are fewer than two images.
    """
    if found.files:
        chosen = _chosen(len(found.files), most=most, seed=seed, root=found.root)
        files = [found.files[at] for at in chosen]
        return load_images(files, size=(size, size), channels=channels, device=device, jitter=False)
    pixels = np.concatenate([read_array(path) for path in found.source])
    pixels = pixels[_chosen(len(pixels), most=most, seed=seed, root=found.root)]
    return images_of(torch.from_numpy(_fitted(pixels, size=size, channels=channels)), device=device)


def _chosen(count: int, *, most: int | None, seed: int, root: Path) -> NDArray[np.int64]:
    for problem in too_few(root, count if most is None else min(count, most)):
        raise UsageError(problem)
    if most is None or most >= count:
        return np.arange(count)
    # Not the first ones: folders and arrays are often sorted by what they show.
    return np.sort(np.random.default_rng(seed).permutation(count)[:most])


def _fitted(pixels: Pixels, *, size: int, channels: int) -> Pixels:
    if pixels.shape[1:] == (size, size, channels):
        return pixels
    made = np.empty((len(pixels), size, size, channels), dtype=np.uint8)
    for row, image in enumerate(pixels):
        whole = Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image)
        whole = to_channels(whole, channels=channels)
        made[row] = to_array(whole.resize((size, size), Image.Resampling.BICUBIC))
    return made
