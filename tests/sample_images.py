"""Builders of small datasets and of files that are wrong in one known way."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image


def noise(height: int, width: int, *, channels: int = 3, seed: int = 0) -> np.ndarray:
    """Random uint8 pixels, (H, W, 3) or (H, W)."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)
    return pixels if channels == 3 else pixels[:, :, 0]


def save(path: Path, pixels: np.ndarray) -> Path:
    """Write an image, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def ab_folder(root: Path, counts: dict[str, int], *, size: tuple[int, int] = (8, 8), channels: int = 3) -> Path:
    """root/{split}/N.png, different noise in each."""
    for split, count in counts.items():
        for number in range(1, count + 1):
            seed = hash_of(split) + number
            pixels = noise(size[0], 2 * size[1], channels=channels, seed=seed)
            save(root / split / f"{number}.png", pixels)
    return root


def hash_of(text: str) -> int:
    """A small stable number for a text (Python's own hash changes from run to run)."""
    return zlib.crc32(text.encode())


def huge_png(path: Path, side: int) -> Path:
    """A valid black PNG of side x side pixels, a few hundred kB, written a row at a time."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer, row = zlib.compressobj(1), bytes(side // 8 + 2)
    body = b"".join([*(packer.compress(row) for _ in range(side)), packer.flush()])
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)  # 1 bit, grey
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b""))
    return path


def truncated_jpeg(path: Path) -> Path:
    """The first half of a JPEG."""
    save(path, noise(64, 128))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path
