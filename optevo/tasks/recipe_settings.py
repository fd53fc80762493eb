"""What a specification says to a search for GAN recipes (E-GAN, CE-GAN). Plain validated data; loads no torch."""

from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import Field, StrictBool, StrictFloat, StrictInt, StrictStr, model_validator

from optevo.cost.closed_form import Cost
from optevo.errors import UsageError
from optevo.spaces.dcgan import LARGEST, SMALLEST, DCGANArchitecture, original
from optevo.tasks.settings import Count, EngineSettings, Fraction, Section
from optevo.training.recipe import PUBLISHED, Recipe

Rate = Annotated[float, Field(gt=0)]
Weight = Annotated[float, Field(ge=0)]
Number = StrictInt | StrictFloat


class CollectionSettings(Section):
    """`[data]`: images of one kind, and how they are seen: a folder, or an array in a file."""

    root: Annotated[str, Field(min_length=1)]
    size: Annotated[int, Field(ge=SMALLEST, le=LARGEST)] = 32
    channels: Literal[1, 3] = 3
    train_images: Annotated[int, Field(ge=2)] | None = None


class RecipeNetworkSettings(Section):
    """`[networks]`: the paper's family. Widths double with each level, from these at the image."""

    generator_width: Count = 128
    discriminator_width: Count = 128
    latent: Count = 100


class RecipeSettings(Section):
    """`[recipe]`: a published training (:data:`optevo.training.recipe.PUBLISHED`), and what is otherwise in this one.

    The keys are those of :class:`optevo.training.recipe.Recipe`; `mutations` are names joined by "+".
    """

    published: Literal["cegan", "cegan-gp", "egan", "egan-gp", "gan-minimax", "gan-heuristic", "gan-least-squares"] = (
        "cegan"
    )
    parents: Count | None = None
    mutations: str | None = None
    crossovers: Annotated[int, Field(ge=0)] | None = None
    fitness: Literal["cgan", "egan"] | None = None
    diversity_weight: Weight | None = None
    discriminator_steps: Count | None = None
    discriminator_loss: str | None = None
    penalty_weight: Weight | None = None
    batch_size: Count | None = None
    evaluation_size: Count | None = None
    learning_rate: Rate | None = None
    discriminator_rate: Rate | None = None
    beta1: Fraction | None = None
    beta2: Fraction | None = None
    order: Literal["paper", "released"] | None = None
    mutation_noise: Literal["own", "shared"] | None = None
    crossover_noise: Literal["fresh", "same"] | None = None
    distillation: Literal["mean", "sum"] | None = None
    average: Fraction | None = None

    def given(self) -> dict[str, Any]:
        """What is otherwise, by key."""
        return self.model_dump(exclude={"published"}, exclude_none=True)


class RunSettings(Section):
    """`[training]`: how long a run is, and when it is given up.

    `patience` and `tolerance`: for so many steps in a row one mutation alone has won, and fitness has stayed within so
    much: gradients have vanished.
    """

    steps: Count = 100_000
    checkpoint_minutes: Annotated[float, Field(gt=0)] = 5.0
    patience: Annotated[int, Field(ge=2)] = 500
    tolerance: Weight = 0.01


class RecipeFinetuneSettings(Section):
    """`[finetune]`: the winner's whole training; the papers' are 100,000 iterations.

    `threads = 0` takes every core, since one model is trained at a time.
    """

    steps: Count = 100_000
    threads: Annotated[int, Field(ge=0)] = 0


class QualitySettings(Section):
    """`[quality]`: what the champion is judged by, every `every` steps and at the end; the smaller the better.

    `images` are generated, from the same noise each time; `real_images` are taken of the training images, None for all.
    With `average`, the moving average of the champions is judged instead, of which `recipe.average` is the decay.
    """

    metric: Literal["fid", "kid"] = "fid"
    images: Annotated[int, Field(ge=2)] = 50_000
    real_images: Annotated[int, Field(ge=2)] | None = None
    every: Count = 5_000
    average: bool = False


class BudgetSettings(Section):
    """`[budget]`: hard limits of the generator, which no individual exceeds."""

    max_parameters: Count | None = None
    max_macs: Count | None = None


class Range(Section):
    """Values from `low` to `high`: whole numbers where both are, else real ones."""

    low: Number
    high: Number
    log: bool = False
    step: Number | None = None

    @model_validator(mode="after")
    def _ordered(self) -> "Range":
        if self.low > self.high:
            raise ValueError(f"a range from low = {self.low} to high = {self.high}: low must not be above high")
        if self.log and (self.step is not None or self.low <= 0):
            raise ValueError(f"a range with log = true, low = {self.low}: needs low above 0, and takes no step")
        return self


