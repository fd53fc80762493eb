"""Noise that generators make images of: uniform, and the same for a seed wherever it is used."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

BATCH = 50


def noise_batches(latent: int, *, count: int, seed: int, size: int = BATCH) -> Iterator[NDArray[np.float32]]:
    """Noise of `count` images, in float32 (size, latent), the last one smaller; uniform in [-1, 1).

    Args:
        latent: Numbers of each image.
        count: Of images.
        seed: Of the noise, at least 0.
        size: Of a batch; it changes nothing about the numbers.
    """
    rng = np.random.Generator(np.random.Philox(key=seed))
    for start in range(0, count, size):
        yield rng.random((min(size, count - start), latent), dtype=np.float32) * 2 - 1
