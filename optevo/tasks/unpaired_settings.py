"""What a specification says about unpaired images and about training translators between them. Plain validated data."""

from typing import Annotated, Any, Literal

from pydantic import Field

from optevo.tasks.settings import Count, Fraction, Section, Size


class UnpairedDataSettings(Section):
    """`[data]`: two folders of images, as CycleGAN lays them out (trainA, trainB, ...), and how they are seen."""

    root: Annotated[str, Field(min_length=1)]
    size: Size = (256, 256)
    channels_a: Literal[1, 3] = 3
    channels_b: Literal[1, 3] = 3
    val_fraction: Fraction = 0.1
    test_fraction: Fraction = 0.0
    train_images: Count | None = None
    val_images: Count | None = None


# Decay of the moving average of the generators' weights that a training ends with; 0 is none, as in CycleGAN's paper.
Average = Annotated[float, Field(ge=0, lt=1)]


class CycleGANSettings(Section):
    """CycleGAN's recipe (1703.10593): what a step does. Tables of trainings add how many there are.

    `identity_weight` needs images of equally many channels on both sides.
    """

    batch_size: Count = 1
    learning_rate: Annotated[float, Field(gt=0)] = 2e-4
    beta1: Fraction = 0.5
    beta2: Fraction = 0.999
    cycle_weight: Annotated[float, Field(ge=0)] = 10.0
    identity_weight: Annotated[float, Field(ge=0)] = 5.0
    replay: Annotated[int, Field(ge=0)] = 50
    jitter: bool = True
    flip: bool = True

    def recipe(self) -> dict[str, Any]:
        """What :class:`optevo.training.cyclegan.CycleGAN` takes of it, by keyword."""
        return {
            "learning_rate": self.learning_rate,
            "betas": (self.beta1, self.beta2),
            "cycle_weight": self.cycle_weight,
            "identity_weight": self.identity_weight,
            "replay": self.replay,
        }


def check_identity(data: UnpairedDataSettings, training: CycleGANSettings) -> None:
    """Refuse an identity loss between grey and colour. Raises ValueError, for a model validator."""
    if data.channels_a != data.channels_b and training.identity_weight:
        raise ValueError(
            f"training.identity_weight = {training.identity_weight}, but data.channels_a = {data.channels_a} and "
            f"data.channels_b = {data.channels_b} differ, and no image can be compared with itself: set it to 0"
        )
