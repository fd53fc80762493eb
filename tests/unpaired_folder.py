"""Small unpaired data sets: smooth pictures, so that there is something to learn, of one tint for each domain."""

from pathlib import Path

import numpy as np
from PIL import Image


def unpaired_folder(
    root: Path, *, counts: dict[str, int] | None = None, size: tuple[int, int] = (32, 32), channels: int = 3
) -> Path:
    """root/trainA, root/trainB and so on, with as many images as `counts` says of each split."""
    for domain, tint in (("A", (1.0, 0.6, 0.3)), ("B", (0.3, 0.6, 1.0))):
        for split, count in (counts or {"train": 6, "val": 3, "test": 2}).items():
            folder = root / f"{split}{domain}"
            folder.mkdir(parents=True, exist_ok=True)
            for number in range(count):
                rng = np.random.default_rng([ord(domain), *split.encode(), number])
                coarse = rng.integers(0, 256, (4, 4, 3)).astype(np.float64) * np.array(tint)
                image = Image.fromarray(coarse.astype(np.uint8)).resize(size[::-1], Image.Resampling.BICUBIC)
                (image if channels == 3 else image.convert("L")).save(folder / f"{number}.png")
    return root
