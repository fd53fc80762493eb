"""What a specification says to the co-evolution of two translators (1907.10804). Plain validated data."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from optevo.tasks.settings import Count, EngineSettings, Section
from optevo.tasks.unpaired_settings import Average, CycleGANSettings, UnpairedDataSettings, check_identity

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

    Both default to 1, because all three terms are then of one size, and neither the whole teacher nor next to nothing
    wins: with random masks on teachers trained for 750 steps (horse2zebra, 64 pixels), the value after 60 steps of
    mini-training was 2.22, 2.09, 1.79, 1.60, 1.87 with all, 0.9, 0.75, 0.5, 0.25 of the filters (one mask each); at
    0.5, N was 0.25, L_DisA 0.85 and L_cyc 0.50.
    """

    gamma: Weight = 1.0
    cycle_weight: Weight = 1.0
    cost: Literal["parameters", "exact_macs"] = "parameters"
    unit: Literal["relative", "raw"] = "relative"
    max_parameters: Count | None = None
    max_macs: Count | None = None


class PairFinetuneSettings(Section):
    """`[finetune]`: both winners together, `[training]`'s recipe at a constant and then linearly decaying rate.

    An epoch goes once through the larger folder. With `average`, such as 0.999, the result is the moving average of the
    weights. `threads = 0` takes every core, since one pair is trained at a time.
    """

    epochs: Count = 100
    decay_epochs: Annotated[int, Field(ge=0)] = 100
    average: Average = 0.0
    batch_size: Count = 1
    checkpoint_minutes: Annotated[float, Field(gt=0)] = 5.0
    threads: Annotated[int, Field(ge=0)] = 0


class DistillationSettings(Section):
    """`[distillation]`: what the fine-tuned pair learns from its teachers, beside CycleGAN's losses or alone.

    `"beside"` is the default because it helped: benchmarks/results/compression-h2z-64.md. `"alone"` is without cycles
    and discriminators, as OMGD (2108.06908) trains, at a third of the passes. The weights are those of
    :class:`optevo.training.distilled_cyclegan.DistillationWeights`; 0 leaves a loss out.
    """

    mode: Literal["off", "beside", "alone"] = "beside"
    l1: Weight = 10.0
    ssim: Weight = 10.0
    features: Weight = 10.0
    style: Weight = 0.0
    alignment: Weight = 1.0
    tv: Weight = 0.0

    @model_validator(mode="after")
    def _something_counts(self) -> "DistillationSettings":
        if self.mode != "off" and not any(self.weights().values()):
            raise ValueError(f'distillation.mode = "{self.mode}", but all its weights are 0: set one, or mode = "off"')
        return self

    def weights(self) -> dict[str, float]:
        """All but the mode."""
        return self.model_dump(exclude={"mode"})


class CoevolutionSettings(Section):
    """Everything the co-evolution's task needs."""

    data: UnpairedDataSettings
    teachers: TeacherSettings
    masks: MaskSettings = MaskSettings()
    training: MiniTrainingSettings = MiniTrainingSettings()
    fitness: CompressionFitnessSettings = CompressionFitnessSettings()
    finetune: PairFinetuneSettings = PairFinetuneSettings()
    distillation: DistillationSettings = DistillationSettings()
    engine: EngineSettings = EngineSettings()

    @model_validator(mode="after")
    def _identity_fits(self) -> "CoevolutionSettings":
        check_identity(self.data, self.training)
        return self
