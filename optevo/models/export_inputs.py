"""What an export is made with and re-run on: pictures for a translator, noise for a generator that takes that."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from optevo.data.drawn import draw_facade
from optevo.data.images import to_array, to_channels
from optevo.data.noise import noise_batches
from optevo.data.pairs import PairFile, find_pairs
from optevo.data.resident import load_images, load_pairs
from optevo.data.unpaired_files import find_unpaired
from optevo.errors import UsageError
from optevo.models.families import Architecture
from optevo.models.folder import ModelFacts

Images = Sequence[Tensor] | Path | None

PICTURES = 8  # how many real images an export is re-run on


@dataclass(frozen=True)
class Inputs:
    """What goes into a generator.

    Attributes:
        example: float32, what the exporters follow through the network. No dimension is 1: that would be taken for a
            constant, also inside.
        free: The dimensions of the example that may differ, by number, as `torch.export` says them.
        batches: float32 in [-1, 1], what the export is re-run on.
        source: Where those came from, for people.
    """

    example: Tensor
    free: Mapping[int, Any]
    batches: tuple[Tensor, ...]
    source: str


def noise(latent: int, *, images: Images) -> Inputs:
    """Batches of several sizes, uniform as in training.

    Raises:
        UsageError: There are images.
    """
    if images is not None:
        raise UsageError("images: this generator makes them of noise, and is re-run on that; leave --data out")
    (drawn,) = noise_batches(latent, count=PICTURES + 4, seed=0)
    batches = torch.from_numpy(drawn).split([PICTURES, 1, 3])
    return Inputs(torch.zeros(2, latent), {0: torch.export.Dim("batch", min=1)}, batches, "noise")


def pictures(images: Images, *, facts: ModelFacts, architecture: Architecture, fixed: tuple[int, int] | None) -> Inputs:
    """Real ones, or drawn.

    Args:
        images: As for :func:`optevo.models.export.export_model`.
        facts: The model's.
        architecture: The model's.
        fixed: (height, width) where the export takes nothing else, in pixels.

    Raises:
        UsageError: There are none, or they have other channels.
    """
    (height, width), channels = fixed or (2 * architecture.least, 3 * architecture.least), architecture.input_channels
    dim, unit, fewest = torch.export.Dim, architecture.multiple, architecture.least // architecture.multiple
    free = {0: dim("batch", min=1)}
    if fixed is None:
        # The strides are said as a factor, or the exporter could not prove that the skips fit. And of a picture of one
        # `multiple` the innermost level would be one pixel, so the example is larger.
        free |= {2: unit * dim("rows", min=fewest), 3: unit * dim("columns", min=fewest)}
    found, source = _pictures(images, facts=facts, architecture=architecture)
    shapes = tried_shapes(fixed or facts.size, architecture=architecture, fixed=fixed is not None)
    batches = _batches(found, shapes=[(1, *shapes[0][1:])] * len(found) + list(shapes))
    return Inputs(torch.zeros(2, channels, height, width), free, batches, source)


def tried_shapes(size: tuple[int, int], *, architecture: Architecture, fixed: bool) -> tuple[tuple[int, int, int], ...]:
    """(batch, height, width) that an export is re-run on: its own size and, unless that is fixed, other rectangles."""
    (height, width), multiple, least = size, architecture.multiple, architecture.least
    own = ((1, height, width), (3, height, width))
    return own if fixed else (*own, (2, height + multiple, width), (1, least, least + multiple))


def _batches(found: Sequence[Tensor], *, shapes: Sequence[tuple[int, int, int]]) -> tuple[Tensor, ...]:
    """Filled from the pictures in turn."""
    first, batches = 0, []
    for count, height, width in shapes:
        chosen = [found[(first + number) % len(found)] for number in range(count)]
        first += count
        batches.append(torch.cat([_scaled(picture, height=height, width=width) for picture in chosen]))
    return tuple(batches)


def _scaled(picture: Tensor, *, height: int, width: int) -> Tensor:
    """(1, C, height, width)."""
    if picture.shape[1:] == (height, width):
        return picture[None]
    return F.interpolate(picture[None], size=(height, width), mode="bilinear", antialias=True)


def _pictures(images: Images, *, facts: ModelFacts, architecture: Architecture) -> tuple[list[Tensor], str]:
    """Float32 (C, H, W) in [-1, 1], and where they are from."""
    if images is None:
        return _drawn(facts, architecture), "drawn facades"
    if isinstance(images, Path):
        return _of_folder(images, facts=facts, architecture=architecture), str(images)
    channels = architecture.input_channels
    given = [torch.as_tensor(image).detach().cpu() for image in images[:PICTURES]]
    bad = [tuple(image.shape) for image in given if image.ndim != 3 or image.shape[0] != channels or not image.numel()]
    if not given or bad or not all(image.is_floating_point() for image in given):
        found = f"a shape of {bad[0]}" if bad else "none, or no floating-point numbers"
        raise UsageError(f"images: {found}; give float tensors ({channels}, H, W) in [-1, 1]")
    return [image.float() for image in given], "given tensors"


def _drawn(facts: ModelFacts, architecture: Architecture) -> list[Tensor]:
    size = (max(16, facts.size[0]), max(16, facts.size[1]))  # nothing smaller can be drawn
    half = 0 if facts.direction == "AtoB" else 1
    drawn = [draw_facade(seed=0, split="test", index=index, size=size)[half] for index in range(PICTURES)]
    arrays = [to_array(to_channels(Image.fromarray(pixels), channels=architecture.input_channels)) for pixels in drawn]
    return [torch.from_numpy(array.astype(np.float32) / 127.5 - 1).permute(2, 0, 1) for array in arrays]


def _of_folder(root: Path, *, facts: ModelFacts, architecture: Architecture) -> list[Tensor]:
    """Inputs of pairs, or the images of the domain that an unpaired translator takes."""
    try:
        found = find_pairs(root)
    except UsageError as no_pairs:
        try:
            unpaired = find_unpaired(root, val_fraction=0, test_fraction=0, seed=0)
        except UsageError:
            raise no_pairs from None
        return _of_domain(
            unpaired.a if facts.direction == "AtoB" else unpaired.b, facts=facts, architecture=architecture
        )
    split = _shown(found)
    pairs = load_pairs(
        found[split][:PICTURES],
        size=facts.size,
        direction="AtoB" if facts.direction == "AtoB" else "BtoA",
        input_channels=architecture.input_channels,
        target_channels=architecture.output_channels,
        device=torch.device("cpu"),
        jitter=False,
    )
    inputs, _ = pairs.batch(torch.arange(len(pairs)))
    return list(inputs)


def _of_domain(
    found: Mapping[str, Sequence[PairFile]], *, facts: ModelFacts, architecture: Architecture
) -> list[Tensor]:
    images = load_images(
        [file.a for file in found[_shown(found)][:PICTURES]],
        size=facts.size,
        channels=architecture.input_channels,
        device=torch.device("cpu"),
        jitter=False,
    )
    return list(images.batch(torch.arange(len(images))))


def _shown(found: Mapping[str, Sequence[PairFile]]) -> str:
    """The split whose images were least trained on."""
    return next(split for split in ("test", "val", "train") if found.get(split))
