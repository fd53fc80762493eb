"""Model folders that were never trained, whose outputs are nevertheless far from grey."""

from pathlib import Path
from typing import Any

import torch

from optevo.models.folder import ModelFacts, save_model
from optevo.models.pair import PairFacts, save_pair
from optevo.networks.patchgan import PatchGAN
from optevo.networks.resnet import ResNetGenerator
from optevo.networks.unet import UNetGenerator
from optevo.spaces.resnet import cyclegan
from optevo.spaces.unet import UNetArchitecture
from optevo.tasks.translators import Translators


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


def tiny_translators(*, images: tuple[int, int] = (3, 3), gain: float = 30.0, seed: int = 0) -> Translators:
    """A pair of random residual generators and discriminators; `images` are the channels of A and of B."""
    torch.manual_seed(seed)
    a, b = images
    made = Translators(
        a_to_b=ResNetGenerator(cyclegan(ngf=2, blocks=1, input_channels=a, output_channels=b)),
        b_to_a=ResNetGenerator(cyclegan(ngf=3, blocks=2, input_channels=b, output_channels=a)),
        judge_a=PatchGAN(a, ndf=2, layers=1, norm="instance"),
        judge_b=PatchGAN(b, ndf=3, layers=2, norm="instance"),
    )
    with torch.no_grad():
        for generator in (made.a_to_b, made.b_to_a):
            generator.model[-2].weight *= gain  # type: ignore[union-attr, operator, index]
    return made


def tiny_pair(folder: Path, *, size: tuple[int, int] = (32, 32), **changes: Any) -> Path:
    """A pair folder with random weights."""
    facts = PairFacts(size=size, fingerprint="f", title="tiny", seed=1, metrics={"fid_AtoB_x": 3.0, "fid_BtoA_x": 4.0})
    return save_pair(folder, tiny_translators(**changes), facts)
