"""Datasets with a public home: fetched, unpacked, and laid where `find_pairs` finds them."""

from __future__ import annotations

import gzip
import logging
import os
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from optevo.data.drawn import draw_facades
from optevo.data.fetch import Progress, fetch, forget
from optevo.errors import OptevoError, UsageError

BASE_URL = "http://efrosgans.eecs.berkeley.edu"
DRAWN = "drawn-facades"

_log = logging.getLogger("optevo.data")


@dataclass(frozen=True)
class Source:
    """Where a dataset comes from.

    Attributes:
        path: the archive's path below the server's address; "" for the drawn one.
        kind: how it is packed.
        layout: "AB": AB images in train/val/test; "unpaired": trainA, trainB, testA, testB.
        about: one line on what it shows.
    """

    path: str
    kind: Literal["tar.gz", "zip", "drawn"]
    layout: Literal["AB", "unpaired"]
    about: str


def _paired(name: str, about: str) -> Source:
    return Source(f"pix2pix/datasets/{name}.tar.gz", "tar.gz", "AB", about)


def _unpaired(name: str, about: str) -> Source:
    return Source(f"cyclegan/datasets/{name}.zip", "zip", "unpaired", about)


SOURCES: dict[str, Source] = {
    DRAWN: Source("", "drawn", "AB", "house fronts and labels, drawn here by code"),
    "facades": _paired("facades", "CMP facades: photographs and labels"),
    "maps": _paired("maps", "aerial photographs and maps"),
    "cityscapes": _paired("cityscapes", "street scenes and labels"),
    "night2day": _paired("night2day", "outdoor scenes by night and by day"),
    "edges2shoes": _paired("edges2shoes", "edges and photographs of shoes"),
    "edges2handbags": _paired("edges2handbags", "edges and photographs of handbags"),
    "horse2zebra": _unpaired("horse2zebra", "horses and zebras"),
    "apple2orange": _unpaired("apple2orange", "apples and oranges"),
    "summer2winter_yosemite": _unpaired("summer2winter_yosemite", "Yosemite in summer and in winter"),
    "monet2photo": _unpaired("monet2photo", "Monet's paintings and photographs"),
    "cezanne2photo": _unpaired("cezanne2photo", "Cezanne's paintings and photographs"),
    "ukiyoe2photo": _unpaired("ukiyoe2photo", "ukiyo-e prints and photographs"),
    "vangogh2photo": _unpaired("vangogh2photo", "Van Gogh's paintings and photographs"),
    "iphone2dslr_flower": _unpaired("iphone2dslr_flower", "flowers by telephone and by camera"),
}


def dataset_folder(name: str, *, to: Path) -> Path:
    """Where `download` puts a dataset: `to/name`. It exists only when it is complete.

    Raises:
        UsageError: no dataset has this name.
    """
    if name not in SOURCES:
        raise UsageError(f"{name}: no such dataset; choose one of {', '.join(SOURCES)}")
    return Path(to) / name


def download(name: str, *, to: Path, base_url: str | None = None, progress: Progress | None = None) -> Path:
    """Fetch and unpack a dataset into `to/name`; nothing is done (and the log says so) where it is already.

    Interrupted downloads continue: the archive grows as `to/ARCHIVE.part` and goes when it is unpacked.
    "drawn-facades" is drawn with its defaults (see `draw_dataset`).

    Args:
        name: a key of `SOURCES`.
        to: the folder that gets the dataset's folder, made if need be.
        base_url: another server with the same paths below it.
        progress: called with (bytes there are, bytes in all or None).

    Raises:
        UsageError: no dataset has this name.
        OptevoError: it cannot be fetched, unpacked or written.
    """
    source, folder = SOURCES.get(name), dataset_folder(name, to=to)
    if source is None or source.kind == "drawn":
        return draw_dataset(to=to)
    if _already(folder):
        return folder
    url = f"{(base_url or BASE_URL).rstrip('/')}/{source.path}"
    part = folder.with_name(f"{name}.{source.kind}.part")
    fetch(url, part, progress=progress)
    _make_whole(folder, lambda empty: _unpack(part, source.kind, empty, url=url))
    forget(part)
    return folder


def draw_dataset(
    *, to: Path, count: int = 60, val: int = 12, test: int = 12, size: tuple[int, int] = (64, 64), seed: int = 0
) -> Path:
    """Draw the dataset "drawn-facades" into `to/drawn-facades`; arguments as `draw_facades`.

    Nothing is done, and the log says so, where the folder exists already.
    """
    folder = dataset_folder(DRAWN, to=to)
    if not _already(folder):
        _make_whole(folder, lambda empty: draw_facades(empty, count=count, val=val, test=test, size=size, seed=seed))
    return folder


def _already(folder: Path) -> bool:
    if not folder.exists():
        return False
    _log.info("%s: is already there; remove it to get it anew", folder)
    return True


def _make_whole(folder: Path, fill: Callable[[Path], object]) -> None:
    """Fill a folder under another name and rename it, so that `folder` never exists half filled."""
    unfinished = folder.with_name(f".{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        unfinished.mkdir(parents=True)
        fill(unfinished)
        inner = unfinished / folder.name  # archives hold one folder of the dataset's name
        os.replace(inner if inner.is_dir() else unfinished, folder)
    except OSError as error:
        raise OptevoError(
            f"{folder}: cannot be written ({error.strerror or error}); free some space or choose another folder, and "
            "run the same command again"
        ) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _unpack(archive: Path, kind: str, folder: Path, *, url: str) -> None:
    try:
        (_unpack_tar if kind == "tar.gz" else _unpack_zip)(archive, folder)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, NotImplementedError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # the disk's, not the archive's (gzip.BadGzipFile)
            raise
        forget(archive)  # else every further attempt would meet the same damage
        raise OptevoError(
            f"{archive}: is damaged or unsafe ({error}) and was removed; run the same command again, or unpack {url} "
            "by hand"
        ) from error


def _unpack_tar(archive: Path, folder: Path) -> None:
    with gzip.open(archive) as packed:
        with tarfile.open(fileobj=packed, mode="r:") as tar:
            tar.extractall(folder, filter="data")  # refuses paths and links that lead outside, and devices
        # tarfile stops at its own end mark; the checksum behind it is verified only by whoever reads on to the end.
        while packed.read(1 << 20):
            pass


def _unpack_zip(archive: Path, folder: Path) -> None:
    inside = folder.resolve()
    with zipfile.ZipFile(archive) as packed:
        for member in packed.infolist():
            if not (inside / member.filename).resolve().is_relative_to(inside):
                raise zipfile.BadZipFile(f"{member.filename!r} would be written outside the folder")
        packed.extractall(folder)
