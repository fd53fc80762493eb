"""Look at every image of a dataset before a training does, and name what is wrong: of pairs, of two domains, or of one
kind alone."""

from __future__ import annotations

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from optevo.data.collection_files import find_collection, read_array, too_few
from optevo.data.images import halves, open_image
from optevo.data.kinds import Kind
from optevo.data.pairs import PairFile, list_pairs
from optevo.data.unpaired_files import LEAST, find_unpaired
from optevo.errors import UsageError

GREY = "grey among colours, from which a translator learns to drop the colours"

# Called with the pairs or images done, and all of them.
Progress = Callable[[int, int], None] | None

_NARROW = "taken for a pair side by side, but hardly wider than high; images of one kind are checked with --kind alone"

_NAMED = 5  # how many files a warning that may concern all of them names


@dataclass(frozen=True)
class CheckReport:
    """What was found.

    Attributes:
        root: the folder, or a file of an array.
        kind: "pairs", "unpaired" or "alone".
        counts: split -> number of pairs, damaged ones included; of unpaired images "train A" and so on; of images alone
            "train".
        sizes: "HEIGHTxWIDTH" of one half -> number of readable pairs; of unpaired images "A HEIGHTxWIDTH".
        channels: "A grey", "A RGB", "B grey", "B RGB" -> number of readable images; of images alone "grey", "RGB".
        problems: what would stop a training; each names its file and the cure.
        warnings: what is worth knowing.
    """

    root: Path
    kind: Kind = "pairs"
    counts: dict[str, int] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    channels: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """No problems; warnings may remain."""
        return not self.problems

    def demand(self) -> None:
        """Raise UsageError with the first problem, where there is one."""
        if self.problems:
            more = f" (and {len(self.problems) - 1} more; `optevo data check {self.root} --kind {self.kind}` names all)"
            raise UsageError(self.problems[0] + (more if len(self.problems) > 1 else ""))

    def to_dict(self) -> dict[str, Any]:
        """The report as plain values for JSON."""
        return {
            "root": str(self.root),
            "kind": self.kind,
            "ok": self.ok,
            "counts": self.counts,
            "sizes": self.sizes,
            "channels": self.channels,
            "problems": self.problems,
            "warnings": self.warnings,
        }


@dataclass(frozen=True)
class _Seen:
    """One pair, or an image alone, after decoding: its size and channels of each, or its problems."""

    split: str
    pair: PairFile
    size: tuple[int, int] = (0, 0)
    channels: tuple[int, ...] = (0, 0)
    digest: bytes = b""
    problems: tuple[str, ...] = ()


def check_pairs(
    root: Path,
    *,
    size: tuple[int, int] | None = None,
    multiple_of: int | None = None,
    progress: Progress = None,
) -> CheckReport:
    """Decode every image under `root`, and report.

    Problems: unreadable, damaged and oversized files, missing halves, AB images of odd width, halves of different
    size, a `size` (or, without one, image sizes) that `multiple_of` does not divide.
    Warnings: AB images that look like no pairs, images smaller than `size`, images of another size than most, grey
    among RGB images, the same pair in two splits (the test would see what was trained on).

    Args:
        root: a folder in any layout of `find_pairs`.
        size: (height, width) that the training will use.
        multiple_of: what height and width must be multiples of: 2^depth of a U-Net.
        progress: called with (pairs done, pairs in all).

    Raises:
        UsageError: `root` is no folder or holds no images at all.
    """
    listing = list_pairs(root)
    entries = [(split, pair) for split, pairs in listing.pairs.items() for pair in pairs]
    seen = _all_seen(entries, _look, progress=progress)
    good = [one for one in seen if not one.problems]
    return CheckReport(
        root=Path(root),
        counts={split: len(pairs) for split, pairs in listing.pairs.items()},
        sizes=_tally(f"{one.size[0]}x{one.size[1]}" for one in good),
        channels=_tally(
            f"{half} {_COLOUR[count]}" for one in good for half, count in zip("AB", one.channels, strict=True)
        ),
        problems=[
            *listing.unmatched,
            *(problem for one in seen for problem in one.problems),
            *_indivisible(good, size=size, multiple_of=multiple_of),
        ],
        warnings=[
            *_narrow(good),
            *_small(good, size=size),
            *_unlike(good, size=size),
            *_mixed(good),
            *_leaks(good),
        ],
    )


