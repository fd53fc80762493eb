"""Everything that a run of E-GAN, C-GAN or CE-GAN may be told, and the settings that are published."""

from dataclasses import dataclass, replace
from typing import Literal

from optevo.errors import UsageError

# What `optevo.training.adversarial` defines. Only names, so that reading a specification loads no torch.
MUTATIONS = ("minimax", "heuristic", "least_squares", "least_squares_critic", "wasserstein")
RELATIVE_MUTATIONS = ("relativistic",)
DISCRIMINATOR_LOSSES = ("minimax", "least_squares", "hinge", "wasserstein", "relativistic")


@dataclass(frozen=True)
class Recipe:
    """How generators evolve inside one training. The defaults are CE-GAN's, without its gradient penalty.

    Args:
        parents: mu, how many generators survive a step.
        mutations: The losses that each parent's children are bred by, n_m of them: names of
            `optevo.training.adversarial`. With one, and no crossover, and one parent, this is plain GAN training.
        crossovers: n_c, how many children the best pairs of mutants get in each step.
        fitness: `"cgan"`: the critic's mean (Eq. 12). `"egan"`: quality and diversity (Eq. 7 to 9), which takes the
            gradient of D on real images.
        diversity_weight: gamma of Eq. 7 (the released codes' for CIFAR-10); used by `"egan"` alone.
        discriminator_steps: n_D.
        discriminator_loss: A name of `optevo.training.adversarial`.
        penalty_weight: Of the gradient penalty; 10 in the variants "-GP", 0 for none.
        batch_size: m, images of a mutation, and real and generated images of a step of D; a multiple of `parents`.
        evaluation_size: n, images that an individual is judged by, and learns from in the crossover.
        learning_rate: Adam's, of the generators.
        discriminator_rate: Adam's, of D.
        betas: Adam's, of both.
        order: `"paper"`: Algorithm 2, in which D first learns from fresh images. `"released"`: as the authors' code
            does, the generators first, and D then learns from images that the survivors were judged by.
        mutation_noise: `"own"`: a batch of noise for each mutation (Algorithm 2, line 9). `"shared"`: one for all of a
            parent's, as in the authors' code.
        crossover_noise: `"fresh"`: children of the crossover are judged by other noise than the mutants, as in the
            authors' code (the paper does not say). The batches differ more than one step's children do, so that who
            wins is largely chance; with `"same"`, all are judged by the noise that the crossover learnt from.
        distillation: Eq. 10 is a `"sum"` over images and pixels. The authors' code takes the `"mean"`, and so does this
            by default: a child inherits Adam's state, and the sum, a million times larger than any adversarial loss,
            would drown it.
        average: Decay of the moving average of the champion's weights, in [0, 1); 0 keeps none.

    Raises:
        UsageError: A value out of range, or values that contradict each other.
    """

    parents: int = 1
    mutations: tuple[str, ...] = ("minimax", "heuristic", "least_squares")
    crossovers: int = 1
    fitness: Literal["cgan", "egan"] = "cgan"
    diversity_weight: float = 0.01
    discriminator_steps: int = 3
    discriminator_loss: str = "minimax"
    penalty_weight: float = 0.0
    batch_size: int = 32
    evaluation_size: int = 256
    learning_rate: float = 1e-4
    discriminator_rate: float = 1e-4
    betas: tuple[float, float] = (0.5, 0.99)
    order: Literal["paper", "released"] = "paper"
    mutation_noise: Literal["own", "shared"] = "own"
    crossover_noise: Literal["fresh", "same"] = "fresh"
    distillation: Literal["mean", "sum"] = "mean"
    average: float = 0.0

    def __post_init__(self) -> None:
        for name in ("parents", "discriminator_steps", "batch_size", "evaluation_size"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} = {getattr(self, name)}: must be at least 1")
        for name in ("learning_rate", "discriminator_rate"):
            if not getattr(self, name) > 0:
                raise UsageError(f"{name} = {getattr(self, name)}: must be above 0; CE-GAN has 1e-4, E-GAN 2e-4")
        for name in ("penalty_weight", "diversity_weight"):
            if not getattr(self, name) >= 0:
                raise UsageError(f"{name} = {getattr(self, name)}: must not be negative")
        if not all(0 <= beta < 1 for beta in self.betas) or len(self.betas) != 2:
            raise UsageError(f"betas = {self.betas}: two numbers from 0 to below 1; CE-GAN has 0.5 and 0.99")
        if not 0 <= self.average < 1:
            raise UsageError(f"average = {self.average}: must be 0 (none) or below 1, such as 0.999")
        _check_choices(self)
        _check_sizes(self)

    @property
    def mutants(self) -> int:
        """Children by mutation in one step, mu * n_m."""
        return self.parents * len(self.mutations)

    @property
    def brood(self) -> int:
        """All children of one step."""
        return self.mutants + self.crossovers

    @property
    def selects(self) -> bool:
        """Whether anything must be judged at all: where every child survives, only to find images for D."""
        return self.brood > self.parents or self.order == "released"

    @property
    def real_images(self) -> int:
        """Real images that one step takes: D's; those that E-GAN's fitness and relativistic mutations look at."""
        count = self.discriminator_steps * self.batch_size
        if self.needs_real_outputs:
            count += self.batch_size
        return count + (self.evaluation_size if self.fitness == "egan" and self.selects else 0)

    @property
    def needs_real_outputs(self) -> bool:
        """Whether a mutation looks at what the critic says of real images."""
        return any(name in RELATIVE_MUTATIONS for name in self.mutations)


