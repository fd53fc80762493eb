"""Random generators that are functions of a key, so that every worker draws the same numbers without sharing state."""

import hashlib

import numpy as np


def generator(*key: int | str) -> np.random.Generator:
    """A counter-based generator (Philox) for a key such as `(seed, population, generation)`.

    Args:
        key: Non-negative integers, or strings (hashed with SHA-256, never with Python's salted `hash`).

    Returns:
        A generator whose whole stream depends on the key alone: not on the process, the machine or earlier draws.
    """
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([_word(part) for part in key])))


def _word(part: int | str) -> int:
    if isinstance(part, str):
        return int.from_bytes(hashlib.sha256(part.encode()).digest()[:8], "big")
    return part
