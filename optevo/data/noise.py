"""Noise that generators make images of: uniform, and the same for a seed wherever it is used."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

BATCH = 50  # images that a generator makes at once when it is judged


def noise_batches(latent: int, *, count: int, seed: int) -> Iterator[NDArray[np.float32]]:
    """Noise of `count` images, in float32 (BATCH, latent), the last one smaller; uniform in [-1, 1).

    Args:
        latent: Numbers of each image.
        count: Of images.
        seed: Of the noise, at least 0.
    """
    rng = np.random.Generator(np.random.Philox(key=seed))
    for start in range(0, count, BATCH):
        yield rng.random((min(BATCH, count - start), latent), dtype=np.float32) * 2 - 1
