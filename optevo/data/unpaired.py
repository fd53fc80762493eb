"""Two folders of images that belong together without being pairs, as CycleGAN has them, and images of one kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from optevo.data.pairs import FOLDERS, SPLITS, PairFile, image_files, split_pairs
from optevo.data.plan import batch_plan
from optevo.data.resident import ResidentImages
from optevo.errors import UsageError

DOMAINS = ("A", "B")


@dataclass(frozen=True)
class UnpairedFiles:
    """The images of both domains by split: `a["train"]` and so on. Every domain has a train split."""

    a: Mapping[str, Sequence[PairFile]]
    b: Mapping[str, Sequence[PairFile]]


@dataclass(frozen=True)
class UnpairedPlan:
    """What each step trains on: a plan for either domain, drawn apart, so that no picture keeps its partner.

    Attributes:
        index_a, index_b: int64 (steps, batch).
        crop_a, crop_b: int32 (steps, batch, 2).
        flip_a, flip_b: bool (steps, batch).
    """

    index_a: Tensor
    crop_a: Tensor
    flip_a: Tensor
    index_b: Tensor
    crop_b: Tensor
    flip_b: Tensor

    def __len__(self) -> int:
        return len(self.index_a)

    def to(self, a: torch.device, b: torch.device) -> UnpairedPlan:
        """The same plan where either domain's images lie, moved once so that no step waits for it."""
        return UnpairedPlan(
            *(part.to(a) for part in (self.index_a, self.crop_a, self.flip_a)),
            *(part.to(b) for part in (self.index_b, self.crop_b, self.flip_b)),
        )


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


def unpaired_plan(
    a: ResidentImages, b: ResidentImages, *, steps: int, batch_size: int, seed: int, flip: bool = True
) -> UnpairedPlan:
    """Draw a whole run: each domain goes through one shuffle of its images after another.

    Args:
        a, b: The training images.
        steps, batch_size: Number of batches, and of images of either domain in each.
        seed: Any integer below 2**62.
        flip: Whether half of the images are mirrored.
    """
    plans = [
        # Two seeds for two domains: with one, equally many images would be shuffled alike and meet the same partners.
        batch_plan(len(one), steps=steps, batch_size=batch_size, seed=2 * seed + at, jitter_range=one.jitter_range)
        for at, one in enumerate((a, b))
    ]
    parts = [(plan.index, plan.crop, plan.flip if flip else torch.zeros_like(plan.flip)) for plan in plans]
    return UnpairedPlan(*parts[0], *parts[1])


def unpaired_batch(a: ResidentImages, b: ResidentImages, plan: UnpairedPlan, step: int) -> tuple[Tensor, Tensor]:
    """Batch `step` of a plan: images of A and of B, float32 (batch, channels, H, W) in [-1, 1]."""
    return (
        a.batch(plan.index_a[step], crop=plan.crop_a[step], flip=plan.flip_a[step]),
        b.batch(plan.index_b[step], crop=plan.crop_b[step], flip=plan.flip_b[step]),
    )


def _of_split(root: Path, split: str, domain: str) -> list[PairFile]:
    for folder in FOLDERS[split]:
        for place in (root / f"{folder}{domain}", root / domain / folder, root / folder / domain):
            if place.is_dir():
                return _images(place)
    return []


def _images(folder: Path) -> list[PairFile]:
    # By whole names: unlike the halves of a pair, two images of one domain may differ in nothing but the suffix.
    return [PairFile(path.name, path, None) for path in image_files(folder)]
