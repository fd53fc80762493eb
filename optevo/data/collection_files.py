"""Images of one kind, as files: a folder of them, or an array that holds them all. Loads no torch."""

from __future__ import annotations

import gzip
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optevo.data.fingerprint import fingerprint
from optevo.data.pairs import PairFile, image_files
from optevo.errors import UsageError

Pixels = NDArray[np.uint8]

KEYS = ("train_x", "x_train", "images", "x", "data", "arr_0")  # of an npz file, the first that is there
IDX = ("train-images-idx3-ubyte", "train-images.idx3-ubyte")  # as MNIST and Fashion-MNIST name their training images
CIFAR = tuple(f"data_batch_{number}.bin" for number in range(1, 6))  # CIFAR-10's binary version
CIFAR_SHAPE = (3, 32, 32)  # of an image there, behind one byte of label
LEAST = 2  # images that a distance between two sets needs on either side
FORMATS = (
    "a folder of images (also with train/ in it), an .npz or .npy file of uint8 images (N, height, width[, channels]), "
    "MNIST's train-images-idx3-ubyte(.gz), or the data_batch_N.bin of CIFAR-10's binary version"
)


@dataclass(frozen=True)
class Collection:
    """Where images of one kind lie: image files in `files`, or an array that `source` files hold together.

    Attributes:
        root: What the user named.
        files: Image files, in natural order; empty for an array.
        source: The files of an array, in their order; empty for image files.
    """

    root: Path
    files: tuple[Path, ...] = ()
    source: tuple[Path, ...] = ()

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits of what the images are made of; reads every file once.

        Raises:
            UsageError: A file cannot be read.
        """
        # By whole names: two images may differ in nothing but the suffix.
        return fingerprint({"images": [PairFile(path.name, path, None) for path in (*self.files, *self.source)]})


def find_collection(root: Path) -> Collection:
    """What lies at `root`, by names alone.

    Raises:
        UsageError: Nothing, or nothing that is known.
    """
    if root.is_file():
        return Collection(root, source=(root,))
    if not root.is_dir():
        raise UsageError(f"{root}: there is nothing; name {FORMATS}")
    for name in IDX:
        for path in (root / name, root / f"{name}.gz"):
            if path.is_file():
                return Collection(root, source=(path,))
    batches = tuple(path for name in CIFAR if (path := root / name).is_file())
    if batches:
        return Collection(root, source=batches)
    folder = root / "train" if (root / "train").is_dir() else root
    files = tuple(image_files(folder))
    if not files:
        raise UsageError(f"{folder}: holds no images; name {FORMATS}")
    return Collection(root, files=files)


def too_few(root: Path, count: int) -> list[str]:
    """What is wrong with so many images; nothing where they are enough."""
    return [] if count >= LEAST else [f"{root}: {count} images; it takes at least {LEAST}"]


def read_array(path: Path) -> Pixels:
    """The images of one file, uint8 (N, height, width, 1 or 3).

    Raises:
        UsageError: The file cannot be read, or holds something else.
    """
    try:
        pixels = _read(path)
    except UsageError:
        raise
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise UsageError(f"{path}: cannot be read ({str(error) or type(error).__name__}); name {FORMATS}") from None
    if pixels.ndim == 3:
        pixels = pixels[..., None]
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[3] not in (1, 3):
        raise UsageError(
            f"{path}: holds {pixels.dtype} of shape {pixels.shape}; images are uint8 (N, height, width[, 1 or 3])"
        )
    found: Pixels = pixels
    return found


def _read(path: Path) -> NDArray[Any]:
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as arrays:
            key = next((key for key in KEYS if key in arrays), None)
            if key is None:
                there = ", ".join(arrays) or "nothing"
                raise UsageError(f"{path}: has {there}; call the images one of {', '.join(KEYS)}")
            found: NDArray[Any] = arrays[key]
            return found
    if path.suffix == ".npy":
        array: NDArray[Any] = np.load(path, allow_pickle=False)
        return array
    if path.suffix == ".bin":
        return _cifar(path)
    return _idx(path)


def _idx(path: Path) -> Pixels:
    """MNIST's format: two zero bytes, 8 for uint8, the number of dimensions, each as four bytes, then the values."""
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    if content[:3] != b"\0\0\x08" or content[3] != 3:
        raise UsageError(f"{path}: is no file of images; name {FORMATS}")
    shape = np.frombuffer(content, dtype=">i4", count=3, offset=4)
    return np.frombuffer(content, dtype=np.uint8, offset=16).reshape(*map(int, shape)).copy()


def _cifar(path: Path) -> Pixels:
    rows = np.fromfile(path, dtype=np.uint8).reshape(-1, 1 + int(np.prod(CIFAR_SHAPE)))
    return np.ascontiguousarray(rows[:, 1:].reshape(-1, *CIFAR_SHAPE).transpose(0, 2, 3, 1))
