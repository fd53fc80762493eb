"""Model folders that were never trained, whose outputs are nevertheless far from grey."""

from pathlib import Path

import torch

from optevo.models.folder import ModelFacts, save_model
from optevo.networks.unet import UNetGenerator
from optevo.spaces.unet import UNetArchitecture


def tiny_model(
    folder: Path,
    *,
    channels: tuple[int, ...] = (3, 5, 4),
    skips: tuple[bool, ...] = (True, False),
    images: tuple[int, int] = (3, 3),
    size: tuple[int, int] = (32, 32),
    direction: str = "BtoA",
    gain: float = 30.0,
    seed: int = 0,
) -> Path:
    """A model folder with random weights; `gain` multiplies those of the last layer, before tanh."""
    torch.manual_seed(seed)
    architecture = UNetArchitecture(
        channels=channels, skips=skips, input_channels=images[0], output_channels=images[1]
    )  # fmt: skip
    generator = UNetGenerator(architecture)
    with torch.no_grad():
        for _ in range(10):  # for running statistics that are not the initial ones
            generator(torch.rand(4, images[0], *size) * 2 - 1)
        generator.decoder[0].conv.weight *= gain
    facts = ModelFacts(
        architecture=architecture.to_dict(),
        size=size,
        direction=direction,
        seed=seed,
        fingerprint="f",
        precision="fp32",
        parameters=sum(parameter.numel() for parameter in generator.parameters()),
        exact_macs=2_000_000,
        literature_macs=3_000_000,
        metrics={},
        training={},
    )
    return save_model(folder, generator, facts)