def check_unpaired(
    root: Path,
    *,
    size: tuple[int, int] | None = None,
    multiple_of: int | None = None,
    progress: Progress = None,
) -> CheckReport:
    """Decode every image of two domains without pairs, and report.

    Problems: unreadable, damaged and oversized files, a domain with fewer than two images to train on, a `size` (or,
    without one, image sizes) that `multiple_of` does not divide.
    Warnings, for each domain by itself: images smaller than `size`, images of another size than most, grey among
    colour images, also where grey is saved in three channels (a translator learns from them to drop the colours), and
    the same image in two splits or in both domains.

    Args:
        root: a folder in any layout of `find_unpaired`.
        others: as of `check_pairs`.

    Raises:
        UsageError: `root` is no folder, or a domain has no training images.
    """
    files = find_unpaired(root, val_fraction=0, test_fraction=0, seed=0)
    entries = [
        (f"{split} {domain}", file)
        for domain, splits in (("A", files.a), ("B", files.b))
        for split, listed in splits.items()
        for file in listed
    ]
    seen = _all_seen(entries, _look_alone, progress=progress)
    good = [one for one in seen if not one.problems]
    counts = _tally(one.split for one in seen)
    domains = {domain: [one for one in good if one.split.endswith(domain)] for domain in "AB"}
    return CheckReport(
        root=Path(root),
        kind="unpaired",
        counts=counts,
        sizes=_tally(f"{one.split[-1]} {one.size[0]}x{one.size[1]}" for one in good),
        channels=_tally(f"{one.split[-1]} {_COLOUR[one.channels[0]]}" for one in good),
        problems=[
            *(problem for one in seen for problem in one.problems),
            *_lonely(Path(root), counts),
            *_indivisible(good, size=size, multiple_of=multiple_of),
        ],
        warnings=[
            *(
                warning
                for domain, images in domains.items()
                for warning in (
                    *_small(images, size=size, noun=f"images of {domain}"),
                    *_unlike(images, noun=f"images of {domain}", size=size),
                    *_grey_among_colours(images, domain=domain),
                )
            ),
            *_repeated(good),
        ],
    )


def check_alone(
    root: Path,
    *,
    size: tuple[int, int] | None = None,
    multiple_of: int | None = None,
    progress: Progress = None,
) -> CheckReport:
    """Decode every image of a collection, and report.

    Problems: unreadable, damaged and oversized files, an array of something else than images, fewer than two images, a
    `size` (or, without one, image sizes) that `multiple_of` does not divide.
    Warnings, for image files: images smaller than `size`, images of another size than most, grey among colour images.

    Args:
        root: as of `find_collection`: a folder of images, or an array's file or folder.
        others: as of `check_pairs`.

    Raises:
        UsageError: There is nothing, or nothing that is known.
    """
    found = find_collection(Path(root))
    if found.files:
        entries = [("train", PairFile(path.name, path, None)) for path in found.files]
        seen = _all_seen(entries, _look_alone, progress=progress)
    else:
        seen = [one for path in found.source for one in _look_inside(path)]
    good = [one for one in seen if not one.problems]
    # Of an array, all are of a size.
    judged = good if found.files else list({one.pair.a: one for one in good}.values())
    return CheckReport(
        root=Path(root),
        kind="alone",
        counts=_tally(one.split for one in seen),
        sizes=_tally(f"{one.size[0]}x{one.size[1]}" for one in good),
        channels=_tally(_COLOUR[one.channels[0]] for one in good),
        problems=[
            *(problem for one in seen for problem in one.problems),
            *too_few(Path(root), len(seen) if found.files else len(good)),
            *_indivisible(judged, size=size, multiple_of=multiple_of),
        ],
        warnings=[
            *_small(judged, size=size, noun="images" if found.files else "files"),
            *_unlike(judged, size=size, noun="images" if found.files else "files"),
            *_warning(_rarer(good), "unlike the others in having colours, or none", noun="images"),
        ],
    )


