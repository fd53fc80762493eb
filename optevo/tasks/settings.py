"""What a specification says to the U-Net task. Plain validated data: nothing here names code to import."""

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

Fraction = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1)]


def _pair(value: object) -> object:
    """`size = 256` means `size = [256, 256]`."""
    return (value, value) if isinstance(value, int) and not isinstance(value, bool) else value


Size = Annotated[tuple[Count, Count], BeforeValidator(_pair)]


class Section(BaseModel):
    """A table of the specification: unknown keys are errors, values are never changed afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class DataSettings(Section):
    """`[data]`: where the pairs are and how they are seen."""

    root: Annotated[str, Field(min_length=1)]
    direction: Literal["AtoB", "BtoA"] = "AtoB"
    size: Size = (256, 256)
    input_channels: Literal[1, 3] = 3
    target_channels: Literal[1, 3] = 3
    val_fraction: Fraction = 0.1
    test_fraction: Fraction = 0.0
    train_images: Count | None = None
    val_images: Count | None = None


class SpaceSettings(Section):
    """`[space]`: the architectures that are searched."""

    channels: Annotated[tuple[Count, ...], Field(min_length=1)] = (64, 128, 256, 512)
    depth: Annotated[int, Field(ge=2, le=12)] = 8


class TrainingSettings(Section):
    """`[training]`: the mini-training of an individual; the rest is pix2pix's recipe.

    `warm_start` is what a child of crossover does with its parents' networks before it is trained: `"none"`, as in the
    paper; `"inherit"`, it begins with the fitter one's weights where shapes are equal; `"distill"`, it learns from both
    parents' outputs (CE-GAN, Eq. 10) for `warm_start_steps` of its `steps`, by default a quarter of them.
    """

    steps: Count = 2000
    batch_size: Count = 1
    learning_rate: Annotated[float, Field(gt=0)] = 2e-4
    beta1: Fraction = 0.5
    beta2: Fraction = 0.999
    l1_weight: Annotated[float, Field(ge=0)] = 100.0
    dropout: Fraction = 0.5
    jitter: bool = True
    discriminator_channels: Count = 64
    discriminator_layers: Annotated[int, Field(ge=1, le=6)] = 3
    warm_start: Literal["none", "inherit", "distill"] = "none"
    warm_start_steps: Count | None = None

    @property
    def distillation_steps(self) -> int:
        """How many of an heir's `steps` are distillation."""
        return (self.warm_start_steps or max(1, self.steps // 4)) if self.warm_start == "distill" else 0

    @model_validator(mode="after")
    def _warm_start_fits(self) -> "TrainingSettings":
        if self.warm_start_steps is not None and self.warm_start != "distill":
            raise ValueError(
                f'training.warm_start_steps = {self.warm_start_steps}: only training.warm_start = "distill" takes '
                "steps; remove it, or set that"
            )
        if self.distillation_steps >= self.steps:
            raise ValueError(
                f"training.warm_start_steps = {self.distillation_steps}: must be below training.steps = {self.steps}, "
                "which it is a part of"
            )
        return self


class FitnessSettings(Section):
    """`[fitness]`: `f = 1 / (L_Gen + gamma p)` (2002.11581, Eq. 7), and the hard budgets.

    With `unit = "relative"` p is a fraction of the original network's, times the L_Gen of the best constant picture
    (the pixelwise median of the training targets): gamma = 0.1 says that saving the whole original network's cost is
    worth a tenth of the loss of knowing nothing, at any image size. `"millions"` is the paper's unit.
    """

    gamma: Annotated[float, Field(ge=0)] = 0.1
    cost: Literal["exact_macs", "literature_macs", "parameters"] = "exact_macs"
    unit: Literal["relative", "millions"] = "relative"
    mode: Literal["eval", "pix2pix"] = "eval"
    max_parameters: Count | None = None
    max_macs: Count | None = None


class EngineSettings(Section):
    """`[engine]`: what decides how fast, and down to the last bit also what, a training computes."""

    device: str = "auto"
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    threads: Annotated[int, Field(ge=0)] = 1


class FinetuneSettings(Section):
    """`[finetune]`: pix2pix's whole training, constant and then linearly decaying learning rate.

    `threads = 0` takes every core, since one model is trained at a time; small images are faster with 1.
    """

    epochs: Count = 100
    decay_epochs: Annotated[int, Field(ge=0)] = 100
    batch_size: Count = 1
    checkpoint_minutes: Annotated[float, Field(gt=0)] = 5.0
    threads: Annotated[int, Field(ge=0)] = 0


class UNetSettings(Section):
    """Everything the U-Net task needs."""

    data: DataSettings
    space: SpaceSettings = SpaceSettings()
    training: TrainingSettings = TrainingSettings()
    fitness: FitnessSettings = FitnessSettings()
    finetune: FinetuneSettings = FinetuneSettings()
    engine: EngineSettings = EngineSettings()

    @model_validator(mode="after")
    def _sizes_fit(self) -> "UNetSettings":
        multiple = 2**self.space.depth
        for key, pixels in zip(("height", "width"), self.data.size, strict=True):
            if pixels % multiple:
                raise ValueError(
                    f"data.size has a {key} of {pixels}, which space.depth = {self.space.depth} cannot halve: "
                    f"take a multiple of {multiple}, or a smaller depth"
                )
            least = 3 * 2**self.training.discriminator_layers
            if pixels < least:
                raise ValueError(
                    f"data.size has a {key} of {pixels}, but a discriminator of training.discriminator_layers = "
                    f"{self.training.discriminator_layers} needs {least} pixels: take fewer layers or larger images"
                )
        if len(set(self.space.channels)) != len(self.space.channels):
            raise ValueError(f"space.channels = {list(self.space.channels)}: every channel number must differ")
        return self