def _check_choices(recipe: Recipe) -> None:
    known = [*MUTATIONS, *RELATIVE_MUTATIONS]
    if not recipe.mutations or len(set(recipe.mutations)) < len(recipe.mutations):
        raise UsageError(f"mutations = {list(recipe.mutations)}: at least one, each only once")
    for name in recipe.mutations:
        if name not in known:
            raise UsageError(f"mutations = {name!r}: must be one of {', '.join(known)}")
    for key, names in (
        ("discriminator_loss", DISCRIMINATOR_LOSSES),
        ("fitness", ("cgan", "egan")),
        ("order", ("paper", "released")),
        ("mutation_noise", ("own", "shared")),
        ("crossover_noise", ("fresh", "same")),
        ("distillation", ("mean", "sum")),
    ):
        if getattr(recipe, key) not in names:
            raise UsageError(f"{key} = {getattr(recipe, key)!r}: must be one of {', '.join(names)}")


def _check_sizes(recipe: Recipe) -> None:
    pairs = recipe.mutants * (recipe.mutants - 1) // 2
    if not 0 <= recipe.crossovers <= pairs:
        raise UsageError(
            f"crossovers = {recipe.crossovers}: {recipe.mutants} mutants make {pairs} pairs; "
            f"give 0..{pairs}, more mutations or more parents"
        )
    if recipe.batch_size % recipe.parents:
        raise UsageError(
            f"batch_size = {recipe.batch_size}: each of {recipe.parents} parents shows D an equal part; "
            f"give a multiple of {recipe.parents}"
        )
    shown = recipe.discriminator_steps * recipe.batch_size
    if recipe.order == "released" and recipe.parents * recipe.evaluation_size < shown:
        raise UsageError(
            f"evaluation_size = {recipe.evaluation_size}: D learns from {shown} images that the survivors were judged "
            f"by; give at least {-(-shown // recipe.parents)}"
        )


_CEGAN = Recipe()
_EGAN = replace(_CEGAN, crossovers=0, fitness="egan", learning_rate=2e-4, discriminator_rate=2e-4)

# The trainings that CE-GAN's paper compares, by name.
PUBLISHED: dict[str, Recipe] = {
    "cegan": _CEGAN,
    "cegan-gp": replace(_CEGAN, penalty_weight=10.0),
    "egan": _EGAN,
    "egan-gp": replace(_EGAN, penalty_weight=10.0),
    "gan-minimax": replace(_CEGAN, mutations=("minimax",), crossovers=0),
    "gan-heuristic": replace(_CEGAN, mutations=("heuristic",), crossovers=0),
    "gan-least-squares": replace(_CEGAN, mutations=("least_squares",), crossovers=0),
}