def kind_of(root: Path) -> Kind:
    """What lies at `root`, where names tell it.

    An array of images is alone, and two domains without a name in common are unpaired. Everything else is taken for
    pairs, which a folder of images may well be.
    """
    with suppress(UsageError):
        if find_collection(root).source:
            return "alone"
    with suppress(UsageError):
        listing = list_pairs(root)
        find_unpaired(root, val_fraction=0, test_fraction=0, seed=0)
        if not any(listing.pairs.values()):
            return "unpaired"
    return "pairs"


_COLOUR = {1: "grey", 3: "RGB"}


def _tally(values: Iterable[str]) -> dict[str, int]:
    return dict(Counter(values).most_common())


def _all_seen(
    entries: Sequence[tuple[str, PairFile]],
    look: Callable[[str, PairFile], _Seen],
    *,
    progress: Progress,
) -> list[_Seen]:
    seen: list[_Seen] = []
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for one in pool.map(lambda entry: look(*entry), entries):
            seen.append(one)
            if progress is not None:
                progress(len(seen), len(entries))
    return seen


def _look_alone(split: str, file: PairFile) -> _Seen:
    try:
        image = open_image(file.a)
    except UsageError as error:
        return _Seen(split, file, problems=(str(error),))
    bands = len(image.getbands())
    if bands == 3 and _without_colours(image):
        bands = 1
    digest = hashlib.sha256(repr((image.size, image.mode)).encode() + image.tobytes()).digest()
    return _Seen(split, file, (image.height, image.width), (bands,), digest)


def _without_colours(image: Image.Image) -> bool:
    """Whether all three channels are equal everywhere."""
    red, green, blue = (band.tobytes() for band in image.split())
    return red == green == blue


def _look_inside(path: Path) -> list[_Seen]:
    """The images of an array's file."""
    file = PairFile(path.name, path, None)
    try:
        pixels = read_array(path)
    except UsageError as error:
        return [_Seen("train", file, problems=(str(error),))]
    count, height, width, channels = pixels.shape
    return [_Seen("train", file, (height, width), (channels,))] * count


def _lonely(root: Path, counts: dict[str, int]) -> list[str]:
    found = ((domain, counts.get(f"train {domain}", 0)) for domain in "AB")
    return [
        f"{root}: has {count} training image of {domain}, and a translator needs at least {LEAST}; add more to "
        f"{root / f'train{domain}'}"
        for domain, count in found
        if count < LEAST
    ]


def _grey_among_colours(seen: Sequence[_Seen], *, domain: str) -> list[str]:
    grey = [one for one in seen if one.channels == (1,)]
    if not 0 < len(grey) < len(seen):
        return []
    return _warning(grey, GREY, noun=f"images of {domain}")


def _look(split: str, pair: PairFile) -> _Seen:
    opened: list[Image.Image] = []
    problems: list[str] = []
    # Each file by itself, so that both halves are named when both are damaged.
    for path in (pair.a,) if pair.b is None else (pair.a, pair.b):
        try:
            image = open_image(path)
            opened += halves(image, path=path) if pair.b is None else (image,)
        except UsageError as error:
            problems.append(str(error))
    if problems:
        return _Seen(split, pair, problems=tuple(problems))
    a, b = opened
    if a.size != b.size:
        sizes = f"{a.height}x{a.width} and {b.height}x{b.width}"
        return _Seen(split, pair, problems=(f"{pair.a} and {pair.b}: are {sizes} (HxW); give both halves one size",))
    digest = hashlib.sha256(repr((a.size, a.mode, b.mode)).encode() + a.tobytes() + b.tobytes()).digest()
    return _Seen(split, pair, (a.height, a.width), (len(a.getbands()), len(b.getbands())), digest)


