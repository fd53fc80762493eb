"""Images of a generator that makes them of noise, from its model folder or an ONNX file."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from optevo.data.noise import noise_batches
from optevo.errors import OptevoError, UsageError
from optevo.models.families import FAMILIES
from optevo.models.folder import load_generator, read_facts
from optevo.models.onnx_file import open_onnx
from optevo.reports.pictures import Pixels

if TYPE_CHECKING:
    from torch import nn


def sample_model(model: str | Path, *, out: Path, count: int, seed: int = 0, device: str = "cpu") -> list[Path]:
    """Write images of a generator as PNG files, `000000.png` and so on.

    Args:
        model: A model folder whose generator takes noise, or an ONNX file of one.
        out: The folder of the images; files in it are replaced.
        count: How many, at least 1.
        seed: Of the noise; equal seeds give equal images.
        device: `"cpu"` or `"cuda:N"`.

    Raises:
        UsageError: It is neither, or its generator takes images.
        OptevoError: The images cannot be written.
    """
    from PIL import Image

    if count < 1:
        raise UsageError(f"--count {count}: must be at least 1.")
    images = _images(Path(model), count=count, seed=seed, device=device)
    written = []
    try:
        out.mkdir(parents=True, exist_ok=True)
        for number, pixels in enumerate(images):
            written.append(out / f"{number:06}.png")
            temporary = written[-1].with_suffix(".part")
            Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels).save(temporary, format="PNG")
            os.replace(temporary, written[-1])
    except OSError as error:
        raise OptevoError(f"{out}: cannot be written ({error.strerror or error}); name another folder.") from error
    return written


def _images(model: Path, *, count: int, seed: int, device: str) -> Iterator[Pixels]:
    import torch

    from optevo.models.train import to_pixels

    opened = open_onnx(model, device=device) if model.suffix == ".onnx" else None
    takes_noise = opened.facts.latent > 0 if opened else FAMILIES[read_facts(model).family].takes == "noise"
    if not takes_noise:
        raise UsageError(f"{model}: translates images and makes none of noise; use `optevo model apply`.")
    if opened is None:
        return samples(load_generator(model, device=device), count=count, seed=seed)
    drawn = noise_batches(opened.facts.latent, count=count, seed=seed)
    return (pixels for noise in drawn for pixels in to_pixels(torch.from_numpy(opened(noise))))


def samples(generator: "nn.Module", *, count: int, seed: int) -> Iterator[Pixels]:
    """Images of a generator, uint8 (H, W, C), the same for a seed wherever it lies."""
    from optevo.models.train import to_pixels
    from optevo.tasks.recipe import generated
    from optevo.training.validation import evaluated

    with evaluated(generator):
        for batch in generated(generator, count=count, seed=seed):  # type: ignore[arg-type]
            yield from to_pixels(batch)
