"""The decoded images of two domains, as a specification sees them."""

from dataclasses import dataclass

import torch

from optevo.data.pairs import PairFile
from optevo.data.resident import ResidentImages, load_images
from optevo.tasks.unpaired_settings import UnpairedDataSettings
from optevo.tasks.unpaired_splits import UnpairedSplits


@dataclass(frozen=True)
class UnpairedImages:
    """Decoded images of both domains, of one split."""

    a: ResidentImages
    b: ResidentImages


def load_split(
    splits: UnpairedSplits, split: str, data: UnpairedDataSettings, *, device: torch.device, jitter: bool
) -> UnpairedImages:
    """Decode the images of one split ("train", "val", "test" or "whole") as the specification sees them."""

    def load(files: list[PairFile], channels: int) -> ResidentImages:
        paths = [file.a for file in files]
        return load_images(paths, size=data.size, channels=channels, device=device, jitter=jitter)

    return UnpairedImages(
        load(getattr(splits.a, split), data.channels_a), load(getattr(splits.b, split), data.channels_b)
    )
