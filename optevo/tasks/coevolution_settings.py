"""What a specification says to the co-evolution of two translators (1907.10804). Plain validated data."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from optevo.tasks.settings import Count, EngineSettings, Section
from optevo.tasks.unpaired_settings import CycleGANSettings, UnpairedDataSettings, check_identity

Weight = Annotated[float, Field(ge=0)]


class TeacherSettings(Section):
    """`[teachers]`: the trained pair, a folder with both generators and both discriminators."""

    folder: Annotated[str, Field(min_length=1)]


class MaskSettings(Section):
    """`[masks]`: what a bit decides about.

    `tie = "trunk"` joins a residual trunk with its blocks' inner filters in one chromosome, as the paper does: five
    chromosomes and 640 bits for CycleGAN's generator. `"none"` gives every group of filters its own: 14 and 2,944.
    """

    tie: Literal["trunk", "none"] = "trunk"


class MiniTrainingSettings(CycleGANSettings):
    """`[training]`: the mini-training of an individual, from the teachers' weights that its masks leave.

    `first_steps` is for generation 0, which has no partners yet: 0 as in the paper's code, which then judges the
    inherited weights as they are. `steps = 0` does so in all generations; the paper's 10 epochs are 10 times the number
    of training images.
    """

    steps: Annotated[int, Field(ge=0)] = 200
    first_steps: Annotated[int, Field(ge=0)] = 0


class CompressionFitnessSettings(Section):
    """`[fitness]`: `f = 1 / (N + gamma (L_DisA + lambda L_cyc))` (1907.10804), and the hard budgets.

    N is the fraction of the teacher's `cost` that is left. With `unit = "relative"` both losses are fractions of what
    the mean training picture loses: L_DisA of a translator that answers it always, L_cyc of a pair that brings it back
    always. So gamma = 1 says that the whole network is worth as much as all that the teacher's translations tell its
    discriminator, whatever the discriminator's scale, the images and their size. `"raw"` takes the losses as they are.
    `cycle_weight` is the paper's lambda.
    """

    gamma: Weight = 1.0
    cycle_weight: Weight = 1.0
    cost: Literal["parameters", "exact_macs"] = "parameters"
    unit: Literal["relative", "raw"] = "relative"
    max_parameters: Count | None = None
    max_macs: Count | None = None


class CoevolutionSettings(Section):
    """Everything the co-evolution's task needs."""

    data: UnpairedDataSettings
    teachers: TeacherSettings
    masks: MaskSettings = MaskSettings()
    training: MiniTrainingSettings = MiniTrainingSettings()
    fitness: CompressionFitnessSettings = CompressionFitnessSettings()
    engine: EngineSettings = EngineSettings()

    @model_validator(mode="after")
    def _identity_fits(self) -> "CoevolutionSettings":
        check_identity(self.data, self.training)
        return self
