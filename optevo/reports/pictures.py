"""Pictures that people look at: rows of images with a label each."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Pixels = NDArray[np.uint8]

GAP = 4
LEAST_SIDE = 96  # Smaller images are enlarged by a whole factor, so that their pixels stay what they are.


def picture(rows: Mapping[str, Sequence[Pixels]]) -> Image.Image:
    """One row of images a label, all rows aligned.

    Args:
        rows: Images `(H, W, 1 or 3)`, uint8, all of one height and width, by label, from top to bottom.

    Raises:
        ValueError: There is no image.
    """
    images = [image for row in rows.values() for image in row]
    if not images:
        raise ValueError("a picture needs at least one image.")
    height, width = images[0].shape[:2]
    factor = max(1, -(-LEAST_SIDE // min(height, width)))
    height, width = height * factor, width * factor
    font = ImageFont.load_default(size=14)
    margin = int(max(font.getlength(label) for label in rows)) + 3 * GAP
    columns = max(len(row) for row in rows.values())
    canvas = Image.new("RGB", (margin + columns * (width + GAP), len(rows) * (height + GAP) + GAP), "white")
    draw = ImageDraw.Draw(canvas)
    for line, (label, row) in enumerate(rows.items()):
        top = GAP + line * (height + GAP)
        draw.text((2 * GAP, top + height / 2), label, fill="black", font=font, anchor="lm")
        for column, pixels in enumerate(row):
            image = Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels).convert("RGB")
            enlarged = image.resize((width, height), Image.Resampling.NEAREST)
            canvas.paste(enlarged, (margin + column * (width + GAP), top))
    return canvas


def save_picture(rows: Mapping[str, Sequence[Pixels]], path: Path) -> Path:
    """Write :func:`picture` as a PNG file."""
    picture(rows).save(path, format="PNG", optimize=True)
    return path