def _indivisible(seen: Sequence[_Seen], *, size: tuple[int, int] | None, multiple_of: int | None) -> list[str]:
    if multiple_of is None:
        return []
    if size is not None:
        sizes = f"{size[0]}x{size[1]}"
        wrong = any(side % multiple_of for side in size)
        return [f"size = {sizes}: both sides must be multiples of {multiple_of}; choose another"] if wrong else []
    return [
        f"{one.pair.a}: is {one.size[0]}x{one.size[1]} (HxW), and both sides must be multiples of {multiple_of}; "
        "resize it, or set a size to train at"
        for one in seen
        if any(side % multiple_of for side in one.size)
    ]


def _narrow(seen: Sequence[_Seen]) -> list[str]:
    """AB images of less than 4 : 3, each half less than 2 : 3: they may well be one picture each."""
    narrow = [one for one in seen if one.pair.b is None and 3 * one.size[1] < 2 * one.size[0]]
    return _warning(narrow, _NARROW, noun="images")


def _small(seen: Sequence[_Seen], *, size: tuple[int, int] | None, noun: str = "pairs") -> list[str]:
    if size is None:
        return []
    small = [one for one in seen if one.size[0] < size[0] or one.size[1] < size[1]]
    return _warning(small, f"smaller than {size[0]}x{size[1]} and will be enlarged", noun=noun)


def _unlike(seen: Sequence[_Seen], *, size: tuple[int, int] | None, noun: str = "pairs") -> list[str]:
    sizes = Counter(one.size for one in seen)
    if len(sizes) < 2:
        return []
    common = sizes.most_common(1)[0][0]
    unlike = [one for one in seen if one.size != common]
    what = f"of another size than most ({common[0]}x{common[1]}) and will be scaled differently"
    return _warning(unlike, what, noun=noun)


def _rarer(seen: Sequence[_Seen], *, place: int = 0) -> list[_Seen]:
    """The grey ones or the others, whichever are fewer; nobody where all are alike."""
    grey = [one for one in seen if one.channels[place] == 1]
    return min(grey, [one for one in seen if one.channels[place] == 3], key=len)


def _mixed(seen: Sequence[_Seen]) -> list[str]:
    warnings = []
    for place, half in enumerate("AB"):
        if few := _rarer(seen, place=place):
            warnings += _warning(few, f"{_COLOUR[few[0].channels[place]]} in {half} while the others are not")
    return warnings


def _repeated(seen: Sequence[_Seen]) -> list[str]:
    return [
        f"{_places(group)}: the same image in several splits or domains, so a test sees what was trained on, or both "
        "domains look alike; keep one"
        for group in _in_several(seen)
    ]


def _leaks(seen: Sequence[_Seen]) -> list[str]:
    return [
        f"{_places(group)}: the same pair in several splits, so a test sees what was trained on; keep one"
        for group in _in_several(seen)
    ]


def _in_several(seen: Sequence[_Seen]) -> list[list[_Seen]]:
    """Equal ones that more than one split has."""
    same: dict[bytes, list[_Seen]] = defaultdict(list)
    for one in seen:
        same[one.digest].append(one)
    return [group for group in same.values() if len({one.split for one in group}) > 1]


def _places(group: Sequence[_Seen]) -> str:
    return ", ".join(f"{one.split}: {one.pair.a}" for one in group)


def _warning(seen: Sequence[_Seen], what: str, *, noun: str = "pairs") -> list[str]:
    if not seen:
        return []
    names = ", ".join(str(one.pair.a) for one in seen[:_NAMED]) + (", ..." if len(seen) > _NAMED else "")
    return [f"{len(seen)} {noun} are {what}: {names}" if len(seen) > 1 else f"{names}: is {what}"]
