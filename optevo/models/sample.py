"""Images of a generator that makes them of noise."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from optevo.errors import OptevoError, UsageError
from optevo.models.families import FAMILIES
from optevo.models.folder import load_generator, read_facts
from optevo.reports.pictures import Pixels

if TYPE_CHECKING:
    from torch import nn


def sample_model(folder: str | Path, *, out: Path, count: int, seed: int = 0, device: str = "cpu") -> list[Path]:
    """Write images of a model folder's generator as PNG files, `000000.png` and so on.

    Args:
        folder: A model folder whose generator takes noise.
        out: The folder of the images; files in it are replaced.
        count: How many, at least 1.
        seed: Of the noise; equal seeds give equal images.
        device: `"cpu"` or `"cuda:N"`.

    Raises:
        UsageError: The folder is no model folder, or its generator takes images.
        OptevoError: The images cannot be written.
    """
    from PIL import Image

    if count < 1:
        raise UsageError(f"--count {count}: must be at least 1.")
    family = FAMILIES[read_facts(Path(folder)).family]
    if family.takes != "noise":
        raise UsageError(f"{folder}: translates images and makes none of noise; use `optevo model apply`.")
    written = []
    try:
        out.mkdir(parents=True, exist_ok=True)
        for number, pixels in enumerate(samples(load_generator(folder, device=device), count=count, seed=seed)):
            written.append(out / f"{number:06}.png")
            temporary = written[-1].with_suffix(".part")
            Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels).save(temporary, format="PNG")
            os.replace(temporary, written[-1])
    except OSError as error:
        raise OptevoError(f"{out}: cannot be written ({error.strerror or error}); name another folder.") from error
    return written


def samples(generator: "nn.Module", *, count: int, seed: int) -> Iterator[Pixels]:
    """Images of a generator, uint8 (H, W, C), the same for a seed wherever it lies."""
    from optevo.models.train import to_pixels
    from optevo.tasks.recipe import generated
    from optevo.training.validation import evaluated

    with evaluated(generator):
        for batch in generated(generator, count=count, seed=seed):  # type: ignore[arg-type]
            yield from to_pixels(batch)
