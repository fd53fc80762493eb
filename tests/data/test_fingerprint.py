from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from sample_images import ab_folder, noise, save

from optevo.data.fingerprint import fingerprint
from optevo.data.pairs import PairFile, find_pairs
from optevo.errors import UsageError


def test_independent_of_place_time_and_order(tmp_path: Path) -> None:
    here = ab_folder(tmp_path / "here", {"train": 3, "test": 2})
    there = shutil.copytree(here, tmp_path / "far" / "there")
    for path in there.rglob("*.png"):
        os.utime(path, (1, 1))
    pairs = find_pairs(there)
    turned = {split: pairs[split][::-1] for split in reversed(pairs)}
    assert fingerprint(find_pairs(here)) == fingerprint(pairs) == fingerprint(turned)
    assert len(fingerprint(pairs)) == 16


def test_sees_bytes_names_splits_and_roles(tmp_path: Path) -> None:
    root = ab_folder(tmp_path, {"train": 3, "test": 2})
    pairs = find_pairs(root)
    seen = {fingerprint(pairs)}
    seen.add(fingerprint({"train": pairs["train"], "val": pairs["test"]}))
    first = pairs["train"][0]
    seen.add(fingerprint({**pairs, "train": [PairFile("other", first.a, None), *pairs["train"][1:]]}))
    second = pairs["train"][1]
    seen.add(fingerprint({"train": [PairFile("1", first.a, second.a)]}))
    seen.add(fingerprint({"train": [PairFile("1", second.a, first.a)]}))
    data = bytearray(first.a.read_bytes())
    data[-1] ^= 1
    first.a.write_bytes(data)
    seen.add(fingerprint(pairs))
    assert len(seen) == 6


def test_unreadable_file_is_named(tmp_path: Path) -> None:
    save(tmp_path / "1.png", noise(4, 8))
    pairs = find_pairs(tmp_path)
    (tmp_path / "1.png").unlink()
    with pytest.raises(UsageError, match=r"1\.png: cannot be read"):
        fingerprint(pairs)
