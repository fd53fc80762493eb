"""Two folders of images that belong together without being pairs, as CycleGAN has them. Loads no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from optevo.data.pairs import FOLDERS, SPLITS, PairFile, image_files, split_pairs
from optevo.errors import UsageError

DOMAINS = ("A", "B")
LEAST = 2  # training images of a domain: of a single one nobody can tell what all have in common


@dataclass(frozen=True)
class UnpairedFiles:
    """The images of both domains by split: `a["train"]` and so on. Every domain has a train split."""

    a: Mapping[str, Sequence[PairFile]]
    b: Mapping[str, Sequence[PairFile]]


def find_unpaired(root: Path, *, val_fraction: float, test_fraction: float, seed: int) -> UnpairedFiles:
    """The images under `root` as CycleGAN lays them out: trainA, trainB, testA, testB.

    Also `A/` and `B/`, with train, val and test inside or without, and `train/A`. Missing val and test splits are taken
    out of train, each domain by itself, as :func:`optevo.data.pairs.split_pairs` takes pairs.

    Args:
        root: The folder.
        val_fraction, test_fraction: Parts of train that fill missing splits, in [0, 1); 0 leaves them missing.
        seed: Of those splits.

    Raises:
        UsageError: No such folder, or a domain without images.
    """
    if not root.is_dir():
        raise UsageError(f"{root}: there is no such folder; check the path, or get one with `optevo data download`")
    both = []
    for domain in DOMAINS:
        found = {split: _of_split(root, split, domain) for split in SPLITS}
        if not any(found.values()) and (root / domain).is_dir():
            found["train"] = _images(root / domain)
        found = {split: images for split, images in found.items() if images}
        if not found.get("train"):
            raise UsageError(f"{root}: no training images of {domain}; put them into {root / f'train{domain}'}")
        both.append(split_pairs(found, val_fraction=val_fraction, test_fraction=test_fraction, seed=seed))
    return UnpairedFiles(*both)


def _of_split(root: Path, split: str, domain: str) -> list[PairFile]:
    for folder in FOLDERS[split]:
        for place in (root / f"{folder}{domain}", root / domain / folder, root / folder / domain):
            if place.is_dir():
                return _images(place)
    return []


def _images(folder: Path) -> list[PairFile]:
    # By whole names: unlike the halves of a pair, two images of one domain may differ in nothing but the suffix.
    return [PairFile(path.name, path, None) for path in image_files(folder)]
