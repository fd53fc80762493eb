from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from optevo.data.drawn import LABELS, draw_facade, draw_facades
from optevo.data.pairs import find_pairs
from optevo.errors import OptevoError, UsageError


def test_layout_and_content(tmp_path: Path) -> None:
    root = draw_facades(tmp_path / "drawn", count=3, val=0, test=2, size=(32, 48), seed=5)
    pairs = find_pairs(root)
    assert {split: len(members) for split, members in pairs.items()} == {"train": 3, "test": 2}
    with Image.open(pairs["test"][1].a) as image:
        whole = np.asarray(image)
    assert whole.shape == (32, 96, 3)
    rendering, labels = draw_facade(seed=5, split="test", index=1, size=(32, 48))
    np.testing.assert_array_equal(whole, np.concatenate((rendering, labels), axis=1))


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**40), st.integers(0, 999), st.tuples(st.integers(16, 80), st.integers(16, 80)))
def test_any_seed_and_size(seed: int, index: int, size: tuple[int, int]) -> None:
    rendering, labels = draw_facade(seed=seed, split="train", index=index, size=size)
    assert rendering.shape == labels.shape == (*size, 3)
    assert rendering.dtype == labels.dtype == np.uint8
    palette = {tuple(colour) for colour in labels.reshape(-1, 3).tolist()}
    assert palette <= set(LABELS.values())
    assert palette >= {LABELS[name] for name in ("wall", "window", "door", "ground", "cornice")}
    assert rendering.std() > 15


def test_a_pure_function_of_seed_split_and_index() -> None:
    def draw(seed: int, split: str, index: int) -> bytes:
        return b"".join(part.tobytes() for part in draw_facade(seed=seed, split=split, index=index, size=(32, 32)))

    assert draw(1, "train", 2) == draw(1, "train", 2)
    assert len({draw(seed, split, index) for seed in (0, 1) for split in ("train", "test") for index in (0, 1)}) == 8


def test_the_rendering_follows_from_the_labels_but_not_entirely() -> None:
    drawn = [draw_facade(seed=0, split="train", index=index, size=(48, 48)) for index in range(40)]
    renderings = np.stack([rendering for rendering, _ in drawn]).reshape(-1, 3).astype(float)
    codes = np.stack([labels for _, labels in drawn]).reshape(-1, 3).astype(np.int64) @ [1 << 16, 1 << 8, 1]
    left = renderings.copy()
    for code in np.unique(codes):
        left[codes == code] -= renderings[codes == code].mean(axis=0)
    explained = 1 - left.var() / renderings.var()
    assert 0.25 < explained < 0.9  # by the class of the pixel alone


def test_every_class_occurs() -> None:
    seen: set[tuple[int, ...]] = set()
    for index in range(30):
        seen |= set(map(tuple, draw_facade(seed=0, split="val", index=index, size=(64, 64))[1].reshape(-1, 3).tolist()))
    assert seen == set(LABELS.values())


def test_fast_enough_for_a_quickstart() -> None:
    draw_facade(seed=0, split="train", index=0, size=(64, 64))
    spent = []
    for index in range(10):
        start = time.perf_counter()
        draw_facade(seed=0, split="train", index=index, size=(64, 64))
        spent.append(time.perf_counter() - start)
    assert sorted(spent)[5] < 0.05  # about 0.005 on one core


@pytest.mark.parametrize(
    "change", [{"count": 0}, {"val": -1}, {"seed": -1}, {"size": (15, 64)}], ids=lambda change: next(iter(change))
)
def test_bad_arguments(tmp_path: Path, change: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=f"{next(iter(change))} = "):
        draw_facades(tmp_path / "x", **change)
    assert not (tmp_path / "x").exists()


def test_unwritable_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OptevoError, match="cannot be written"):
        draw_facades(tmp_path / "file", count=1)
