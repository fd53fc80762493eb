"""Random generators that are functions of a key, so that every worker draws the same numbers without sharing state."""

import hashlib
import json

import numpy as np


def generator(*key: int | str) -> np.random.Generator:
    """A counter-based generator (Philox) for a key such as `(seed, population, generation)`.

    Args:
        key: Integers and strings. They are hashed together with SHA-256 (never with Python's salted `hash`), because
            NumPy's `SeedSequence` alone gives `[5]`, `[5, 0]` and `[5, 0, 0]` one stream, and `[2**32 + 5]` that of
            `[5, 1]`.

    Returns:
        A generator whose whole stream depends on the key alone: not on the process, the machine or earlier draws.
    """
    text = json.dumps([part if isinstance(part, str) else int(part) for part in key])
    entropy = int.from_bytes(hashlib.sha256(text.encode()).digest(), "big")
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(entropy)))
