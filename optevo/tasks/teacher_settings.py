"""What the training of a pair of teachers is told: CycleGAN's recipe (1703.10593). Plain validated data."""

from typing import Annotated, Any

from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer, model_validator

from optevo.errors import UsageError
from optevo.spaces.custom import MAX_TEXT, check_arguments
from optevo.tasks.settings import Count, EngineSettings, Section
from optevo.tasks.unpaired_settings import Average, CycleGANSettings, UnpairedDataSettings, check_identity

LARGE = 256  # pixels from which CycleGAN takes nine residual blocks instead of six


class TeacherNetworkSettings(Section):
    """`[networks]`: CycleGAN's residual generators, and PatchGANs of 70 x 70 pixels.

    `blocks` that are not given are 9 for images of 256 pixels and more a side, and 6 for smaller ones. `generator` is
    the key of a generator of the user's own instead, which an installed package offers in the entry-point group
    `optevo.generators`, and `[networks.arguments]` what its callable is given.
    """

    generator: Annotated[str, Field(min_length=1, max_length=MAX_TEXT)] | None = None
    arguments: dict[str, Any] = Field(default_factory=dict)
    ngf: Count = 64
    blocks: Annotated[int, Field(ge=0, le=64)] | None = None
    ndf: Count = 64
    discriminator_layers: Annotated[int, Field(ge=1, le=6)] = 3

    @field_validator("arguments")
    @classmethod
    def _plain(cls, arguments: dict[str, Any]) -> dict[str, Any]:
        try:
            check_arguments(arguments)
        except UsageError as error:
            raise ValueError(f"networks.{error}") from None
        return arguments

    @model_validator(mode="after")
    def _one_generator(self) -> "TeacherNetworkSettings":
        if self.generator is None and self.arguments:
            raise ValueError("networks.arguments: are for a generator of your own; name it by networks.generator")
        other = sorted({"ngf", "blocks"} & self.model_fields_set) if self.generator is not None else []
        if other:
            raise ValueError(
                f"networks.{other[0]}: is of CycleGAN's generator, and networks.generator = {self.generator!r} names "
                "another; remove one of them, or use networks.arguments"
            )
        return self

    @model_serializer(mode="wrap")
    def _said(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without what is of the other kind of generator, so that older checkpoints still agree."""
        unsaid = ("generator", "arguments") if self.generator is None else ("ngf", "blocks")
        values: dict[str, Any] = handler(self)
        return {key: value for key, value in values.items() if key not in unsaid}

    def blocks_at(self, size: tuple[int, int]) -> int:
        """Residual blocks for images of (height, width) pixels."""
        if self.blocks is not None:
            return self.blocks
        return 9 if min(size) >= LARGE else 6


class TeacherTrainingSettings(CycleGANSettings):
    """`[training]`: constant and then linearly decaying learning rate; an epoch goes once through the larger folder.

    With `average`, such as 0.999, the teachers are the moving averages of the weights.
    """

    epochs: Count = 100
    decay_epochs: Annotated[int, Field(ge=0)] = 100
    average: Average = 0.0
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
            if self.networks.generator is None and (pixels % 4 or pixels < 8):
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
