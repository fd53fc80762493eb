"""What the training of a pair of teachers is told: CycleGAN's recipe (1703.10593). Plain validated data."""

from typing import Annotated

from pydantic import Field, model_validator

from optevo.tasks.settings import Count, EngineSettings, Section
from optevo.tasks.unpaired_settings import CycleGANSettings, UnpairedDataSettings, check_identity

LARGE = 256  # pixels from which CycleGAN takes nine residual blocks instead of six


class TeacherNetworkSettings(Section):
    """`[networks]`: CycleGAN's residual generators, and PatchGANs of 70 x 70 pixels.

    `blocks` that are not given are 9 for images of 256 pixels and more a side, and 6 for smaller ones.
    """

    ngf: Count = 64
    blocks: Annotated[int, Field(ge=0, le=64)] | None = None
    ndf: Count = 64
    discriminator_layers: Annotated[int, Field(ge=1, le=6)] = 3

    def blocks_at(self, size: tuple[int, int]) -> int:
        """Residual blocks for images of (height, width) pixels."""
        if self.blocks is not None:
            return self.blocks
        return 9 if min(size) >= LARGE else 6


class TeacherTrainingSettings(CycleGANSettings):
    """`[training]`: constant and then linearly decaying learning rate; an epoch goes once through the larger folder."""

    epochs: Count = 100
    decay_epochs: Annotated[int, Field(ge=0)] = 100
    checkpoint_minutes: Annotated[float, Field(gt=0)] = 5.0


class TeacherEngineSettings(EngineSettings):
    """`[engine]`: as a study's, but with every core, since one pair is trained at a time."""

    threads: Annotated[int, Field(ge=0)] = 0


class TeacherSpec(Section):
    """A whole specification of `optevo model train`. `seed` drives everything random in it."""

    seed: Annotated[int, Field(ge=0, lt=2**61)] = 0
    data: UnpairedDataSettings
    networks: TeacherNetworkSettings = TeacherNetworkSettings()
    training: TeacherTrainingSettings = TeacherTrainingSettings()
    engine: TeacherEngineSettings = TeacherEngineSettings()

    @model_validator(mode="after")
    def _sizes_fit(self) -> "TeacherSpec":
        layers = self.networks.discriminator_layers
        for key, pixels in zip(("height", "width"), self.data.size, strict=True):
            if pixels % 4 or pixels < 8:
                raise ValueError(
                    f"data.size has a {key} of {pixels}, and the generators halve images twice: take a multiple of 4, "
                    "at least 8"
                )
            if pixels < 3 * 2**layers:
                raise ValueError(
                    f"data.size has a {key} of {pixels}, but a discriminator of networks.discriminator_layers = "
                    f"{layers} needs {3 * 2**layers} pixels: take fewer layers or larger images"
                )
        check_identity(self.data, self.training)
        return self