Choices = Annotated[tuple[StrictBool | StrictInt | StrictFloat | StrictStr, ...], Field(min_length=1)]

# What can be searched, and of which type its values are.
WHOLE = (
    "parents", "crossovers", "discriminator_steps", "batch_size", "evaluation_size",
    "generator_width", "discriminator_width", "latent",
)  # fmt: skip
REAL = (
    "learning_rate", "discriminator_rate", "penalty_weight", "diversity_weight", "beta1", "beta2", "average",
)  # fmt: skip
NAMES = ("mutations", "fitness", "discriminator_loss", "order", "mutation_noise", "crossover_noise", "distillation")
WIDTHS = ("generator_width", "discriminator_width", "latent")


class RecipeSearchSettings(Section):
    """Everything the search for recipes needs of its task.

    `[search]` names what varies: a list of choices, or a range `{low, high, log, step}`, for any key of `[recipe]` and
    `[networks]`. What it does not name is as those tables say.
    """

    data: CollectionSettings
    networks: RecipeNetworkSettings = RecipeNetworkSettings()
    recipe: RecipeSettings = RecipeSettings()
    training: RunSettings = RunSettings()
    quality: QualitySettings = QualitySettings()
    search: dict[str, Choices | Range] = Field(default_factory=dict)
    budget: BudgetSettings = BudgetSettings()
    engine: EngineSettings = EngineSettings()

    @model_validator(mode="after")
    def _makes_sense(self) -> "RecipeSearchSettings":
        for key, values in self.search.items():
            _check_gene(key, values)
        if self.quality.average and not self.recipe.average and "average" not in self.search:
            raise ValueError("quality.average = true, but no average is kept: set recipe.average, such as 0.999")
        if self.quality.every > self.training.steps:
            raise ValueError(
                f"quality.every = {self.quality.every}: is beyond training.steps = {self.training.steps}; give at most "
                "that"
            )
        try:
            assemble(self, {})
        except UsageError as error:
            if not self.search:
                raise ValueError(str(error)) from None
        return self


def assemble(settings: RecipeSearchSettings, params: dict[str, Any]) -> tuple[Recipe, DCGANArchitecture]:
    """The recipe and the networks of an individual.

    Args:
        params: Values of the keys that `[search]` names.

    Raises:
        UsageError: The values contradict each other.
    """
    given: dict[str, Any] = {**settings.recipe.given(), **params}
    widths = {**settings.networks.model_dump(), **{key: given.pop(key) for key in WIDTHS if key in given}}
    published = PUBLISHED[settings.recipe.published]
    if "mutations" in given:
        given["mutations"] = tuple(name.strip() for name in str(given["mutations"]).split("+"))
    given["betas"] = (given.pop("beta1", published.betas[0]), given.pop("beta2", published.betas[1]))
    return replace(published, **given), original(
        size=settings.data.size,
        ngf=widths["generator_width"],
        ndf=widths["discriminator_width"],
        latent=widths["latent"],
        channels=settings.data.channels,
    )


def over_budget(cost: Cost, settings: RecipeSearchSettings) -> str | None:
    """Which budget a generator exceeds, in words; None where it keeps to all."""
    for label, count, limit in (
        ("parameters", cost.parameters, settings.budget.max_parameters),
        ("exact MACs", cost.exact_macs, settings.budget.max_macs),
    ):
        if limit is not None and count > limit:
            return f"{count:,} {label} exceed the budget of {limit:,}"
    return None


def _check_gene(key: str, values: Choices | Range) -> None:
    if key not in (*WHOLE, *REAL, *NAMES):
        raise ValueError(f"search.{key}: cannot be searched; it must be one of {', '.join((*WHOLE, *REAL, *NAMES))}")
    kind: tuple[type, ...] = (int,) if key in WHOLE else (int, float) if key in REAL else (str,)
    if isinstance(values, Range):
        found: tuple[Any, ...] = (values.low, values.high, *([] if values.step is None else [values.step]))
        if key in NAMES:
            raise ValueError(f"search.{key}: takes a list of names, not a range")
    else:
        found = values
        if len(set(values)) < len(values):
            raise ValueError(f"search.{key} = {list(values)}: every choice must differ")
    for value in found:
        if isinstance(value, bool) or not isinstance(value, kind):
            wanted = {int: "whole numbers", str: "names"}.get(kind[0] if len(kind) == 1 else float, "numbers")
            raise ValueError(f"search.{key} has {value!r}: it takes {wanted}")
