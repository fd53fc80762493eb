"""Where a dataset's image pairs lie on disk, and how they are split. Looks at names only; opens no image."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from optevo.errors import UsageError

SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
SPLITS = ("train", "val", "test")
FOLDERS = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}
_LAYOUTS = (
    "expected AB images in train/, val/, test/ or directly in the folder, or the halves as A/ and B/, "
    "train/A/ and train/B/, or trainA/ and trainB/"
)
_NAMED = 5  # how many files an error that may concern thousands names


@dataclass(frozen=True)
class PairFile:
    """One image pair.

    Attributes:
        name: the file's stem, which is unique within its split.
        a: the image of A, or of both halves.
        b: the image of B; None where `a` is one AB image with A as its left and B as its right half.
    """

    name: str
    a: Path
    b: Path | None


@dataclass(frozen=True)
class Listing:
    """What a look at the folder found: the pairs, and one line for each file that is no half of a pair."""

    pairs: dict[str, list[PairFile]] = field(default_factory=dict)
    unmatched: list[str] = field(default_factory=list)


def find_pairs(root: Path) -> dict[str, list[PairFile]]:
    """The image pairs under `root`: split -> pairs, in natural order ("2" before "10").

    Layouts, the first that fits: `A/` and `B/` (with or without train/val/test inside), `trainA/` and `trainB/`,
    `train/A/` and `train/B/`, `train/` of AB images, AB images directly in `root`. A folder without splits is all
    "train". `valid` and `validation` count as `val`. The halves of a pair have equal stems; suffixes may differ.
    Files that are no images by their suffix, and hidden ones, are passed over.

    Raises:
        UsageError: `root` is no folder or holds no images, or a half is missing (the first few are named).
    """
    listing = list_pairs(root)
    if listing.unmatched:
        more = len(listing.unmatched) - _NAMED
        rest = f"; and {more} more (`optevo data check` names all)" if more > 0 else ""
        raise UsageError("; ".join(listing.unmatched[:_NAMED]) + rest)
    return listing.pairs


def list_pairs(root: Path) -> Listing:
    """As `find_pairs`, but reports files without a counterpart instead of raising.

    Raises:
        UsageError: `root` is no folder, or holds no images in any layout.
    """
    root = Path(root)
    if not root.exists():
        raise UsageError(f"{root}: there is no such folder; check the path, or get one with `optevo data download`")
    if not root.is_dir():
        raise UsageError(f"{root}: is a file; name the folder that holds the image pairs")
    listing = Listing()
    for split in SPLITS:
        pairs = _pairs_of_split(root, split, listing.unmatched)
        if pairs:
            listing.pairs[split] = pairs
    if not listing.pairs and not listing.unmatched:
        listing.pairs["train"] = _pairs_without_splits(root, listing.unmatched)
    if not any(listing.pairs.values()) and not listing.unmatched:
        raise UsageError(f"{root}: holds no images; {_LAYOUTS}")
    return listing


def image_files(folder: Path) -> list[Path]:
    """The files of a folder that are images by their suffix, without hidden ones, in natural order."""
    files = (path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and not path.name.startswith("."))
    return sorted((path for path in files if path.is_file()), key=lambda path: natural_key(path.name))


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """A sort key that orders numbers inside names by value: "img2" before "img10"."""
    parts = re.split(r"([0-9]+)", name)
    keys = [(0, int(part), part) if part.isascii() and part.isdigit() else (1, 0, part) for part in parts if part]
    return (*keys, (2, 0, name))


def split_pairs(
    pairs: Mapping[str, Sequence[PairFile]], *, val_fraction: float, test_fraction: float, seed: int
) -> dict[str, list[PairFile]]:
    """Fill a missing val and a missing test split with pairs taken out of train; existing splits stay as they are.

    Which pairs are taken depends on `seed` and the names alone: names are ranked by a keyed hash, so the split is the
    same on every machine and in any file order, and an added image moves few others.

    Args:
        pairs: split -> pairs, as `find_pairs` gives them.
        val_fraction: part of train that becomes val when val is missing, in [0, 1). 0 leaves val missing.
        test_fraction: the same for test.
        seed: any integer.

    Returns:
        A new mapping; every split made, and train, holds at least one pair.

    Raises:
        UsageError: a fraction is out of range, or train has too few pairs to share.
    """
    _check_fractions(val_fraction, test_fraction)
    splits = {split: list(pairs[split]) for split in SPLITS if pairs.get(split)}
    wanted = {"test": test_fraction, "val": val_fraction}
    missing = {split: part for split, part in wanted.items() if part > 0 and split not in splits}
    if not missing:
        return splits
    train = splits.get("train", [])
    if len(train) <= len(missing):
        raise UsageError(
            f"train: {len(train)} pairs are too few to split off {' and '.join(sorted(missing))}; "
            f"add images (at least {len(missing) + 1} pairs) or set the fraction to 0"
        )
    ranked = sorted(train, key=lambda pair: _rank(pair.name, seed))
    room = len(train) - 1
    for later, (split, part) in enumerate(missing.items(), start=1):
        count = max(1, min(round(part * len(train)), room - (len(missing) - later)))
        chosen, ranked, room = ranked[:count], ranked[count:], room - count
        splits[split] = sorted(chosen, key=lambda pair: natural_key(pair.name))
    splits["train"] = sorted(ranked, key=lambda pair: natural_key(pair.name))
    return {split: splits[split] for split in SPLITS if split in splits}


def _check_fractions(val_fraction: float, test_fraction: float) -> None:
    for key, value in (("val_fraction", val_fraction), ("test_fraction", test_fraction)):
        if not 0 <= value < 1:
            raise UsageError(f"{key} = {value}: must be at least 0 and below 1")
    if val_fraction + test_fraction >= 1:
        raise UsageError(f"val_fraction + test_fraction = {val_fraction + test_fraction}: must be below 1")


def _rank(name: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}\0{name}".encode("utf-8", "surrogateescape")).digest()


def _pairs_of_split(root: Path, split: str, unmatched: list[str]) -> list[PairFile]:
    """The pairs of one split in whichever layout has them; [] where none has."""
    for folder in FOLDERS[split]:
        halves = ((root / "A" / folder, root / "B" / folder), (root / f"{folder}A", root / f"{folder}B"))
        for a, b in (*halves, (root / folder / "A", root / folder / "B")):
            if a.is_dir() or b.is_dir():
                return _match(a, b, unmatched)
        if (root / folder).is_dir():
            return [PairFile(name, path, None) for name, path in _images(root / folder, unmatched).items()]
    return []


def _pairs_without_splits(root: Path, unmatched: list[str]) -> list[PairFile]:
    if (root / "A").is_dir() or (root / "B").is_dir():
        return _match(root / "A", root / "B", unmatched)
    return [PairFile(name, path, None) for name, path in _images(root, unmatched).items()]


def _match(a: Path, b: Path, unmatched: list[str]) -> list[PairFile]:
    """Pairs of equal stems; a line in `unmatched` for each image that stands alone."""
    for folder, other in ((a, b), (b, a)):
        if not folder.is_dir():
            unmatched.append(f"{folder}: missing, but {other} exists; add the folder with the other halves")
            return []
    of_a, of_b = _images(a, unmatched), _images(b, unmatched)
    if of_a and of_b and not of_a.keys() & of_b.keys():
        unmatched.append(f"{a} and {b}: no name occurs in both, so these look unpaired; name both halves alike")
    for images, others, folder in ((of_a, of_b, b), (of_b, of_a, a)):
        unmatched += [
            f"{path}: has no counterpart {folder / name}.*; add it or remove this file"
            for name, path in images.items()
            if name not in others
        ]
    return [PairFile(name, path, of_b[name]) for name, path in of_a.items() if name in of_b]


def _images(folder: Path, unmatched: list[str]) -> dict[str, Path]:
    """Stem -> image file of one folder, in natural order."""
    found: dict[str, Path] = {}
    for path in image_files(folder):
        if path.stem in found:
            unmatched.append(f"{path}: has the same name as {found[path.stem].name}; rename or remove one")
        else:
            found[path.stem] = path
    return found
