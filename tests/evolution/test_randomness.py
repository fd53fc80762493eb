"""Streams depend on their key alone: not on the process, and not on what NumPy's seeding takes for equal."""

import itertools
import os
import subprocess
import sys

import numpy as np
import pytest

from optevo.evolution import generator

KNOWN = {
    "integers": [840, 679, 968, 419],
    "random": 0.03199728439406446,
    "choice": [5, 8],
    "geometric": 6,
    "normal": 0.7197981866199937,
    "uniform": 3.733689121991845,
}
SCRIPT = (
    "from optevo.evolution import generator as g;"
    "print([int(g(*k).integers(2**62)) for k in ((7,), (7, 0, 3), (7, 'spare', 12), ('a', 'ü'))])"
)


def test_known_values() -> None:
    """A NumPy that draws otherwise would end every study in BroodMismatchError; here it is noticed first."""
    rng = generator(42, 0, 1)
    assert [int(rng.integers(1000)) for _ in range(4)] == KNOWN["integers"]
    assert rng.random() == KNOWN["random"]
    assert [int(i) for i in rng.choice(16, size=2, replace=False)] == KNOWN["choice"]
    assert int(rng.geometric(0.1)) == KNOWN["geometric"]
    assert float(rng.standard_normal()) == KNOWN["normal"]
    assert float(rng.uniform(2, 5)) == KNOWN["uniform"]


def test_other_processes_draw_the_same() -> None:
    outputs = {
        subprocess.run(
            [sys.executable, "-c", SCRIPT],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1")
    }
    here = [int(generator(*key).integers(2**62)) for key in ((7,), (7, 0, 3), (7, "spare", 12), ("a", "ü"))]
    assert outputs == {f"{here}\n"}


def test_different_keys_give_different_streams() -> None:
    parts = [0, 1, 5, 2**32, 2**32 + 5, 2**64, "", "a", "0", "1", "5"]
    keys = [key for size in (0, 1, 2, 3) for key in itertools.product(parts, repeat=size)]
    draws = {int(generator(*key).integers(2**62)) for key in keys}
    assert len(draws) == len(keys)


def test_equal_keys_give_equal_streams_whatever_was_drawn_before() -> None:
    first = generator(3, "x")
    first.random(1000)
    assert generator(3, "x").random(5).tolist() == generator(np.int64(3), "x").random(5).tolist()


def test_anything_else_is_no_key() -> None:
    with pytest.raises((TypeError, ValueError)):
        generator(None)  # type: ignore[arg-type]
